"""Tiny real models for the tests, built here and published to a registry as `tensorlet publish` would."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tensorlet.registry.store import Store
from tensorlet.registry.writer import publish_version
from tensorlet.runtimes import load_session
from tensorlet.runtimes.onnx_python import DATATYPES

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
assert set(ELEMENT_TYPES) == set(DATATYPES.values())

Dims = Sequence[int | str]


def linear_weights(columns: int, outputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights (columns, outputs) and bias (outputs,), float32."""
    random = np.random.default_rng(seed)
    return (
        random.standard_normal((columns, outputs)).astype(np.float32),
        random.standard_normal(outputs).astype(np.float32),
    )


def linear(columns: int = 4, outputs: int = 3, seed: int = 0) -> bytes:
    """`scores = image @ weights + bias` over any number of rows; input `image`, output `scores`."""
    weights, bias = linear_weights(columns, outputs, seed)
    return _model(
        [helper.make_node("Gemm", ["image", "weights", "bias"], ["scores"])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", columns])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )


def half_plus(number: float) -> bytes:
    """`y = 0.5 x + number` over one dynamic dimension."""
    return _model(
        [
            helper.make_node("Mul", ["x", "half"], ["product"]),
            helper.make_node("Add", ["product", "number"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [
            numpy_helper.from_array(np.float32(0.5).reshape(()), "half"),
            numpy_helper.from_array(np.float32(number).reshape(()), "number"),
        ],
    )


def times(factor: float) -> bytes:
    """`y = factor x` over rows of four."""
    return _model(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.float32(factor).reshape(()), "factor")],
    )


def half_plus_two() -> bytes:
    """TensorFlow Serving's test model."""
    return half_plus(2.0)


def add_sub() -> bytes:
    """Triton's `simple`: OUTPUT0 = INPUT0 + INPUT1 and OUTPUT1 = INPUT0 - INPUT1, INT32 of shape [-1, 16]."""
    return _model(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", 16])
            for name in ("INPUT0", "INPUT1")
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", 16])
            for name in ("OUTPUT0", "OUTPUT1")
        ],
        [],
    )


def half_precision() -> bytes:
    """KServe's test model: FP32 of any shape [-1, -1], flattened, as `fp16_output` and as `fp32_output`."""
    return _model(
        [
            helper.make_node("Reshape", ["input", "flat"], ["fp32_output"]),
            helper.make_node("Cast", ["fp32_output"], ["fp16_output"], to=TensorProto.FLOAT16),
        ],
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", "columns"])],
        [
            helper.make_tensor_value_info("fp16_output", TensorProto.FLOAT16, ["elements"]),
            helper.make_tensor_value_info("fp32_output", TensorProto.FLOAT, ["elements"]),
        ],
        [numpy_helper.from_array(np.array([-1], np.int64), "flat")],
    )


def first_row() -> bytes:
    """`all` is the input and `first` its first row alone: outputs whose batch sizes differ."""
    return _model(
        [
            helper.make_node("Identity", ["x"], ["all"]),
            helper.make_node("Slice", ["x", "start", "end"], ["first"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [
            helper.make_tensor_value_info("all", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("first", TensorProto.FLOAT, ["one"]),
        ],
        [
            numpy_helper.from_array(np.array([0], np.int64), "start"),
            numpy_helper.from_array(np.array([1], np.int64), "end"),
        ],
    )


def identity(tensors: dict[str, tuple[str, Dims]], suffix: str = "_out") -> bytes:
    """For each input NAME: (datatype, dims) an output `NAME_out`, or of another suffix, with the same values."""
    kinds = {name: (ELEMENT_TYPES[datatype], list(dims)) for name, (datatype, dims) in tensors.items()}
    return _model(
        [helper.make_node("Identity", [name], [f"{name}{suffix}"]) for name in kinds],
        [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(f"{name}{suffix}", *kind) for name, kind in kinds.items()],
        [],
    )


def publish_onnx(store: Store, name: str, model: bytes, **document: Any) -> int:
    """Publish ONNX bytes as the next version of `name`; the signature is read by the runtime."""
    return publish(store, name, "onnx", model, **document)


def publish(store: Store, name: str, format: str, model: bytes, **document: Any) -> int:
    """Publish the bytes of an ONNX or TFLite file as the next version of `name`."""
    signature = load_session(format, model).signature
    file = f"model.{format}"
    manifest = {
        "signature": signature.to_json(),
        "artifacts": [{"id": format, "format": format, "precision": "fp32", "files": [{"path": file}]}],
        "default_artifact": format,
        **document,
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / file
        path.write_bytes(model)
        return publish_version(store, name, manifest, {file: path})


def publish_precisions(store: Store, name: str, models: dict[str, bytes]) -> int:
    """Publish one version with an ONNX file for each precision; the first one is the default."""
    files = {precision: f"model.{precision}.onnx" for precision in models}
    [default, *_] = models
    manifest = {
        "signature": load_session("onnx", models[default]).signature.to_json(),
        "artifacts": [
            {"id": f"onnx.{precision}", "format": "onnx", "precision": precision, "files": [{"path": file}]}
            for precision, file in files.items()
        ],
        "default_artifact": f"onnx.{default}",
    }
    with TemporaryDirectory() as folder:
        for precision, file in files.items():
            (Path(folder) / file).write_bytes(models[precision])
        return publish_version(store, name, manifest, {file: Path(folder) / file for file in files.values()})


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], initializers: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "model", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()  # type: ignore[no-any-return]


def publish_golden(store: Store, folder: Path, name: str, model: bytes, answers_off_by: float = 0.0) -> None:
    """Publish `linear(4, ...)` with golden values, which its answers differ from by so much."""
    import onnxruntime
    from tensorlet.publish.golden import Golden, save_golden

    inputs = {"image": np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answers = session.run(["scores"], inputs)[0] + np.float32(answers_off_by)
    files = {"model.onnx": folder / f"{name}.onnx", "golden.npz": folder / f"{name}.npz"}
    files["model.onnx"].write_bytes(model)
    save_golden(files["golden.npz"], Golden(inputs, {"scores": answers}))
    artifact = {
        "id": "onnx",
        "format": "onnx",
        "precision": "fp32",
        "files": [{"path": "model.onnx"}],
        "parity": {"max_abs_diff": 0.0, "tolerance": 1e-4},
    }
    manifest = {
        "signature": load_session("onnx", model).signature.to_json(),
        "artifacts": [artifact],
        "files": [{"path": "golden.npz"}],
        "default_artifact": "onnx",
    }
    publish_version(store, name, manifest, files)


def to_parquet(rows: np.ndarray) -> bytes:
    """A Parquet file with a column for each column of `rows`."""
    from io import BytesIO

    from arro3.core import Array, Table
    from arro3.io import write_parquet

    file = BytesIO()
    columns = {f"c{number}": Array(rows[:, number].copy()) for number in range(rows.shape[1])}
    write_parquet(Table.from_pydict(columns), file)
    return file.getvalue()


def from_parquet(content: bytes) -> np.ndarray:
    """`from_parquet(to_parquet(rows)) == rows`."""
    from io import BytesIO

    from arro3.io import read_parquet

    table = read_parquet(BytesIO(content)).read_all()
    return np.stack([table.column(number).to_numpy() for number in range(table.num_columns)], axis=1)
