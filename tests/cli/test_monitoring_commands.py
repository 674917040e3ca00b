"""alias --shadow and --limit, replay and drift: what an operator sees of a release."""

import json

import numpy as np
import pytest
from tensorlet.monitoring.drift import profile
from tensorlet.monitoring.recorder import Recorder, Rules
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import open_store
from tensorlet.tensors import Tensor

from tests.models import half_plus, publish_onnx


@pytest.fixture
def captures(tmp_path, monkeypatch):
    uri = f"file://{tmp_path / 'captures'}"
    monkeypatch.setenv("TENSORLET_CAPTURE", uri)
    return open_store(uri)


@pytest.fixture
def half(registry, captures):
    """`half` adds 2 in version 1 and 3 in version 2; version 1 has seen 0 to 99, and has a profile of 0 to 9."""
    x = np.arange(10, dtype=np.float32)
    publish_onnx(registry, "half", half_plus(2.0), profile=profile({"x": x, "y": 0.5 * x + 2}))
    publish_onnx(registry, "half", half_plus(3.0))
    recorder = Recorder(captures, Rules(1.0, frozenset(), float("inf")))
    for number in range(100):
        value = np.array([number], np.float32)
        x, y = Tensor.from_numpy(value), Tensor.from_numpy(0.5 * value + 2)
        recorder.answered(("half", 1), f"r{number}", "model.onnx", 1, 0.2, {"x": x}, {"y": y})
    recorder.flush()
    return registry


def test_replay_says_how_the_answers_differ(tensorlet, half, tmp_path):
    outcome = tensorlet("replay", "half@2", "--of", 1, "-o", tmp_path / "comparisons.jsonl")

    assert outcome.out == (
        "half/2 was asked 100 requests of half/1: 0 answers agree, 0 failed, greatest difference 1\n"
    )
    lines = (tmp_path / "comparisons.jsonl").read_text().splitlines()
    assert len(lines) == 100 and json.loads(lines[0])["differences"] == {"y": 1.0}


def test_replay_of_what_nobody_asked_says_so(tensorlet, half):
    outcome = tensorlet("replay", "half@1", "--of", 2)

    assert outcome.status == 1 and "no requests of half/2 were captured in the last 24 hours" in outcome.err


def test_drift_lists_what_moved_and_draws_it(tensorlet, half, tmp_path):
    outcome = tensorlet("drift", "half@1", "--plot", tmp_path / "drift.svg")

    told, header, first, _ = outcome.out.splitlines()
    assert told == "half/1: 100 requests, 100 captured, 0.0% failed, 95 % within 0.2 ms"
    assert header.split() == ["FEATURE", "PSI", "BY", "CHANCE", "KS", "DRIFT"]
    assert first.split()[0] in "xy" and first.split()[-1] == "much"
    assert (tmp_path / "drift.svg").read_text().startswith("<svg ")


def test_drift_without_a_profile_says_how_to_get_one(tensorlet, half):
    outcome = tensorlet("drift", "half@2")

    assert outcome.status == 1 and "half/2 has no profile to compare with" in outcome.err


def test_the_shadow_and_the_limits_of_an_alias_are_kept_beside_it(tensorlet, half):
    tensorlet("alias", "half", "live", 1)

    assert tensorlet("alias", "half", "live", "--shadow", 2).out == "half@live shadow: 2\n"
    told = tensorlet("alias", "half", "live", "--limit", "drift=0.5", "--limit", "min_requests=10").out
    assert told == "half@live limits: error_rate=0.01, latency_ratio=2, drift=0.5, min_requests=10\n"
    settings = Registry([half]).aliases("half").settings["live"]
    assert settings == {"shadow": 2, "limits": {"drift": 0.5, "min_requests": 10.0}}
    assert '{"shadow": 2}' in tensorlet("alias", "half", "live", "--history").out


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["--limit", "speed=1"], 1, "limits: expected one of error_rate"),
        (["--limit", "drift=much"], 2, "NAME=NUMBER"),
        (["--shadow", 9], 1, "no version 9"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(tensorlet, half, arguments, status, error):
    tensorlet("alias", "half", "live", 1)

    outcome = tensorlet("alias", "half", "live", *arguments)

    assert outcome.status == status and error in outcome.err
