"""Where a request is answered: quick ones on the event loop, slow ones on threads."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from tensorlet.http.app import App
from tensorlet.http.message import Request, Response

Kind = tuple[str, str, int]  # of a request: method, path, and the bits of its body's length

QUICK_S = (
    0.005  # others wait for an answer that is made on the event loop; a thread costs each a tenth of a ms
)
UNKNOWN = (QUICK_S, QUICK_S)
REMEMBERED = 1024  # kinds of requests whose time is remembered


class Answers:
    """The application's answers, and how long they take.

    Whether a request is quick is known from the last two of its kind: the same method and path, a body of about
    the same size. One slow answer may have waited for a processor; two are slow. The first of a kind goes to a
    thread, for it may load a model.
    """

    def __init__(self, app: App):
        self._handle = app.handle
        self._seconds: dict[Kind, tuple[float, float]] = {}  # of the last two answers
        self._threads = ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1, thread_name_prefix="infer")

    def answer(self, request: Request) -> "Response | asyncio.Future[Response]":
        """The response, or what will be it."""
        kind = (request.method, request.path, len(request.body).bit_length())
        if min(self._seconds.get(kind, UNKNOWN)) < QUICK_S:
            return self._timed(kind, request)
        return asyncio.get_running_loop().run_in_executor(self._threads, self._timed, kind, request)

    def _timed(self, kind: Kind, request: Request) -> Response:
        start = perf_counter()
        response = self._handle(request)
        if response.status == 200:  # only paths that exist, so that no caller can fill the memory
            if len(self._seconds) >= REMEMBERED:
                self._seconds.clear()
            self._seconds[kind] = (self._seconds.get(kind, UNKNOWN)[1], perf_counter() - start)
        return response
