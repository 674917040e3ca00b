"""Variants of a published model: made by the real tools, measured in the real runtime, refused where they are worse."""

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorlet.errors import DigestMismatch, InvalidRequest, PublishError, Unsigned
from tensorlet.publish.charts import variants_plot
from tensorlet.publish.evaluation import Evaluation, load_evaluation, read_rows, save_evaluation
from tensorlet.publish.golden import Golden, save_golden
from tensorlet.publish.measure import Quality, Subject, answers, judge, latencies
from tensorlet.publish.optimize import ORIGINAL, Variant, gate, optimize
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import publish_version
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import Tensor

from tests.keys import make_keys
from tests.models import identity

SCHEMA = Path(__file__).parents[2] / "docs" / "manifest.schema.json"
FEATURES, HIDDEN, CLASSES, ROWS = 16, 256, 4, 200
SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, FEATURES)),), (TensorSpec("scores", "FP32", (-1, CLASSES)),)
)


def classifier():
    """A random two-layer network, and what it answers for its rows: labels that it gets right by definition."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.standard_normal((FEATURES, HIDDEN)),
        "b1": random.standard_normal(HIDDEN),
        "w2": random.standard_normal((HIDDEN, CLASSES)),
        "b2": random.standard_normal(CLASSES),
    }
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    x = random.standard_normal((10 * ROWS, FEATURES)).astype(np.float32)
    scores = np.maximum(x @ weights["w1"] + weights["b1"], 0) @ weights["w2"] + weights["b2"]
    ranked = np.sort(scores, axis=1)
    decided = np.argsort(ranked[:, -2] - ranked[:, -1])[:ROWS]  # of a trained model most rows are
    return model, x[decided], scores[decided].astype(np.float32)


def publish(folder, registry, without=(), **document):
    """Version 1 of `net` with its golden values and, as training leaves them, rows to judge and calibrate with."""
    model, x, scores = classifier()
    onnx.save(model, folder / "model.onnx")
    save_golden(folder / "golden.npz", Golden({"x": x[:8]}, {"scores": scores[:8]}))
    save_evaluation(folder / "evaluation.npz", Evaluation({"x": x}, scores.argmax(1)), {"x": x[:64]})
    manifest = {
        "signature": SIGNATURE.to_json(),
        "artifacts": [
            {"id": "onnx", "format": "onnx", "precision": "fp32", "files": [{"path": "model.onnx"}]}
        ],
        "default_artifact": "onnx",
        "roles": {"scores": "scores"},
        **document,
    }
    names = [name for name in ("model.onnx", "golden.npz", "evaluation.npz") if name not in without]
    files = {name: folder / name for name in names}
    return publish_version(open_store(registry), "net", manifest, files)


class Optimized:
    def __init__(self, folder, registry):
        self.folder, self.registry = folder, registry
        self.lines = []
        publish(folder, registry)
        self.version = optimize(
            "net", None, registry, ["fp16", "int8-dynamic", "int8-static"], aliases=["small"],
            plot=folder / "plot.svg", report=self.lines.append,
        )  # fmt: skip
        self.manifest = Registry.open(registry).release("net", self.version).manifest


@pytest.fixture(scope="module")
def optimized(tmp_path_factory):
    """One run for all: each conversion starts a process."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TENSORLET_CONVERT_PYTHON", sys.executable)
    folder = tmp_path_factory.mktemp("optimize")
    yield Optimized(folder, f"file://{folder}/registry")
    patch.undo()


@pytest.mark.slow
def test_a_new_version_has_all_files_of_the_old_one_and_the_variants(optimized):
    store = open_store(optimized.registry)
    first, second = ({info.key.split("/")[2] for info in store.walk(f"net/{v}")} for v in (1, 2))

    assert optimized.version == 2
    assert first <= second
    assert {"model.fp16.onnx", "model.int8.onnx"} <= second
    assert [artifact.precision for artifact in optimized.manifest.artifacts] == ["fp32", "fp16", "int8"]
    assert optimized.manifest.document["derived_from"]["version"] == 1
    assert Registry.open(optimized.registry).aliases("net").version("small") == 2


@pytest.mark.slow
def test_the_manifest_keeps_to_its_schema_and_holds_what_was_measured(optimized):
    jsonschema.validate(optimized.manifest.document, json.loads(SCHEMA.read_text()))
    for artifact in optimized.manifest.document["artifacts"]:
        metrics = artifact["metrics"]
        assert metrics["accuracy"] >= 0.98 and metrics["agreement"] >= 0.98
        assert metrics["rows"] == ROWS
        assert set(metrics["latency_ms"]) == {"1", "32"} and min(metrics["latency_ms"].values()) > 0


@pytest.mark.slow
def test_every_variant_is_served_by_its_precision_and_answers_like_the_original(optimized):
    service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": optimized.registry}))
    _, x, scores = classifier()
    inputs = {"x": Tensor.from_numpy(x)}

    for precision, tolerance in (("fp32", 1e-4), ("fp16", 0.2), ("int8", 30.0)):
        got = service.model("net", precision=precision).infer(inputs)["scores"].numpy()
        assert np.abs(got - scores).max() < tolerance
        assert np.mean(got.argmax(1) == scores.argmax(1)) >= 0.98


@pytest.mark.slow
def test_of_two_variants_of_one_precision_the_smaller_is_kept(optimized):
    [int8] = [a for a in optimized.manifest.document["artifacts"] if a["precision"] == "int8"]
    loser = {"int8-static": "int8-dynamic", "int8-dynamic": "int8-static"}[int8["variant"]["target"]]

    [line] = [line for line in optimized.lines if line.startswith(f"onnx {loser}")]
    assert f"refused: {int8['variant']['target']} is the smaller int8" in line


@pytest.mark.slow
def test_the_plot_shows_every_variant(optimized):
    plot = (optimized.folder / "plot.svg").read_text()

    for name in ("onnx fp32", "onnx fp16", "onnx int8-static", "accuracy", "latency"):
        assert name in plot


@pytest.mark.slow
def test_nothing_is_published_where_no_variant_is_left(tmp_path, registry):
    publish(tmp_path, registry, without=["evaluation.npz"])  # so that there is nothing to calibrate with

    with pytest.raises(PublishError, match=r"no variant is left \(model\.int8\.onnx: .*--calibration FILE"):
        optimize("net", None, registry, ["int8-static"])
    assert Registry.open(registry).versions("net") == [1]


@pytest.mark.parametrize("name", ["model.onnx", "evaluation.npz"])
def test_a_version_that_was_tampered_with_has_no_variants(tmp_path, registry, name):
    """Else a new version would give the changed file a digest, and a signature."""
    publish(tmp_path, registry)
    open_store(registry).put(f"net/1/{name}", b"changed")

    with pytest.raises(DigestMismatch, match=name):
        optimize("net", None, registry, ["fp16"])


def test_where_keys_are_set_only_signed_versions_have_variants(tmp_path, registry):
    publish(tmp_path, registry)

    with pytest.raises(Unsigned):
        optimize("net", "1", registry, ["fp16"], trust=make_keys(tmp_path).trust)


def variant(target, accuracy=0.9, agreement=1.0, size=100, format="onnx", reason=""):
    quality = Quality(accuracy, agreement, 0.0, 10)
    return Variant(f"{format}.{target}", format, format, target, Path("m"), size, quality, reason=reason)


def test_the_gate_refuses_what_loses_too_much_and_says_how_much():
    judged = gate(
        [variant(ORIGINAL, 0.95), variant("fp16", 0.945, size=50), variant("int8-static", 0.93, size=30)],
        0.01,
    )

    assert [v.reason for v in judged] == ["", "", "2.00% lower accuracy, more than 1.00%"]


def test_a_drop_of_exactly_the_limit_passes():
    assert gate([variant(ORIGINAL, 0.95), variant("fp16", 0.94, size=50)], 0.01)[1].reason == ""


def test_without_labels_the_gate_goes_by_agreement():
    judged = gate([variant(ORIGINAL, None), variant("fp16", None, 0.98, 50)], 0.01)

    assert judged[1].reason == "2.00% of the rows answered otherwise, more than 1.00%"


def test_a_variant_that_saves_nothing_is_refused():
    assert (
        gate([variant(ORIGINAL), variant("fp16", size=100)], 0.01)[1].reason == "no smaller than the original"
    )


def test_each_format_is_judged_by_its_own_original():
    judged = gate(
        [variant(ORIGINAL), variant("fp16", size=50), variant(ORIGINAL, 0.5, format="tflite"),
         variant("fp16", 0.5, size=50, format="tflite")], 0.01,
    )  # fmt: skip

    assert [v.reason for v in judged] == ["", "", "", ""]


def test_answers_are_judged_by_class_or_else_by_value():
    scores = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)
    flipped = np.array([[0.9, 0.1], [0.6, 0.4]], np.float32)
    assert judge({"y": flipped}, {"y": scores}, "y", np.array([0, 0])) == Quality(
        1.0, 0.5, pytest.approx(0.2), 2
    )

    values = np.array([[0.0], [100.0]], np.float32)
    near = np.array([[0.5], [98.0]], np.float32)
    assert judge({"y": near}, {"y": values}, "y", None) == Quality(None, 0.5, pytest.approx(2.0), 2)


@pytest.mark.slow
def test_a_model_without_batches_is_measured_by_its_one_answer(tmp_path):
    (tmp_path / "model.onnx").write_bytes(identity({"x": ("FP32", [300])}))
    signature = Signature((TensorSpec("x", "FP32", (300,)),), (TensorSpec("x_out", "FP32", (300,)),))
    subject, inputs = Subject("0", "onnx", tmp_path / "model.onnx"), {"x": np.arange(300, dtype=np.float32)}

    found = answers(subject, signature, inputs, tmp_path / "answers")
    times = latencies([subject], signature, inputs, tmp_path / "latencies")

    assert found["x_out"].shape == (1, 300)
    assert judge(found, found, "x_out", None) == Quality(None, 1.0, 0.0, 1)
    assert set(times["0"]) == {"1"}


def test_rows_come_from_npz_by_name_or_as_the_one_input(tmp_path):
    x = np.zeros((3, FEATURES))
    np.savez(tmp_path / "named.npz", x=x, label=[0, 1, 2])
    np.savez(tmp_path / "training.npz", x_test=x.reshape(3, 4, 4), y_test=[0, 1, 2])

    for name in ("named.npz", "training.npz"):
        found = read_rows(tmp_path / name, SIGNATURE, ())
        assert found.inputs["x"].shape == (3, FEATURES) and found.inputs["x"].dtype == np.float32
        assert found.labels.tolist() == [0, 1, 2]


def test_rows_come_from_csv_with_labels_by_name(tmp_path):
    header = ",".join(f"f{i}" for i in range(FEATURES)) + ",label"
    (tmp_path / "rows.csv").write_text("\n".join([header, "1," * FEATURES + "owl", "2," * FEATURES + "cat"]))

    found = read_rows(tmp_path / "rows.csv", SIGNATURE, ["cat", "dog", "owl"])

    assert found.inputs["x"][:, 0].tolist() == [1, 2]
    assert found.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({"y": np.zeros((2, 16))}, "expected an array 'x', got y", id="no such input"),
        pytest.param({"x": np.zeros((2, 5))}, r"expected FP32 \[-1, 16\], got float64 \[2, 5\]", id="shape"),
        pytest.param({"x": np.zeros((2, 16)), "label": [1]}, "the same rows", id="fewer labels"),
        pytest.param({"x": np.zeros((0, 16))}, "one at least", id="no rows"),
        pytest.param({"x": np.zeros((1, 16)), "label": ["?"]}, "classes of the model", id="unknown class"),
        pytest.param({"x": np.array([["a"] * 16])}, "got <U1", id="text"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "rows.npz", **arrays)

    with pytest.raises(InvalidRequest, match=message):
        read_rows(tmp_path / "rows.npz", SIGNATURE, ())


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken"])
def test_a_file_that_holds_no_rows_is_refused(tmp_path, content):
    (tmp_path / "rows.npz").write_bytes(content)

    with pytest.raises(InvalidRequest, match=r"expected a \.npz or \.csv file"):
        read_rows(tmp_path / "rows.npz", SIGNATURE, ())


def test_rows_to_judge_and_to_calibrate_with_travel_in_one_file(tmp_path):
    x = np.arange(8.0).reshape(2, 4)
    save_evaluation(tmp_path / "e.npz", Evaluation({"x": x}, np.array([0, 1])), {"x": x + 1})

    test, calibration = load_evaluation(tmp_path / "e.npz")

    np.testing.assert_array_equal(test.inputs["x"], x)
    assert test.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(calibration["x"], x + 1)


def test_a_plot_escapes_what_it_names():
    row = {"name": "<script>&", "size_bytes": 1000, "agreement": 1.0, "latency_ms": {"1": 1.0}}

    plot = variants_plot([row])

    assert "<script>" not in plot and "&lt;script&gt;&amp;" in plot
