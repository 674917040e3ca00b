"""decode(encode(x)) == x, to the bit, for every datatype that a form can carry."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.errors import InvalidTensor, TensorletError
from tensorlet.protocols import tfs, tfs_reply, v2, v2_reply
from tensorlet.protocols.binary_tensor import decode_binary, encode_binary
from tensorlet.protocols.v2 import InferRequest, RequestedOutput
from tensorlet.settings import Settings
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Tensor

from tests.protocols import strategies
from tests.protocols.strategies import JSON_DATATYPES, same, tensors, to_body

LIMITS = Settings.from_environ({})
ANY = Signature((), ())


def reply_as_request(*outputs: Tensor, binary: bool) -> InferRequest:
    """Encode tensors as a reply's outputs, and decode the same bytes as a request's inputs."""
    names = [f"t{index}" for index in range(len(outputs))]
    wanted = tuple(RequestedOutput(name, binary, 0) for name in names)
    reply = v2_reply.encode_infer(
        "m", 1, InferRequest({}, "", wanted), dict(zip(names, outputs, strict=True))
    )
    size = len(reply.body) if reply.json_size is None else reply.json_size
    document = json.loads(bytes(reply.body[:size]))
    text = json.dumps({"inputs": document["outputs"]}).encode()
    body = text + bytes(reply.body[size:])
    return v2.decode_infer(body, len(text) if binary else None, ANY, LIMITS)


def canonical(tensor: Tensor) -> Tensor:
    """JSON has one NaN: any NaN stands for all."""
    return Tensor(tensor.datatype, tensor.shape, [repr(value) for value in tensor.tolist()])


@strategies.documents
@given(tensor=tensors())
def test_binary_tensors_round_trip(tensor):
    raw = memoryview(encode_binary(tensor))

    assert same(decode_binary(raw, tensor.datatype, tensor.shape, "x"), tensor)


@strategies.documents
@given(several=st.lists(tensors(), max_size=3))
def test_binary_requests_round_trip(several):
    inputs = reply_as_request(*several, binary=True).inputs

    assert len(inputs) == len(several)
    assert all(map(same, inputs.values(), several))


@strategies.documents
@given(tensor=tensors(JSON_DATATYPES, text=True))
def test_json_requests_round_trip(tensor):
    found = reply_as_request(tensor, binary=False).inputs["t0"]

    assert found.shape == tensor.shape
    assert canonical(found).data == canonical(tensor).data


@strategies.documents
@given(tensor=tensors(JSON_DATATYPES, text=True))
def test_tensorflow_serving_columns_round_trip(tensor):
    spec = TensorSpec("x", tensor.datatype, tuple(-1 for _ in tensor.shape))
    body = tfs_reply.encode_predict(tfs.PredictRequest({}, row=False), {"x": tensor}, Signature((), (spec,)))

    found = tfs.decode_predict(b'{"inputs":' + body[len(b'{"outputs":') :], Signature((spec,), ()), LIMITS)

    assert canonical(found.inputs["x"]).data == canonical(tensor).data
    if tensor.data or not tensor.shape:  # what has no elements cannot show all its dimensions
        assert found.inputs["x"].shape == tensor.shape


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_is_refused_in_json(datatype):
    with pytest.raises(InvalidTensor, match=f"sending {datatype} data via JSON is not supported"):
        reply_as_request(Tensor(datatype, (1,), b"\0\0"), binary=False)


@strategies.documents
@given(raw=st.binary(max_size=64), datatype=st.sampled_from(list(DATATYPES)), shape=strategies.shapes())
def test_arbitrary_bytes_are_a_tensor_or_refused(raw, datatype, shape):
    try:
        tensor = decode_binary(memoryview(raw), datatype, shape, "x")
    except InvalidTensor:
        return
    assert bytes(encode_binary(tensor)) == raw


@strategies.documents
@given(
    body=st.one_of(st.binary(max_size=80), strategies.v2_documents(["a"], ["y"]).map(to_body)),
    binary=st.binary(max_size=40),
    json_size=st.one_of(st.none(), st.integers(0, 120), st.just(-1)),
)
def test_arbitrary_bodies_are_decoded_or_refused(body, binary, json_size):
    signature = Signature((TensorSpec("a", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1,)),))
    size = len(body) if json_size == -1 else json_size
    try:
        call = v2.decode_infer(body + binary, size, signature, LIMITS)
    except TensorletError:
        return
    assert all(isinstance(tensor, Tensor) for tensor in call.inputs.values())
