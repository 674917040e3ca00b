"""Processes that do not outlive whoever started them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from tensorlet.errors import TensorletError

READY = "listening on "
STOP_S = 15  # what a process gets to end by itself


class ServerFailed(TensorletError):
    """The server ended before it was ready; the message is what it said."""


class RunningServer(NamedTuple):
    url: str
    process: subprocess.Popen[str]


@contextmanager
def running_server(*arguments: str) -> Iterator[RunningServer]:
    """`tensorlet serve` on a free port, ready to answer; stopped at the end, whatever happens.

    Raises:
        ServerFailed: it did not start.
    """
    command = [sys.executable, "-m", "tensorlet.cli", "serve", "--port", "0", *arguments]
    with ended(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith(READY):
            raise ServerFailed(f"the server ended with status {process.wait(STOP_S)}: {line.strip()}")
        yield RunningServer(line.removeprefix(READY).strip(), process)


@contextmanager
def ended(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is told to stop at the end with everything it started, and killed when it does not.

    It is the leader of a process group, so that Ctrl-C reaches it through us alone.
    """
    process = subprocess.Popen(command, text=True, start_new_session=True, **options)
    try:
        yield process
    finally:
        _signal_group(process, signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        finally:
            _signal_group(process, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, number)
