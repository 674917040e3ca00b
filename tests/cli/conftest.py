"""A registry in a folder, and the command line called in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tensorlet.cli import main
from tensorlet.registry.store import Store, open_store

from tests.models import linear, publish_onnx


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty registry in a folder, which is what commands mean without --registry."""
    store = open_store(f"file://{tmp_path}/registry")
    monkeypatch.setenv("TENSORLET_REGISTRY", store.uri)
    return store


@pytest.fixture
def digits(registry: Store) -> Store:
    """The registry with a model `digits` of two versions."""
    publish_onnx(registry, "digits", linear(seed=1))
    publish_onnx(registry, "digits", linear(seed=2))
    return registry


@pytest.fixture
def tensorlet(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`tensorlet(*arguments)` runs a command and gives its status and what it wrote."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as left:  # argparse leaves this way
            status = int(left.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run
