"""The `tensorlet` command: `arguments` is its grammar, and each command is the `run` of the module of its name.

Exit statuses: 0 done, 1 it could not be done (one line on stderr says what to do), 2 wrong usage, 130 Ctrl-C.
A command's module is imported when it runs, so that `tensorlet --help` does not wait for a runtime.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from tensorlet.cli.arguments import parse
from tensorlet.errors import AliasNotFound, ModelNotFound, StorageUnavailable, TensorletError, VersionNotFound

OK, FAILED, INTERRUPTED = 0, 1, 130

# What to do about errors whose own message cannot know that it is read on a command line.
HINTS: dict[type[TensorletError], str] = {
    ModelNotFound: "`tensorlet models` lists those that are",
    VersionNotFound: "`tensorlet models NAME` lists its versions",
    AliasNotFound: "`tensorlet models` lists the aliases",
    StorageUnavailable: "check --registry, the network and the AWS credentials",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; wrong usage leaves through SystemExit(2), as argparse does."""
    arguments = parse(argv)
    try:
        status = import_module(f"tensorlet.cli.{arguments.command}").run(arguments)
        sys.stdout.flush()
        return int(status)
    except TensorletError as error:
        hint = HINTS.get(type(error))
        return _fail(f"{error}; {hint}" if hint else str(error))
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
