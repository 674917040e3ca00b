"""`tensorlet serve` beside other servers of the same model over loopback HTTP: one worker, one model thread each.

The first answer to each kind of request is checked against the model's.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks import models, payloads
from benchmarks.environments import HERE, environment, packages, python_version
from benchmarks.load import Connection, field, latencies, request_bytes
from benchmarks.measure import Figures, Skipped, alternate, compare, write

REFERENCES = HERE / "references"
FLOOR = "floor"
FIRST_ANSWER_S = 60
SECONDS = 1.0  # of load for each scenario in each round
V2, PREDICT = "/v2/models/mlp/infer", "/predict"
Command = Callable[[Path, int, Path], list[str]]  # of the environment's bin folder, a port, a scratch folder


class Server(NamedTuple):
    environment: str
    command: Command
    path: str = V2
    binary: bool = False  # speaks V2's binary tensor extension

    def request(self, scenario: "Scenario") -> bytes | None:
        """None for a kind of request that the server does not know."""
        if scenario.binary:
            return request_bytes(payloads.v2_binary(scenario.rows), self.path) if self.binary else None
        json_payload = payloads.v2_json if self.path == V2 else payloads.instances_json
        return request_bytes(json_payload(scenario.rows), self.path)


class Scenario(NamedTuple):
    rows: int
    clients: int = 1
    binary: bool = False


SCENARIOS = {
    "1x784 JSON": Scenario(1),
    "1x784 JSON, 8 clients": Scenario(1, clients=8),
    "32x784 JSON": Scenario(32),
    "256x784 binary": Scenario(256, binary=True),
}


def mlserver(bin_folder: Path, port: int, scratch: Path) -> list[str]:
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    quiet = {"debug": False, "parallel_workers": 0, "logging_settings": None}
    (scratch / "settings.json").write_text(json.dumps(settings | quiet))
    model = {"name": "mlp", "implementation": "mlserver_runtime.Onnx"}
    (scratch / "model-settings.json").write_text(json.dumps(model))
    return [str(bin_folder / "mlserver"), "start", str(scratch)]


def uvicorn(app: str) -> Command:
    options = ["--no-access-log", "--log-level", "warning"]
    return lambda bin_folder, port, _: [str(bin_folder / "uvicorn"), app, "--port", str(port), *options]


def tensorlet(bin_folder: Path, port: int, scratch: Path) -> list[str]:
    return [str(bin_folder / "tensorlet"), "serve", "--port", str(port), "--registry", str(models.REGISTRY)]


def bentoml(bin_folder: Path, port: int, scratch: Path) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--quiet"]
    return [str(bin_folder / "bentoml"), "serve", "bentoml_service:Mlp", *options]


def script(name: str) -> Command:
    return lambda bin_folder, port, _: [str(bin_folder / "python"), str(REFERENCES / name), str(port)]


SERVERS = {
    FLOOR: Server("asgi", script("floor_server.py"), binary=True),
    "Tensorlet": Server("serve", tensorlet, binary=True),
    "bare ASGI on uvicorn": Server("asgi", uvicorn("asgi_app:app"), binary=True),
    "FastAPI on uvicorn": Server("fastapi", uvicorn("fastapi_app:app")),
    "MLServer without workers": Server("mlserver", mlserver),
    "KServe's Python server": Server("kserve", script("kserve_server.py"), binary=True),
    "BentoML": Server("bentoml", bentoml, PREDICT),
    "LitServe": Server("litserve", script("litserve_server.py"), PREDICT),
    "Triton, Python back end": Server("triton", script("triton_server.py"), binary=True),
}


def main(rounds: int) -> None:
    """Measure all servers that can be had, in turn, and write results/server.jsonl."""
    models.make_models()
    summaries = compare(
        alternate({name: partial(one_run, server) for name, server in SERVERS.items()}, rounds), FLOOR
    )
    lines = []
    for name, line in summaries.items():
        bin_folder = environment(SERVERS[name].environment)
        found = {"python": python_version(bin_folder), "packages": packages(bin_folder)}
        lines.append({"name": name, **found, **line})
    write("server", {"rounds": rounds, "seconds": SECONDS}, lines)


def one_run(server: Server) -> Figures:
    """Start a server, time its first right answer, load it with each scenario, stop it.

    Raises:
        Skipped: the server cannot be had, gives no answer, or a wrong one.
    """
    with running(server) as (process, port, started):
        try:
            figures = {"first_answer_s": first_answer(server, process, port) - started}
            for title, scenario in SCENARIOS.items():
                request = server.request(scenario)
                if request is not None:
                    check(port, request, scenario.rows)
                    found = one_scenario(process.pid, port, request, scenario.clients)
                    figures |= {f"{title}: {name}": value for name, value in found.items()}
            return figures | {"pss_mb": pss_mb(process.pid)}
        except OSError as error:
            raise Skipped(str(error)) from error


def one_scenario(pid: int, port: int, request: bytes, clients: int) -> Figures:
    latencies(port, request, clients, SECONDS / 4)
    cpu = cpu_s(pid)
    taken, seconds = latencies(port, request, clients, SECONDS)
    return {
        "p50_ms": median(taken) * 1e3,
        "p95_ms": sorted(taken)[int(len(taken) * 0.95)] * 1e3,
        "requests_per_s": len(taken) / seconds,
        "server_cpu_us": (cpu_s(pid) - cpu) / len(taken) * 1e6,
    }


@contextmanager
def running(server: Server) -> Iterator[tuple["subprocess.Popen[bytes]", int, float]]:
    """The process, its port, and when it was started; it and all that it started are stopped in the end."""
    port, bin_folder = free_port(), environment(server.environment)
    with TemporaryDirectory() as scratch:
        environ = {
            "PATH": os.pathsep.join([str(bin_folder), os.environ["PATH"]]),
            "HOME": os.environ.get("HOME", "/"),
            "MODELS": str(models.FOLDER),
            "PYTHONPATH": str(REFERENCES),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "BENTOML_HOME": scratch,
            "BENTOML_DO_NOT_TRACK": "True",
        }
        command = server.command(bin_folder, port, Path(scratch))
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
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Some servers leave their workers behind: those are killed with the session's process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def first_answer(server: Server, process: "subprocess.Popen[bytes]", port: int) -> float:
    """When the first answer had come. Raises ConnectionError."""
    request, last = server.request(Scenario(rows=1)), "no connection"
    deadline = time.monotonic() + FIRST_ANSWER_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = Connection(port, 1.0)
            connection.ask(request)
        except OSError as error:
            last = str(error)
        else:
            if connection.status == 200:
                return time.monotonic()
            last = connection.body[:200].decode(errors="replace")
        time.sleep(0.005)
    raise ConnectionError(f"no first answer: {last}")


def check(port: int, request: bytes, rows: int) -> None:
    """Raises ConnectionError for a reply that is not the model's answer."""
    connection = Connection(port)
    connection.ask(request)
    if connection.status != 200:
        raise ConnectionError(connection.body[:200].decode(errors="replace"))
    head = field(connection.headers, b"inference-header-content-length")
    try:
        answer = payloads.values(connection.body, head)
    except (ValueError, KeyError, IndexError) as error:
        raise ConnectionError(f"no answer that can be read: {connection.body[:200]!r}") from error
    if not np.allclose(answer, models.answers(rows).ravel(), atol=1e-4):
        raise ConnectionError(f"a wrong answer: {connection.body[:200]!r}")


def free_port() -> int:
    """The first of three free ports in a row: MLServer takes the two above it as well."""
    while True:
        with ExitStack() as held:
            first = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            try:
                for port in (first + 1, first + 2):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):  # one of them is taken, or beyond the last port
                continue
            return int(first)


def family(pid: int) -> list[int]:
    """A process and all that it started, by whichever of its threads."""
    children = [
        child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
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
