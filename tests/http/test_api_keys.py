"""API keys: what is kept of one, whose key a request carries, and at what rate it may come."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.errors import InvalidSetting
from tensorlet.http.api_keys import (
    EMPTY,
    ApiKey,
    Buckets,
    dump_keys,
    find_key,
    load_keys,
    make_key,
    presented_key,
)


def test_a_key_is_found_by_what_is_kept_of_it():
    key, key_id, kept = make_key("app")

    assert find_key({key_id: kept}, key) == key_id


def test_the_secret_is_not_in_what_is_kept():
    key, key_id, kept = make_key("app")

    assert key.split("_", 2)[2] not in dump_keys({key_id: kept})


def test_two_keys_never_share_their_salt():
    assert make_key("app")[2].salt != make_key("app")[2].salt


@given(st.text(max_size=60))
def test_nothing_else_is_a_key(text):
    _, key_id, kept = make_key("app")

    assert find_key({key_id: kept}, text) is None


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda key, other: "", id="nothing"),
        pytest.param(lambda key, other: key[:-1], id="cut off"),
        pytest.param(lambda key, other: key + "=", id="longer"),
        pytest.param(lambda key, other: key.replace("tl_", "xx_"), id="another prefix"),
        pytest.param(
            lambda key, other: f"{key[:11]}_{other.split('_', 2)[2]}", id="the secret of another key"
        ),
        pytest.param(lambda key, other: "tl__", id="empty parts"),
        pytest.param(lambda key, other: "tl_\ud800_\ud800", id="half a surrogate pair"),
    ],
)
def test_a_key_with_anything_wrong_is_nobodys(wrong):
    key, key_id, kept = make_key("app")
    other, other_id, other_kept = make_key("other")

    assert find_key({key_id: kept, other_id: other_kept}, wrong(key, other)) is None


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x-api-key": "k"}, "k"),
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "bearer  k "}, "k"),
        ({"x-api-key": "k", "authorization": "Bearer other"}, "k"),
        ({"x-api-key": " ", "authorization": "Bearer k"}, "k"),
        ({"authorization": "Basic k"}, ""),
        ({"authorization": "k"}, ""),
        ({}, ""),
    ],
)
def test_a_key_comes_in_either_header(headers, key):
    assert presented_key(headers) == key


def test_keys_survive_being_written_and_read():
    keys = {key_id: kept for _, key_id, kept in (make_key("a", 2, 5), make_key("b"))}

    assert load_keys(dump_keys(keys)) == keys
    assert load_keys(EMPTY) == {}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[]", id="not an object"),
        pytest.param('{"keys": 3}', id="keys are no object"),
        pytest.param('{"keys": {"ab": {"name": "app"}}}', id="a member is missing"),
        pytest.param(
            json.dumps({"keys": {"ab": ApiKey("app", "", "not hex", "")._asdict()}}), id="no digest"
        ),
    ],
)
def test_a_document_of_another_kind_is_refused(text):
    with pytest.raises(InvalidSetting, match="API key"):
        load_keys(text)


def test_a_key_may_come_at_its_rate_and_in_bursts():
    """Two a second, three at once: four within the first half second is one too many."""
    buckets, (_, _, kept) = Buckets(), make_key("app", rate=2, burst=3)

    assert [buckets.take("a", kept, at) for at in (0, 0, 0, 0, 0.5, 0.6, 1.0)] == [
        *(True, True, True, False),
        *(True, False, True),
    ]


def test_one_keys_rate_is_not_anothers():
    buckets, (_, _, kept) = Buckets(), make_key("app", rate=1)

    assert [buckets.take(key_id, kept, 0) for key_id in ("a", "b", "a")] == [True, True, False]


def test_a_key_without_a_rate_is_not_held_back():
    buckets, (_, _, kept) = Buckets(), make_key("app")

    assert all(buckets.take("a", kept, 0) for _ in range(100))
