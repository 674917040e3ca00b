"""One build, one S3 stand-in and one warm local Lambda for all tests of this folder."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sam import lambda_local
from tests.sam.lambda_local import ROOT, Stack, Unavailable

TESTED_BUILD = ROOT / ".aws-sam/build"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.sam)


@pytest.fixture(scope="session")
def lambda_tools() -> None:
    """SAM, Docker and the image. Without them CI fails; elsewhere the tests are skipped, and say why."""
    try:
        lambda_local.prepare()
    except Unavailable as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def build(lambda_tools: None) -> Path:
    """The folder that `sam build` made of this checkout."""
    built = lambda_local.sam("build", "--cached", "--parallel")
    assert built.returncode == 0, built.stderr
    return TESTED_BUILD


@pytest.fixture(scope="session")
def stack(lambda_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An S3 stand-in that the containers reach."""
    with lambda_local.stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def warm_lambda(
    build: Path, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, Any], Any]]:
    """`call(function, event)` into containers that stay up between calls."""
    log = tmp_path_factory.mktemp("start-lambda") / "log"
    with lambda_local.start_lambda(stack.env_file, log) as call:
        yield call


def load_event(name: str) -> dict[str, Any]:
    """One of the sample events, by its file name."""
    return json.loads((ROOT / "events" / name).read_text())  # type: ignore[no-any-return]
