"""The sample events are what their script writes, and true in what they say of themselves."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from events import generate

EVENTS = generate.events()


@pytest.mark.parametrize("name", EVENTS)
def test_the_committed_event_is_the_one_its_script_writes(name):
    """After a change: python events/generate.py"""
    assert json.loads((Path(generate.HERE) / name).read_text()) == EVENTS[name]


def test_every_event_beside_the_script_comes_from_it():
    assert {path.name for path in generate.HERE.glob("*.json")} == set(EVENTS)


@pytest.mark.parametrize("name", [name for name in EVENTS if name.startswith("predict")])
def test_the_body_has_the_length_its_headers_say(name):
    event = EVENTS[name]
    headers = {key.lower(): value for key, value in event["headers"].items()}
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    assert len(body) == int(headers["content-length"])


def test_the_binary_request_has_its_tensor_behind_its_header():
    event = EVENTS["predict-url.json"]
    body = base64.b64decode(event["body"])
    length = int(event["headers"]["inference-header-content-length"])
    (tensor,) = json.loads(body[:length])["inputs"]
    assert len(body) - length == tensor["parameters"]["binary_data_size"] == 2 * 784 * 4


def test_the_queued_event_announces_the_sample_file():
    (message,) = EVENTS["batch-sqs-s3.json"]["Records"]
    assert message["md5OfBody"] == hashlib.md5(message["body"].encode()).hexdigest()
    (record,) = json.loads(message["body"])["Records"]
    s3_object = record["s3"]["object"]
    assert s3_object["key"] == "digits/2026/new+digits.csv"
    assert s3_object["size"] == len(generate.batch_csv())
    assert s3_object["eTag"] == hashlib.md5(generate.batch_csv()).hexdigest()
