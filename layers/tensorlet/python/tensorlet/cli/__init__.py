"""The `tensorlet` command: `arguments` is its grammar, and each command is the `run` of the module of its name.

Exit statuses: 0 done, 1 it could not be done (one line on stderr says what to do), 2 wrong usage, 130 Ctrl-C.
A command's module is imported when it runs, so that `tensorlet --help` does not wait for a runtime.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from tensorlet.cli.arguments import parse
from tensorlet.errors import TensorletError

OK, FAILED, INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; wrong usage leaves through SystemExit(2), as argparse does."""
    arguments = parse(argv)
    try:
        status = import_module(f"tensorlet.cli.{arguments.command}").run(arguments)
        sys.stdout.flush()
        return int(status)
    except TensorletError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `tensorlet models | head -1`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:  # a local file: missing, a folder, not ours, no space left
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(reason: str) -> int:
    print("tensorlet:", " ".join(reason.split()), file=sys.stderr)
    return FAILED
