"""LiteRT (TensorFlow Lite) behind the `InferenceSession` interface.

A TFLite file may have a batch of fixed size, or several signatures that differ only in it (`b1`, `b8`, `b32`).
The caller sees one model that takes any batch: rows are cut into pieces, the last padded up to a size there is.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any

from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import FROM_NUMPY, Tensor


class TFLiteSession:
    """A TFLite model. Interpreters are not thread-safe, and silently so: one lock guards each."""

    def __init__(self, model: Any, signature: Signature | None, threads: int):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # see runtimes/onnx.py
        from ai_edge_litert.interpreter import Interpreter

        try:
            source = {"model_path": model} if isinstance(model, str) else {"model_content": bytes(model)}
            self._interpreter = Interpreter(**source, num_threads=threads)
            graphs = _graphs(self._interpreter)
        except Exception as error:  # ValueError and RuntimeError; a broken file can raise others
            raise ArtifactRefused(f"LiteRT cannot open the model: {_reason(error)}") from error
        self._lock = Lock()
        # Graphs by the batch they take, DYNAMIC for any.
        self._graphs = {graph.batch: graph for graph in graphs}
        self.signature = signature or _caller_view(graphs)

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
        try:
            with self._lock:
                results = self._run(arrays)
        except (RuntimeError, ValueError) as error:
            raise InferenceFailed(f"LiteRT: {_reason(error)}") from error
        return {spec.name: Tensor.from_numpy(results[spec.name]) for spec in self.signature.outputs}

    def _run(self, arrays: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        if not self.signature.batched:
            return next(iter(self._graphs.values())).run(arrays)
        rows = len(next(iter(arrays.values())))
        if rows == 0:
            return self._empty()
        if DYNAMIC in self._graphs:
            return self._graphs[DYNAMIC].run(arrays)
        pieces = []
        for start, size in batches(rows, sorted(self._graphs)):
            piece = {name: _padded(array[start : start + size], size) for name, array in arrays.items()}
            results = self._graphs[size].run(piece)
            pieces.append({name: result[: rows - start] for name, result in results.items()})
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def _empty(self) -> dict[str, Any]:
        """The outputs of an empty batch, which LiteRT cannot run."""
        import numpy as np

        from tensorlet.tensors import DATATYPES

        empty = {}
        for spec in self.signature.outputs:
            if DYNAMIC in spec.shape[1:]:
                raise InferenceFailed(f"LiteRT: the shape of {spec.name!r} is unknown for an empty batch")
            dtype: Any = DATATYPES[spec.datatype].numpy
            empty[spec.name] = np.empty((0, *spec.shape[1:]), dtype)
        return empty


class _Graph:
    """One signature of the file, or its main graph where it names none."""

    def __init__(
        self, inputs: dict[str, Any], outputs: dict[str, Any], run: Callable[[dict[str, Any]], dict[str, Any]]
    ):
        self.signature = Signature(
            tuple(_spec(name, detail) for name, detail in inputs.items()),
            tuple(_spec(name, detail) for name, detail in outputs.items()),
        )
        self.run = run
        batches = {
            spec.shape[0] if spec.shape else 0 for spec in self.signature.inputs + self.signature.outputs
        }
        self.batch = batches.pop() if len(batches) == 1 else 0


def batches(rows: int, sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Cut `rows` into (start, size) with `sizes` ascending: the largest that fits, the smallest that holds the rest."""
    start = 0
    while start < rows:
        left = rows - start
        size = next((size for size in sizes if size >= left), sizes[-1])
        yield start, size
        start += size


def _padded(rows: Any, size: int) -> Any:
    """`rows` with its last row repeated up to `size`: real values, so that nothing odd is computed."""
    import numpy as np

    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


def _graphs(interpreter: Any) -> list[_Graph]:
    names = interpreter.get_signature_list()
    if not names:
        return [_main_graph(interpreter)]
    graphs = []
    for name in names:
        runner = interpreter.get_signature_runner(name)
        graphs.append(_Graph(runner.get_input_details(), runner.get_output_details(), _keyword_call(runner)))
    return graphs


def _keyword_call(runner: Any) -> Any:
    return lambda arrays: runner(**arrays)


def _main_graph(interpreter: Any) -> _Graph:
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

    return _Graph(inputs, outputs, run)


def _spec(name: str, detail: dict[str, Any]) -> TensorSpec:
    """Raises ValueError for an element type that no V2 datatype stands for."""
    import numpy as np

    kind = np.dtype(detail["dtype"])
    datatype = "BYTES" if kind.kind in "OSU" else FROM_NUMPY.get(kind.name)
    if datatype is None:
        raise ValueError(f"{name!r} has elements of {kind}; only V2 datatypes can be served")
    dims = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(name, datatype, tuple(int(dim) for dim in dims))


def _caller_view(graphs: list[_Graph]) -> Signature:
    """The signature of the file; several batch sizes are one batch of any size."""
    first = graphs[0].signature
    if len(graphs) == 1:
        return first

    def any_batch(spec: TensorSpec) -> TensorSpec:
        return spec._replace(shape=(DYNAMIC, *spec.shape[1:]))

    return Signature(tuple(map(any_batch, first.inputs)), tuple(map(any_batch, first.outputs)))


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]
