"""One pass over one file: read rows, predict them, write predictions and the rows that failed."""

import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import orjson

from tensorlet.batch.formats import FORMATS, Writer, open_file
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions, predict
from tensorlet.batch.rows import Rows, UnreadableFile, regroup
from tensorlet.batch.source import Source
from tensorlet.registry.upload import Upload
from tensorlet.serving.service import LoadedModel

NOT_SPLITTABLE = "not_splittable"  # how the reason begins when a file is too long and cannot be cut


class Progress(NamedTuple):
    """How far a run has come; bytes are those of the input file, compressed if it is, and `bytes_done` is close."""

    rows: int
    rows_failed: int
    bytes_done: int
    bytes_total: int


class Counts(NamedTuple):
    rows_in: int
    rows_failed: int


ProgressCallback = Callable[[Progress], Any]


def predict_file(
    model: LoadedModel,
    source: Source,
    format: str,
    options: Options,
    out: Upload,
    err: Upload,
    progress: ProgressCallback | None = None,
    lead: int = 0,
    first_row: int = 0,
) -> tuple[Counts, bytes]:
    """Write the predictions of every row to `out` and the failed rows to `err`; memory does not grow with the file.

    The first `lead` rows of `source` only bring reader and writer to where they stand in the middle of a file; the
    row after them is the file's row `first_row`.

    Returns the counts, and the bytes that take the place of the first ones of `out`. Nothing is committed.

    Raises:
        UnreadableFile: the file as a whole is at fault.
        Conflict: the file has changed.
    """
    zipped = source.gzipped and FORMATS[options.format or format].text
    pack = zlib.compressobj(wbits=31) if zipped else None  # its header has no time: same bytes each run
    blocks, writer = open_file(source, format, model, options)
    if lead:
        leading, blocks = _divide(blocks, lead)
        _begin(model, leading, writer)
    rows_in = rows_failed = 0
    meter = _Meter(source, blocks)
    for rows in regroup(meter.blocks(), options.batch_rows):
        predictions = predict(model, rows)
        data = writer.encode(predictions)
        out.write(pack.compress(data) if pack else data)
        err.write(_failed_rows(predictions, first_row + rows_in))
        rows_in += predictions.size
        rows_failed += len(predictions.failures)
        if progress:
            progress(Progress(rows_in, rows_failed, meter.bytes_of(rows_in), source.info.size_bytes))
    for data in writer.finish():
        out.write(pack.compress(data) if pack else data)
    if pack:
        out.write(pack.flush())
    return Counts(rows_in, rows_failed), b"" if lead else writer.head()


class _Meter:
    """How many bytes of a file some of its rows are: their share of all, or of those that the reader has given."""

    def __init__(self, source: Source, blocks: Iterator[Rows]):
        self._source = source
        self._blocks = blocks
        self._rows = 0
        self._bytes = 0

    def blocks(self) -> Iterator[Rows]:
        for rows in self._blocks:
            self._rows += rows.size
            self._bytes = self._source.position or self._source.bytes_read
            yield rows

    def bytes_of(self, rows: int) -> int:
        if self._source.rows is not None:
            return self._source.info.size_bytes * rows // max(1, self._source.rows)
        return self._bytes * rows // max(1, self._rows)


def _divide(blocks: Iterator[Rows], count: int) -> tuple[list[Rows], Iterator[Rows]]:
    """The first `count` rows, and an iterator over all others."""
    first: list[Rows] = []
    for rows in blocks:
        if rows.size > count:
            return [*first, rows.part(0, count)], chain([rows.part(count, rows.size)], blocks)
        first.append(rows)
        count -= rows.size
        if not count:
            break
    return first, blocks


def _begin(model: LoadedModel, leading: list[Rows], writer: Writer) -> None:
    """Have the writer write, for nobody, until it has seen a prediction: by then it has settled header and widths.

    Raises:
        UnreadableFile: there was none.
    """
    for rows in regroup(leading, 1):  # one by one: no more than needed, of a slow model
        predictions = predict(model, rows)
        writer.encode(predictions)
        if predictions.outputs:
            return
    count = sum(rows.size for rows in leading)
    raise UnreadableFile(f"{NOT_SPLITTABLE}: none of its first {count} rows can be predicted")


def _failed_rows(predictions: Predictions, start: int) -> bytes:
    """A line of JSON for each failed row, with its number in the file."""
    return b"".join(
        orjson.dumps(
            {"row": start + n, "error": failure.error, "input": failure.input},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for n, failure in predictions.failures.items()
    )
