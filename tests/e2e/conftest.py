"""A stand-in of the stack with one published model, and the environment restored after each test."""

import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from tensorlet.local.pump import drain
from tensorlet.local.standin import Stack, create_stack, reset, stand_in
from tensorlet.registry.store import open_store

from tests.models import linear, linear_weights, publish_onnx

COLUMNS, CLASSES = 784, 10


def expected(rows: np.ndarray, seed: int = 1) -> np.ndarray:
    """What version 1 (seed 1) or 2 (seed 2) of `digits` answers to `rows` (N, 784)."""
    weights, bias = linear_weights(COLUMNS, CLASSES, seed)
    return rows @ weights + bias


@pytest.fixture(scope="module")
def server() -> Iterator[Stack]:
    with stand_in() as stack:
        yield stack


@pytest.fixture
def stack(server: Stack) -> Iterator[Stack]:
    """A stack as new: `digits` has two versions and is `live` at none; failed messages return at once."""
    environ, path = dict(os.environ), list(sys.path)
    reset(server.endpoint)
    stack = create_stack(server.endpoint, visibility_s=0, max_receives=2)
    drain(stack.queue, lambda event, context: None)  # the test event, sent when the notification was set up
    registry = open_store(stack.registry)
    for seed in (1, 2):
        publish_onnx(registry, "digits", linear(COLUMNS, CLASSES, seed))
    yield stack
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:] = path


@pytest.fixture
def rows() -> np.ndarray:
    """Rows of `digits`, (50, 784) float32."""
    return np.random.default_rng(0).random((50, COLUMNS), dtype=np.float32)
