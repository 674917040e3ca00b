"""Cutting a file between its rows, so that its parts can be predicted on their own, with the very same bytes out.

Three things make the bytes the same. A chunk begins at a multiple of `batch_rows`, because a model may answer in other
last bits for another group of rows. It is found by the rules of the reader that will read it: a newline within quotes
is no end of a row. And it is read behind the first rows of the file, its *lead*, from which the reader takes header
and columns and the writer what it wrote before; what the lead itself predicts is thrown away.

CSV and JSON Lines are scanned once, in order; NPY in C order is plain arithmetic.
"""

import csv
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from tensorlet.batch.formats.csv import CsvReader
from tensorlet.batch.formats.npy import PlainArray
from tensorlet.batch.options import Options
from tensorlet.batch.rows import Array, UnreadableFile
from tensorlet.batch.run import NOT_SPLITTABLE
from tensorlet.batch.source import BOM, RECORD_BYTES, Excerpt, Source
from tensorlet.signature import Signature

SPLITTABLE = ("csv", "jsonl", "npy")
LEAD_BYTES = 256 << 10  # twice what CSV looks at to choose its columns
WHITESPACE = np.frombuffer(b" \t\n\r\v\f", np.uint8)
NEWLINE = 10


class Chunk(NamedTuple):
    """Rows `first_row` to `first_row + rows` of a file, in its bytes `start` to `end` (both exclusive).

    The lead are the file's first `lead_rows` rows, in the bytes up to `lead_end`; none for the first chunk.
    """

    number: int
    first_row: int
    rows: int
    start: int
    end: int
    lead_rows: int = 0
    lead_end: int = 0


class Marks(NamedTuple):
    """Where the next rows end, in bytes from the beginning of the file; all of them lie in `start` to `end`.

    For CSV the header counts as a row.
    """

    start: int
    end: int
    ends: Array  # int64, ascending

    def moved(self, by: int) -> "Marks":
        return Marks(self.start + by, self.end + by, self.ends + by) if by else self


def cut(
    source: Source,
    format: str,
    signature: Signature,
    options: Options,
    chunk_bytes: int,
    after: Chunk | None = None,
) -> Iterator[Chunk]:
    """The chunks of a file, each of at least `chunk_bytes` but for the last one.

    With `after`, a chunk found before that is not the first one, only those behind it.

    Raises:
        UnreadableFile: `not_splittable`, or the file as a whole is at fault.
        Conflict: the file has changed.
    """
    check_splittable(format, source.gzipped)
    written = options.format or format
    if written == "npy" and (len(signature.outputs) > 1 or options.top_k):
        written = "npz"
    if written not in SPLITTABLE:
        raise UnreadableFile(f"{NOT_SPLITTABLE}: {written} can only be written as a whole; use CSV or JSONL")
    if format == "npy":
        found = _cut_array(PlainArray(source), chunk_bytes, options.batch_rows)
        return (chunk for chunk in found if not after or chunk.number > after.number)
    begin = after.end if after else 0
    row = after.first_row + after.rows if after else 0
    rest = Excerpt(source.store, source.info, [(begin, source.info.size_bytes)])
    if format == "jsonl":
        marks = json_lines(rest)
    else:
        row -= not after and CsvReader(source, signature, options).header is not None
        marks = csv_records(rest, options.delimiter, row)
    return _cut_marks((mark.moved(begin) for mark in marks), row, chunk_bytes, options.batch_rows, after)


def check_splittable(format: str, gzipped: bool) -> None:
    """Raises UnreadableFile: rows of this kind of file cannot be found without reading all before them."""
    if gzipped or format not in SPLITTABLE:
        kind = "gzip" if gzipped else format
        raise UnreadableFile(
            f"{NOT_SPLITTABLE}: {kind} can only be read as a whole; use {', '.join(SPLITTABLE)}, or smaller files"
        )


def excerpt(source: Source, format: str, chunk: Chunk) -> Source:
    """A file of the chunk's lead and the chunk's rows."""
    if format != "npy":
        return Excerpt(source.store, source.info, [(0, chunk.lead_end), (chunk.start, chunk.end)])
    header = PlainArray(source).header
    lead = header.start + chunk.lead_rows * header.row_bytes
    shape = (chunk.lead_rows + chunk.rows, *header.shape[1:])
    return Excerpt(
        source.store,
        source.info,
        [(header.start, lead), (chunk.start, chunk.end)],
        npy_header(header.dtype, shape),
    )


def npy_header(dtype: Any, shape: tuple[int, ...]) -> bytes:
    """The beginning of an NPY file in C order; its length does not depend on the number of rows."""
    file = BytesIO()
    description = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, description)
    return file.getvalue()


def json_lines(source: Source) -> Iterator[Marks]:
    """The lines that are not blank."""
    offset = _text_start(source)
    for block in source.lines():
        yield Marks(offset, offset + len(block), offset + _line_ends(block, b""))
        offset += len(block)


def csv_records(source: Source, delimiter: str, row: int = 0) -> Iterator[Marks]:
    """The records that are not empty, as Python's csv module reads them; `row` is the number of the first one.

    Raises:
        UnreadableFile: a quote is never closed.
    """
    offset = _text_start(source)
    blocks = source.lines()
    for block in blocks:
        if b'"' not in block:
            ends = offset + _line_ends(block, b"\r")
            size = len(block)
        else:
            lines = _Lines(block, blocks, offset)
            ends = np.fromiter(_quoted_ends(lines, delimiter, row), np.int64)
            size = lines.offset - offset
        yield Marks(offset, offset + size, ends)
        offset += size
        row += len(ends)


def _text_start(source: Source) -> int:
    return len(BOM) if source.read(0, len(BOM)) == BOM else 0


def _line_ends(block: bytes, blank: bytes) -> Array:
    """Where the lines of a block end that are not blank: that hold more than white space, or than `blank`."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == NEWLINE) + 1
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    starts = np.concatenate(([0], ends[:-1]))
    suspects = np.flatnonzero(np.isin(text[starts], WHITESPACE))
    blanks = [n for n in suspects if not block[starts[n] : ends[n]].strip(blank + b"\n" if blank else None)]
    return np.delete(ends, blanks)


class _Lines:
    """The lines of a block, and of the next ones while a record is not complete. Latin-1 keeps bytes what they are."""

    def __init__(self, block: bytes, more: Iterator[bytes], offset: int):
        self._lines = iter(_split(block))
        self._more = more
        self.offset = offset
        self.record_bytes = 0  # of the record at hand; 0 between two of them
        self.cut_off = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            block = next(self._more, None) if self.record_bytes else None
            if block is None:
                self.cut_off = self.record_bytes > 0
                raise StopIteration
            self._lines = iter(_split(block))
            line = next(self._lines)
        self.offset += len(line)
        self.record_bytes += len(line)
        if self.record_bytes > RECORD_BYTES:
            raise UnreadableFile(f"a row is longer than {RECORD_BYTES >> 20} MiB: is a quote never closed?")
        return line.decode("latin-1")


def _split(block: bytes) -> list[bytes]:
    """Lines with their newlines; other line ends are no ends to us, and `splitlines` would take them for some."""
    return BytesIO(block).readlines()


def _quoted_ends(lines: _Lines, delimiter: str, row: int) -> Iterator[int]:
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.record_bytes = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:  # a row that will fail
            cells = [""]
        if lines.cut_off:
            raise UnreadableFile(f"row {max(0, row)}: a quote is never closed")
        if cells:
            row += 1
            yield lines.offset


def _cut_marks(
    marks: Iterator[Marks], row: int, chunk_bytes: int, batch_rows: int, after: Chunk | None
) -> Iterator[Chunk]:
    """Chunks of text: each ends with the first group of rows that makes it long enough. `row` is that of the marks."""
    number = start = end = first_row = lead_rows = lead_end = 0
    if after:
        number, start, end, first_row = after.number + 1, after.end, after.end, row
        lead_rows, lead_end = after.lead_rows, after.lead_end
    for block in marks:
        if not lead_end and block.end >= LEAD_BYTES:
            lead_rows, lead_end = row + len(block.ends), block.end
        for n in range((-row - 1) % batch_rows, len(block.ends), batch_rows):  # the last rows of groups
            end, next_row = int(block.ends[n]), row + n + 1
            if lead_end and end - start >= chunk_bytes and next_row > first_row:
                yield _text_chunk(number, first_row, next_row, start, end, lead_rows, lead_end)
                number, first_row, start = number + 1, next_row, end
        row, end = row + len(block.ends), block.end
    if row > first_row or not number:
        yield _text_chunk(number, first_row, max(0, row), start, end, lead_rows, lead_end)


def _text_chunk(
    number: int, first_row: int, next_row: int, start: int, end: int, lead_rows: int, lead_end: int
) -> Chunk:
    lead = (lead_rows, lead_end) if number else (0, 0)
    return Chunk(number, first_row, next_row - first_row, start, end, *lead)


def _cut_array(array: PlainArray, chunk_bytes: int, batch_rows: int) -> Iterator[Chunk]:
    header = array.header
    if header.fortran and len(header.shape) > 1:
        raise UnreadableFile(
            f"{NOT_SPLITTABLE}: NPY in Fortran order has no row in one place; save it in C order"
        )
    total, row_bytes = header.shape[0], max(1, header.row_bytes)
    lead_rows = min(total, max(1, LEAD_BYTES // row_bytes))
    step = max(1, -(-chunk_bytes // (row_bytes * batch_rows))) * batch_rows
    for number, first in enumerate(range(0, max(1, total), step)):
        start = header.start + first * header.row_bytes
        rows = min(step, total - first)
        lead = (lead_rows, header.start + lead_rows * header.row_bytes) if number else (0, 0)
        yield Chunk(number, first, rows, start, start + rows * header.row_bytes, *lead)
