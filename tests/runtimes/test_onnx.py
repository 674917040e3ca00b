"""ONNX Runtime behind the interface: every datatype, any batch, and refusals instead of crashes.

Both ways into the runtime are held to the same tests: its C API, and its Python API as the fallback.
"""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.runtimes import load_session
from tensorlet.runtimes.buffers import pointer
from tensorlet.runtimes.onnx import OnnxSession
from tensorlet.runtimes.onnx_python import OnnxPythonSession
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Tensor, from_values

from tests.models import ELEMENT_TYPES, _model, identity, linear, linear_weights


def gather(table):
    """`row = table[index]`: an index beyond the table passes every signature."""
    return _model(
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.array(table, np.float32), "table")],
    )


def add_one():
    return _model(
        [helper.make_node("Add", ["x", "one"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.float32(1), "one")],
    )


@pytest.fixture(params=[OnnxSession, OnnxPythonSession])
def open_session(request):
    return lambda model: request.param(model, None, 1)


SAMPLES = {"bool": [True, False], "int": [0, 7], "float": [0.5, -2.0], "bytes": ["héllo", ""]}


@pytest.mark.parametrize("datatype", ELEMENT_TYPES)
def test_every_datatype_goes_through_unchanged(open_session, datatype):
    session = open_session(identity({"x": (datatype, ["batch", 2])}))
    tensor = from_values(datatype, (1, 2), SAMPLES[DATATYPES[datatype].kind])

    output = session.infer({"x": tensor})["x_out"]

    assert (output.datatype, output.shape) == (datatype, (1, 2))
    assert output.tolist() == tensor.tolist()


def test_the_signature_is_read_from_the_file(open_session):
    assert open_session(linear(4, 3)).signature == Signature(
        inputs=(TensorSpec("image", "FP32", (-1, 4)),), outputs=(TensorSpec("scores", "FP32", (-1, 3)),)
    )


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_any_batch_is_answered(open_session, rows):
    weights, bias = linear_weights(4, 3)
    images = np.random.default_rng(1).standard_normal((rows, 4)).astype(np.float32)

    scores = open_session(linear(4, 3)).infer({"image": Tensor.from_numpy(images)})["scores"].numpy()

    np.testing.assert_allclose(scores, images @ weights + bias, rtol=1e-5, atol=1e-5)


def test_a_zero_dimensional_tensor_is_answered(open_session):
    session = open_session(identity({"x": ("INT64", [])}))

    assert session.infer({"x": from_values("INT64", (), [5])})["x_out"] == Tensor(
        "INT64", (), (5).to_bytes(8, "little")
    )


@pytest.mark.parametrize("damage", [b"", b"not a model", linear()[:50]], ids=["empty", "text", "cut short"])
def test_a_file_that_is_no_model_is_refused(open_session, damage):
    with pytest.raises(ArtifactRefused, match="ONNX Runtime cannot open the model"):
        open_session(damage)


def test_an_unknown_format_is_refused():
    with pytest.raises(ArtifactRefused, match="expected one of onnx, tflite, got 'pickle'"):
        load_session("pickle", b"")


def test_values_the_graph_cannot_take_are_the_callers_fault(open_session):
    session = open_session(gather([0.0, 0.0, 0.0]))

    with pytest.raises(InferenceFailed, match="ONNX Runtime"):
        session.infer({"index": from_values("INT64", (1,), [99])})


def test_a_refusal_leaves_the_next_run_alone(open_session):
    session = open_session(gather([1.0, 2.0]))
    right = {"index": from_values("INT64", (1,), [1])}
    wrong = {"index": from_values("INT64", (1,), [99])}

    for _ in range(3):
        assert session.infer(right)["row"].tolist() == [2.0]
        with pytest.raises(InferenceFailed, match="ONNX Runtime"):
            session.infer(wrong)


@pytest.mark.parametrize("model", [identity({"x": ("FP32", ["batch"])}), add_one()], ids=["identity", "sum"])
def test_the_same_shapes_again_get_answers_of_their_own(open_session, model):
    session = open_session(model)
    (name,) = (spec.name for spec in session.signature.outputs)
    first, *others = [session.infer({"x": from_values("FP32", (2,), [n, -n])})[name] for n in range(5)]

    step = first.tolist()[0]
    assert first.tolist() == [step, step]
    assert [other.tolist() for other in others] == [[step + n, step - n] for n in range(1, 5)]


def test_an_output_may_be_of_another_shape_for_other_values(open_session):
    session = open_session(
        _model(
            [helper.make_node("NonZero", ["x"], ["where"])],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
            [helper.make_tensor_value_info("where", TensorProto.INT64, [1, None])],
            [],
        )
    )
    found = [
        session.infer({"x": from_values("FP32", (3,), values)})["where"]
        for values in ([1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 1])
    ]

    assert [tensor.shape for tensor in found] == [(1, 1), (1, 1), (1, 2), (1, 0), (1, 3), (1, 1)]
    assert [tensor.tolist() for tensor in found] == [[0], [1], [1, 2], [], [0, 1, 2], [2]]


def test_strings_of_any_bytes_go_through_the_c_api():
    session = OnnxSession(identity({"x": ("BYTES", [3])}), None, 1)
    tensor = Tensor("BYTES", (3,), [b"\xff\x00\xfe", b"", b"a" * 1000])

    assert session.infer({"x": tensor})["x_out"] == tensor


@pytest.mark.parametrize(
    "buffer", [bytes(9), bytearray(9), memoryview(bytes(9))], ids=lambda value: type(value).__name__
)
def test_a_tensor_may_start_anywhere_in_a_request(buffer):
    """Compiled code may assume aligned elements; where a tensor starts in a body is the caller's choice."""
    view = memoryview(buffer)
    for offset in (0, 1):
        held = pointer(view[offset : offset + 8], alignment=8)
        assert (held.address % 8, held.size_bytes) == (0, 8)

    session = OnnxSession(identity({"x": ("FP64", [1])}), None, 1)
    assert session.infer({"x": Tensor("FP64", (1,), view[1:9])})["x_out"].tolist() == [0.0]


def test_many_threads_share_one_session(open_session):
    from concurrent.futures import ThreadPoolExecutor

    weights, bias = linear_weights(4, 3)
    session = open_session(linear(4, 3))

    def answers_right(rows: int) -> bool:
        images = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        scores = session.infer({"image": Tensor.from_numpy(images)})["scores"].numpy()
        return np.allclose(scores, images @ weights + bias, rtol=1e-5, atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(answers_right, [rows % 7 + 1 for rows in range(400)]))


def test_an_output_that_is_not_what_the_manifest_says_is_refused():
    told = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP64", (-1,)),))
    session = OnnxSession(add_one(), told, 1)

    with pytest.raises(InferenceFailed, match="output 'y': the manifest says FP64, the model gives FP32"):
        session.infer({"x": from_values("FP32", (2,), [1.0, 2.0])})
