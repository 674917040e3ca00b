"""Model files that reach for more than their own bytes, or for the process that opens them: they are refused."""

import copy
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from tensorlet.errors import ArtifactRefused, ConversionFailed
from tensorlet.publish import publish
from tensorlet.registry.manifest import MANIFEST
from tensorlet.runtimes import load_session
from tensorlet.runtimes.tflite_file import CALLS, MOST_NESTED, OPTIONS, OPTIONS_2, SIGNATURE_DEFS
from tensorlet.tensors import Tensor

from tests.http.conftest import ask, error_of, make_app
from tests.models import half_plus_two, publish_onnx
from tests.models import publish as publish_file

DATA = Path(__file__).parents[1] / "data"
DYNAMIC = (DATA / "dynamic.tflite").read_bytes()
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


def changed(change: Callable[[Any], None], file: bytes = DYNAMIC) -> bytes:
    """A TFLite file after `change` has been made to it, as an object of the schema."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
    change(model)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_calls(*called: int) -> bytes:
    """A TFLite file in which graph `i` is an If of which both branches are the graph `called[i]`; the last gives x."""

    def change(model: Any) -> None:
        x = copy.deepcopy(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]])
        x.shape, x.shapeSignature = [1, 3], None
        condition, output = copy.deepcopy(x), copy.deepcopy(x)
        condition.type, condition.shape, condition.buffer = schema.TensorType.BOOL, [], len(model.buffers)
        true = schema.BufferT()
        true.data = np.array([1], np.uint8)
        model.buffers.append(true)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.IF
        model.operatorCodes = [code]
        model.subgraphs = []
        for branch in called:
            call, graph = schema.OperatorT(), schema.SubGraphT()
            call.inputs, call.outputs = [1, 0], [2]
            call.builtinOptionsType, call.builtinOptions = (
                schema.BuiltinOptions.IfOptions,
                schema.IfOptionsT(),
            )
            call.builtinOptions.thenSubgraphIndex = call.builtinOptions.elseSubgraphIndex = branch
            graph.tensors, graph.operators = [x, condition, output], [call]
            graph.inputs, graph.outputs = [0], [2]
            model.subgraphs.append(graph)
        last = schema.SubGraphT()
        last.tensors, last.operators, last.inputs, last.outputs = [x], [], [0], [0]
        model.subgraphs.append(last)
        signature = model.signatureDefs[0]
        signature.subgraphIndex, signature.outputs = 0, signature.outputs[:1]
        signature.inputs[0].tensorIndex, signature.outputs[0].tensorIndex = 0, 2

    return changed(change)


def with_signature(**members: int) -> bytes:
    """A TFLite file whose signature takes the tensor `takes`, gives the tensor `gives`, and is of the graph `graph`."""

    def change(model: Any) -> None:
        signature = model.signatureDefs[0]
        signature.subgraphIndex = members.get("graph", 0)
        signature.inputs[0].tensorIndex = members.get("takes", signature.inputs[0].tensorIndex)
        signature.outputs[0].tensorIndex = members.get("gives", signature.outputs[0].tensorIndex)

    return changed(change)


def without_options(model: Any) -> None:
    model.subgraphs[0].operators[0].builtinOptions = schema.AddOptionsT()
    model.subgraphs[0].operators[0].builtinOptionsType = schema.BuiltinOptions.AddOptions


def with_many_signatures() -> bytes:
    """The length of the vector is a lie."""
    tables = schema.Model.GetRootAs(DYNAMIC, 0)._tab
    content = bytearray(DYNAMIC)
    length_at = tables.Vector(tables.Offset(4 + 2 * SIGNATURE_DEFS)) - 4
    content[length_at : length_at + 4] = b"\xff" * 4
    return bytes(content)


def with_name(model: Any) -> None:
    model.signatureDefs[0].inputs[0].name = b"\xff\xfe"


DEEP = f"more than {MOST_NESTED} deep"

# LiteRT by itself ends the process that opens one of these (a tower of 30,000 and not of 101).
ENDING = {
    "a graph that calls itself": (with_calls(0), "graph 0 calls itself"),
    "graphs that call each other": (with_calls(1, 2, 0), "graph 0 calls itself"),
    "a tower of calls": (with_calls(*range(1, MOST_NESTED + 1)), DEEP),
    "a tower upside down": (with_calls(2, 0, *range(3, MOST_NESTED + 2)), DEEP),
    "an input that is none": (with_signature(takes=1), r"an input of .*: expected one of .* \[0\], got 1"),
    "an output that is none": (with_signature(gives=0), "an output of .* got 0"),
    "a call that says not of what": (changed(without_options, with_calls(1)), "does not say which graph"),
}
# These it refuses later, with less to say, or serves.
ABSURD = {
    "a graph beside the signature's that calls itself": (with_calls(2, 1), "graph 1 calls itself"),
    "a tensor that is not there": (with_signature(gives=2**31 - 1), "an output of .* got 2147483647"),
    "a signature of no graph": (with_signature(graph=7), "expected one of 1 graphs, got 7"),
    "a call of no graph": (with_calls(9), "expected one of 2 graphs, got 9"),
    "a list longer than the file": (with_many_signatures(), "a list of 4294967295 elements"),
    "a name that is no text": (changed(with_name), "(?i)utf-8"),
    "nothing": (b"", "cut short"),
    "half of a file": (DYNAMIC[:500], "cannot open"),
    "zeros": (bytes(64), "cannot open"),
}
TFLITE = ENDING | ABSURD


@pytest.mark.parametrize(("model", "reason"), TFLITE.values(), ids=TFLITE)
@pytest.mark.parametrize("threads", [1, 2], ids=["C", "Python"])
def test_a_hostile_tflite_file_is_refused_with_its_reason(model, reason, threads, tmp_path):
    """From memory and from disk, by both ways to the runtime."""
    path = tmp_path / "model.tflite"
    path.write_bytes(model)

    for source in (model, str(path)):
        with pytest.raises(ArtifactRefused, match=reason):
            load_session("tflite", source, threads=threads)


def test_calls_that_end_are_served():
    session = load_session("tflite", with_calls(*range(1, 10)))
    x = Tensor.from_numpy(np.array([[1, 2, 3]], np.float32))

    (given,) = session.infer({"x": x}).values()

    assert given.numpy().tolist() == [[1, 2, 3]]


def test_every_operator_of_the_schema_that_calls_graphs_is_known():
    """Fields of options that name graphs, by the schema of the installed LiteRT."""
    in_schema = {}
    for union, types in ((OPTIONS, schema.BuiltinOptions), (OPTIONS_2, schema.BuiltinOptions2)):
        for name, number in vars(types).items():
            options = getattr(schema, f"{name}T", None)
            if isinstance(number, int) and options:
                fields = [field.lower() for field in vars(options())]
                graphs = tuple(place for place, field in enumerate(fields) if "subgraph" in field)
                if graphs:
                    in_schema[union, number] = graphs

    assert {(union, type): fields for union, type, fields in CALLS.values()} == in_schema


def test_a_server_that_checks_no_signatures_outlives_a_file_that_calls_itself(store):
    """GIVEN a registry that anybody can write to, WHEN a file and its digest are replaced, THEN it is refused."""
    publish_file(store, "attacked", "tflite", DYNAMIC)
    publish_onnx(store, "half", half_plus_two())
    hostile = with_calls(0)
    manifest = json.loads(bytes(store.get(f"attacked/1/{MANIFEST}").data))
    digest = {"size_bytes": len(hostile), "sha256": sha256(hostile).hexdigest()}
    manifest["artifacts"][0]["files"][0].update(digest)
    store.put(f"attacked/1/{MANIFEST}", json.dumps(manifest).encode())
    store.put("attacked/1/model.tflite", hostile)
    app = make_app(store)

    answer = ask(app, "POST /v1/models/attacked:predict", {"instances": [[1, 2, 3]]})

    assert (answer.status, "calls itself" in error_of(answer)) == (503, True)
    states = json.loads(ask(app, "POST /v2/repository/index").body)
    assert {state["name"]: state["state"] for state in states} == {"attacked": "UNAVAILABLE", "half": "READY"}
    assert ask(app, "POST /v1/models/half:predict", {"instances": [1.0]}).status == 200


def strided_slice_of_one_input(model: Any) -> None:
    """The first operator, SHAPE, becomes a STRIDED_SLICE, whose kernel reads three more inputs than there are."""
    model.subgraphs[0].operators[0].opcodeIndex = model.subgraphs[0].operators[1].opcodeIndex


def test_a_file_that_ends_its_trial_does_not_end_the_publisher(tmp_path):
    """Kernels trust their operators; docs/trust.md says so for serving."""
    source = tmp_path / "crash.tflite"
    source.write_bytes(changed(strided_slice_of_one_input, (DATA / "computed_shape.tflite").read_bytes()))

    with pytest.raises(ConversionFailed, match=r"signal|SIGSEGV|ended") as refusal:
        publish(source, "crash", f"file://{tmp_path}/registry")

    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "registry" / "crash").exists()


def test_publishing_says_why_a_file_that_calls_itself_is_refused(tmp_path):
    source = tmp_path / "recursive.tflite"
    source.write_bytes(with_calls(0))

    with pytest.raises(ConversionFailed, match="calls itself"):
        publish(source, "recursive", f"file://{tmp_path}/registry")
