"""A registry with a model in two versions, and a way to have had traffic."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from obstore.store import MemoryStore
from tensorlet.errors import InferenceFailed
from tensorlet.monitoring.recorder import Recorder, Rules
from tensorlet.registry.store import Store
from tensorlet.registry.writer import set_alias
from tensorlet.tensors import Tensor

from tests.models import half_plus, publish_onnx


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def observed():
    """Where observations go."""
    return Store(MemoryStore(), "memory://observations")


@pytest.fixture
def half(store):
    """`half` answers 0.5 x + 2 in version 1, and 0.5 x + 3 in version 2, which gets a tenth of `live`."""
    for added in (2.0, 3.0):
        publish_onnx(store, "half", half_plus(added))
    set_alias(store, "half", "live", 1)
    set_alias(store, "half", "live", 2, weight=0.1)
    return store


@pytest.fixture
def recorder(observed, clock):
    """Keeps every request, and writes when it is told to."""
    return Recorder(observed, Rules(1.0, frozenset(), float("inf")), clock, lambda: 0.0)


def tensor(*values):
    return Tensor.from_numpy(np.array(values, np.float32))


def had_traffic(recorder, version, *, answered=0, failed=0, infer_ms=1.0, added=2.0, x=(1.0, 2.0, 3.0, 4.0)):
    """Let `version` of `half` have answered 0.5 x + `added` so many times, and failed so many."""
    for number in range(answered):
        value = x[number % len(x)]
        recorder.answered(
            ("half", version), f"r{number}", "model.onnx", 1, infer_ms,
            {"x": tensor(value)}, {"y": tensor(0.5 * value + added)},
        )  # fmt: skip
    for number in range(failed):
        recorder.failed(("half", version), f"f{number}", InferenceFailed("out of memory"))
