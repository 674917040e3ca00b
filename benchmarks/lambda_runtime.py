"""One life of a Lambda function: a fresh process of AWS's runtime client against a local Runtime API.

Source: AWS Lambda developer guide, "Using the Lambda runtime API".
"""

import json
import os
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread
from typing import Any, NamedTuple

from benchmarks.measure import Figures, Skipped

TIMEOUT_S = 20
FUNCTION_ARN = "arn:aws:lambda:eu-central-1:123456789012:function:benchmark"


class Function(NamedTuple):
    """How Lambda starts a function: `handler` as MODULE.NAME, found in `folders`."""

    python: Path
    handler: str
    folders: Sequence[Path]
    environ: dict[str, str]


def live(function: Function, events: Sequence[dict[str, Any]]) -> tuple[Figures, list[Any]]:
    """Start `function`, let it answer `events` one after the other, and kill it.

    Returns the figures of this life, and the replies. `total_ms` is from just before the process starts to its
    first reply: `init_ms` until it asks for the first event, and `first_ms` from there. `warm_ms` is the median of
    the later replies, `cpu_ms` that of the whole life, `rss_mb` its peak, `read_mb` what came from the disk.

    Raises:
        Skipped: the function did not answer; the message is what it wrote.
    """
    api = RuntimeApi(events)
    environ = function.environ | {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        "_HANDLER": function.handler,
        "LAMBDA_TASK_ROOT": str(function.folders[0]),
        "PYTHONPATH": os.pathsep.join(map(str, function.folders)),
        "PYTHONDONTWRITEBYTECODE": "1",  # a layer is read-only
        "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    command = [str(function.python), "-m", "awslambdaric", function.handler]
    with TemporaryFile() as log, api:
        output = [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)]
        start = now()
        pid = os.posix_spawn(command[0], command, environ, file_actions=output)
        answered = api.answered.wait(TIMEOUT_S)
        peak_kb = _peak_kb(pid)
        os.kill(pid, 9)
        usage = os.wait4(pid, 0)[2]
        if not answered or len(api.replies) < len(events):
            log.seek(0)
            raise Skipped(f"{function.handler}: {log.read()[-2000:].decode()} {api.failure}")
    warm = sorted(reply - asked for asked, reply in zip(api.asked[1:], api.replied[1:], strict=False))
    figures = {
        "total_ms": (api.replied[0] - start) * 1e3,
        "init_ms": (api.asked[0] - start) * 1e3,
        "first_ms": (api.replied[0] - api.asked[0]) * 1e3,
        "warm_ms": warm[len(warm) // 2] * 1e3 if warm else 0.0,
        "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3,
        "rss_mb": peak_kb / 1024,
        "read_mb": usage.ru_inblock * 512 / 1e6,
    }
    return figures, api.replies


def now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _peak_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0  # it is dead already


class RuntimeApi(ThreadingHTTPServer):
    """Hands out `events` and notes when each was asked for and answered."""

    daemon_threads = True

    def __init__(self, events: Sequence[dict[str, Any]]):
        super().__init__(("127.0.0.1", 0), RuntimeApiHandler)
        self.bodies = [json.dumps(event).encode() for event in events]
        self.asked: list[float] = []
        self.replied: list[float] = []
        self.replies: list[Any] = []
        self.failure = ""
        self.answered = Event()  # all of them, or never

    def __enter__(self) -> "RuntimeApi":
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answered.set()
        self.shutdown()
        self.server_close()


class RuntimeApiHandler(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """`/runtime/invocation/next`: the next event; there is none after the last."""
        api = self.server
        api.asked.append(now())
        if len(api.replies) == len(api.bodies):
            api.answered.set()
            return
        self.reply(
            200,
            api.bodies[len(api.replies)],
            {
                "Lambda-Runtime-Aws-Request-Id": f"request-{len(api.replies)}",
                "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 30_000),
                "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
                "Lambda-Runtime-Trace-Id": "Root=1-5e1b4151-0;Parent=0;Sampled=0",
            },
        )

    def do_POST(self) -> None:
        """`/runtime/invocation/ID/response`, or an error of the invocation or of init."""
        body = self.body()
        if self.path.endswith("/response"):
            self.server.replied.append(now())
            self.server.replies.append(json.loads(body))
        else:
            self.server.failure = body.decode()
            self.server.answered.set()
        self.reply(202, b"", {})

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in (
            headers | {"Content-Type": "application/json", "Content-Length": str(len(body))}
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""
