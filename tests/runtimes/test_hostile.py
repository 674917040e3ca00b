"""Model files that reach for more than their own bytes: the runtimes refuse them, and publishing survives the rest."""

import copy
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from tensorlet.errors import ArtifactRefused, ConversionFailed
from tensorlet.publish import publish
from tensorlet.runtimes import load_session

DYNAMIC = Path(__file__).parents[1] / "data" / "dynamic.tflite"
SECRET = np.arange(3, dtype=np.float32)
LOCATIONS = ["secret.bin", "./secret.bin", "../secret.bin", "{folder}/secret.bin", "/proc/self/environ"]


def with_external_data(location: str) -> bytes:
    """`y = x - w`, where `w` lies in the file `location`."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=SECRET.shape)
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(SECRET.nbytes))):
        weights.external_data.add(key=key, value=value)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, SECRET.shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sub", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_model_from_memory_reads_no_file(tmp_path, monkeypatch, location):
    """Whatever is in the working directory would be weights, and a caller could ask for them."""
    (tmp_path / "inside").mkdir()
    for folder in (tmp_path, tmp_path / "inside"):
        SECRET.tofile(folder / "secret.bin")
    monkeypatch.chdir(tmp_path / "inside")

    with pytest.raises(ArtifactRefused):
        load_session("onnx", with_external_data(location.format(folder=tmp_path)))


@pytest.mark.parametrize("location", LOCATIONS[2:])
def test_a_model_from_a_folder_reads_no_file_outside_of_it(tmp_path, location):
    (tmp_path / "inside").mkdir()
    SECRET.tofile(tmp_path / "secret.bin")
    model = tmp_path / "inside" / "model.onnx"
    model.write_bytes(with_external_data(location.format(folder=tmp_path)))

    with pytest.raises(ArtifactRefused):
        load_session("onnx", str(model))


def large_for_its_bytes() -> bytes:
    """A constant that claims 16 terabytes, and has four bytes."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 21, 1 << 21], raw_data=bytes(4))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1 << 21]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "model", [large_for_its_bytes(), b"\x0a" * 100_000, b""], ids=["a huge constant", "nesting", "nothing"]
)
def test_an_absurd_onnx_file_is_refused(model):
    with pytest.raises(ArtifactRefused):
        load_session("onnx", model)


def calling_itself() -> bytes:
    """A TFLite graph whose first operator is an If of which both branches are the graph itself.

    Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, IfOptions.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(DYNAMIC.read_bytes(), 0))
    graph = model.subgraphs[0]
    x = graph.tensors[graph.inputs[0]]
    condition, output = copy.deepcopy(x), copy.deepcopy(x)
    condition.type, condition.shape, condition.shapeSignature = schema.TensorType.BOOL, [], None
    true = schema.BufferT()
    true.data = np.array([1], np.uint8)
    condition.buffer = len(model.buffers)
    model.buffers.append(true)
    graph.tensors += [condition, output]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.IF
    call = schema.OperatorT()
    call.opcodeIndex = len(model.operatorCodes)
    call.inputs = [len(graph.tensors) - 2, graph.inputs[0]]
    call.outputs = [len(graph.tensors) - 1]
    call.builtinOptionsType, call.builtinOptions = schema.BuiltinOptions.IfOptions, schema.IfOptionsT()
    model.operatorCodes.append(code)
    graph.operators.insert(0, call)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_tflite_file_that_calls_itself_ends_its_trial_and_not_the_publisher(tmp_path):
    """It overflows the stack of LiteRT when it is opened; docs/trust.md says so for serving."""
    source = tmp_path / "recursive.tflite"
    source.write_bytes(calling_itself())

    with pytest.raises(ConversionFailed, match=r"signal|SIGSEGV|ended") as refusal:
        publish(source, "recursive", f"file://{tmp_path}/registry")

    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "registry" / "recursive").exists()
