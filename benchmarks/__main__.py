"""`python -m benchmarks [PART...] [--rounds N] [--resume]`: measure, then write docs/benchmarks.md and docs/costs.md.

    cold    cold start of the function beside other ways to write it
    start   a large model's start, plain and in its fast-start form
    warm    a warm request inside the function, by stage
    server  `tensorlet serve` beside other servers
    batch   rows per second of a batch job beside a script by hand and the usual ways
    large   memory of a batch job at ten million rows; only when it is named, for it takes minutes
    render  nothing is measured, the documents only are written

Without a part all but `large` are measured, in about a quarter of an hour. Each part keeps its result in
benchmarks/results, so one that fails costs no other; `--resume` measures only parts whose result is not of the code
as it is. The environments of the references are made on demand in $TENSORLET_BENCH or ~/.cache/tensorlet-bench.
Needs a Python 3.13 ($TARGET_PYTHON, pyenv's or on PATH) to measure what Lambda runs, and TensorFlow in the training
environment for the LiteRT rows.
"""

import argparse
import subprocess
import sys
import time
from importlib import import_module

from benchmarks import report
from benchmarks.measure import Skipped, code_digest, read, say

ROUNDS = {"cold": 11, "start": 7, "warm": 30, "server": 4, "batch": 5, "large": 2}
ONLY_WHEN_NAMED = {"large"}


def main() -> int:
    """The exit status: 1 if a part could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*ROUNDS, "render", []], default=[], metavar="PART")
    parser.add_argument("--rounds", type=int, help="of each measurement; the more, the steadier the medians")
    parser.add_argument(
        "--resume", action="store_true", help="leave parts whose result is of the code as it is"
    )
    arguments = parser.parse_args()
    parts = arguments.parts or [part for part in ROUNDS if part not in ONLY_WHEN_NAMED]
    failed = [part for part in parts if part != "render" and not measure(part, arguments)]
    report.main()
    return 1 if failed else 0


def measure(part: str, arguments: argparse.Namespace) -> bool:
    """Whether there is a result of the part now."""
    if arguments.resume and read(part)[0].get("code") == code_digest():
        say(f"{part}: measured already")
        return True
    started = time.monotonic()
    try:
        import_module(f"benchmarks.{part}").main(arguments.rounds or ROUNDS[part])
    except (Skipped, subprocess.CalledProcessError, OSError) as error:
        say(f"{part}: not measured: {error}")
        return False
    say(f"{part}: measured in {time.monotonic() - started:.0f} s")
    return True


if __name__ == "__main__":
    sys.exit(main())
