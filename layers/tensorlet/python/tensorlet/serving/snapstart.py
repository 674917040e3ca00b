"""Models loaded ahead of the first request, and what SnapStart asks of a function that has state.

SnapStart keeps a snapshot of the initialised function and starts each environment from a copy of it. So the models
of TENSORLET_PRELOAD are loaded before the snapshot; after a restore, whatever must not be shared by the copies or
has grown old on the way is made anew: connections, credentials, seeds of random numbers, aliases.

Source: AWS Lambda developer guide, "Implement code before or after Lambda function snapshots" and
"Handling uniqueness with Lambda SnapStart".
"""

import sys
from collections.abc import Mapping
from importlib import import_module

from tensorlet.errors import TensorletError
from tensorlet.serving.service import ModelService

# Modules with one generator for the whole process: copies of a snapshot would draw the same numbers.
SEEDED = ("random", "numpy.random")


def prepare(service: ModelService, environ: Mapping[str, str]) -> None:
    """Load the models of TENSORLET_PRELOAD: now, or before the snapshot where there is going to be one."""
    if environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        preload(service)
        return
    hooks = import_module("snapshot_restore_py")  # a part of Lambda's runtime; nobody else has it
    hooks.register_before_snapshot(preload, service)
    hooks.register_after_restore(restore, service)


def preload(service: ModelService) -> None:
    """Load the models of TENSORLET_PRELOAD.

    One that cannot be loaded is logged and left to the first request: a stack is created before its registry has
    any model, and the function has to start all the same.
    """
    for name, selector in service.settings.preload:
        try:
            service.model(name, selector)
        except TensorletError as error:
            from tensorlet.telemetry import logger  # imported when a line is really written: 30 ms

            logger().error("model not preloaded", extra={"model": name, "reason": str(error)})


def restore(service: ModelService) -> None:
    """Make a copy of a snapshot its own: new connections and credentials, aliases unknown, seeds drawn again."""
    service.reconnect()
    for name in SEEDED:
        if name in sys.modules:
            sys.modules[name].seed()  # from the operating system, which SnapStart keeps unique
