"""A stand-in for S3 that answers in well under a millisecond, so that a figure is the client's own cost.

GET and HEAD of /BUCKET/KEY with path style, without signatures: `python storage.py FOLDER` prints its port, and
/anything/KEY is FOLDER/KEY.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE, Popen
from urllib.parse import unquote


@contextmanager
def storage(folder: Path) -> Iterator[str]:
    """The endpoint URL of a stand-in over `folder`, in a process of its own."""
    command = [sys.executable, __file__, str(folder)]
    with Popen(command, stdout=PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


class Objects(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        key = unquote(self.path.partition("?")[0].split("/", 2)[-1])
        try:
            file = (self.server.folder / key).open("rb")
        except OSError:
            body = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
            self.head(404, {"Content-Type": "application/xml", "Content-Length": str(len(body))})
            self.wfile.write(body)
            return
        with file:
            found = os.fstat(file.fileno())
            self.head(
                200,
                {
                    "ETag": f'"{found.st_mtime_ns:x}"',
                    "Last-Modified": formatdate(found.st_mtime, usegmt=True),
                    "Content-Type": "binary/octet-stream",
                    "Content-Length": str(found.st_size),
                },
            )
            if self.command == "GET":
                self.connection.sendfile(file)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Objects)
    server.daemon_threads = True
    server.folder = Path(sys.argv[1])
    print(server.server_port, flush=True)
    server.serve_forever()
