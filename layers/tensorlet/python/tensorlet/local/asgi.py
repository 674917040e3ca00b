"""The service as an ASGI application: the local edge, as `http.aws` is the one on Lambda.

Written to the ASGI specification ("HTTP Connection Scope"), without a framework in between.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from time import perf_counter
from typing import Any

from tensorlet.http.app import App, error_response
from tensorlet.http.message import Request, Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Kind = tuple[str, str, int]  # of a request: method, path, and the bits of its body's length

QUICK_S = 0.002  # an answer that takes less is made on the event loop: a thread hand-over costs a tenth of it
UNKNOWN = (QUICK_S, QUICK_S)
REMEMBERED = 1024  # kinds of requests whose time is remembered


class AsgiApp:
    """Answers HTTP requests by `app.handle`, quick ones on the event loop and slow ones on threads.

    Whether a request is quick is known from the last two of its kind: the same method and path, a body of about
    the same size. One slow answer may have waited for a processor; two are slow. The first of a kind goes to a
    thread, for it may load a model.
    """

    def __init__(self, app: App, max_body_bytes: int):
        self._handle = app.handle
        self._max_body_bytes = max_body_bytes
        self._seconds: dict[Kind, tuple[float, float]] = {}  # of the last two answers
        self._threads = ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1, thread_name_prefix="infer")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a websocket: the server refuses the handshake when we just return
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await self._read_body(headers, receive)
        except ClientDisconnected:
            return
        if body is None:
            response = error_response(413, f"body: expected at most {self._max_body_bytes} bytes, got more")
            response.headers["connection"] = "close"  # the rest of the body may still be on its way
        else:
            identity = headers.get("x-request-id") or token_hex(8)
            path = scope["raw_path"].decode("latin-1")
            response = await self._answer(Request(scope["method"], path, headers, body, identity))
        await _reply(response, send)

    async def _answer(self, request: Request) -> Response:
        """The application's response; the time it takes decides where the next request of its kind runs."""
        kind = (request.method, request.path, len(request.body).bit_length())
        if min(self._seconds.get(kind, UNKNOWN)) < QUICK_S:
            return self._timed(kind, request)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._timed, kind, request)

    def _timed(self, kind: Kind, request: Request) -> Response:
        start = perf_counter()
        response = self._handle(request)
        if response.status == 200:  # only paths that exist, so that no caller can fill the memory
            if len(self._seconds) >= REMEMBERED:
                self._seconds.clear()
            self._seconds[kind] = (self._seconds.get(kind, UNKNOWN)[1], perf_counter() - start)
        return response

    async def _read_body(self, headers: dict[str, str], receive: Receive) -> bytes | None:
        """The request's body, or None when it is over the limit; never more than the limit is kept.

        A body that is too large is read on and dropped, up to twice the limit: a client which is still sending
        when the connection closes would not see why.

        Raises:
            ClientDisconnected: the body will never be whole.
        """
        announced = headers.get("content-length", "0")
        if "expect" in headers and announced.isdecimal() and int(announced) > self._max_body_bytes:
            return None  # the client waits for our word before it sends anything
        pieces, size, more = [], 0, True
        while more and size <= 2 * self._max_body_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size <= self._max_body_bytes:
                pieces.append(piece)
            else:
                pieces.clear()
        return None if size > self._max_body_bytes else pieces[0] if len(pieces) == 1 else b"".join(pieces)


class ClientDisconnected(Exception):
    """The client went away before its request was whole."""


async def _reply(response: Response, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
