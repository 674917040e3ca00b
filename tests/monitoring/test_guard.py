"""Releases that the guard takes back, and those it lets be."""

import json
import sys
from datetime import timedelta

import numpy as np
import pytest
from tensorlet.errors import (
    Conflict,
    InvalidJson,
    InvalidRequest,
    InvalidTensor,
    ModelUnavailable,
    SignatureMismatch,
)
from tensorlet.local.functions import LambdaContext, load_handler
from tensorlet.monitoring import guard
from tensorlet.monitoring.guard import watch
from tensorlet.monitoring.limits import Limits
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import configure_alias, roll_back, set_alias, sign_aliases

from tests.keys import make_keys
from tests.models import half_plus, publish_onnx
from tests.monitoring.conftest import had_traffic

BOTH, OLD_ONLY = {"1": 0.9, "2": 0.1}, {"1": 1.0}


@pytest.fixture
def verdicts(half, observed, recorder, clock):
    """What the guard says now, of everything recorded so far."""

    def look():
        recorder.flush()
        return watch(Registry([half]), "half", half, observed, clock.now + timedelta(minutes=1))

    return look


def live(store):
    return Registry([store]).aliases("half").weights["live"]


def test_a_challenger_that_does_as_well_stays(half, recorder, verdicts):
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, answered=100)

    [verdict] = verdicts()

    assert verdict == ("half", "live", 2, 100, "", False) and live(half) == BOTH


def test_one_that_fails_more_is_taken_back_and_the_history_says_why(half, recorder, verdicts):
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, answered=95, failed=5)

    [verdict] = verdicts()

    assert verdict.rolled_back and live(half) == OLD_ONLY
    change = Registry([half]).aliases("half").history[-1]
    assert change["rollback"] and change["reason"] == f"guard: version 2: {verdict.reason}"
    assert "5.0% of 100 requests failed" in verdict.reason


def test_failures_that_the_incumbent_has_too_are_nobodys_fault(half, recorder, verdicts):
    had_traffic(recorder, 1, answered=95, failed=5)
    had_traffic(recorder, 2, answered=95, failed=5)

    assert not verdicts()[0].reason and live(half) == BOTH


def test_requests_that_no_version_could_have_answered_are_nobodys_fault(half, recorder, verdicts):
    """A caller whose key belongs to the challenger cannot end a release by sending rubbish."""
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, answered=100)
    for error in (InvalidJson("not JSON"), InvalidTensor("ragged")):
        for number in range(100):
            recorder.failed(("half", 2), f"r{number}", error)

    assert not verdicts()[0].reason and live(half) == BOTH


def test_requests_that_only_the_challenger_cannot_answer_are_its_fault(half, recorder, verdicts):
    """It has another signature, say."""
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, answered=90)
    for number in range(10):
        recorder.failed(("half", 2), f"r{number}", SignatureMismatch("input 'x': expected FP64"))

    assert "10.0% of 100 requests failed" in verdicts()[0].reason


@pytest.mark.parametrize(("failed", "taken_back"), [(3, False), (6, True)])
def test_a_few_failures_may_be_chance(half, recorder, verdicts, failed, taken_back):
    """A version that fails for one request of a hundred now and then fails for three."""
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, answered=100 - failed, failed=failed)

    assert verdicts()[0].rolled_back == taken_back


def test_a_few_slow_requests_may_be_chance(half, recorder, verdicts):
    """A process that has just begun answers its first requests slowly."""
    configure_alias(half, "half", "live", {"limits": {"min_requests": 20}})
    had_traffic(recorder, 1, answered=300, infer_ms=0.15)
    had_traffic(recorder, 2, answered=33, infer_ms=0.15)
    had_traffic(recorder, 2, answered=4, infer_ms=0.8)

    assert not verdicts()[0].reason and live(half) == BOTH


@pytest.mark.parametrize(("infer_ms", "taken_back"), [(1.9, False), (2.6, True)])
def test_the_limit_of_latency_is_met_as_exactly_as_the_bins_are_narrow(
    half, recorder, verdicts, infer_ms, taken_back
):
    had_traffic(recorder, 1, answered=100, infer_ms=1.0)
    had_traffic(recorder, 2, answered=100, infer_ms=infer_ms)

    assert verdicts()[0].rolled_back == taken_back


def test_one_that_is_slower_is_taken_back(half, recorder, verdicts):
    had_traffic(recorder, 1, answered=100, infer_ms=1.0)
    had_traffic(recorder, 2, answered=100, infer_ms=15.0)

    assert "95 % answer within 16 ms, the incumbent's within 1;" in verdicts()[0].reason
    assert live(half) == OLD_ONLY


def test_one_that_predicts_something_else_is_taken_back(half, recorder, verdicts):
    had_traffic(recorder, 1, answered=400, added=2.0)
    had_traffic(recorder, 2, answered=100, added=3.0)

    assert "PSI of y" in verdicts()[0].reason and live(half) == OLD_ONLY


def test_a_small_sample_that_differs_by_chance_stays(half, recorder, verdicts):
    draw = np.random.default_rng(3)
    configure_alias(half, "half", "live", {"limits": {"min_requests": 10}})
    had_traffic(recorder, 1, answered=90, x=draw.normal(size=90))
    had_traffic(recorder, 2, answered=20, x=draw.normal(size=20))

    assert not verdicts()[0].reason


def test_aliases_that_are_signed_are_reported_and_left_to_who_has_the_key(half, recorder, verdicts, tmp_path):
    sign_aliases(half, "half", make_keys(tmp_path).signer)
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, failed=100)

    [verdict] = verdicts()

    assert verdict.reason and not verdict.rolled_back and live(half) == BOTH


def test_few_requests_prove_nothing(half, recorder, verdicts):
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, failed=99)

    assert verdicts()[0] == ("half", "live", 2, 99, "", False) and live(half) == BOTH


def test_limits_of_the_alias_count(half, recorder, verdicts):
    configure_alias(half, "half", "live", {"limits": {"min_requests": 10, "error_rate": 0.5}})
    had_traffic(recorder, 1, answered=360)
    had_traffic(recorder, 2, answered=22, failed=18)

    assert not verdicts()[0].reason
    configure_alias(half, "half", "live", {"limits": {"min_requests": 10, "error_rate": 0.2}})
    assert verdicts()[0].reason


def test_what_happened_before_the_release_does_not_count(half, recorder, verdicts, clock, observed):
    clock.pass_(-3600)
    had_traffic(recorder, 2, failed=500)
    recorder.flush()
    clock.pass_(3600)
    had_traffic(recorder, 1, answered=100)
    had_traffic(recorder, 2, answered=100)

    assert not verdicts()[0].reason and live(half) == BOTH


def test_of_a_long_release_the_newest_is_judged_and_the_same_time_of_both(
    half, recorder, verdicts, clock, monkeypatch
):
    """GIVEN more files than can be read, WHEN only the old ones tell of failures, THEN they do not count."""
    monkeypatch.setattr(guard, "MOST_FILES", 3)
    for failed in (500, 0, 0, 0):
        clock.pass_(10)
        had_traffic(recorder, 1, answered=100)
        had_traffic(recorder, 2, answered=100, failed=failed)
        recorder.flush()

    assert verdicts() == [("half", "live", 2, 300, "", False)]


def test_an_alias_of_one_version_is_left_alone(half, recorder, verdicts):
    set_alias(half, "half", "live", 2)
    had_traffic(recorder, 2, failed=500)

    assert verdicts() == [] and live(half) == {"2": 1.0}


@pytest.mark.parametrize("weights", [[0.1, 0.1], [0.1, 0.5], [0.2, 0.5, 0.9]], ids=str)
def test_a_release_by_degrees_is_taken_back_to_before_its_first(half, recorder, verdicts, weights):
    """GIVEN a version with a growing share, also the greater one, WHEN it fails, THEN it has none."""
    for weight in weights:
        set_alias(half, "half", "live", 2, weight=weight)
    had_traffic(recorder, 1, answered=200)
    had_traffic(recorder, 2, failed=200)

    [verdict] = verdicts()

    assert (verdict.challenger, verdict.rolled_back, live(half)) == (2, True, OLD_ONLY)


def test_a_release_that_somebody_moved_meanwhile_is_not_undone(half):
    judged = live(half)
    set_alias(half, "half", "live", 2)

    with pytest.raises(Conflict, match="changed by somebody else"):
        roll_back(half, "half", "live", "too late", expected=judged)

    assert live(half) == {"2": 1.0}


@pytest.mark.parametrize(
    "limits",
    [{"errors": 1}, {"drift": "much"}, {"error_rate": -1}, {"error_rate": True}, {"drift": float("nan")}],
)
def test_limits_that_cannot_be_are_refused_by_name(limits):
    with pytest.raises(InvalidRequest, match=f"limits: .*{next(iter(limits))}"):
        Limits.from_json(limits)


@pytest.fixture
def monitor(recorder, tmp_path, monkeypatch):
    """The handler of the function, over a registry and observations in files."""
    registry, captures = f"file://{tmp_path}/registry", f"file://{tmp_path}/captures"
    store = open_store(registry)
    for added in (2.0, 3.0):
        publish_onnx(store, "half", half_plus(added))
    set_alias(store, "half", "live", 1)
    set_alias(store, "half", "live", 2, weight=0.1)
    recorder.reopen(open_store(captures))
    had_traffic(recorder, 1, answered=200)
    had_traffic(recorder, 2, failed=200)
    recorder.flush()
    monkeypatch.setenv("TENSORLET_CAPTURE", captures)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return store, load_handler("monitor", registry, "")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            {"aliases": {"live": {"1": 0.5, "2": 0.5}}, "history": [7]}, id="a history that is none"
        ),
        pytest.param(
            {
                "aliases": {"live": {"1": 0.5, "2": 0.5}},
                "history": [{"alias": "live", "time": "yesterday", "to": {"1": 1.0}}],
            },
            id="a time that is none",
        ),
        pytest.param(
            {
                "aliases": {"live": {"1": 0.5, "2": 0.5}},
                "history": [],
                "settings": {"live": {"limits": 7}},
            },
            id="limits that are none",
        ),
    ],
)
def test_a_model_that_cannot_be_judged_keeps_no_other_from_it_and_rings(monitor, damage, capsys):
    """The alarm is on errors of the function, and the log names the model."""
    store, handler = monitor
    publish_onnx(store, "damaged", half_plus(2.0))
    store.put("damaged/aliases.json", json.dumps(damage).encode())

    with pytest.raises(ModelUnavailable, match=r"^damaged: "):
        handler({"tasks": ["guard", "shadow"]}, LambdaContext("monitor"))

    assert live(store) == OLD_ONLY
    assert '"ReleasesBreakingLimits":[1.0]' in capsys.readouterr().out


def test_signed_aliases_are_taken_back_with_their_key(half, observed, recorder, clock, tmp_path):
    keys = make_keys(tmp_path)
    sign_aliases(half, "half", keys.signer)
    had_traffic(recorder, 1, answered=900)
    had_traffic(recorder, 2, answered=50, failed=50)
    recorder.flush()
    registry = Registry([half], keys.trust)

    [verdict] = watch(registry, "half", half, observed, clock.now + timedelta(minutes=1), keys.signer)

    assert verdict.rolled_back
    assert registry.aliases("half").weights["live"] == OLD_ONLY
