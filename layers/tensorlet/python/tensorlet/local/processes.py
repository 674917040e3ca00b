"""Processes that do not outlive whoever started them."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

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
    with ended(command, stdout=subprocess.PIPE, stderr=None) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith(READY):
            raise ServerFailed(f"the server ended with status {process.wait(STOP_S)}: {line.strip()}")
        yield RunningServer(line.removeprefix(READY).strip(), process)


@contextmanager
def ended(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that is told to stop at the end, and killed when it does not."""
    process = subprocess.Popen(command, text=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            if process.stdout:
                process.stdout.close()
