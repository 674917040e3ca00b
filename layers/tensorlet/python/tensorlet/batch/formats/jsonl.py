"""JSON Lines: a row is a list, an object by input name, `{"inputs": ...}` or a bare value (jsonlines.org).

A quarantine file (`.err.jsonl`) is read by the `input` of its records, whatever format they came from.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from tensorlet.batch.formats.blocks import LANES, Lane, jsonl_numbers
from tensorlet.batch.formats.columns import choose_columns
from tensorlet.batch.formats.csv import row_inputs
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Array, Column, RowError, Rows, RowsBuilder, UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.batch.values import cast, json_to_array, row_size
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES

QUARANTINE = ".err.jsonl"
TRIAL_LINES = 100  # a file in which none of so many lines is JSON is no JSON Lines file


class JsonlReader:
    """A JSON Lines file as rows of a model's inputs."""

    def __init__(self, source: Source, signature: Signature, fast: bool = True):
        self._blocks = source.lines()
        self._lines_read = 0
        self._some_json = False
        self._signature = signature
        self._quarantine = source.info.key.removesuffix(".gz").endswith(QUARANTINE)
        self._lane = _lane(signature) if fast and not self._quarantine else None

    def rows(self) -> Iterator[Rows]:
        """All rows of the file in blocks.

        Raises:
            UnreadableFile: not UTF-8, or the first lines are no JSON at all.
        """
        for block in self._blocks:
            rows = self._read_fast(block) if self._lane else None
            if rows is None:
                rows = self._read_carefully(block)
            else:
                self._some_json = True
            self._lines_read += rows.size
            if self._lines_read >= TRIAL_LINES:
                self._refuse_other_formats()
            yield rows
        self._refuse_other_formats()

    def _refuse_other_formats(self) -> None:
        if self._lines_read and not self._some_json:
            raise UnreadableFile("not JSON Lines: none of the first lines is JSON")

    def _read_fast(self, block: bytes) -> Rows | None:
        spec = self._signature.inputs[0]
        assert self._lane
        table = jsonl_numbers(block, row_size(spec.shape) or 0, self._lane)
        if table is None:
            return None
        try:
            return Rows(len(table), {spec.name: cast(table, spec.datatype).reshape(-1, *spec.shape[1:])}, {})
        except RowError:  # the careful lane finds the row
            return None

    def _read_carefully(self, block: bytes) -> Rows:
        rows = RowsBuilder(spec.name for spec in self._signature.inputs)
        for line in block.split(b"\n"):
            if not line.strip():
                continue
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                rows.fail(f"not JSON: {error}", _text(line))
                continue
            self._some_json = True
            row = document
            try:
                if self._quarantine:
                    row = _quarantined(document)
                rows.add(self._inputs(row))
            except RowError as error:
                rows.fail(str(error), row)
        return rows.build()

    def _inputs(self, row: Any) -> dict[str, Array]:
        if self._quarantine and _is_table_row(row, self._signature):
            return _table_row_inputs(row, self._signature)
        return row_to_inputs(row, self._signature)


class JsonlWriter:
    """Predictions as JSON Lines: the bare value of a single output, else an object by name; null where a row failed."""

    def __init__(self, signature: Signature):
        self._names = [spec.name for spec in signature.outputs]

    def encode(self, predictions: Predictions) -> bytes:
        if not predictions.outputs:
            return b"null\n" * predictions.size
        values = [_json_rows(predictions.outputs[name]) for name in self._names]
        if len(values) == 1:
            rows = values[0]
        else:
            names = [orjson.dumps(name) + b":" for name in self._names]
            rows = [
                b"{" + b",".join(map(bytes.__add__, names, row)) + b"}" for row in zip(*values, strict=True)
            ]
        for n in predictions.failures:
            rows[n] = b"null"
        return b"\n".join(rows) + b"\n"

    def finish(self) -> Iterator[bytes]:
        yield from ()

    def head(self) -> bytes:
        return b""


def open_jsonl(source: Source, signature: Signature, options: Options) -> tuple[Iterator[Rows], JsonlWriter]:
    return JsonlReader(source, signature).rows(), JsonlWriter(signature)


def row_to_inputs(row: Any, signature: Signature) -> dict[str, Array]:
    """One JSON value as a row of every input. Raises RowError."""
    names = {spec.name for spec in signature.inputs}
    if isinstance(row, dict) and "inputs" in row and "inputs" not in names:
        row = row["inputs"]
    if isinstance(row, dict):
        missing = sorted(names - row.keys())
        if missing:
            raise RowError(
                f"input {missing[0]!r} is missing, got {', '.join(map(repr, sorted(row)[:10])) or 'none'}"
            )
        return {spec.name: json_to_array(row[spec.name], spec) for spec in signature.inputs}
    if len(signature.inputs) > 1:
        raise RowError(f"expected an object with {', '.join(map(repr, sorted(names)))}")
    spec = signature.inputs[0]
    return {spec.name: json_to_array(row, spec)}


def _lane(signature: Signature) -> Lane | None:
    """How the fast lane reads the rows of this model; None if it cannot."""
    spec = signature.inputs[0]
    if len(signature.inputs) > 1 or not row_size(spec.shape) or spec.datatype == "BOOL":
        return None
    if spec.datatype == "UINT64":
        return LANES["uint"]
    return LANES.get(DATATYPES[spec.datatype].kind)


def _quarantined(document: Any) -> Any:
    """The row in a record of a quarantine file; one that was not JSON is text, perhaps mended by now."""
    if not isinstance(document, dict) or "input" not in document:
        raise RowError("expected a record with `input`")
    row = document["input"]
    if isinstance(row, str):
        try:
            return orjson.loads(row)
        except orjson.JSONDecodeError:
            return row
    return row


def _is_table_row(row: Any, signature: Signature) -> bool:
    """Whether a row came from a table: all its cells are text, or its names are not those of the inputs."""
    if isinstance(row, list):
        return (
            bool(row) and any(isinstance(cell, str) for cell in row) and not _takes_text(signature.inputs[0])
        )
    return (
        isinstance(row, dict) and "inputs" not in row and not {s.name for s in signature.inputs} <= row.keys()
    )


def _table_row_inputs(row: Any, signature: Signature) -> dict[str, Array]:
    """Cells by column name, or in order: their columns are chosen as for a table of this one row."""
    header = list(row) if isinstance(row, dict) else None
    cells = [_cell(cell) for cell in (row.values() if isinstance(row, dict) else row)]
    try:
        return row_inputs(cells, choose_columns(signature, header, [cells]))
    except UnreadableFile as error:
        raise RowError(str(error)) from None


def _takes_text(spec: TensorSpec) -> bool:
    return spec.datatype == "BYTES"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _text(line: bytes) -> str:
    try:
        return line.decode().removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"not UTF-8: {error.reason}") from None


def _json_rows(column: Column) -> list[bytes]:
    """One JSON text for each row; what is not finite becomes null, for which JSON has no number."""
    if isinstance(column, np.ndarray) and column.dtype != object and column.size:
        text = orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)
        if column.ndim == 1:
            return text[1:-1].split(b",")
        if column.ndim == 2:
            return [b"[" + row + b"]" for row in text[2:-2].split(b"],[")]
    return [orjson.dumps(_plain(row), option=orjson.OPT_SERIALIZE_NUMPY) for row in column]


def _plain(value: Any) -> Any:
    """Text out of BYTES; arrays of numbers are left to orjson."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_plain(item) for item in value]
    return value
