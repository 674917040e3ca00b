"""LiteRT (TensorFlow Lite) behind the `InferenceSession` interface.

A TFLite file may have a batch of fixed size, or several signatures that differ only in it (`b1`, `b8`, `b32`).
The caller sees one model that takes any batch: rows are cut into pieces, the last padded up to a size there is.

Graphs run through LiteRT's C library where we know it (`tflite_c`: no NumPy on the cold path), and through its
Python API otherwise (`tflite_python`: several threads, strings, shapes that depend on values).
"""

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Shape, Tensor, element_count


class Graph(Protocol):
    """One signature of a TFLite file, to be run by one thread at a time."""

    signature: Signature

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raises InferenceFailed."""
        ...


class TFLiteSession:
    """A TFLite model. Interpreters are not thread-safe, and silently so: one lock guards each."""

    def __init__(self, model: Any, signature: Signature | None, threads: int):
        graphs = _open_graphs(model, threads)
        self._lock = Lock()
        self._graphs = {_batch(graph.signature): graph for graph in graphs}
        self.signature = signature or _caller_view([graph.signature for graph in graphs])
        if signature:
            for graph in graphs:
                _check_view(signature, graph.signature)

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self._lock:
            if not self.signature.batched:
                return next(iter(self._graphs.values())).run(inputs)
            rows = inputs[self.signature.inputs[0].name].shape[0]
            if rows == 0:
                return {spec.name: _empty(spec) for spec in self.signature.outputs}
            if DYNAMIC in self._graphs:
                return self._graphs[DYNAMIC].run(inputs)
            return self._run_pieces(inputs, rows)

    def _run_pieces(self, inputs: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
        pieces = []
        for start, size in batches(rows, sorted(self._graphs)):
            outputs = self._graphs[size].run({name: _piece(t, start, size) for name, t in inputs.items()})
            pieces.append(
                {name: _piece(tensor, 0, min(size, rows - start)) for name, tensor in outputs.items()}
            )
        return {spec.name: _joined([piece[spec.name] for piece in pieces]) for spec in self.signature.outputs}


def batches(rows: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut `rows` into (start, size): the largest of the ascending `sizes`, then the smallest that holds the rest."""
    start = 0
    while start < rows:
        left = rows - start
        size = next((size for size in sizes if size >= left), sizes[-1])
        yield start, size
        start += size


def _open_graphs(model: Any, threads: int) -> Sequence[Graph]:
    from tensorlet.runtimes import tflite_c
    from tensorlet.runtimes.tflite_file import check_file

    content = _mapped(model) if isinstance(model, str) else model
    check_file(content)
    if threads == 1 and (graphs := tflite_c.open_graphs(content)):
        return graphs
    from tensorlet.runtimes import tflite_python

    return tflite_python.open_graphs(model, threads)


def _mapped(path: str) -> Any:
    from mmap import ACCESS_READ, mmap

    with open(path, "rb") as file:  # noqa: PTH123  # no pathlib on the cold path
        try:
            return mmap(file.fileno(), 0, access=ACCESS_READ)
        except ValueError:  # a file without a byte
            return b""


def _batch(signature: Signature) -> int:
    """The batch size of a graph: DYNAMIC for any, 0 where its tensors have none in common."""
    sizes = {spec.shape[0] if spec.shape else 0 for spec in signature.inputs + signature.outputs}
    return sizes.pop() if len(sizes) == 1 else 0


def _caller_view(signatures: list[Signature]) -> Signature:
    """The signature of the file; several batch sizes are one batch of any size."""
    first = signatures[0]
    if len(signatures) == 1:
        return first

    def any_batch(spec: TensorSpec) -> TensorSpec:
        return spec._replace(shape=(DYNAMIC, *spec.shape[1:]))

    return Signature(tuple(map(any_batch, first.inputs)), tuple(map(any_batch, first.outputs)))


def _check_view(view: Signature, graph: Signature) -> None:
    """Refuse a view that the graph does not have: its buffers are as large as the graph says, and nobody looks again.

    Raises:
        ArtifactRefused: another name, datatype or rank, or another length of a dimension that is not the batch.
    """
    for kind, wanted, found in (
        ("input", view.inputs, graph.inputs),
        ("output", view.outputs, graph.outputs),
    ):
        own = {spec.name: spec for spec in found}
        for spec in wanted:
            mine = own.get(spec.name)
            fits = mine and mine.datatype == spec.datatype and len(mine.shape) == len(spec.shape)
            if not mine or not fits or (kind == "input" and not _fixed_alike(spec.shape[1:], mine.shape[1:])):
                there = f"{mine.datatype} {list(mine.shape)}" if mine else f"only {', '.join(own)}"
                raise ArtifactRefused(
                    f"{kind} {spec.name!r}: expected {spec.datatype} {list(spec.shape)}, the TFLite file has {there}"
                )


def _fixed_alike(view: Shape, graph: Shape) -> bool:
    """Whether every length that the graph fixes is also the view's."""
    return all(length in (DYNAMIC, wanted) for wanted, length in zip(view, graph, strict=True))


def _piece(tensor: Tensor, start: int, size: int) -> Tensor:
    """Rows `start` to `start + size`; those beyond the end repeat the last: real values, so nothing odd is computed."""
    rows, *rest = tensor.shape
    missing = max(0, start + size - rows)
    shape = (size, *rest)
    if tensor.datatype == "BYTES":
        count = element_count(rest)
        elements = tensor.data[start * count : (start + size) * count]
        return Tensor("BYTES", shape, elements + tensor.data[(rows - 1) * count :] * missing)
    row_bytes = element_count(rest) * DATATYPES[tensor.datatype].size_bytes
    data = memoryview(tensor.data).cast("B") if row_bytes else memoryview(b"")
    piece = data[start * row_bytes : (start + size) * row_bytes]
    if missing:
        return Tensor(tensor.datatype, shape, b"".join((piece, *[data[(rows - 1) * row_bytes :]] * missing)))
    return Tensor(tensor.datatype, shape, piece)


def _joined(pieces: list[Tensor]) -> Tensor:
    """Pieces one after the other along the first dimension."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    shape = (sum(piece.shape[0] for piece in pieces), *first.shape[1:])
    if first.datatype == "BYTES":
        return Tensor("BYTES", shape, [element for piece in pieces for element in piece.data])
    return Tensor(first.datatype, shape, b"".join(piece.data for piece in pieces))


def _empty(spec: TensorSpec) -> Tensor:
    """The output for an empty batch, which LiteRT cannot run. Raises InferenceFailed where its shape is unknown."""
    if DYNAMIC in spec.shape[1:]:
        raise InferenceFailed(f"LiteRT: the shape of {spec.name!r} is unknown for an empty batch")
    return Tensor(spec.datatype, (0, *spec.shape[1:]), [] if spec.datatype == "BYTES" else b"")
