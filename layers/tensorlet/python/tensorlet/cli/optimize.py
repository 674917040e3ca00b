"""`tensorlet optimize`: the command in front of `tensorlet.publish.optimize`."""

from argparse import Namespace
from pathlib import Path

from tensorlet.cli.registries import open_registry, signer_of, writable_uri


def run(arguments: Namespace) -> int:
    from tensorlet.publish.optimize import optimize

    name, selector = arguments.model
    version = optimize(
        name,
        selector,
        writable_uri(arguments),
        arguments.target,
        calibration=_path(arguments.calibration),
        test=_path(arguments.test),
        max_accuracy_drop=arguments.max_accuracy_drop,
        aliases=arguments.alias,
        plot=_path(arguments.plot),
        trust=open_registry(arguments).trust,
        signer=signer_of(arguments),
        report=print,
    )
    print(version)
    return 0


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
