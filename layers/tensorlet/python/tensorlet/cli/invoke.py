"""`tensorlet invoke`: a function's handler, called with an event from a file."""

import json
import os
import sys
import traceback
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tensorlet.cli.registries import registry_uri, working_uri
from tensorlet.errors import InvalidRequest, TensorletError


def run(arguments: Namespace) -> int:
    event = read_event(arguments.event)
    from tensorlet.local.functions import LambdaContext, load_handler

    output = os.environ.get("TENSORLET_OUTPUT") or working_uri("output")
    try:
        with redirect_stdout(sys.stderr):  # log lines and metrics; stdout is for the return value alone
            handler = load_handler(arguments.function, registry_uri(arguments), output)
            value = handler(event, LambdaContext(arguments.function))
    except (TensorletError, KeyboardInterrupt):
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error}"
        raise HandlerFailed(f"the handler failed with {reason} ({where.filename}:{where.lineno})") from error
    print(json.dumps(value))
    return 0


class HandlerFailed(TensorletError):
    """The handler raised; Lambda would report a function error."""


def read_event(file: str) -> Any:
    """Raises InvalidRequest for a file that is not JSON."""
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"--event {file} is not JSON: {error}") from None
