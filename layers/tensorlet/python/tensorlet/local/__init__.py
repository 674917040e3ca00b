"""The system on one machine, without Docker or an AWS account: HTTP server, functions, queue pump, demo.

Left out of the Lambda layer, like `tensorlet.cli` which uses it.
"""
