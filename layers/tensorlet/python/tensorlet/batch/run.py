"""One pass over one file: read rows, predict them, write predictions and the rows that failed."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from tensorlet.batch.formats import FORMATS
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions, predict
from tensorlet.batch.rows import regroup
from tensorlet.batch.source import Source
from tensorlet.registry.upload import Upload
from tensorlet.serving.service import LoadedModel


class Progress(NamedTuple):
    """How far a run has come; bytes are those of the input file, compressed if it is."""

    rows: int
    rows_failed: int
    bytes_read: int
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
) -> tuple[Counts, bytes]:
    """Write the predictions of every row to `out` and the failed rows to `err`; memory does not grow with the file.

    Returns the counts, and the bytes that take the place of the first ones of `out`. Nothing is committed.

    Raises:
        UnreadableFile: the file as a whole is at fault.
        Conflict: the file has changed.
    """
    pack = (
        zlib.compressobj(wbits=31) if source.gzipped else None
    )  # its header has no time: same bytes each run
    blocks, writer = FORMATS[format].open(source, model.signature, options)
    rows_in = rows_failed = 0
    for rows in regroup(blocks, options.batch_rows):
        predictions = predict(model, rows)
        data = writer.encode(predictions)
        out.write(pack.compress(data) if pack else data)
        err.write(_failed_rows(predictions, rows_in))
        rows_in += predictions.size
        rows_failed += len(predictions.failures)
        if progress:
            progress(Progress(rows_in, rows_failed, source.bytes_read, source.info.size_bytes))
    for data in writer.finish():
        out.write(pack.compress(data) if pack else data)
    if pack:
        out.write(pack.flush())
    return Counts(rows_in, rows_failed), writer.head()


def _failed_rows(predictions: Predictions, start: int) -> bytes:
    """A line of JSON for each failed row, with its number in the file."""
    return b"".join(
        orjson.dumps(
            {"row": start + n, "error": failure.error, "input": failure.input},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for n, failure in predictions.failures.items()
    )
