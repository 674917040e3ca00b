"""`python -m benchmarks [NAME...] [--rounds N]`: measure, then write docs/benchmarks.md and docs/costs.md again.

    cold    cold start of the function beside other ways to write it
    warm    a warm request inside the function, by stage
    start   a large model's start, plain and in its fast-start form
    server  `tensorlet serve` beside other servers
    batch   rows per second of a batch job beside a raw loop
    render  nothing is measured, the documents only are written

Without a name all are measured. Results are kept in benchmarks/results; the environments of the references are
made on demand in $TENSORLET_BENCH or ~/.cache/tensorlet-bench. Needs a Python 3.13 ($TARGET_PYTHON, or on PATH) to
measure what Lambda runs, and TensorFlow in the training environment for the LiteRT rows.
"""

import argparse
from importlib import import_module

from benchmarks import report

ROUNDS = {"cold": 15, "warm": 30, "start": 9, "server": 5, "batch": 5}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*ROUNDS, "render", []], default=[], metavar="NAME")
    parser.add_argument("--rounds", type=int, help="of each measurement; the more, the steadier the medians")
    arguments = parser.parse_args()
    for name in arguments.names or ROUNDS:
        if name != "render":
            import_module(f"benchmarks.{name}").main(arguments.rounds or ROUNDS[name])
    report.main()


if __name__ == "__main__":
    main()
