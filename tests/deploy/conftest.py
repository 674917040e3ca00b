"""One build and one deployed stack for all tests of this folder."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

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
    built = lambda_local.sam("build", "--cached", "--parallel")
    assert built.returncode == 0, built.stderr
    return cloud.deploy(aws, ApiAuth="NONE")
