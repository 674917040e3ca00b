"""What Tensorlet costs, measured beside what it is compared with: `python -m benchmarks`.

Each figure is a median over many rounds. In a round every variant runs once, in shuffled order, so a slow minute
of the machine hits all alike; ratios are taken within a round. Read the ratios first: milliseconds belong to the
machine, ratios mostly to the software.
"""
