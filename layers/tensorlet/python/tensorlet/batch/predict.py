"""Rows in, predictions out: what fails in a group of rows is narrowed down to the rows that fail."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tensorlet.batch.rows import Array, Column, Failure, Rows, UnreadableFile
from tensorlet.errors import InferenceFailed
from tensorlet.serving.service import LoadedModel
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import Tensor


class Predictions(NamedTuple):
    """The outputs of `size` rows; those of failed rows hold any values. No outputs at all: every row failed."""

    size: int
    outputs: dict[str, Column]
    failures: dict[int, Failure]
    records: list[bytes] | None = None  # the text of every row, to join them with

    def good(self) -> list[int]:
        """The offsets of the rows that were predicted."""
        return [n for n in range(self.size) if n not in self.failures]


Piece = tuple[list[int], dict[str, Array]]  # the offsets of some rows, and their outputs


def rows_at_once(signature: Signature, wanted: int) -> int:
    """How many rows this model takes in one run: any number, or one if its first dimension is fixed to 1.

    Raises:
        UnreadableFile: the first dimension of an input is no batch of rows.
    """
    if signature.batched:
        return wanted
    if all(spec.shape[:1] in ((DYNAMIC,), (1,)) for spec in signature.inputs + signature.outputs):
        return 1
    raise UnreadableFile("the model does not take rows: its tensors have no batch dimension")


def predict(model: LoadedModel, rows: Rows) -> Predictions:
    """Predict the rows that have not failed yet.

    Raises:
        UnreadableFile: the model does not answer row by row.
    """
    failures = dict(rows.failures)
    pieces: list[Piece] = []
    for offsets in _groups(rows):
        pieces.extend(_run(model, rows, offsets, failures))
    failures = dict(sorted(failures.items()))
    return Predictions(rows.size, _assemble(rows.size, pieces, model.signature), failures, rows.records)


def _groups(rows: Rows) -> list[list[int] | None]:
    """Rows that can be stacked: all of them (None), or those of each shape in order of first appearance."""
    ragged = [column for column in rows.columns.values() if isinstance(column, list)]
    if not ragged and not rows.failures:
        return [None]
    groups: dict[Any, list[int]] = {}
    for n in range(rows.size):
        if n not in rows.failures:
            groups.setdefault(tuple(column[n].shape for column in ragged), []).append(n)
    return list(groups.values())


def _run(
    model: LoadedModel, rows: Rows, offsets: list[int] | None, failures: dict[int, Failure]
) -> Iterator[Piece]:
    """Run some rows; when the runtime refuses their values, halve them until the rows at fault stand alone."""
    where = list(range(rows.size)) if offsets is None else offsets
    step = rows_at_once(model.signature, len(where)) or 1
    if step < len(where):
        for start in range(0, len(where), step):
            yield from _run(model, rows, where[start : start + step], failures)
        return
    try:
        yield where, _infer(model, rows, offsets)
    except InferenceFailed as error:
        if len(where) == 1:
            failures[where[0]] = Failure(str(error), row_to_json(rows.columns, where[0]))
            return
        middle = len(where) // 2
        yield from _run(model, rows, where[:middle], failures)
        yield from _run(model, rows, where[middle:], failures)


def _infer(model: LoadedModel, rows: Rows, offsets: list[int] | None) -> dict[str, Array]:
    inputs = {
        spec.name: _tensor(spec, _select(rows.columns[spec.name], offsets)) for spec in model.signature.inputs
    }
    count = rows.size if offsets is None else len(offsets)
    outputs = {}
    for name, tensor in model.infer(inputs).items():
        if tensor.shape[:1] != (count,):
            raise UnreadableFile(
                f"the model does not answer row by row: output {name!r} has the shape {list(tensor.shape)}"
                f" for {count} rows"
            )
        outputs[name] = _array(tensor)
    return outputs


def _select(column: Column, offsets: list[int] | None) -> Array:
    if offsets is None:
        assert isinstance(column, np.ndarray)
        return column
    return np.stack([column[n] for n in offsets]) if isinstance(column, list) else column[offsets]


def _tensor(spec: TensorSpec, array: Array) -> Tensor:
    if spec.datatype != "BF16":
        return Tensor.from_numpy(array)
    return Tensor("BF16", array.shape, np.ascontiguousarray(array).tobytes())


def _array(tensor: Tensor) -> Array:
    """BF16 is given as float32: its bits are the upper half of one."""
    array = tensor.numpy()
    return (array.astype(np.uint32) << 16).view(np.float32) if tensor.datatype == "BF16" else array


def _assemble(count: int, pieces: list[Piece], signature: Signature) -> dict[str, Column]:
    if not pieces:
        return {}
    if len(pieces) == 1 and len(pieces[0][0]) == count:
        return dict(pieces[0][1])
    return {spec.name: _scatter(count, pieces, spec.name) for spec in signature.outputs}


def _scatter(count: int, pieces: list[Piece], name: str) -> Column:
    """The outputs of all pieces at their rows: one array, or a list where their shapes differ."""
    parts = [(offsets, outputs[name]) for offsets, outputs in pieces]
    if len({array.shape[1:] for _, array in parts}) == 1:
        first = parts[0][1]
        column = np.zeros((count, *first.shape[1:]), first.dtype)
        for offsets, array in parts:
            column[offsets] = array
        return column
    rows: list[Any] = [None] * count
    for offsets, array in parts:
        for n, row in zip(offsets, array, strict=True):
            rows[n] = row
    return rows


def row_to_json(columns: Mapping[str, Column], n: int) -> Any:
    """A row as JSON, from its arrays: a list if there is one input, else an object by name."""
    values = {name: _to_json(column[n]) for name, column in columns.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if not isinstance(value, np.ndarray):
        return value.item()
    if value.dtype == object:
        return [_to_json(item) for item in value]
    return value.tolist()
