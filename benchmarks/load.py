"""One load client for every server: raw keep-alive sockets, each with one request under way (a closed loop)."""

import selectors
import socket
from time import perf_counter

from benchmarks.payloads import Payload


class Connection:
    """A keep-alive connection; `headers` and `body` are those of the last reply."""

    def __init__(self, port: int, timeout_s: float | None = None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.headers, self.body = b"", b""
        self.sent = 0.0
        self._buffer = bytearray()

    def send(self, request: bytes) -> None:
        self.sent = perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what is there; True when a reply is whole. Raises ConnectionError."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("closed by the server")
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n") + 4
        if head < 4:
            return False
        headers = bytes(self._buffer[:head]).lower()
        if field(headers, b"transfer-encoding") == "chunked":
            if not self._buffer.endswith(
                b"\r\n0\r\n\r\n"
            ):  # one request is under way: nothing comes after it
                return False
            self.headers, self.body = headers, joined(bytes(self._buffer[head:]))
            self._buffer.clear()
            return True
        end = head + int(field(headers, b"content-length") or 0)
        if len(self._buffer) < end:
            return False
        self.headers, self.body = headers, bytes(self._buffer[head:end])
        del self._buffer[:end]
        return True

    @property
    def status(self) -> int:
        return int(self.headers[9:12])

    def ask(self, request: bytes) -> float:
        """One request and its reply, in seconds."""
        self.send(request)
        while not self.receive():
            pass
        return perf_counter() - self.sent


def field(headers: bytes, name: bytes) -> str:
    return headers.partition(b"\r\n" + name + b":")[2].partition(b"\r")[0].strip().decode()


def joined(chunks: bytes) -> bytes:
    """The body of a chunked reply."""
    body, start = b"", 0
    while size := int(chunks[start : (line := chunks.index(b"\r\n", start))], 16):
        body += chunks[line + 2 : line + 2 + size]
        start = line + 2 + size + 2
    return body


def request_bytes(payload: Payload, path: str) -> bytes:
    headers = payload.headers | {"host": "127.0.0.1", "content-length": str(len(payload.body))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "\r\n"]).encode() + payload.body


def latencies(port: int, request: bytes, clients: int, seconds: float) -> tuple[list[float], float]:
    """Ask for `seconds` with `clients` connections; returns the latencies, in seconds, and the time it took.

    Raises:
        ConnectionError: a reply that is no success.
    """
    connections = [Connection(port) for _ in range(clients)]
    taken: list[float] = []
    with selectors.DefaultSelector() as selector:
        start = perf_counter()
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(request)
        under_way = clients
        while under_way:
            for key, _ in selector.select():
                connection = key.data
                if not connection.receive():
                    continue
                taken.append(perf_counter() - connection.sent)
                if connection.status != 200:
                    raise ConnectionError(connection.body[:200].decode(errors="replace"))
                if perf_counter() - start < seconds:
                    connection.send(request)
                else:
                    under_way -= 1
        end = perf_counter()
    for connection in connections:
        connection.socket.close()
    return taken, end - start
