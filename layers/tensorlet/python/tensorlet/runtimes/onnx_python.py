"""ONNX Runtime through its Python API: where the wheel has no C library that `runtimes.onnx` can drive."""

import os
from collections.abc import Mapping
from typing import Any

from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import Tensor

# ONNX Runtime's type names, as `NodeArg.type` gives them.
DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
BFLOAT16 = 16  # TensorProto.DataType, onnx.proto


class OnnxPythonSession:
    """An ONNX model; ONNX Runtime sessions are safe to run from several threads."""

    def __init__(self, model: Any, signature: Signature | None, threads: int, prepack: bool = True):
        # Otherwise OpenBLAS starts a thread for each core when NumPy is imported: a third of a cold start.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only: a warning is a log line that nobody asked for
        if not prepack:
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            source = model if isinstance(model, str) else bytes(model)
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
            found = Signature(
                tuple(map(_spec, self._session.get_inputs())), tuple(map(_spec, self._session.get_outputs()))
            )
        except ArtifactRefused:
            raise
        except Exception as error:  # its errors have no common base but Exception
            raise ArtifactRefused(f"ONNX Runtime cannot open the model: {_reason(error)}") from error
        self.signature = signature or found
        self._outputs = [spec.name for spec in self.signature.outputs]
        self._has_bfloat16 = any(spec.datatype == "BF16" for spec in found.inputs + found.outputs)

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        try:
            if self._has_bfloat16:
                return self._infer_values(inputs)
            feeds = {name: _array(tensor) for name, tensor in inputs.items()}
            results = self._session.run(self._outputs, feeds)
        except InferenceFailed:
            raise
        except Exception as error:
            raise InferenceFailed(f"ONNX Runtime: {_reason(error)}") from error
        return {name: Tensor.from_numpy(result) for name, result in zip(self._outputs, results, strict=True)}

    def _infer_values(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """BF16 has no NumPy dtype: its bits go through OrtValue."""
        from onnxruntime import OrtValue

        feeds = {
            name: OrtValue.ortvalue_from_numpy_with_onnx_type(tensor.numpy(), BFLOAT16)
            if tensor.datatype == "BF16"
            else OrtValue.ortvalue_from_numpy(_array(tensor))
            for name, tensor in inputs.items()
        }
        results = self._session.run_with_ort_values(self._outputs, feeds)
        return {name: _tensor(value) for name, value in zip(self._outputs, results, strict=True)}


def _spec(node: Any) -> TensorSpec:
    """A graph input or output; symbolic and unknown dimensions are dynamic. Raises ArtifactRefused."""
    datatype = DATATYPES.get(node.type)
    if datatype is None:
        raise ArtifactRefused(f"{node.name!r} is a {node.type}; only tensors can be served")
    shape = (dim if isinstance(dim, int) and dim >= 0 else DYNAMIC for dim in node.shape)
    return TensorSpec(node.name, datatype, tuple(shape))


def _array(tensor: Tensor) -> Any:
    values = tensor.numpy()
    if tensor.datatype != "BYTES":
        return values
    import numpy as np

    try:  # the runtime wants `str`; it would print other objects
        return np.array([v.decode() for v in values.ravel()], dtype=object).reshape(values.shape)
    except UnicodeDecodeError as error:
        raise InferenceFailed(f"string tensors must be UTF-8: {error}") from None


def _tensor(value: Any) -> Tensor:
    if value.data_type() != "tensor(bfloat16)":
        return Tensor.from_numpy(value.numpy())
    from ctypes import string_at

    from tensorlet.tensors import element_count

    shape = tuple(value.shape())
    return Tensor("BF16", shape, string_at(value.data_ptr(), 2 * element_count(shape)))


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].removeprefix("[ONNXRuntimeError] : ")
