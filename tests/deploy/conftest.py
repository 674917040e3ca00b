"""One build and one deployed stack for all tests of this folder."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.deploy import cloud
from tests.deploy.cloud import Cloud, Stack
from tests.sam import lambda_local
from tests.sam.lambda_local import Unavailable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.sam)


@pytest.fixture(scope="session")
def aws() -> Iterator[Cloud]:
    """A stand-in for AWS. Without Docker or SAM CI fails; elsewhere the tests are skipped, and say why."""
    with ExitStack() as opened:
        try:
            lambda_local.prepare()
            stand_in = opened.enter_context(cloud.start())
        except Unavailable as missing:
            if os.environ.get("CI"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        yield stand_in


@pytest.fixture(scope="session")
def stack(aws: Cloud) -> Stack:
    """The template as it is in this checkout, built and deployed, its API open."""
    return cloud.deploy(aws, ApiAuth="NONE")


class Shell(NamedTuple):
    """A shell in `folder` in which the commands of the package and of SAM are found."""

    folder: Path
    environ: dict[str, str]

    def run(self, script: str) -> str:
        """What a script says. A command of it that fails fails the test."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def shell_of(stack: Stack, folder: Path) -> Shell:
    """The shell of an operator, with outputs of the stack in the variables that docs/operations.md names."""
    variables = {
        re.sub("(?<=[a-z])(?=[A-Z])", "_", output.removesuffix("Name").removesuffix("Url")).upper(): value
        for output, value in stack.outputs.items()
    }
    variables |= {"API_URL": stack.outputs["ApiUrl"], "DEAD_LETTERS": stack.outputs["DeadLetterQueueUrl"]}
    tools = f"{Path(sys.executable).parent}:{Path(lambda_local.SAM).parent}"
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    return Shell(folder, {**lambda_local.sam_environ(), **stack.cloud.environ(), **variables, **path})
