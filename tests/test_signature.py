"""Tensors are checked against the signature before a runtime sees them."""

import pytest
from tensorlet.errors import SignatureMismatch
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import Tensor

SIGNATURE = Signature(
    inputs=(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT8", (-1,))),
    outputs=(TensorSpec("y", "FP32", (-1,)),),
)


def inputs(a=("FP32", (3, 2)), b=("INT8", (3,)), **others):
    tensors = {"a": a, "b": b, **others}
    return {
        name: Tensor(datatype, shape, b"") for name, (datatype, shape) in tensors.items() if shape is not None
    }


def test_fitting_tensors_pass():
    SIGNATURE.check(inputs())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        pytest.param(inputs(b=("", None)), r"missing required input\(s\) \['b'\]", id="missing"),
        pytest.param(inputs(c=("FP32", (1,))), "unexpected inference input 'c'", id="unknown"),
        pytest.param(inputs(a=("FP64", (3, 2))), "'FP64', but model 'm' expects 'FP32'", id="datatype"),
        pytest.param(inputs(a=("FP32", (3, 5))), r"Expected \[-1,2\], got \[3,5\]", id="length"),
        pytest.param(inputs(a=("FP32", (6,))), r"Expected \[-1,2\], got \[6\]", id="rank"),
        pytest.param(inputs(b=("INT8", (4,))), "batch size does not match other inputs", id="batch"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tensors, message):
    with pytest.raises(SignatureMismatch, match=message):
        SIGNATURE.check(tensors, "m")


def test_json_round_trip():
    assert Signature.from_json(SIGNATURE.to_json()) == SIGNATURE


def test_an_unknown_datatype_is_no_signature():
    with pytest.raises(ValueError, match="unknown datatype 'FP8'"):
        TensorSpec.from_json({"name": "x", "datatype": "FP8", "shape": [1]})
