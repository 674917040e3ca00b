"""The floor of a Python HTTP server: one thread, uvloop, a ten-line parser, no pipelining. Not product code."""

import asyncio
import sys

import uvloop
from predict import predict

LENGTH, HEAD = b"content-length:", b"inference-header-content-length:"


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.buffer = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        headers = bytes(self.buffer[:end]).lower()
        size = int(number(headers, b"\r\n" + LENGTH) or 0)
        if len(self.buffer) < end + size:
            return
        head_bytes = number(headers, b"\r\n" + HEAD)
        body = memoryview(bytes(self.buffer[end : end + size]))
        self.buffer.clear()
        content_type, head, out = predict(body, int(head_bytes) if head_bytes else None)
        extra = b"%s %d\r\n" % (HEAD, head) if head else b""
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s%s %d\r\n\r\n"
            % (content_type, extra, LENGTH, len(out))
            + out
        )


def number(headers: bytes, name: bytes) -> bytes:
    return headers.partition(name)[2].partition(b"\r")[0]


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


uvloop.run(main())
