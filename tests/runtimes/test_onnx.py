"""ONNX Runtime behind the interface: every datatype, any batch, and refusals instead of crashes."""

import numpy as np
import pytest
from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.runtimes import load_session
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Tensor, from_values

from tests.models import ELEMENT_TYPES, identity, linear, linear_weights

SAMPLES = {"bool": [True, False], "int": [0, 7], "float": [0.5, -2.0], "bytes": ["héllo", ""]}


@pytest.mark.parametrize("datatype", ELEMENT_TYPES)
def test_every_datatype_goes_through_unchanged(datatype):
    session = load_session("onnx", identity({"x": (datatype, ["batch", 2])}))
    tensor = from_values(datatype, (1, 2), SAMPLES[DATATYPES[datatype].kind])

    output = session.infer({"x": tensor})["x_out"]

    assert (output.datatype, output.shape) == (datatype, (1, 2))
    assert output.tolist() == tensor.tolist()


def test_the_signature_is_read_from_the_file():
    assert load_session("onnx", linear(4, 3)).signature == Signature(
        inputs=(TensorSpec("image", "FP32", (-1, 4)),), outputs=(TensorSpec("scores", "FP32", (-1, 3)),)
    )


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_any_batch_is_answered(rows):
    weights, bias = linear_weights(4, 3)
    images = np.random.default_rng(1).standard_normal((rows, 4)).astype(np.float32)

    scores = load_session("onnx", linear(4, 3)).infer({"image": Tensor.from_numpy(images)})["scores"].numpy()

    np.testing.assert_allclose(scores, images @ weights + bias, rtol=1e-5, atol=1e-5)


def test_a_zero_dimensional_tensor_is_answered():
    session = load_session("onnx", identity({"x": ("INT64", [])}))

    assert session.infer({"x": from_values("INT64", (), [5])})["x_out"] == Tensor(
        "INT64", (), (5).to_bytes(8, "little")
    )


@pytest.mark.parametrize("damage", [b"", b"not a model", linear()[:50]], ids=["empty", "text", "cut short"])
def test_a_file_that_is_no_model_is_refused(damage):
    with pytest.raises(ArtifactRefused, match="ONNX Runtime cannot open the model"):
        load_session("onnx", damage)


def test_an_unknown_format_is_refused():
    with pytest.raises(ArtifactRefused, match="expected one of onnx, tflite, got 'pickle'"):
        load_session("pickle", b"")


def test_values_the_graph_cannot_take_are_the_callers_fault():
    """A Gather index beyond its table passes every signature."""
    from onnx import TensorProto, helper, numpy_helper

    from tests.models import _model

    model = _model(
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.zeros(3, np.float32), "table")],
    )
    session = load_session("onnx", model)

    with pytest.raises(InferenceFailed, match="ONNX Runtime"):
        session.infer({"index": from_values("INT64", (1,), [99])})
