"""An event says which keys something happened to; everything else is read from storage."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.batch.events import ObjectName, keys_of
from tensorlet.errors import InvalidRequest


def record(key: str, bucket: str = "in", name: str = "ObjectCreated:Put") -> dict:
    return {
        "eventVersion": "2.1",
        "eventName": name,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
    }


def body(*records: dict) -> str:
    return json.dumps({"Records": records})


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("m/a+b.csv", "m/a b.csv"),
        ("m/a%2Bb.csv", "m/a+b.csv"),
        ("m/a%20b.csv", "m/a b.csv"),
        ("m%2Fa.csv", "m/a.csv"),
        ("m/%C3%A9.csv", "m/é.csv"),
    ],
)
def test_keys_of_notifications_are_url_encoded(encoded, key):
    assert keys_of(body(record(encoded))) == [ObjectName("in", key)]


def test_keys_of_eventbridge_are_as_they_are():
    detail = {"bucket": {"name": "in"}, "object": {"key": "m/a+b%20c.csv", "etag": "5d41"}}
    message = {"detail-type": "Object Created", "source": "aws.s3", "detail": detail}
    assert keys_of(json.dumps(message)) == [ObjectName("in", "m/a+b%20c.csv")]


def test_a_key_that_is_named_twice_is_processed_once():
    assert keys_of(body(record("m/a.csv"), record("m/b.csv"), record("m/a.csv"))) == [
        ObjectName("in", "m/a.csv"),
        ObjectName("in", "m/b.csv"),
    ]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "in"}, id="test event"),
        pytest.param({"Records": [record("m/a.csv", name="ObjectRemoved:Delete")]}, id="removal"),
        pytest.param({"Records": [record("m/folder/")]}, id="folder marker"),
        pytest.param({"Records": [record("m/_batch.json")]}, id="options"),
        pytest.param({"detail-type": "Object Deleted", "detail": {}}, id="removal by EventBridge"),
    ],
)
def test_what_creates_no_object_names_no_key(message):
    assert keys_of(json.dumps(message)) == []


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "3", '{"Records": [{}]}', '{"Records": [3]}', '{"Records": 3}']
)
def test_what_is_no_event_is_refused(text):
    with pytest.raises(InvalidRequest, match="message"):
        keys_of(text)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with suppress(InvalidRequest):
        keys_of(text)
