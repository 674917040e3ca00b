"""Graphs of a TFLite file through LiteRT's Python API."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import FROM_NUMPY, Tensor

Run = Callable[[dict[str, Any]], dict[str, Any]]


def open_graphs(model: Any, threads: int) -> list["PythonGraph"]:
    """One graph for each signature of the file, or its main graph where it names none. Raises ArtifactRefused."""
    # Otherwise OpenBLAS starts a thread for each core when NumPy is imported: a third of a cold start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ai_edge_litert.interpreter import Interpreter

    try:
        source = {"model_path": model} if isinstance(model, str) else {"model_content": bytes(model)}
        interpreter = Interpreter(**source, num_threads=threads)
        names = interpreter.get_signature_list()
        if not names:
            return [_main_graph(interpreter)]
        return [_signature_graph(interpreter.get_signature_runner(name)) for name in names]
    except Exception as error:  # ValueError and RuntimeError; a broken file can raise others
        raise ArtifactRefused(f"LiteRT cannot open the model: {_reason(error)}") from error


class PythonGraph:
    def __init__(self, inputs: dict[str, Any], outputs: dict[str, Any], run: Run):
        self.signature = Signature(
            tuple(_spec(name, detail) for name, detail in inputs.items()),
            tuple(_spec(name, detail) for name, detail in outputs.items()),
        )
        self._run = run

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        try:
            results = self._run({name: tensor.numpy() for name, tensor in inputs.items()})
        except (RuntimeError, ValueError) as error:
            raise InferenceFailed(f"LiteRT: {_reason(error)}") from error
        return {name: Tensor.from_numpy(result) for name, result in results.items()}


def _signature_graph(runner: Any) -> PythonGraph:
    return PythonGraph(
        runner.get_input_details(), runner.get_output_details(), lambda arrays: runner(**arrays)
    )


def _main_graph(interpreter: Any) -> PythonGraph:
    """The graph of a file without signatures; its tensors go by their own names."""
    inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
    outputs = {detail["name"]: detail for detail in interpreter.get_output_details()}

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        for name, array in arrays.items():
            interpreter.resize_tensor_input(inputs[name]["index"], array.shape, strict=True)
        interpreter.allocate_tensors()
        for name, array in arrays.items():
            interpreter.set_tensor(inputs[name]["index"], array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(detail["index"]) for name, detail in outputs.items()}

    return PythonGraph(inputs, outputs, run)


def _spec(name: str, detail: dict[str, Any]) -> TensorSpec:
    """Raises ValueError for an element type that no V2 datatype stands for."""
    import numpy as np

    kind = np.dtype(detail["dtype"])
    datatype = "BYTES" if kind.kind in "OSU" else FROM_NUMPY.get(kind.name)
    if datatype is None:
        raise ValueError(f"{name!r} has elements of {kind}; only V2 datatypes can be served")
    dims = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(name, datatype, tuple(int(dim) for dim in dims))


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]
