"""Captured requests asked of another version: on demand, and in the shadow of an alias."""

import json
from datetime import timedelta

import pytest
from tensorlet.monitoring.observations import Observation, read, total
from tensorlet.monitoring.recorder import Recorder, Rules
from tensorlet.monitoring.replay import replay, summarise
from tensorlet.monitoring.shadow import run_shadows
from tensorlet.registry.registry import Registry
from tensorlet.registry.writer import configure_alias, set_alias
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from tests.monitoring.conftest import had_traffic, tensor

HOUR = timedelta(hours=1)


@pytest.fixture
def service(half):
    set_alias(half, "half", "live", 1)
    return ModelService(Registry([half]), Settings.from_environ({"TENSORLET_ALIAS_TTL_S": "0"}))


@pytest.fixture
def shadows(service, observed, recorder, clock):
    """Run the shadows over what has been recorded."""

    def run():
        recorder.flush()
        return list(run_shadows(service, "half", observed, clock.now - HOUR, clock.now + HOUR))

    return run


def sample(observed, clock):
    return total(read(observed, "half", 1, clock.now - HOUR, clock.now + HOUR)).sample


def test_another_version_is_asked_the_same(service, observed, recorder, clock):
    had_traffic(recorder, 1, answered=3)
    recorder.flush()

    same = summarise(replay(service.model("half", "1"), sample(observed, clock)))
    other = summarise(replay(service.model("half", "2"), sample(observed, clock)))

    assert same == (3, 0, 3, 0.0)
    assert other == (3, 0, 0, 1.0)


def test_requests_that_cannot_be_asked_again_are_left_out(service, observed, clock):
    recorder = Recorder(observed, Rules(1.0, frozenset({"x"}), float("inf")), clock, lambda: 0.0)
    had_traffic(recorder, 1, answered=1, failed=1)
    recorder.flush()

    assert list(replay(service.model("half", "2"), sample(observed, clock))) == []


def test_a_version_that_cannot_answer_says_why(service):
    asked = Observation(
        "", "r1", "", 1.0, [{"name": "z", "datatype": "FP32", "shape": [1], "data": [1.0]}], []
    )

    [comparison] = replay(service.model("half", "2"), [asked])

    assert comparison.error.startswith("SignatureMismatch: ") and not comparison.agrees


def test_the_shadow_of_an_alias_answers_where_nobody_hears_it(half, shadows, recorder, observed):
    configure_alias(half, "half", "live", {"shadow": 2})
    had_traffic(recorder, 1, answered=4)

    [found] = shadows()

    assert (found.model, found.alias, found.version) == ("half", "live", 2)
    assert found.summary == (4, 0, 0, 1.0)
    [key] = [info.key for info in observed.walk("shadow")]
    assert key.startswith("shadow/half/live/2/half/1/")
    summary, first, *_ = map(json.loads, bytes(observed.get(key).data).splitlines())
    assert summary["requests"] == 4
    assert first["differences"] == {"y": 1.0}
    assert first["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1], "data": [3.5]}]


def test_a_shadow_does_each_file_once(half, shadows, recorder):
    configure_alias(half, "half", "live", {"shadow": 2})
    had_traffic(recorder, 1, answered=1)

    assert len(shadows()) == 1 and shadows() == []
    had_traffic(recorder, 1, answered=1)
    assert len(shadows()) == 1


def test_without_a_shadow_nothing_runs(half, shadows, recorder):
    configure_alias(half, "half", "live", {"shadow": 2})
    configure_alias(half, "half", "live", {"shadow": None})
    had_traffic(recorder, 1, answered=1)

    assert shadows() == []


def test_a_multiclass_answer_agrees_while_the_class_is_the_same(service):
    from tensorlet.monitoring.replay import _agree

    assert _agree(tensor([0.1, 0.9]), tensor([0.4, 0.6])) and not _agree(
        tensor([0.1, 0.9]), tensor([0.6, 0.4])
    )
