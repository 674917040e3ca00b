"""AWS on this machine: `sam deploy` of the real template into a stand-in that runs what it deployed.

The stand-in is ministack (requirements.txt), on the Python 3.13 of the Lambda image, so that the layers fit it;
stand_in.py puts in what it lacks.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.sam import lambda_local
from tests.sam.lambda_local import IMAGE, ROOT, SAM, Unavailable
from tests.template.source import template

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
STAND_IN = Path(__file__).with_name("stand_in.py")
PORT = 4566  # inside the container
STACK = "tensorlet"
ARTIFACTS = "artifacts"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
# The commands of docs/operations.md; the first one finds in samconfig.toml that it may use what it built before.
BUILD, DEPLOY = "sam build", "sam deploy --guided"
# What every deployment here says. The functions reach the stand-in inside its container.
PARAMETERS = {"Endpoint": f"http://127.0.0.1:{PORT}", "AliasTtlSeconds": "0"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Cloud(NamedTuple):
    """The stand-in, as this machine reaches it."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environ(self) -> dict[str, str]:
        """The settings that let code on this machine use the stand-in."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def request(
        self, url: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Ask a deployed API by its URL, whose host name only the stand-in knows: GET, or POST with a body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, {**(headers or {}), "Host": urlsplit(url).netloc})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()


class Stack(NamedTuple):
    """The deployed template."""

    cloud: Cloud
    outputs: dict[str, str]

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """GET, or POST with a body, from the deployed API; `x_api_key=...` is the header x-api-key."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.cloud.request(self.outputs["ApiUrl"], path, body, named)

    def configure(self, **parameters: str) -> "Stack":
        """Change parameters of the deployed stack, as the next `sam deploy --parameter-overrides` would."""
        formation = self.cloud.client("cloudformation")
        template = formation.get_template(StackName=STACK, TemplateStage="Original")["TemplateBody"]
        body = template if isinstance(template, str) else json.dumps(template)
        # In the request itself, CloudFormation takes no more than 51,200 bytes.
        self.cloud.client("s3").put_object(Bucket=ARTIFACTS, Key="template", Body=body.encode())
        try:
            formation.update_stack(
                StackName=STACK,
                TemplateURL=f"https://s3.us-east-1.amazonaws.com/{ARTIFACTS}/template",
                Capabilities=CAPABILITIES,
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value}
                    for key, value in {**PARAMETERS, **parameters}.items()
                ],
            )
        except formation.exceptions.ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            return self
        formation.get_waiter("stack_update_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        return Stack(self.cloud, _outputs(formation))

    def resource(self, logical_id: str) -> str:
        """The physical id of a resource."""
        found = self.cloud.client("cloudformation").describe_stack_resource(
            StackName=STACK, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])


@contextmanager
def start() -> Iterator[Cloud]:
    """A stand-in of its own in a container, gone afterwards.

    Raises:
        Unavailable: Docker, its image or the stand-in is missing.
    """
    folder = _install()
    name = f"tensorlet-cloud-{time.time_ns()}"
    subprocess.run(
        [
            *["docker", "run", "--detach", "--rm", "--name", name, "--publish", f"127.0.0.1::{PORT}"],
            *["--add-host", f"{lambda_local.HOST}:host-gateway"],
            *["--volume", f"{folder}:/ministack:ro", "--env", "PYTHONPATH=/ministack:/var/runtime"],
            *["--env", f"GATEWAY_PORT={PORT}", "--env", "BIND_HOST=0.0.0.0"],
            *["--volume", f"{STAND_IN}:/{STAND_IN.name}:ro"],
            *["--entrypoint", "python3.13", IMAGE, f"/{STAND_IN.name}"],
        ],
        check=True,
        capture_output=True,
    )
    try:
        mapped = subprocess.run(
            ["docker", "port", name, str(PORT)], check=True, capture_output=True, text=True
        )
        cloud = Cloud(int(mapped.stdout.split()[0].rpartition(":")[2]))
        wait_until(lambda: _answers(cloud), "the stand-in of AWS to start", 60)
        yield cloud
    finally:
        log = subprocess.run(["docker", "logs", "--tail", "200", name], capture_output=True, text=True)
        print(log.stdout, log.stderr, file=sys.stderr)  # pytest shows it when a test fails
        # The engine removes it afterwards, which may take it half a minute that nobody has to wait for.
        subprocess.run(["docker", "kill", name], capture_output=True)


def deploy(cloud: Cloud, **parameters: str) -> Stack:
    """BUILD and DEPLOY, as docs/operations.md says, to all questions of which the answer is what SAM proposes.

    Raises:
        RuntimeError: one of them failed; the message is what SAM wrote.
    """
    cloud.client("s3").create_bucket(Bucket=ARTIFACTS)
    overrides = [f"{key}={value}" for key, value in {**PARAMETERS, **parameters}.items()]
    proposed, no = "\n", "n\n"
    name_and_region, confirm_changes, roles_and_rollback, save = proposed * 2, no, proposed * 2, no
    answers = (
        name_and_region + proposed * len(template()["Parameters"]) + confirm_changes + roles_and_rollback
    )
    for command, more, told in (
        (BUILD, [], ""),
        (DEPLOY, ["--parameter-overrides", *overrides], answers + save),
    ):
        done = subprocess.run(
            [SAM, *command.split()[1:], *more],
            cwd=ROOT,
            env={**lambda_local.sam_environ(), **cloud.environ()},
            input=told,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{command} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return Stack(cloud, _outputs(cloud.client("cloudformation")))


def wait_until(ready: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first true result of `ready`. Raises TimeoutError, naming what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := ready():
            return result
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds} s for {what}")


def _install() -> Path:
    """The folder with the stand-in, installed once for each change of its requirements.

    Raises:
        Unavailable: pip could not install it.
    """
    key = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = ROOT / "build" / f"ministack-{key}"
    if not folder.exists():
        platforms = ["--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64"]
        python = ["--implementation=cp", "--python-version=3.13", "--only-binary=:all:"]
        quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        target = folder.with_name(folder.name + ".part")
        pip = [sys.executable, "-m", "pip", "install", *quiet, "--no-compile", *platforms, *python]
        done = subprocess.run(
            [*pip, f"--target={target}", "--requirement", str(REQUIREMENTS)], capture_output=True, text=True
        )
        if done.returncode:
            raise Unavailable(f"pip could not install {REQUIREMENTS}: {done.stderr.strip()[-500:]}")
        target.rename(folder)
    return folder


def _answers(cloud: Cloud) -> bool:
    try:
        return cloud.request(cloud.endpoint, "/_ministack/health").status == 200
    except OSError:
        return False


def _outputs(formation: Any) -> dict[str, str]:
    (stack,) = formation.describe_stacks(StackName=STACK)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
