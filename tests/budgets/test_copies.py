"""A binary tensor is decoded from base64 once and not copied again: the runtime reads it where it was decoded to."""

import base64
import json

import numpy as np
import pytest
from tensorlet.http.app import App
from tensorlet.http.aws import request_from_event
from tensorlet.runtimes import buffers
from tensorlet.serving.service import LoadedModel

from tests.models import linear, publish_onnx

ROWS, COLUMNS = 64, 1024
SIZE_BYTES = ROWS * COLUMNS * 4
VALUES = np.random.default_rng(3).random((ROWS, COLUMNS), dtype=np.float32)


def binary_event(head_bytes):
    """A V2 request with one binary tensor, whose JSON part is padded to `head_bytes`."""
    tensor = {
        "name": "image",
        "shape": [ROWS, COLUMNS],
        "datatype": "FP32",
        "parameters": {"binary_data_size": SIZE_BYTES},
    }
    head = json.dumps({"inputs": [tensor]}).ljust(head_bytes).encode()
    assert len(head) == head_bytes
    return {
        "rawPath": "/v2/models/linear/infer",
        "headers": {"inference-header-content-length": str(head_bytes)},
        "requestContext": {"http": {"method": "POST"}},
        "body": base64.b64encode(head + VALUES.tobytes()).decode(),
        "isBase64Encoded": True,
    }


@pytest.fixture
def seen(service, store, monkeypatch):
    """The inputs that reach the model, and the addresses that the runtime is given."""
    publish_onnx(store, "linear", linear(COLUMNS, 8))
    inputs, addresses = {}, []

    def infer(model, values):
        inputs.update(values)
        return original(model, values)

    class Pointer(buffers.pointer):
        def __init__(self, buffer, alignment=1):
            super().__init__(buffer, alignment)
            addresses.append((self.address, self.size_bytes))

    original = LoadedModel.infer
    monkeypatch.setattr(LoadedModel, "infer", infer)
    service.model("linear")
    monkeypatch.setattr("tensorlet.runtimes.onnx.pointer", Pointer)
    return inputs, addresses


def test_the_runtime_reads_a_binary_tensor_where_base64_was_decoded_to(service, seen):
    inputs, addresses = seen
    request = request_from_event(binary_event(head_bytes=256), None)

    assert App(service).handle(request).status == 200

    body = buffers.pointer(request.body)
    assert memoryview(inputs["image"].data).obj is memoryview(request.body).obj
    assert addresses == [(body.address + 256, SIZE_BYTES)]


def test_a_tensor_at_an_odd_address_is_copied_once(service, seen):
    """Compiled code may rely on alignment, and where a tensor starts is the client's choice."""
    inputs, addresses = seen
    request = request_from_event(binary_event(head_bytes=257), None)

    assert App(service).handle(request).status == 200

    body = buffers.pointer(request.body)
    assert memoryview(inputs["image"].data).obj is memoryview(request.body).obj
    ((address, size_bytes),) = addresses
    assert size_bytes == SIZE_BYTES and not body.address <= address < body.address + body.size_bytes
