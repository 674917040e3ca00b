"""A source model for publishing whose conversions are prepared: y = 2 x + 1 on rows of three."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorlet.publish.golden import Golden, save_golden
from tensorlet.signature import Signature, TensorSpec

FAKE_PYTHON = Path(__file__).parent / "fake_python.sh"
TFLITE = Path(__file__).parents[1] / "data"
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (-1, 3)),))
WRONG_BY = 0.001


@pytest.fixture
def registry(tmp_path):
    return f"file://{tmp_path / 'registry'}"


@pytest.fixture(autouse=True)
def this_python_converts(monkeypatch):
    """These tests need no frameworks, wherever they are."""
    monkeypatch.setenv("TENSORLET_CONVERT_PYTHON", sys.executable)


@pytest.fixture
def keras_model(tmp_path, monkeypatch, this_python_converts, prepared):
    """A file that the stand-in for the frameworks converts."""
    monkeypatch.setenv("TENSORLET_CONVERT_PYTHON", str(FAKE_PYTHON))
    monkeypatch.setenv("PREPARED", str(prepared))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the stand-in fails if it sees this")
    source = tmp_path / "doubler.keras"
    source.write_bytes(b"whatever the framework reads")
    return source


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with what each step of a conversion leaves, and `STEP-wrong` with something else."""
    folder = tmp_path_factory.mktemp("prepared")
    for step in ("describe", "onnx", "tflite"):
        (folder / step).mkdir()
        (folder / f"{step}-wrong").mkdir()
    describe(folder / "describe", 0)
    describe(folder / "describe-wrong", WRONG_BY)
    onnx.save(doubler(1), folder / "onnx" / "model.onnx")
    onnx.save(doubler(1 + WRONG_BY), folder / "onnx-wrong" / "model.onnx")
    shutil.copyfile(TFLITE / "dynamic.tflite", folder / "tflite" / "model.tflite")
    return folder


def describe(folder, wrong_by):
    """Golden values that are `wrong_by` in one place of row 5."""
    x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    y = 2 * x + 1
    y[5, 1] += wrong_by
    save_golden(folder / "golden.npz", Golden({"x": x}, {"y": y}))
    description = {"signature": SIGNATURE.to_json(), "versions": {"fake": "1.0"}}
    (folder / "description.json").write_text(json.dumps(description))


def doubler(one):
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["double"]),
            helper.make_node("Add", ["double", "one"], ["y"]),
        ],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in (("two", 2), ("one", one))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
