"""CSV as Python's csv module reads it (RFC 4180), streamed, with the numbers of clean blocks read at once.

Blocks of whole lines come in. The fast lane takes those in which the model's columns are nothing but numbers; the
careful lane reads all others row by row: quotes and newlines between them, rows that do not fit.
"""

import csv
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import chain
from typing import Any

import numpy as np
import orjson

from tensorlet.batch.formats.blocks import LANES, Lane, block_lines, csv_columns, csv_numbers
from tensorlet.batch.formats.columns import Columns, Take, choose_filtered_columns
from tensorlet.batch.jsonpath import WHOLE, Path, parse_path
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Array, Column, RowError, Rows, RowsBuilder, UnreadableFile
from tensorlet.batch.source import RECORD_BYTES, Source
from tensorlet.batch.values import cast, cells_to_array, is_number, row_size
from tensorlet.signature import Signature
from tensorlet.tensors import DATATYPES

SAMPLE_BYTES = 1 << 17
ROW_END = b"],["  # between two rows of a table in JSON
csv.field_size_limit(RECORD_BYTES)  # the default, 128 KiB, is less than one image in base64


class CsvReader:
    """A CSV file as rows of a model's inputs. `header` is the list of its column names, or None."""

    def __init__(self, source: Source, signature: Signature, options: Options, fast: bool = True):
        self._delimiter = options.delimiter
        self._joined = options.join == "input"
        self._blocks = source.lines()
        first = _at_least(SAMPLE_BYTES, self._blocks).lstrip(b"\r\n")
        sample = _sample(first, self._delimiter)
        has_header = _looks_like_header(sample) if options.header is None else options.header
        self.header = sample.pop(0) if has_header and sample else None
        self._columns: Columns | None = None
        if sample:
            path = parse_path(options.input_filter)
            self._columns = choose_filtered_columns(signature, self.header, sample, path)
        self._skip_header = self.header is not None
        if self._skip_header and b'"' not in (line := first[: first.find(b"\n") + 1]):
            first, self._skip_header = first[len(line) :], False
        self._blocks = chain([first] if first else [], self._blocks)
        self._fast = fast

    @property
    def names(self) -> list[str]:
        """What the columns are called: by the header, else numbers from 0."""
        return self.header or list(self._columns.names if self._columns else ())

    def rows(self) -> Iterator[Rows]:
        """All rows of the file in blocks. Raises UnreadableFile: not UTF-8, or a quote that is never closed."""
        if self._columns is None:
            self._expect_no_rows()
            return
        lane = _lane(self._columns) if self._fast else None
        start = 0
        for block in self._blocks:
            rows = None
            if lane and not self._skip_header:
                rows = self._read_fast(block, self._columns, lane)
            if rows is None:
                rows = self._read_carefully(block, self._columns, start)
            start += rows.size
            yield rows

    def _expect_no_rows(self) -> None:
        """A file that seems to be nothing but a header may be one with a quote too many. Raises UnreadableFile."""
        for block in self._blocks:
            if self._read_carefully(block, Columns(0, (), ()), 0).size:
                limit = SAMPLE_BYTES >> 10
                raise UnreadableFile(
                    f"no row ends in the first {limit} KiB: is a quote not closed, or do lines end in CR alone?"
                )

    def _read_fast(self, block: bytes, columns: Columns, lane: Lane) -> Rows | None:
        positions = columns.positions
        delimiter = self._delimiter.encode()
        if len(positions) == columns.width:
            table = csv_numbers(block, columns.width, lane, delimiter)
        else:
            table = csv_columns(block, columns.width, positions, lane, delimiter)
        if table is None:
            return None
        try:
            inputs = {take.spec.name: _take(table, take, positions) for take in columns.takes}
        except RowError:  # the careful lane finds the row
            return None
        return Rows(len(table), inputs, {}, block_lines(block) if self._joined else None)

    def _read_carefully(self, block: bytes, columns: Columns, start: int) -> Rows:
        """Row by row; a quoted cell may pull in the blocks that follow."""
        feed = _LineFeed(block, self._blocks)
        reader = csv.reader(feed, delimiter=self._delimiter)
        rows = RowsBuilder((take.spec.name for take in columns.takes), self._joined)
        while True:
            feed.record.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return rows.build()
            except csv.Error as error:
                rows.fail(str(error), "".join(feed.record))
                continue
            if feed.cut_off:
                raise UnreadableFile(f"row {start + rows.size}: a quote is never closed")
            if not cells:
                continue  # an empty line
            if self._skip_header:
                self._skip_header = False
                continue
            try:
                rows.add(row_inputs(cells, columns), feed.text() if self._joined else b"")
            except RowError as error:
                rows.fail(str(error), _original(cells, self.header))


class _LineFeed:
    """Lines for csv.reader: those of one block, and of the next ones while a record is not complete."""

    def __init__(self, block: bytes, more: Iterator[bytes]):
        self._lines = _lines(block)
        self._more = more
        self._size = 0
        self.record: list[str] = []  # the lines of the record at hand
        self.cut_off = False

    def __iter__(self) -> "_LineFeed":
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            line = self._line_of_next_block()
        self._size = len(line) + (self._size if self.record else 0)
        if self._size > RECORD_BYTES:
            raise UnreadableFile(f"a row is longer than {RECORD_BYTES >> 20} MiB: is a quote never closed?")
        self.record.append(line)
        return line

    def text(self) -> bytes:
        """The record at hand, without what ends it."""
        return "".join(self.record).removesuffix("\n").removesuffix("\r").encode()

    def _line_of_next_block(self) -> str:
        if not self.record:
            raise StopIteration  # between two records: this block is done
        block = next(self._more, None)
        if block is None:
            self.cut_off = True
            raise StopIteration
        self._lines = _lines(block)
        return next(self._lines)


class CsvWriter:
    """Predictions as CSV: a row for every row, `NAME` or `NAME[i]` as columns, empty cells where a row failed.

    With `joined`, the names of the input's columns, every row begins with the input as it was. `output_filter` then
    selects from all cells of the row.
    """

    def __init__(
        self,
        signature: Signature,
        header: bool,
        delimiter: str = ",",
        joined: list[str] | None = None,
        output_filter: Path = WHOLE,
    ):
        self._header = header
        self._delimiter = delimiter.encode()
        self._joined = joined
        self._filter = output_filter
        self._names = [spec.name for spec in signature.outputs]
        self._sizes: list[int] = []  # cells of each output; unknown until the first prediction
        if all(row_size(spec.shape) is not None for spec in signature.outputs):
            self._sizes = [row_size(spec.shape) or 0 for spec in signature.outputs]
        self._waiting = 0  # failed rows before the first prediction
        self._started = False

    def encode(self, predictions: Predictions) -> bytes:
        """Raises UnreadableFile when an output changes its size from row to row."""
        columns = [predictions.outputs[name] for name in self._names if predictions.outputs]
        if not self._sizes and not columns:
            self._waiting += predictions.size
            return b""
        if not self._sizes:
            self._sizes = [_cells_per_row(column) for column in columns]
        start = self._start()
        if not columns:
            return start + self._blank() * predictions.size
        plain = self._joined is None and self._filter.whole and not predictions.failures and len(columns) == 1
        if plain and (text := _number_rows(columns[0])):
            return start + text.replace(ROW_END, b"\n").replace(b",", self._delimiter) + b"\n"
        rows = self._rows(columns, predictions)
        blank = self._blank()[:-1]
        for n in predictions.failures:
            rows[n] = blank
        return start + b"\n".join(rows) + b"\n"

    def finish(self) -> Iterator[bytes]:
        self._sizes = self._sizes or [1] * len(self._names)
        yield self._start() if self._header or self._waiting else b""

    def head(self) -> bytes:
        return b""

    def _rows(self, columns: list[Column], predictions: Predictions) -> list[bytes]:
        """The text of every row; that of failed rows is any."""
        parts = [
            _cells(column, size, self._delimiter) for column, size in zip(columns, self._sizes, strict=True)
        ]
        if self._joined is not None:
            parts.insert(0, predictions.records or [])
        rows = parts[0] if len(parts) == 1 else list(map(self._delimiter.join, zip(*parts, strict=True)))
        if not self._filter.whole:
            select = _selector(self._positions(), self._width(), self._delimiter)
            rows = [b"" if n in predictions.failures else select(row) for n, row in enumerate(rows)]
        return [row or b'""' for row in rows]

    def _start(self) -> bytes:
        """The header, and the failed rows that came before anybody knew how many cells they have."""
        if self._started:
            return b""
        self._started = True
        names = [name for pair in zip(self._names, self._sizes, strict=True) for name in column_names(*pair)]
        names = [*(self._joined or ()), *names]
        cells = [_quote(names[n].encode(), self._delimiter) for n in self._positions()]
        header = self._delimiter.join(cells) + b"\n"
        return (header if self._header else b"") + self._blank() * self._waiting

    def _blank(self) -> bytes:
        """An empty row; a single empty cell is quoted, since an empty line would be no row to most readers."""
        return (self._delimiter * (len(self._positions()) - 1) or b'""') + b"\n"

    def _width(self) -> int:
        return len(self._joined or ()) + sum(self._sizes)

    def _positions(self) -> list[int]:
        """The cells that are written. Raises UnreadableFile."""
        try:
            return self._filter.positions(self._width())
        except RowError as error:
            raise UnreadableFile(f"output_filter: {error} columns") from None


def read_csv(source: Source, signature: Signature, options: Options) -> CsvReader:
    return CsvReader(source, signature, options)


def write_csv(signature: Signature, options: Options, reader: Any) -> CsvWriter:
    """With a header if the CSV that is read has one; if something else is read, unless the options say no."""
    table = reader if isinstance(reader, CsvReader) else None
    header = table.header is not None if table else options.header is not False
    joined = table.names if table and options.join == "input" else None
    return CsvWriter(signature, header, options.delimiter, joined, parse_path(options.output_filter))


def column_names(name: str, size: int) -> list[str]:
    return [name] if size == 1 else [f"{name}[{n}]" for n in range(size)]


def _at_least(size: int, blocks: Iterator[bytes]) -> bytes:
    """The first blocks as one of `size` bytes or more, if there are so many."""
    joined = b""
    while len(joined) < size and (block := next(blocks, b"")):
        joined += block
    return joined


def _sample(block: bytes, delimiter: str) -> list[list[str]]:
    """The first rows, the header among them: those that begin in the first `SAMPLE_BYTES`."""
    part = block[: block.find(b"\n", SAMPLE_BYTES - 1) + 1] or block
    sample = []
    try:
        for cells in csv.reader(_lines(part), delimiter=delimiter):
            if cells:
                sample.append(cells)
    except csv.Error:  # this row will be reported when its turn comes
        pass
    if len(part) >= SAMPLE_BYTES and len(sample) > 2:
        sample.pop()  # perhaps only the beginning of a row with quoted newlines
    return sample


def _looks_like_header(sample: list[list[str]]) -> bool:
    return bool(sample) and not all(map(is_number, sample[0]))


def _lines(block: bytes) -> Iterator[str]:
    try:
        return iter(StringIO(block.decode(), newline="\n"))
    except UnicodeDecodeError as error:
        found = error.object[error.start : error.start + 4]
        raise UnreadableFile(f"not UTF-8: {error.reason}, {found!r}") from None


def _lane(columns: Columns) -> Lane | None:
    """How the fast lane reads these columns; None if some are text. Integers are exact up to 2**53 as floats."""
    kinds = {take.spec.datatype if take.spec.datatype == "UINT64" else _kind(take) for take in columns.takes}
    if "bytes" in kinds:
        return None
    if "float" in kinds:
        return LANES["float"]
    return LANES["uint"] if kinds == {"UINT64"} else LANES["int"]


def _kind(take: Take) -> str:
    return DATATYPES[take.spec.datatype].kind


def _take(table: Array, take: Take, positions: list[int]) -> Array:
    """The values of one input, out of a table of the columns at `positions`."""
    number = {position: n for n, position in enumerate(positions)}
    wanted = [number[position] for position in take.positions]
    first, last = wanted[0], wanted[-1]
    contiguous = wanted == list(range(first, last + 1))
    values = table[:, first : last + 1] if contiguous else table[:, wanted]
    return cast(values, take.spec.datatype).reshape(len(table), *take.shape)


def row_inputs(cells: list[str], columns: Columns) -> dict[str, Array]:
    """Raises RowError naming the column."""
    if len(cells) != columns.width:
        raise RowError(f"expected {columns.width} cells, got {len(cells)}")
    inputs = {}
    for take in columns.takes:
        try:
            array = cells_to_array([cells[n] for n in take.positions], take.spec.datatype)
        except RowError:
            raise _locate(cells, columns, take) from None
        inputs[take.spec.name] = array.reshape(take.shape)
    return inputs


def _locate(cells: list[str], columns: Columns, take: Take) -> RowError:
    for n in take.positions:
        try:
            cells_to_array([cells[n]], take.spec.datatype)
        except RowError as error:
            return RowError(f"column {columns.names[n]!r}: {error}")
    raise AssertionError("no cell is at fault alone")


def _original(cells: list[str], header: list[str] | None) -> Any:
    """A row as JSON: an object by column name if the header says how, else the list of its cells."""
    if header is not None and len(header) == len(cells) == len(set(header)):
        return dict(zip(header, cells, strict=True))
    return cells


def _cells_per_row(column: Column) -> int:
    row: Array = next(row for row in column if row is not None)
    return int(np.size(row))


def _number_rows(column: Column) -> bytes | None:
    """Rows of finite numbers as JSON's text of a table, without the outer brackets; None for anything else."""
    if not isinstance(column, np.ndarray) or column.dtype.kind not in "biuf" or not column.size:
        return None
    text = orjson.dumps(column.reshape(len(column), -1), option=orjson.OPT_SERIALIZE_NUMPY)
    return None if b"null" in text else text[2:-2]  # null: not finite


def _cells(column: Column, size: int, delimiter: bytes) -> list[bytes]:
    """The cells of one output for each row, joined."""
    if text := _number_rows(column):
        return text.replace(ROW_END, b"\n").replace(b",", delimiter).split(b"\n")
    rows = column if isinstance(column, list) else column.reshape(len(column), -1)
    texts = []
    for row in rows:
        if row is None:
            texts.append(b"")
        elif row.size != size:
            raise UnreadableFile(
                f"an output has {row.size} values where others have {size}: CSV cannot hold that"
            )
        else:
            texts.append(delimiter.join(_cell(value, delimiter) for value in row.ravel()))
    return texts


def _cell(value: Any, delimiter: bytes) -> bytes:
    """Shortest text that reads back as the same value."""
    if isinstance(value, bytes):
        return _quote(value, delimiter)
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return str(value).encode() if text == b"null" else text


def _selector(positions: list[int], width: int, delimiter: bytes) -> Callable[[bytes], bytes]:
    """A function that selects cells from the text of a row, and splits no more of it than it must."""
    left = [n for n in positions if n < width / 2]
    right = [n for n in positions if n >= width / 2]
    most_left, most_right = max(left, default=-1) + 1, width - min(right, default=width)

    def select(row: bytes) -> bytes:
        if b'"' in row:
            [cells] = csv.reader([row.decode()], delimiter=delimiter.decode())
            return delimiter.join([_quote(cells[n].encode(), delimiter) for n in positions])
        head = row.split(delimiter, most_left) if left else []
        tail = row.rsplit(delimiter, most_right) if right else []
        return delimiter.join([head[n] if n < width / 2 else tail[n - width] for n in positions])

    return select


def _quote(text: bytes, delimiter: bytes) -> bytes:
    if any(mark in text for mark in (b'"', b"\n", b"\r", delimiter)):
        return b'"' + text.replace(b'"', b'""') + b'"'
    return text
