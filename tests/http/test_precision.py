"""Asking for a precision: by a header in every protocol, by a parameter in V2."""

import json

import pytest

from tests.http.conftest import ask, error_of, make_app
from tests.models import half_plus, publish_precisions

V2_BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}]}
V2 = "POST /v2/models/half/infer"
TFS = "POST /v1/models/half:predict"
TFS_BODY = {"instances": [2.0]}


@pytest.fixture
def half(store):
    """`half` answers 0.5 x + 2 in fp32, its default, and 0.5 x + 3 in int8."""
    publish_precisions(store, "half", {"fp32": half_plus(2.0), "int8": half_plus(3.0)})
    return make_app(store)


@pytest.mark.parametrize(
    ("request_line", "body", "answer"),
    [
        pytest.param(V2, V2_BODY, lambda reply: reply["outputs"][0]["data"], id="V2"),
        pytest.param(TFS, TFS_BODY, lambda reply: reply["predictions"], id="TensorFlow Serving"),
        pytest.param("POST /invocations/half", TFS_BODY, lambda reply: reply["predictions"], id="SageMaker"),
        pytest.param(
            "POST /v2/models/half/generate", {"x": 2.0}, lambda reply: [reply["y"]], id="V2 generate"
        ),
    ],
)
def test_the_header_chooses_in_every_protocol(half, request_line, body, answer):
    plain = ask(half, request_line, body)
    small = ask(half, request_line, body, tensorlet_precision="int8")

    assert answer(json.loads(plain.body)) == [3.0]
    assert answer(json.loads(small.body)) == [4.0]
    assert plain.headers["tensorlet-artifact"] == "model.fp32.onnx"
    assert small.headers["tensorlet-artifact"] == "model.int8.onnx"


def test_the_parameter_chooses_in_v2_and_the_reply_says_so(half):
    response = ask(half, V2, {**V2_BODY, "parameters": {"precision": "int8"}})

    reply = json.loads(response.body)
    assert reply["outputs"][0]["data"] == [4.0]
    assert reply["parameters"] == {"precision": "int8"}
    assert response.headers["tensorlet-artifact"] == "model.int8.onnx"


def test_the_parameter_wins_over_the_header(half):
    body = {**V2_BODY, "parameters": {"precision": "fp32"}}

    response = ask(half, V2, body, tensorlet_precision="int8")

    assert response.headers["tensorlet-artifact"] == "model.fp32.onnx"


def test_who_asks_for_no_precision_is_told_none(half):
    assert "parameters" not in json.loads(ask(half, V2, V2_BODY).body)


@pytest.mark.parametrize(("line", "body"), [(V2, V2_BODY), (TFS, TFS_BODY)], ids=["V2", "TensorFlow Serving"])
def test_a_precision_that_is_not_there_is_a_404_that_lists_those_that_are(half, line, body):
    response = ask(half, line, body, tensorlet_precision="fp16")

    assert response.status == 404
    assert error_of(response) == "half/1: expected a precision of fp32, int8, got 'fp16'"


def test_a_precision_that_is_no_text_is_a_400(half):
    response = ask(half, V2, {**V2_BODY, "parameters": {"precision": 8}})

    assert response.status == 400
    assert "'precision'" in error_of(response)


def test_statistics_count_the_memory_of_what_is_loaded(half):
    ask(half, V2, V2_BODY)
    one = json.loads(ask(half, "GET /v2/models/half/stats").body)["model_stats"][0]["memory_usage"]
    ask(half, V2, V2_BODY, tensorlet_precision="int8")
    both = json.loads(ask(half, "GET /v2/models/half/stats").body)["model_stats"][0]["memory_usage"]

    assert one == [{"type": "CPU", "id": 0, "byte_size": len(half_plus(2.0))}]
    assert both == [{"type": "CPU", "id": 0, "byte_size": len(half_plus(2.0)) + len(half_plus(3.0))}]
