"""Two lanes read JSON: whatever the fast one accepts, the careful one reads the same; all refusals are its own."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tensorlet.errors import TensorletError
from tensorlet.protocols import tfs, v2
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
    fast = outcome(decode, *arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "number_arrays", lambda *_: None)
        careful = outcome(decode, *arguments)
    return fast, careful


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
