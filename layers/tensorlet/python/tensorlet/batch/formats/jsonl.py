"""JSON Lines: a row is a list, an object by input name, `{"inputs": ...}` or a bare value (jsonlines.org).

A quarantine file (`.err.jsonl`) is read by the `input` of its records, whatever format they came from.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from tensorlet.batch.formats.blocks import LANES, Lane, block_lines, jsonl_lists, jsonl_numbers
from tensorlet.batch.formats.columns import choose_filtered_columns
from tensorlet.batch.formats.csv import row_inputs
from tensorlet.batch.jsonpath import WHOLE, Path, parse_path
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Array, Column, Failure, RowError, Rows, RowsBuilder, UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.batch.values import cast, json_to_array, row_size
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES

QUARANTINE = ".err.jsonl"
INPUT, OUTPUT = b"SageMakerInput", b"SageMakerOutput"
DEFAULTS = Options()
TRIAL_LINES = 100  # a file in which none of so many lines is JSON is no JSON Lines file


class JsonlReader:
    """A JSON Lines file as rows of a model's inputs."""

    def __init__(self, source: Source, signature: Signature, options: Options = DEFAULTS, fast: bool = True):
        self._blocks = source.lines()
        self._lines_read = 0
        self._some_json = False
        self._signature = signature
        self._filter = parse_path(options.input_filter)
        self._joined = options.join == "input"
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
        width = row_size(spec.shape) or 0
        if block.startswith(b"{"):
            table = jsonl_lists(block, width, self._lane, self._is_row)
        else:
            table = jsonl_numbers(block, width, self._lane) if self._filter.whole else None
        if table is None:
            return None
        try:
            inputs: dict[str, Column] = {spec.name: cast(table, spec.datatype).reshape(-1, *spec.shape[1:])}
        except RowError:  # the careful lane finds the row
            return None
        records = [line.strip() for line in block_lines(block)] if self._joined else None
        return Rows(len(table), inputs, {}, records)

    def _is_row(self, document: Any) -> bool:
        """Whether the model takes an empty list, which stands for the only one there is."""
        try:
            return choose_values(self._filter.select(document), self._signature) == [[]]
        except RowError:
            return False

    def _read_carefully(self, block: bytes) -> Rows:
        rows = RowsBuilder((spec.name for spec in self._signature.inputs), self._joined)
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
                    row, line = _quarantined(document)
                rows.add(self._inputs(row), line.strip())
            except RowError as error:
                rows.fail(str(error), row)
        return rows.build()

    def _inputs(self, row: Any) -> dict[str, Array]:
        if self._quarantine and self._filter.by_index and _is_table_row(row, self._signature):
            return _table_row_inputs(row, self._signature, self._filter)
        return row_to_inputs(self._filter.select(row), self._signature)


class JsonlWriter:
    """Predictions as JSON Lines: the bare value of a single output, else an object by name; null where a row failed.

    If they are `joined`, the prediction becomes the member `SageMakerOutput` of an object, or for any other row
    an object `{"SageMakerInput": row, "SageMakerOutput": prediction}`; `output_filter` then selects from that.
    Source: Amazon SageMaker API Reference, "DataProcessing", JoinSource.
    """

    def __init__(self, signature: Signature, joined: bool = False, output_filter: Path = WHOLE):
        self._names = [spec.name for spec in signature.outputs]
        self._joined = joined
        self._filter = output_filter

    def encode(self, predictions: Predictions) -> bytes:
        """Rows in which the output filter finds nothing are added to the failures."""
        if not predictions.outputs:
            return b"null\n" * predictions.size
        if len(self._names) == 1 and not (predictions.failures or self._joined or not self._filter.whole):
            text = _json_table(predictions.outputs[self._names[0]])
            if text:
                return text[1:-1].replace(b"],[", b"]\n[") + b"\n"
        rows = self._predictions(predictions.outputs)
        for n in predictions.failures:
            rows[n] = b"null"
        if self._joined or not self._filter.whole:
            for n in predictions.good():
                rows[n] = self._process(rows[n], predictions, n)
        return b"\n".join(rows) + b"\n"

    def finish(self) -> Iterator[bytes]:
        yield from ()

    def head(self) -> bytes:
        return b""

    def _predictions(self, outputs: dict[str, Column]) -> list[bytes]:
        values = [_json_rows(outputs[name]) for name in self._names]
        if len(values) == 1:
            return values[0]
        names = [orjson.dumps(name) + b":" for name in self._names]
        return [b"{" + b",".join(map(bytes.__add__, names, row)) + b"}" for row in zip(*values, strict=True)]

    def _process(self, prediction: bytes, predictions: Predictions, n: int) -> bytes:
        """Join one prediction with its row, and select from it."""
        record = predictions.records[n] if self._joined and predictions.records else b""
        joined = join_json(record, prediction) if record else prediction
        if self._filter.whole:
            return joined
        try:
            return orjson.dumps(self._filter.select(orjson.loads(joined)))
        except RowError as error:
            predictions.failures[n] = Failure(f"output_filter: {error}", orjson.loads(record or b"null"))
            return b"null"


def read_jsonl(source: Source, signature: Signature, options: Options) -> JsonlReader:
    return JsonlReader(source, signature, options)


def write_jsonl(signature: Signature, options: Options, reader: Any) -> JsonlWriter:
    return JsonlWriter(signature, options.join == "input", parse_path(options.output_filter))


def join_json(record: bytes, prediction: bytes) -> bytes:
    """A row and its prediction as one object; a member `SageMakerOutput` of the row is overwritten."""
    if not record.startswith(b"{"):
        return b'{"%b":%b,"%b":%b}' % (INPUT, record, OUTPUT, prediction)
    if OUTPUT in record or b"\\u" in record:  # perhaps escaped
        document = orjson.loads(record)
        document.pop(OUTPUT.decode(), None)
        record = orjson.dumps(document)
    separator = b"" if record[1:-1].strip() == b"" else b","
    return b'%b%b"%b":%b}' % (record[:-1], separator, OUTPUT, prediction)


def row_to_inputs(row: Any, signature: Signature) -> dict[str, Array]:
    """One JSON value as a row of every input. Raises RowError."""
    values = choose_values(row, signature)
    return {
        spec.name: json_to_array(value, spec) for spec, value in zip(signature.inputs, values, strict=True)
    }


def choose_values(row: Any, signature: Signature) -> list[Any]:
    """Which part of a row is which input, in the order of the inputs. Raises RowError."""
    names = {spec.name for spec in signature.inputs}
    if isinstance(row, dict) and "inputs" in row and "inputs" not in names:
        row = row["inputs"]
    if isinstance(row, dict):
        missing = sorted(names - row.keys())
        if missing:
            raise RowError(
                f"input {missing[0]!r} is missing, got {', '.join(map(repr, sorted(row)[:10])) or 'none'}"
            )
        return [row[spec.name] for spec in signature.inputs]
    if len(signature.inputs) > 1:
        raise RowError(f"expected an object with {', '.join(map(repr, sorted(names)))}")
    return [row]


def _lane(signature: Signature) -> Lane | None:
    """How the fast lane reads the rows of this model; None if it cannot."""
    spec = signature.inputs[0]
    if len(signature.inputs) > 1 or not row_size(spec.shape) or spec.datatype == "BOOL":
        return None
    if spec.datatype == "UINT64":
        return LANES["uint"]
    return LANES.get(DATATYPES[spec.datatype].kind)


def _quarantined(document: Any) -> tuple[Any, bytes]:
    """The row in a record of a quarantine file, and its text; one that was not JSON is text, perhaps mended by now."""
    if not isinstance(document, dict) or "input" not in document:
        raise RowError("expected a record with `input`")
    row = document["input"]
    if isinstance(row, str):
        try:
            return orjson.loads(row), row.encode()
        except orjson.JSONDecodeError:
            pass
    return row, orjson.dumps(row)


def _is_table_row(row: Any, signature: Signature) -> bool:
    """Whether a row came from a table: all its cells are text, or its names are not those of the inputs."""
    if isinstance(row, list):
        return (
            bool(row) and any(isinstance(cell, str) for cell in row) and not _takes_text(signature.inputs[0])
        )
    return (
        isinstance(row, dict) and "inputs" not in row and not {s.name for s in signature.inputs} <= row.keys()
    )


def _table_row_inputs(row: Any, signature: Signature, input_filter: Path) -> dict[str, Array]:
    """Cells by column name, or in order: their columns are chosen as for a table of this one row."""
    header = list(row) if isinstance(row, dict) else None
    cells = [_cell(cell) for cell in (row.values() if isinstance(row, dict) else row)]
    try:
        return row_inputs(cells, choose_filtered_columns(signature, header, [cells], input_filter))
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


def _json_table(column: Column) -> bytes | None:
    """Rows of numbers as JSON's text of a table; None for anything else."""
    if isinstance(column, np.ndarray) and column.ndim == 2 and column.dtype != object and column.size:
        return orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)
    return None


def _json_rows(column: Column) -> list[bytes]:
    """One JSON text for each row; what is not finite becomes null, for which JSON has no number."""
    if text := _json_table(column):
        return [b"[" + row + b"]" for row in text[2:-2].split(b"],[")]
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype != object and column.size:
        return orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    return [orjson.dumps(_plain(row), option=orjson.OPT_SERIALIZE_NUMPY) for row in column]


def _plain(value: Any) -> Any:
    """Text out of BYTES; arrays of numbers are left to orjson."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_plain(item) for item in value]
    return value
