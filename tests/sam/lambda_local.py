"""SAM's local Lambda with the stand-in image, and an S3 stand-in its containers can reach.

Shared by the tests of this folder and by `make invoke`.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
SAM = os.environ.get("SAM") or str(ROOT / ".venv-sam/bin/sam")
IMAGE = os.environ.get("LAMBDA_IMAGE") or "lambda-standin/python:3.13-x86_64"

# What a container calls the machine it runs on; Linux does not know the name unless it is added.
HOST = "host.docker.internal"
CONTAINER = ["--skip-pull-image", "--invoke-image", IMAGE, "--add-host", f"{HOST}:host-gateway"]


WARM = ["PredictFunction", "BatchFunction"]  # whose containers are started; each takes seconds


class Unavailable(Exception):
    """Something that has to be installed first; the message says what and how."""


class Stack(NamedTuple):
    """The S3 stand-in as this machine reaches it, its buckets, and the --env-vars file for SAM."""

    endpoint: str
    registry: str
    input: str
    output: str
    env_file: Path

    def environ(self) -> dict[str, str]:
        """The settings that let code on this machine use the stand-in."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


def prepare() -> None:
    """Check for SAM and Docker, and make the Lambda image if it is missing.

    Raises:
        Unavailable: naming what is missing.
    """
    if not Path(SAM).exists():
        raise Unavailable(f"no SAM CLI at {SAM}; `make .venv-sam/installed` installs it")
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        raise Unavailable("no Docker engine answers; `.ci/docker` starts one on Debian and Ubuntu")
    image = subprocess.run(
        [ROOT / "tests/sam/lambda_image.sh", IMAGE],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    if image.returncode:
        raise Unavailable(f"tests/sam/lambda_image.sh could not make {IMAGE}: {image.stderr.strip()[-500:]}")


def sam_environ() -> dict[str, str]:
    """The environment for SAM: no telemetry, none of the caller's AWS settings, a python3 that has pip.

    With credentials SAM first asks AWS for the account they belong to; without, the container gets made-up ones.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    path = f"{Path(SAM).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}


def sam(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one SAM command at the root of the project."""
    return subprocess.run([SAM, *arguments], cwd=ROOT, env=sam_environ(), capture_output=True, text=True)


@contextmanager
def stack(
    folder: Path, registry: str = "registry", input: str = "input", output: str = "output"
) -> Iterator[Stack]:
    """An S3 stand-in with three empty buckets, and the settings that point both functions at it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel("ERROR")  # moto would log every request
    server = ThreadedMotoServer(ip_address=address_for_containers(), port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
            "TENSORLET_REGISTRY": f"s3://{registry}",
            "TENSORLET_OUTPUT": f"s3://{output}",
            "TENSORLET_ALIAS_TTL_S": "0",
        }
        env_file = folder / "env.json"
        env_file.write_text(json.dumps({"Parameters": settings}))
        running = Stack(f"http://{host}:{port}", registry, input, output, env_file)
        for bucket in (registry, input, output):
            running.client().create_bucket(Bucket=bucket)
        yield running
    finally:
        server.stop()


def address_for_containers() -> str:
    """The address of this machine that containers reach and other machines do not.

    On Linux that is Docker's bridge; Docker Desktop leads `host.docker.internal` to the loopback address.
    """
    if sys.platform != "linux":
        return "127.0.0.1"
    command = ["docker", "network", "inspect", "bridge"]
    (bridge,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    config = bridge["IPAM"]["Config"][0]
    # Older engines leave the gateway out; it is the first address of the network.
    return config.get("Gateway") or str(ip_network(config["Subnet"])[1])


def invoke(function: str, event: Path, env_file: Path) -> Any:
    """`sam local invoke`: the function's return value.

    Raises:
        RuntimeError: there was none; the message ends with what SAM and the function wrote.
    """
    done = sam("local", "invoke", function, "--event", str(event), "--env-vars", str(env_file), *CONTAINER)
    print(done.stderr, file=sys.stderr)  # the function's log; pytest shows it when a test fails
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"sam local invoke {function} gave no answer:\n{done.stderr[-4000:]}")
    return json.loads(lines[-1])


@contextmanager
def start_lambda(env_file: Path, log: Path) -> Iterator[Callable[[str, Any], Any]]:
    """`sam local start-lambda` with warm containers: yields `call(function, event) -> return value`."""
    port = free_port()
    command = [SAM, "local", "start-lambda", *WARM, "--port", str(port), "--warm-containers", "EAGER"]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--env-vars", str(env_file), *CONTAINER],
            cwd=ROOT,
            env=sam_environ(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(port, server, log)
            yield lambda function, event: call(port, function, event)
        finally:
            server.terminate()  # on SIGTERM SAM removes its containers
            server.wait(timeout=60)


def call(port: int, function: str, event: Any) -> Any:
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/{function}/invocations"
    with urlopen(Request(url, data=json.dumps(event).encode()), timeout=120) as response:
        return json.load(response)


def wait_for(port: int, server: subprocess.Popen[Any], log: Path, timeout_s: float = 180) -> None:
    """Until something listens on `port`. Raises RuntimeError with the end of `log`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"sam local start-lambda did not start:\n{log.read_text()[-4000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
