"""Lanes read JSON: whatever a fast one accepts, the careful one reads the same; all refusals are its own."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tensorlet.errors import TensorletError
from tensorlet.protocols import tfs, v2
from tensorlet.protocols.repeats import KNOWN, REMEMBERED
from tensorlet.settings import Settings
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES

from tests.protocols import strategies
from tests.protocols.strategies import to_body

LIMITS = Settings.from_environ({})
OUTPUT = (TensorSpec("y", "FP32", (-1,)),)
V2 = Signature((TensorSpec("a", "FP32", (-1, -1)), TensorSpec("b", "INT64", (-1,))), OUTPUT)
TFS = {d: Signature((TensorSpec("x", d, (-1, -1)),), OUTPUT) for d in DATATYPES}


def outcome(decode, *arguments):
    """What a decoder answers, as something that compares to the bit."""
    try:
        call = decode(*arguments)
    except TensorletError as error:
        return type(error), str(error)
    inputs = {
        name: (t.datatype, t.shape, t.data if t.datatype == "BYTES" else bytes(t.data))
        for name, t in call.inputs.items()
    }
    return call._replace(inputs=inputs)


def both_lanes(module, decode, *arguments):
    KNOWN.clear()
    fast = outcome(decode, *arguments)
    return fast, careful_lane(module, decode, *arguments)


def careful_lane(module, decode, *arguments):
    KNOWN.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "number_arrays", lambda *_: None)
        return outcome(decode, *arguments)


@strategies.documents
@given(body=strategies.v2_documents(["a", "b"], ["y"]).map(to_body))
@example(body=b'{"inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data":[[16777217,-0]]}]}')
@example(body=b'{"inputs":[{"name":"a","shape":[2,2],"datatype":"FP32","data":[[1,2],[3]]}]}')
@example(body=b'{"inputs":[{"name":"a","name":"b","shape":[1],"datatype":"INT64","data":[1]}]}')
@example(body=b'{"inputs":[{"name":"b","shape":[1],"datatype":"INT8","data":[300]}]}')
@example(body=b'{"inputs":{},"id":[]}')
@example(body=b'{"inputs":[{"name":["a"],"shape":[1],"datatype":"FP32","data":[1]}]}')
@example(body=b'{"inputs":[{"name":"a","shape":{},"datatype":"FP32","data":[1]}],"outputs":{}}')
def test_the_lanes_agree_on_v2_requests(body):
    fast, careful = both_lanes(v2, v2.decode_infer, body, None, V2, LIMITS)

    assert fast == careful


@strategies.documents
@given(datatype=st.sampled_from(list(DATATYPES)), body=strategies.tfs_documents(["x"]).map(to_body))
@example(datatype="FP32", body=b'{"instances":[[1,2],[3,4]],"instances":[[5]]}')
@example(datatype="INT8", body=b'{"instances":[[300]]}')
@example(datatype="FP32", body=b'{"instances":[[1]],"signature_name":[]}')
@example(datatype="FP32", body=b'{"instances":[[[[[1]]]]],"signature_name":"other"}')
def test_the_lanes_agree_on_tensorflow_serving_requests(datatype, body):
    fast, careful = both_lanes(tfs, tfs.decode_predict, body, TFS[datatype], LIMITS)

    assert fast == careful


def test_the_fast_lane_is_taken_by_plain_requests(monkeypatch):
    """Otherwise the tests above would compare the careful lane with itself."""
    monkeypatch.setattr(v2, "parse_json", None)
    monkeypatch.setattr(tfs, "parse_json", None)

    call = v2.decode_infer(
        b'{"id":"1","inputs":[{"name":"a","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4.5]]}]}',
        None,
        V2,
        LIMITS,
    )
    row = tfs.decode_predict(b'{"instances":[[1,2],[3,4.5]]}', TFS["FP32"], LIMITS)

    assert call.inputs["a"].tolist() == row.inputs["x"].tolist() == [1.0, 2.0, 3.0, 4.5]


# Requests around one list of numbers, `@`; and some that only look so.
V2_REPEATS = [
    '{"inputs":[{"name":"b","shape":[2],"datatype":"INT64","data":[@]}]}',
    '{"inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data": [[@]]}],"outputs":[{"name":"y"}]}',
    '{"inputs":[{"name":"a","datatype":"FP32","data":[ @ ], "shape" : [1,2]}]}',
    '{"id":"[1,2]","inputs":[{"name":"a","shape":[2,1],"datatype":"FP32","data":[@]}],"id":"]["}',
    '{"inputs":[{"name":"b","shape":[2],"datatype":"INT64","data":[1,2],"extra":[@]}]}',
    '{"inputs":[{"name":"b","shape":[2],"datatype":"INT64","data":[7,8],"data":[@]}]}',
    '{"inputs":[{"name":"b","shape":[2],"datatype":"INT64","data":[1,2],"shape":[@]}]}',
    '{"inputs":[{"name":"b","shape":[0],"datatype":"INT64","data":[]}],"id":"[@]"}',
    '{"inputs":[{"name":"c","shape":[2],"datatype":"INT8","data":[@]}]}',
]
TFS_REPEATS = [
    '{"instances":[[@]]}',
    '{"signature_name":"serving_default", "instances": [ [@] ]}',
    '{"instances":[[1,2],[@]]}',
    '{"instances":[{"x":[@]}]}',
    '{"inputs":{"x":[[@]]}}',
    '{"instances":[[1,2]]} [@]',
    '{"instances":[[@]],"inputs":[]}',
]
TEXTS = [
    "1,2",
    " 1 , 2 ",
    "3,4",
    "0.5,-1e3",
    "1,2.0",
    "16777217,-0",
    "1e400,1",
    "9223372036854775808,1",
    "300,1",
]
OTHERS = [
    "",
    "1",
    "1,2,3",
    "1,2,",
    "1 2",
    '"1",2',
    "null,2",
    "true,2",
    "{},2",
    "NaN,2",
    "1],[2",
    "[1],2",
    "[1,2]",
    '1,2],"id":["x"',
]


@pytest.mark.parametrize("first", TEXTS[:3])
@pytest.mark.parametrize("around", V2_REPEATS)
def test_a_v2_request_that_comes_again_with_other_numbers_is_read_anew(around, first):
    for text in TEXTS + OTHERS:
        careful = careful_lane(v2, v2.decode_infer, around.replace("@", text).encode(), None, V2, LIMITS)
        outcome(v2.decode_infer, around.replace("@", first).encode(), None, V2, LIMITS)

        assert outcome(v2.decode_infer, around.replace("@", text).encode(), None, V2, LIMITS) == careful


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64", "INT8", "BYTES"])
@pytest.mark.parametrize("around", TFS_REPEATS)
def test_a_tensorflow_serving_request_that_comes_again_with_other_numbers_is_read_anew(around, datatype):
    for text in TEXTS + OTHERS:
        body = around.replace("@", text).encode()
        careful = careful_lane(tfs, tfs.decode_predict, body, TFS[datatype], LIMITS)
        outcome(tfs.decode_predict, around.replace("@", "1,2").encode(), TFS[datatype], LIMITS)

        assert outcome(tfs.decode_predict, body, TFS[datatype], LIMITS) == careful


@pytest.mark.parametrize("around", V2_REPEATS[:4])
def test_a_request_that_comes_again_is_not_decoded_again(around, monkeypatch):
    """Otherwise the tests above would compare a decoder with itself."""
    KNOWN.clear()
    v2.decode_infer(around.replace("@", "1,2").encode(), None, V2, LIMITS)
    monkeypatch.setattr(v2, "_decode_json", None)

    call = v2.decode_infer(around.replace("@", "3,4").encode(), None, V2, LIMITS)

    assert [tensor.tolist() for tensor in call.inputs.values()] == [[3, 4]]


def test_what_a_request_means_is_kept_for_its_own_signature_and_limits():
    body = V2_REPEATS[0].replace("@", "1,2").encode()
    strict = Settings.from_environ({"TENSORLET_MAX_TENSOR_BYTES": "8"})
    other = Signature(V2.inputs, (TensorSpec("z", "FP32", (-1,)),))

    for _ in range(2):
        assert v2.decode_infer(body, None, V2, LIMITS).outputs[0].name == "y"
        assert v2.decode_infer(body, None, other, LIMITS).outputs[0].name == "z"
        with pytest.raises(TensorletError, match="over the limit of 8"):
            v2.decode_infer(body, None, V2, strict)


def test_no_more_requests_are_kept_than_a_bound():
    for number in range(3 * REMEMBERED):
        body = V2_REPEATS[0].replace("@", "1,2").replace("{", f'{{"id":"{number}",', 1).encode()
        v2.decode_infer(body, None, V2, LIMITS)

    assert len(KNOWN) <= REMEMBERED
