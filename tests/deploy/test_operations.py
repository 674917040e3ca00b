"""Every command of docs/operations.md is run, in its order, in a shell against the deployed stack."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from tensorlet.registry.store import open_store

from tests.deploy import cloud
from tests.deploy.cloud import Stack
from tests.deploy.conftest import Shell, shell_of
from tests.deploy.page import COMMANDS, PAGE, RELEASE
from tests.models import linear, publish_onnx
from tests.sam.lambda_local import ROOT

ALL = [command for commands in COMMANDS.values() for command in commands]
BY_THE_FIXTURE = [cloud.BUILD, cloud.DEPLOY]  # of all tests of this folder
(PROXY,) = [command for command in ALL if command.startswith("tensorlet proxy")]  # runs until it is stopped
IN_TEST_RELEASES = COMMANDS[RELEASE]  # between them requests have to come
HERE = [command for command in ALL if command not in (*BY_THE_FIXTURE, PROXY, *IN_TEST_RELEASES)]


@pytest.fixture(scope="module")
def operator(stack: Stack) -> Iterator[Shell]:
    """The shell of an operator of a stack with API keys, a model and an alias."""
    secured = stack.configure(ApiAuth="API_KEY")
    store = open_store(f"s3://{secured.outputs['RegistryBucketName']}", secured.cloud.environ())
    publish_onnx(store, "digits", linear(4, 3))
    shell = shell_of(secured, ROOT)
    shell.run("tensorlet alias digits live 1 --registry s3://$REGISTRY_BUCKET")
    return shell


def test_the_first_commands_are_those_that_the_stack_was_made_by():
    assert ALL[:2] == BY_THE_FIXTURE


def test_every_command_is_in_a_block():
    """In a sentence stands what has a placeholder, and what is no more than a name."""
    sentences = re.sub(r"^```sh\n.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    spelled_out = {
        code
        for code in re.findall(r"`([^`]+)`", sentences)
        if re.match(r"(tensorlet|sam|aws|\S+/python) \S", code)
    }
    assert {code for code in spelled_out if not re.search(r"[A-Z]{3}", code)} <= {
        "sam build", "sam deploy", "tensorlet keys", "tensorlet proxy"
    }  # fmt: skip


@pytest.mark.parametrize("command", HERE)
def test_the_command_does_what_the_page_says(command, operator):
    assert operator.run(command).strip()


def test_the_proxy_starts_as_the_page_says(operator):
    proxy = subprocess.Popen(
        ["bash", "-c", f"exec {PROXY} --port 0"], env=operator.environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert proxy.stdout is not None
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+\n", proxy.stdout.readline())
    finally:
        proxy.terminate()
        proxy.communicate()
