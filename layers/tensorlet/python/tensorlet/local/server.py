"""`tensorlet serve`: an HTTP server around the service, in one process or in several that share a listening socket.

The socket is bound first, so that a port in use is told in one line and all workers know what port 0 became.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from ctypes import CDLL
from errno import EACCES, EADDRINUSE
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from tensorlet.errors import InvalidSetting
from tensorlet.http.app import App
from tensorlet.local.answers import Answers
from tensorlet.local.http1 import HttpServer
from tensorlet.protocols.json_body import open_fast_lane
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

try:
    from uvloop import new_event_loop
except ImportError:  # not for Windows
    from asyncio import new_event_loop  # type: ignore[assignment]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 32 << 20
BACKLOG = 2048  # connections that wait to be accepted

HINTS = {
    EADDRINUSE: "choose another with --port, or take a free one with --port 0",
    EACCES: "ports below 1024 need the rights of an administrator; choose another with --port",
}


def serve(settings: Settings, host: str, port: int, workers: int) -> int:
    """Answer until SIGTERM or SIGINT, then finish the requests that are running; returns the exit status.

    Raises:
        InvalidSetting: an address that cannot be listened on, or settings that cannot be used.
    """
    app = App(ModelService.from_settings(settings))
    with listen(host, port) as listener:

        def announce() -> None:
            print(f"listening on {url(listener)}", flush=True)

        if workers == 1:
            run_worker(app, listener, announce)
            return 0
        return supervise(lambda ready, parent: run_worker(app, listener, ready, parent), workers, announce)


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises InvalidSetting saying what is wrong with the address."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        hint = HINTS.get(error.errno or 0, "choose another address with --host")
        reason = os.strerror(error.errno) if error.errno in HINTS else error.strerror
        raise InvalidSetting(f"cannot listen on {host}:{port}: {reason}; {hint}") from None


def url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_worker(
    app: App, listener: socket.socket, ready: Callable[[], None], parent: int | None = None
) -> None:
    """Answer on `listener` until told to stop, or until the supervisor `parent` is gone.

    `ready` is called once connections are accepted.
    """
    open_fast_lane()
    keep_freed_memory()
    server = HttpServer(Answers(app), app.limits.max_body_bytes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(server.run(listener, ready, lambda: parent is not None and os.getppid() != parent))


def keep_freed_memory() -> None:
    """Have glibc keep what large requests free, for the next: new pages are half the time of a body of 800 kB.

    Source: mallopt(3); other C libraries have no such function, or their own mind about it.
    """
    mallopt = getattr(CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def supervise(
    work: Callable[[Callable[[], None], int], None], workers: int, announce: Callable[[], None]
) -> int:
    """Run `work(ready, parent)` in several processes and replace those that die; returns the exit status.

    `announce` is called once all are ready. A worker that ends before it was ready would do so again: then all
    stop, with status 1.
    """
    fleet = Fleet(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, fleet.stop)
    for _ in range(workers):
        fleet.start()
    status, announced = 0, False
    while fleet.workers:
        said = connection.wait(fleet.workers)
        for pipe in [pipe for pipe in fleet.workers if pipe in said]:
            worker = fleet.workers[pipe]
            if worker.says_ready(pipe):
                continue
            fleet.reap(pipe)
            if not (worker.ready or fleet.stopping):
                status = 1
                fleet.stop()
            elif not fleet.stopping:
                print(f"tensorlet: worker {worker.process.pid} died; starting another", file=sys.stderr)
                fleet.start()
        if not announced and not fleet.stopping and all(worker.ready for worker in fleet.workers.values()):
            announced = True
            announce()
    return status


class Worker:
    """A process, and whether it has said that it is ready."""

    def __init__(self, process: BaseProcess):
        self.process = process
        self.ready = False

    def says_ready(self, pipe: Connection) -> bool:
        """Read what the worker says: that it is ready, or nothing more because it is dead."""
        try:
            self.ready = bool(pipe.recv_bytes())
        except EOFError:
            return False
        return True


class Fleet:
    """The workers by the pipe of each, which tells when its worker is ready and, by closing, when it is dead.

    Workers are forked: they share the listening socket and the memory of what is imported so far. Nothing has
    read storage or started a thread by then.
    """

    def __init__(self, work: Callable[[Callable[[], None], int], None]):
        self.workers: dict[Connection, Worker] = {}
        self.stopping = False
        self._work = work
        self._pid = os.getpid()
        self._context = get_context("fork")

    def start(self) -> None:
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=self._run, args=(writer,), daemon=True)
        process.start()
        writer.close()  # the worker's end is the only one now
        self.workers[reader] = Worker(process)
        if self.stopping:
            process.terminate()

    def reap(self, pipe: Connection) -> None:
        worker = self.workers.pop(pipe)
        worker.process.join()
        pipe.close()

    def stop(self, *_: object) -> None:
        """Tell all workers to finish; also the handler of SIGTERM and SIGINT."""
        if os.getpid() != self._pid:
            os._exit(
                0
            )  # a worker of a moment ago, which still has its supervisor's handler and does nothing yet
        self.stopping = True
        for worker in self.workers.values():
            worker.process.terminate()

    def _run(self, writer: Connection) -> None:
        self._work(lambda: writer.send_bytes(b"ready"), self._pid)
