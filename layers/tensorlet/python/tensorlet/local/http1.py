"""HTTP/1.1 between a socket and the application: asyncio's protocol interface, with httptools as the parser.

A general server in between costs as much as answering one row does, and reads a large body in small pieces. Here a
request is answered where its last byte is read, and a body of known length is received where it stays.

Sources: RFC 9112 (keep-alive, pipelining, chunked bodies); RFC 9110, "Expect" and "Upgrade", which we ignore. What
llhttp, the parser inside httptools, takes for malformed is refused with 400.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from secrets import token_hex
from socket import socket
from time import gmtime, strftime
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from tensorlet.http.app import error_response
from tensorlet.http.message import Request, Response
from tensorlet.local.answers import Answers

CHUNK_BYTES = 16 << 10  # received at once, until a body has a known length
GROWTH_BYTES = 1 << 20  # taken for a body at first; from then on as much again as has come
MAX_HEAD_BYTES = 64 << 10
KEEP_ALIVE_S = 65  # longer than the 60 s for which load balancers keep an idle connection
HEAD_S, BODY_S = 30, 300  # what a client gets to send a request's head, and its body or to take the reply
GRACE_S = 30  # for requests that are running when we are told to stop
TICK_S = 0.5

REASONS = {status.value: status.phrase for status in HTTPStatus}


class HttpServer:
    """All connections of one process."""

    def __init__(self, answers: Answers, max_body_bytes: int):
        self.answer = answers.answer
        self.max_body_bytes = max_body_bytes
        self.connections: set[Connection] = set()
        self.stopping = False
        self.date = b""
        self.now: Callable[[], float]
        self._is_told = False
        self._wake: Callable[[], object] = lambda: None

    async def run(
        self, listener: socket, ready: Callable[[], None], orphaned: Callable[[], bool] = lambda: False
    ) -> None:
        """Answer on `listener` until `stop` is called or `orphaned()`; then finish the requests that are running.

        `ready` is called once connections are accepted.
        """
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        self.now = loop.time
        self._wake = lambda: loop.call_soon_threadsafe(told.set)
        self._tick()
        server = await loop.create_server(lambda: Connection(self), sock=listener)
        ready()
        while not (self._is_told or orphaned()):
            await _either(told, TICK_S)
            self._tick()
        self.stopping = True
        server.close()
        deadline = self.now() + GRACE_S
        while self.connections and self.now() < deadline:
            for connection in list(self.connections):
                connection.finish()
            await asyncio.sleep(0.01)
        self._wake = lambda: None  # the loop ends

    def stop(self) -> None:
        """Tell `run` to end, even before it began; may be called from a thread or a signal handler."""
        self._is_told = True
        self._wake()

    def _tick(self) -> None:
        self.date = strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n\r\n", gmtime()).encode()
        for connection in list(self.connections):
            connection.check_deadline()


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until `event` is set or time is up."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


class Connection(asyncio.BufferedProtocol):
    """One client, whose requests are answered one after another."""

    def __init__(self, server: HttpServer):
        self._server = server
        self._transport: Any = None
        self._parser = HttpRequestParser(self)
        self._chunk = memoryview(bytearray(CHUNK_BYTES))
        # Parsed requests, and whether the connection outlives each.
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._refusal: Response | None = None  # after those; nothing more is read
        self._is_answering = self._is_reading = self._is_direct = False
        self._deadline = server.now() + KEEP_ALIVE_S

    # What the event loop calls

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._server.connections.discard(self)

    def get_buffer(self, _: int) -> memoryview:
        if not self._is_direct:
            return self._chunk
        body = self._body
        if self._size == len(body):
            body.extend(bytes(min(len(body), self._length - len(body))))
        return memoryview(body)[self._size :]

    def buffer_updated(self, count: int) -> None:
        if self._is_direct:
            self._size += count
            if self._size == self._length:
                self._is_direct = False
                self._parser = HttpRequestParser(self)  # the one before still waits for this body
                self._finish_request()
        else:
            self._parse(self._chunk[:count])
        self._answer_waiting()

    def pause_writing(self) -> None:
        """The client does not take its replies: read no more requests."""
        self._transport.pause_reading()
        self._deadline = self._server.now() + BODY_S

    def resume_writing(self) -> None:
        if not (self._is_answering or self._refusal):
            self._transport.resume_reading()

    # What the server calls

    def check_deadline(self) -> None:
        if self._is_answering or self._server.now() < self._deadline:
            return
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        elif self._is_reading:
            self._refuse(408, "request: expected it to be sent sooner")
            self._answer_waiting()
        else:
            self._transport.close()

    def finish(self) -> None:
        """Close when there is nothing to answer; else after the answer."""
        if not (self._is_answering or self._is_reading or self._waiting):
            self._transport.close()

    # What the parser calls

    def on_message_begin(self) -> None:
        self._is_reading = self._is_head = True
        self._url, self._head_bytes = b"", 0
        self._headers: dict[str, str] = {}
        self._body: Any = b""
        self._size = self._length = 0  # of the body: so far, and as announced
        self._deadline = self._server.now() + HEAD_S

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._is_head = False
        self._deadline = self._server.now() + BODY_S
        self._method = self._parser.get_method().decode()
        # A client of HTTP/1.0 that asks to keep the connection would have to be told.
        self._keep_alive = self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0"
        self._length = int(self._headers.get("content-length", 0))
        if "expect" not in self._headers:
            return
        if self._length > self._server.max_body_bytes:
            self._refuse_size()  # the client waits for our word before it sends anything
        elif not (self._waiting or self._is_answering):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        """Never more than the limit is kept.

        A body that is too large is read on and dropped, up to twice the limit: a client which is still sending
        when the connection closes would not see why.
        """
        limit = self._server.max_body_bytes
        self._size += len(piece)
        if self._size > limit:
            self._body = b""
            if self._size > 2 * limit:
                self._refuse_size()
        elif not self._body:
            self._body = piece
        else:
            self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
            self._body += piece

    def on_message_complete(self) -> None:
        if not self._parser.should_upgrade():
            self._finish_request()

    # From bytes to requests

    def _parse(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._keep_alive = False
            self._parser = HttpRequestParser(self)
            self.on_body(bytes(data[upgrade.args[0] :][: self._length]))
            if self._size == self._length:
                self._finish_request()
        except HttpParserError as error:
            self._refuse(400, f"HTTP request: {error}")
        if not self._is_reading:
            return
        if self._is_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"headers: expected at most {MAX_HEAD_BYTES} bytes, got more")
        elif self._size < self._length <= self._server.max_body_bytes:
            self._is_direct = True
            received = self._body
            self._body = bytearray(min(self._length, self._size + GROWTH_BYTES))
            self._body[: self._size] = received

    def _finish_request(self) -> None:
        if self._refusal:
            return
        if self._size > self._server.max_body_bytes:
            self._refuse_size()
            return
        self._is_reading = False
        url = self._url
        if url[:1] != b"/" or b"?" in url or b"#" in url:
            url = parse_url(url).path or b"/"
        identity = self._headers.get("x-request-id") or token_hex(8)
        request = Request(self._method, url.decode("latin-1"), self._headers, self._body, identity)
        self._waiting.append((request, self._keep_alive))

    def _refuse_size(self) -> None:
        self._refuse(413, f"body: expected at most {self._server.max_body_bytes} bytes, got more")

    def _refuse(self, status: int, message: str) -> None:
        """Answer what waits, then this, and read nothing more."""
        self._is_reading = self._is_direct = False
        self._refusal = self._refusal or error_response(status, message)
        self._transport.pause_reading()

    # From requests to bytes

    def _answer_waiting(self) -> None:
        while self._waiting and not self._is_answering and not self._transport.is_closing():
            request, keep_alive = self._waiting.popleft()
            response = self._server.answer(request)
            if isinstance(response, Response):
                self._send(response, request.method, keep_alive)
                continue
            self._is_answering = True
            self._transport.pause_reading()
            response.add_done_callback(partial(self._answered, request.method, keep_alive))
        if self._refusal and not self._is_answering:
            self._send(self._refusal, "", keep_alive=False)

    def _answered(self, method: str, keep_alive: bool, future: "asyncio.Future[Response]") -> None:
        self._is_answering = False
        if self._transport.is_closing():
            return
        self._send(future.result(), method, keep_alive)
        if not self._refusal:
            self._transport.resume_reading()
        self._answer_waiting()

    def _send(self, response: Response, method: str, keep_alive: bool) -> None:
        transport, server, body = self._transport, self._server, response.body
        if transport.is_closing():
            return
        is_last = not keep_alive or server.stopping
        lines = [f"HTTP/1.1 {response.status} {REASONS[response.status]}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in response.headers.items()]
        if response.status != 204:
            lines.append(f"content-length: {len(body)}\r\n")
        if is_last:
            lines.append("connection: close\r\n")
        head = "".join(lines).encode("latin-1", "replace")
        transport.write(b"".join((head, server.date, b"" if method == "HEAD" else body)))
        if is_last:
            transport.close()
        self._deadline = server.now() + KEEP_ALIVE_S
