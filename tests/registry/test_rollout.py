"""Aliases that versions share: who gets which, how a share grows, and the way back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.errors import InvalidRequest
from tensorlet.registry.registry import Registry
from tensorlet.registry.rollout import describe, picker, with_weight
from tensorlet.registry.writer import roll_back, set_alias

from tests.models import linear, publish_onnx

KEYS = [f"customer-{number}" for number in range(4000)]


@pytest.fixture(autouse=True)
def three_versions(store):
    for _ in range(3):
        publish_onnx(store, "m", linear())


def weights(store):
    return Registry([store]).aliases("m").weights["live"]


def test_a_share_is_taken_from_the_others_in_their_proportions(store):
    set_alias(store, "m", "live", 1)
    set_alias(store, "m", "live", 2, weight=0.5)

    assert set_alias(store, "m", "live", 3, weight=0.1) == {"1": 0.45, "2": 0.45, "3": 0.1}
    assert weights(store) == {"1": 0.45, "2": 0.45, "3": 0.1}


@pytest.mark.parametrize(("weight", "expected"), [(1, {"2": 1}), (0, {"1": 1})])
def test_a_release_ends_with_all_or_nothing(store, weight, expected):
    set_alias(store, "m", "live", 1)
    set_alias(store, "m", "live", 2, weight=0.1)

    assert set_alias(store, "m", "live", 2, weight=weight) == expected


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_a_weight_outside_0_to_1_is_refused(weight):
    with pytest.raises(InvalidRequest, match="weight: expected a number from 0 to 1"):
        with_weight({"1": 1.0}, 2, weight)


def test_a_part_of_nothing_is_refused(store):
    with pytest.raises(InvalidRequest, match="no other version"):
        set_alias(store, "m", "new", 1, weight=0.5)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_the_same_key_keeps_the_newer_version_while_its_share_grows(one, other):
    before = picker(with_weight({"7": 1.0}, 8, min(one, other)))
    after = picker(with_weight({"7": 1.0}, 8, max(one, other)))

    assert all(after(key) == 8 for key in KEYS[:200] if before(key) == 8)


def test_keys_and_chance_share_by_the_weights():
    pick = picker({"7": 0.7, "8": 0.2, "9": 0.1})

    by_key = [pick(key) for key in KEYS]
    by_chance = [pick("") for _ in KEYS]

    for got in (by_key, by_chance):
        for version, weight in ((7, 0.7), (8, 0.2), (9, 0.1)):
            assert got.count(version) / len(KEYS) == pytest.approx(weight, abs=0.05)
    assert by_key == [pick(key) for key in KEYS]
    assert set(by_chance) == {7, 8, 9}


def test_rolling_back_undoes_one_change_after_another(store):
    for version in (1, 2, 3):
        set_alias(store, "m", "live", version)
    set_alias(store, "m", "live", 2, weight=0.25)

    assert [describe(roll_back(store, "m", "live")) for _ in range(3)] == ["3", "2", "1"]
    with pytest.raises(InvalidRequest, match="nothing earlier"):
        roll_back(store, "m", "live")
    assert weights(store) == {"1": 1}


def test_the_same_again_is_no_change_to_undo(store):
    set_alias(store, "m", "live", 1)
    for _ in range(3):
        set_alias(store, "m", "live", 2, weight=0.1)

    assert roll_back(store, "m", "live") == {"1": 1}


def test_all_shares_of_a_version_can_be_undone_at_once(store):
    """And what is undone later is what was before them."""
    set_alias(store, "m", "live", 1)
    set_alias(store, "m", "live", 2)
    for weight in (0.1, 0.5, 0.9):
        set_alias(store, "m", "live", 3, weight=weight)

    assert roll_back(store, "m", "live", without=3) == {"2": 1}
    assert roll_back(store, "m", "live") == {"1": 1}


def test_a_release_after_a_rollback_can_be_rolled_back_too(store):
    set_alias(store, "m", "live", 1)
    set_alias(store, "m", "live", 2)
    roll_back(store, "m", "live", "errors")
    set_alias(store, "m", "live", 3)

    assert roll_back(store, "m", "live") == {"1": 1}
    assert [bool(change.get("rollback")) for change in Registry([store]).aliases("m").history] == [
        False, False, True, False, True,
    ]  # fmt: skip
    assert Registry([store]).aliases("m").history[2]["reason"] == "errors"


def test_rolling_back_one_alias_leaves_the_others(store):
    set_alias(store, "m", "live", 1)
    set_alias(store, "m", "live", 2)
    set_alias(store, "m", "next", 3)

    roll_back(store, "m", "live")

    assert Registry([store]).aliases("m").weights == {"live": {"1": 1}, "next": {"3": 1}}


def test_a_rollback_brings_back_the_precision_that_was_served(store):
    set_alias(store, "m", "live", 1, "fp32")
    set_alias(store, "m", "live", 2)

    roll_back(store, "m", "live")

    assert Registry([store]).aliases("m").precision("live") == "fp32"
