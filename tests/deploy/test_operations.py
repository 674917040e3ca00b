"""Every `tensorlet` command of docs/operations.md is run, in its order, against the deployed stack."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from tensorlet.registry.store import open_store

from tests.deploy.cloud import Stack
from tests.models import linear, publish_onnx
from tests.sam.lambda_local import ROOT

PAGE = (ROOT / "docs/operations.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("tensorlet ")]


@pytest.fixture(scope="module")
def operator(stack: Stack) -> dict[str, str]:
    """The environment of an operator of a stack with API keys, a model and an alias."""
    secured = stack.configure(ApiAuth="API_KEY")
    store = open_store(f"s3://{secured.outputs['RegistryBucketName']}", secured.cloud.environ())
    publish_onnx(store, "digits", linear(4, 3))
    environ = {
        **os.environ,
        **secured.cloud.environ(),
        "API_URL": secured.outputs["ApiUrl"],
        "REGISTRY_BUCKET": secured.outputs["RegistryBucketName"],
        "INPUT_BUCKET": secured.outputs["InputBucketName"],
        "OUTPUT_BUCKET": secured.outputs["OutputBucketName"],
        "INPUT_QUEUE": secured.resource("InputQueue"),
        "DEAD_LETTERS": secured.outputs["DeadLetterQueueUrl"],
    }
    run("tensorlet alias digits live 1 --registry s3://$REGISTRY_BUCKET", environ)
    return environ


def run(command: str, environ: dict[str, str]) -> str:
    """What the command says, its variables replaced as a shell would."""
    _, *arguments = shlex.split(expand(command, environ))
    done = subprocess.run(
        [sys.executable, "-m", "tensorlet.cli", *arguments], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def expand(command: str, environ: dict[str, str]) -> str:
    return re.sub(r"\$([A-Z_]+)", lambda match: environ[match[1]], command)


def test_there_are_commands():
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("tensorlet proxy")])
def test_the_command_does_what_the_page_says(command, operator):
    assert run(command, operator).strip()


def test_the_proxy_starts_as_the_page_says(operator):
    (command,) = [c for c in COMMANDS if c.startswith("tensorlet proxy")]
    _, *arguments = shlex.split(expand(command, operator))
    proxy = subprocess.Popen(
        [sys.executable, "-m", "tensorlet.cli", *arguments, "--port", "0"],
        env=operator,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert proxy.stdout is not None
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+\n", proxy.stdout.readline())
    finally:
        proxy.terminate()
        proxy.communicate()
