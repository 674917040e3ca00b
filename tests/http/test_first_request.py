"""The first request of a process takes the careful lane; its answer is the one that all others get."""

import json

import pytest
from tensorlet.http.app import App
from tensorlet.http.message import Request
from tensorlet.protocols import json_body

from tests.models import linear, publish_onnx

ROWS = [[1, 2, 3, 4.5], [5, 6, 7, 8]]
V2_REQUEST = {"inputs": [{"name": "image", "shape": [2, 4], "datatype": "FP32", "data": ROWS}]}
CASES = [
    pytest.param("/v2/models/digits/infer", V2_REQUEST, id="V2"),
    pytest.param("/v1/models/digits:predict", {"instances": ROWS}, id="TensorFlow Serving"),
    pytest.param("/v1/models/digits:predict", {"instances": [[1, 2], [3]]}, id="refused"),
]


@pytest.mark.parametrize(("path", "document"), CASES)
def test_the_first_answer_is_like_every_other(store, service, monkeypatch, path, document):
    publish_onnx(store, "digits", linear())
    app, body = App(service), json.dumps(document).encode()
    monkeypatch.setattr(json_body, "_fast_lane_is_open", False)

    first, second = (app.handle(Request("POST", path, {}, body)) for _ in range(2))

    assert json_body._fast_lane_is_open
    assert first.status == second.status
    assert json.loads(first.body) == json.loads(second.body)


def test_a_large_first_request_opens_the_fast_lane(monkeypatch, service):
    """The careful lane would take longer than the imports."""
    monkeypatch.setattr(json_body, "_fast_lane_is_open", False)
    body = b'{"inputs": [' + b",".join([b"1.5"] * 400_000) + b"]}"

    numbers = json_body.number_arrays(
        body, service.settings, lambda document, reader: reader.numbers(document["inputs"], "d")
    )

    assert numbers.shape == (400_000,)
