"""The models that are measured: seeded, so that every run and every reference has the same weights.

mlp 784-128-10 (0.4 MB) and cnn (0.4 MB) as in the training scripts, mlp10m and mlp100m by their size in MB.
"""

import subprocess
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tensorlet.publish import publish
from tensorlet.publish.convert import convert_python

from benchmarks.environments import CACHE
from benchmarks.measure import say

LAYERS = {
    "mlp": [784, 128, 10],
    "mlp10m": [784, 1024, 1024, 640, 10],
    "mlp100m": [784, 4096, 4096, 1280, 10],
}
SHAPES = {"cnn": (1, 28, 28)}  # of a row; the others take 784 values
FOLDER = CACHE / "models"  # NAME.onnx and mlp.tflite; the bucket of the cold starts
REGISTRY = FOLDER / "registry"


@cache
def make_models() -> None:
    """Write the model files and publish them; the largest one with its fast-start variant whatever it costs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in (*LAYERS, "cnn"):
        path = FOLDER / f"{name}.onnx"
        if not path.exists():
            say(f"making {name}")
            save_mlp(LAYERS[name], path) if name in LAYERS else _save_cnn(path)
        if not (REGISTRY / name).exists():
            mode = "always" if name == "mlp100m" else "auto"
            publish(path, name, f"file://{REGISTRY}", aliases=["live"], fast_start=mode)
    if not (FOLDER / "mlp.tflite").exists():
        _save_tflite()
    if (FOLDER / "mlp.tflite").exists() and not (REGISTRY / "mlp-lite").exists():
        publish(FOLDER / "mlp.tflite", "mlp-lite", f"file://{REGISTRY}", aliases=["live"])


def row_shape(name: str) -> tuple[int, ...]:
    return SHAPES.get(name, (784,))


def images(rows: int, name: str = "mlp") -> np.ndarray:
    """The input of every benchmark: uniform in [0, 1), float32, (rows, *row_shape)."""
    return np.random.default_rng(7).random((rows, *row_shape(name)), dtype=np.float32)


def answers(rows: int) -> np.ndarray:
    """What `mlp` answers to `images(rows)`, computed here: (rows, 10)."""
    values: Any = images(rows)
    for number, (weights, bias) in enumerate(_dense(LAYERS["mlp"])):
        values = (np.maximum(values, 0) if number else values) @ weights + bias
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _dense(sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (inputs, outputs) and bias (outputs,) of each layer."""
    random = np.random.default_rng(sum(sizes))
    return [
        (
            random.normal(0, (2 / inputs) ** 0.5, (inputs, outputs)).astype(np.float32),
            random.normal(0, 0.01, outputs).astype(np.float32),
        )
        for inputs, outputs in pairwise(sizes)
    ]


def save_mlp(sizes: list[int], path: Path) -> None:
    """Dense layers of these sizes with ReLU between them and softmax at the end, batch size dynamic."""
    nodes, weights, value = [], {}, "input"
    for number, (matrix, bias) in enumerate(_dense(sizes)):
        if number:
            nodes.append(helper.make_node("Relu", [value], [f"relu{number}"]))
            value = f"relu{number}"
        weights |= {f"w{number}": matrix, f"b{number}": bias}
        nodes.append(helper.make_node("Gemm", [value, f"w{number}", f"b{number}"], [f"gemm{number}"]))
        value = f"gemm{number}"
    _save(path, [*nodes, helper.make_node("Softmax", [value], ["output"], axis=1)], weights, sizes[:1])


def _save_cnn(path: Path) -> None:
    random = np.random.default_rng(28)
    conv = {
        "c1": random.normal(0, 0.3, (16, 1, 3, 3)).astype(np.float32),
        "c2": random.normal(0, 0.1, (32, 16, 3, 3)).astype(np.float32),
    }
    (d1, e1), (d2, e2) = _dense([32 * 7 * 7, 64, 10])
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["input", "c1"], ["x1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["x1"], ["x2"]),
        helper.make_node("MaxPool", ["x2"], ["x3"], **pool),
        helper.make_node("Conv", ["x3", "c2"], ["x4"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["x4"], ["x5"]),
        helper.make_node("MaxPool", ["x5"], ["x6"], **pool),
        helper.make_node("Flatten", ["x6"], ["x7"]),
        helper.make_node("Gemm", ["x7", "d1", "e1"], ["x8"]),
        helper.make_node("Relu", ["x8"], ["x9"]),
        helper.make_node("Gemm", ["x9", "d2", "e2"], ["x10"]),
        helper.make_node("Softmax", ["x10"], ["output"], axis=1),
    ]
    _save(path, nodes, conv | {"d1": d1, "e1": e1, "d2": d2, "e2": e2}, list(SHAPES["cnn"]))


def _save(path: Path, nodes: list[Any], weights: dict[str, np.ndarray], row: list[int]) -> None:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *row])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


# Runs in the training environment, which has TensorFlow.
TO_TFLITE = """
import sys, numpy as np, tensorflow as tf
weights = np.load(sys.argv[1])
class Mlp(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 784), tf.float32, name="input")])
    def __call__(self, input):
        hidden = tf.nn.relu(input @ weights["w0"] + weights["b0"])
        return {"output": tf.nn.softmax(hidden @ weights["w1"] + weights["b1"])}
mlp = Mlp()
tf.saved_model.save(mlp, sys.argv[1] + ".saved", signatures=mlp.__call__)
convert = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1] + ".saved")
open(sys.argv[2], "wb").write(convert.convert())
"""


def _save_tflite() -> None:
    """mlp.tflite, where there is TensorFlow to make it; without it the LiteRT figures are skipped."""
    weights = FOLDER / "mlp.npz"
    arrays = {}
    for number, (matrix, bias) in enumerate(_dense(LAYERS["mlp"])):
        arrays |= {f"w{number}": matrix, f"b{number}": bias}
    np.savez(weights, **arrays)
    command = [convert_python(), "-c", TO_TFLITE, str(weights), str(FOLDER / "mlp.tflite")]
    if subprocess.run(command, capture_output=True).returncode:
        say("skipped: mlp.tflite needs TensorFlow (make setup)")
