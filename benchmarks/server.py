"""`tensorlet serve` beside other servers of the same model over loopback HTTP: one worker, one model thread each.

Every server's first answer is checked against the model's, and the time to it is measured.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks import models, payloads
from benchmarks.environments import HERE, Unavailable, environment, packages, python_version
from benchmarks.load import Connection, field, latencies, request_bytes
from benchmarks.measure import Figures, alternate, compare, say, write

REFERENCES = HERE / "references"
FLOOR = "floor"
FIRST_ANSWER_S = 60
SECONDS = 2.0  # of load for each scenario in each round


class Server(NamedTuple):
    environment: str
    command: Callable[
        [Path, int, Path], list[str]
    ]  # of the environment's bin folder, a port, a scratch folder
    binary: bool = True  # speaks the binary tensor extension


class Scenario(NamedTuple):
    payload: payloads.Payload
    clients: int


SCENARIOS = {
    "1x784 JSON": Scenario(payloads.v2_json(1), 1),
    "1x784 JSON, 8 clients": Scenario(payloads.v2_json(1), 8),
    "32x784 JSON": Scenario(payloads.v2_json(32), 1),
    "256x784 binary": Scenario(payloads.v2_binary(256), 1),
}


def mlserver(bin_folder: Path, port: int, scratch: Path) -> list[str]:
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    quiet = {"debug": False, "parallel_workers": 0, "logging_settings": None}
    (scratch / "settings.json").write_text(json.dumps(settings | quiet))
    model = {"name": "mlp", "implementation": "mlserver_runtime.Onnx"}
    (scratch / "model-settings.json").write_text(json.dumps(model))
    return [str(bin_folder / "mlserver"), "start", str(scratch)]


def uvicorn(app: str) -> Callable[[Path, int, Path], list[str]]:
    options = ["--no-access-log", "--log-level", "warning"]
    return lambda bin_folder, port, _: [str(bin_folder / "uvicorn"), app, "--port", str(port), *options]


def tensorlet(bin_folder: Path, port: int, scratch: Path) -> list[str]:
    return [str(bin_folder / "tensorlet"), "serve", "--port", str(port), "--registry", str(models.REGISTRY)]


def floor(bin_folder: Path, port: int, scratch: Path) -> list[str]:
    return [str(bin_folder / "python"), str(REFERENCES / "floor_server.py"), str(port)]


SERVERS = {
    FLOOR: Server("asgi", floor),
    "Tensorlet": Server("serve", tensorlet),
    "bare ASGI on uvicorn": Server("asgi", uvicorn("asgi_app:app")),
    "FastAPI on uvicorn": Server("fastapi", uvicorn("fastapi_app:app"), binary=False),
    "MLServer without workers": Server("mlserver", mlserver, binary=False),
}


def main(rounds: int) -> None:
    """Measure all servers that can be had, in turn, and write results/server.jsonl."""
    models.make_models()
    runs, found = {}, {}
    for name, server in SERVERS.items():
        try:
            bin_folder = environment(server.environment)
            found[name] = {"python": python_version(bin_folder), "packages": packages(bin_folder)}
            one_run(name)
        except (Unavailable, ConnectionError) as error:
            say(f"skipped: {name}: {error}")
            continue
        runs[name] = lambda name=name: one_run(name)
    summaries = compare(alternate(runs, rounds), FLOOR)
    lines = [{"name": name, **found[name], **line} for name, line in summaries.items()]
    write("server", {"rounds": rounds, "seconds": SECONDS}, lines)


def one_run(name: str) -> Figures:
    """Start a server, time its first right answer, load it with each scenario, stop it.

    Raises:
        ConnectionError: no answer, or a wrong one.
    """
    server = SERVERS[name]
    with running(server) as (process, port, started):
        figures = {"first_answer_s": first_answer(process, port) - started}
        for title, scenario in SCENARIOS.items():
            if scenario.payload.headers["content-type"] != "application/json" and not server.binary:
                continue
            request = request_bytes(scenario.payload)
            latencies(port, request, scenario.clients, SECONDS / 4)
            cpu = cpu_s(process.pid)
            taken, seconds = latencies(port, request, scenario.clients, SECONDS)
            figures |= {
                f"{title}: p50_ms": median(taken) * 1e3,
                f"{title}: p95_ms": sorted(taken)[int(len(taken) * 0.95)] * 1e3,
                f"{title}: requests_per_s": len(taken) / seconds,
                f"{title}: server_cpu_us": (cpu_s(process.pid) - cpu) / len(taken) * 1e6,
            }
        return figures | {"pss_mb": pss_mb(process.pid)}


@contextmanager
def running(server: Server) -> Iterator[tuple["subprocess.Popen[bytes]", int, float]]:
    """The process, its port, and when it was started."""
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "MODELS": str(models.FOLDER),
        "PYTHONPATH": str(REFERENCES),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with TemporaryDirectory() as scratch:
        command = server.command(environment(server.environment), port, Path(scratch))
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            env=environ,
            cwd=scratch,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process, port, started
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def first_answer(process: "subprocess.Popen[bytes]", port: int) -> float:
    """When the first right answer had come. Raises ConnectionError."""
    request, last = request_bytes(payloads.v2_json(1)), "no connection"
    deadline = time.monotonic() + FIRST_ANSWER_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = Connection(port, 1.0)
            connection.ask(request)
        except OSError as error:
            last = str(error)
        else:
            if connection.status == 200:
                came = time.monotonic()
                check(connection)
                return came
            last = connection.body[:200].decode(errors="replace")
        time.sleep(0.005)
    raise ConnectionError(f"no first answer: {last}")


def check(connection: Connection) -> None:
    """Raises ConnectionError for a reply that is not the model's answer."""
    head = field(connection.headers, b"inference-header-content-length")
    answer = payloads.values(connection.body, head)
    if not np.allclose(answer, models.answers(1).ravel(), atol=1e-4):
        raise ConnectionError(f"a wrong answer: {connection.body[:200]!r}")


def free_port() -> int:
    """MLServer takes the two ports above it as well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in family(int(child)))]


def cpu_s(pid: int) -> float:
    """User and system time of the family so far."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Proportional set size of the family: shared pages are counted once."""
    kb = 0
    for member in family(pid):
        rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        kb += int(rollup.partition("\nPss:")[2].split()[0])
    return kb / 1024
