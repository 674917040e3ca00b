"""`tensorlet demo`: the command in front of `tensorlet.local.demo`."""

from argparse import Namespace
from pathlib import Path

from tensorlet.cli.registries import WORKING_FOLDER


def run(arguments: Namespace) -> int:
    from tensorlet.local.demo import run_demo

    run_demo(Path(WORKING_FOLDER) / "demo", arguments.quick)
    return 0
