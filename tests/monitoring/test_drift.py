"""Distances between what a model saw at training and what it sees now."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.monitoring.drift import compare, profile

RANDOM = np.random.default_rng(7)
NORMAL = RANDOM.normal(size=(5000, 3)).astype(np.float32)


def test_the_same_distribution_has_hardly_moved():
    drifts = compare(profile({"x": NORMAL}), {"x": RANDOM.normal(size=(2000, 3)).astype(np.float32)})

    assert [drift.feature for drift in sorted(drifts)] == ["x[0]", "x[1]", "x[2]"]
    assert max(drift.psi for drift in drifts) < 0.05 and max(drift.ks for drift in drifts) < 0.05


def test_the_feature_that_moved_comes_first():
    moved = NORMAL + np.array([0, 1.0, 0], np.float32)

    first, *others = compare(profile({"x": NORMAL}), {"x": moved})

    assert first.feature == "x[1]" and first.psi > 0.25 and first.ks == pytest.approx(0.38, abs=0.03)
    assert max(drift.psi for drift in others) < 1e-9


def test_psi_is_the_sum_that_siddiqi_gives():
    expected = {"y": {"edges": [0.5], "shares": [0.5, 0.5], "values": 100_000}}

    [drift] = compare(expected, {"y": np.repeat([0.0, 1.0], [25_000, 75_000])})

    assert drift.psi == pytest.approx(
        (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5), rel=1e-3
    )
    assert drift.ks == pytest.approx(0.25)


def test_an_image_is_one_feature():
    images = RANDOM.random(size=(100, 8, 9)).astype(np.float32)

    assert list(profile({"image": images})) == ["image"]


def test_a_constant_feature_moves_when_it_changes():
    constant = profile({"x": np.zeros(100)})

    assert compare(constant, {"x": np.zeros(10)})[0].excess == 0
    assert compare(constant, {"x": np.ones(10)})[0].psi > 1


def test_text_has_no_drift():
    words = np.array([b"a", b"b"], dtype=object)

    assert profile({"word": words}) == {} and compare({}, {"word": words}) == []


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=50))
def test_any_numbers_have_a_profile_that_they_match(values):
    array = np.array(values, np.float32)

    known = profile({"x": array})

    assert sum(known["x"]["shares"]) == pytest.approx(1)
    assert compare(known, {"x": array})[0].psi == pytest.approx(0)


def test_small_samples_of_one_distribution_are_within_chance():
    known = profile({"x": NORMAL[:, :1]})

    drifts = [compare(known, {"x": RANDOM.normal(size=(30, 1))})[0] for _ in range(200)]

    assert sum(drift.psi > 0.25 for drift in drifts) > 20  # a fixed limit would ring
    assert sum(drift.excess > 0.1 for drift in drifts) <= 10
