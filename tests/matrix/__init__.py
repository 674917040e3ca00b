"""Every source × architecture × target: each cell publishes and answers like its source, or refuses with the reason.

`python -m tests.matrix` runs them all, in the better part of an hour, and writes the tables of docs/models.md;
`make test` runs a slice (test_matrix.py). The models are tiny and untrained: what is measured is the conversion.
"""
