"""API Gateway's and Function URLs' events become requests, and responses their replies."""

import base64
import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.http.aws import make_handler, reply_bytes, request_from_event

from tests.http.conftest import make_app
from tests.protocols.strategies import documents

EVENTS = Path(__file__).parents[2] / "events"
CONTEXT = SimpleNamespace(aws_request_id="request-1")
INFER = json.dumps({"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}]})
PATH = "/v2/models/half_plus_two/infer"


def http_api(method="POST", path=PATH, body=None, stage="$default", encoded=False, headers=None):
    """Payload format 2.0: HTTP APIs and Function URLs."""
    context = {"http": {"method": method, "path": path}, "stage": stage}
    event = {"version": "2.0", "rawPath": path, "requestContext": context, "isBase64Encoded": encoded}
    return event | {"headers": headers or {}} | ({} if body is None else {"body": body})


def rest_api(method="POST", path=PATH, body=None, encoded=False, headers=None):
    """Payload format 1.0: REST APIs, which send null for what is not there."""
    return {
        "httpMethod": method,
        "path": path,
        "headers": headers,
        "body": body,
        "isBase64Encoded": encoded,
        "requestContext": {"stage": "prod"},
    }


@pytest.fixture(scope="module")
def handler(app):
    return make_handler(app)


@pytest.fixture(scope="module")
def app(models):
    return make_app(models)


@pytest.mark.parametrize("make_event", [http_api, rest_api])
def test_both_payload_formats_are_answered(handler, make_event):
    reply = handler(make_event(body=INFER), CONTEXT)

    assert reply["statusCode"] == 200
    assert json.loads(reply["body"])["outputs"][0]["data"] == [2.5, 3.0]
    assert reply["headers"]["x-request-id"] == "request-1"
    assert reply["isBase64Encoded"] is False


@pytest.mark.parametrize("make_event", [http_api, rest_api])
def test_a_base64_body_is_decoded_once(handler, make_event):
    body = base64.b64encode(INFER.encode()).decode()

    assert handler(make_event(body=body, encoded=True), CONTEXT)["statusCode"] == 200


def test_header_names_are_of_any_case_and_values_may_be_null(handler):
    body = base64.b64encode(gzip.compress(INFER.encode())).decode()
    headers = {"Content-Encoding": "gzip", "X-Empty": None}

    assert handler(rest_api(body=body, encoded=True, headers=headers), CONTEXT)["statusCode"] == 200


def test_a_binary_reply_travels_as_base64(handler):
    body = INFER[:-1] + ',"parameters":{"binary_data_output":true}}'

    reply = handler(http_api(body=body), CONTEXT)

    assert reply["isBase64Encoded"] is True
    assert reply["headers"]["content-type"] == "application/octet-stream"
    assert base64.b64decode(reply["body"])[-8:].hex() == "0000204000004040"


def test_the_stage_is_no_part_of_the_path(handler):
    assert handler(http_api("GET", "/prod/v2/health/live", stage="prod"), CONTEXT)["statusCode"] == 200
    assert handler(http_api("GET", "/prod", stage="prod"), CONTEXT)["statusCode"] == 404


@pytest.mark.parametrize("make_event", [http_api, rest_api])
def test_a_body_that_is_not_the_base64_it_claims_is_refused(handler, make_event):
    reply = handler(make_event(body="%%%", encoded=True), CONTEXT)

    assert reply["statusCode"] == 400
    assert "base64" in json.loads(reply["body"])["error"]


def test_an_event_of_something_else_is_refused(handler):
    assert handler({"Records": []}, CONTEXT)["statusCode"] == 400


def test_a_reply_over_lambdas_limit_names_the_way_for_large_payloads(models):
    handler = make_handler(make_app(models, TENSORLET_MAX_RESPONSE_BYTES="2000"))
    body = json.dumps({"inputs": [{"name": "x", "shape": [1000], "datatype": "FP32", "data": [0.1] * 1000}]})

    reply = handler(http_api(body=body), CONTEXT)

    assert reply["statusCode"] == 413
    assert "POST /v2/models/{model}/jobs" in json.loads(reply["body"])["error"]
    assert reply["headers"]["x-request-id"] == "request-1"


@pytest.mark.parametrize("letters", ['"', "\\", "é", "€x", '{"a":"b"}'])
def test_the_length_of_a_reply_is_counted_as_lambda_counts_it(letters):
    reply = {"statusCode": 200, "headers": {}, "body": letters * 2_000_000, "isBase64Encoded": False}

    assert len(json.dumps(reply, ensure_ascii=False).encode()) <= reply_bytes(reply)


@documents
@given(
    event=st.dictionaries(st.sampled_from(["body", "rawPath"]), st.text(alphabet="/v2\ud800é", max_size=8))
)
def test_text_of_any_characters_is_answered(handler, event):
    assert handler({**http_api(path="/v2", body=""), **event}, CONTEXT)["statusCode"] in (200, 400, 404, 405)


@pytest.mark.parametrize("path", sorted(EVENTS.glob("predict-*.json")), ids=lambda path: path.stem)
def test_the_sample_events_are_requests(path):
    request = request_from_event(json.loads(path.read_text()), CONTEXT)

    assert request.path.startswith("/v")
    assert request.method == "POST"
    assert request.body
