"""File formats: each reads rows of a model's inputs out of a file, and writes predictions.

The table below is all that the rest knows of them. A file is written in the format it has, or in another by option.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from tensorlet.batch.formats.csv import read_csv, write_csv
from tensorlet.batch.formats.jsonl import read_jsonl, write_jsonl
from tensorlet.batch.formats.npy import read_npy, read_npz, write_npy, write_npz
from tensorlet.batch.formats.parquet import read_parquet, write_parquet
from tensorlet.batch.jsonpath import parse_path
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Rows, UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.batch.top_k import Ranking, find_ranking
from tensorlet.serving.service import LoadedModel
from tensorlet.signature import Signature


class Reader(Protocol):
    """A file as rows."""

    def rows(self) -> Iterator[Rows]: ...


class Writer(Protocol):
    """Predictions as the bytes of an output file."""

    def encode(self, predictions: Predictions) -> bytes:
        """What these rows add to the file; rows that it cannot write are added to their failures."""
        ...

    def finish(self) -> Iterator[bytes]:
        """What comes after the last row."""
        ...

    def head(self) -> bytes:
        """What takes the place of the first bytes written, now that all is known; usually nothing."""
        ...


class Format(NamedTuple):
    """`text`: it may also come compressed, as `.gz`. The writer is told who reads: CSV asks for the header."""

    read: Callable[[Source, Signature, Options], Reader]
    write: Callable[[Signature, Options, Any], Writer]
    text: bool


FORMATS = {
    "csv": Format(read_csv, write_csv, text=True),
    "jsonl": Format(read_jsonl, write_jsonl, text=True),
    "npy": Format(read_npy, write_npy, text=False),
    "npz": Format(read_npz, write_npz, text=False),
    "parquet": Format(read_parquet, write_parquet, text=False),
}


def open_file(
    source: Source, format: str, model: LoadedModel, options: Options
) -> tuple[Iterator[Rows], Writer]:
    """The rows of a file, and a writer for their predictions.

    Raises:
        UnreadableFile: the file is not of its format, or the options do not fit it or the model.
    """
    written = options.format or format
    check_options(format, written, options)
    reader = FORMATS[format].read(source, model.signature, options)
    if not options.top_k:
        return reader.rows(), FORMATS[written].write(model.signature, options, reader)
    ranking = find_ranking(model.manifest, options.top_k)
    writer = FORMATS[written].write(ranking.signature, options, reader)
    return reader.rows(), RankingWriter(writer, ranking)


def check_options(format: str, written: str, options: Options) -> None:
    """Refuse filters and joins where rows are no records, and paths that cannot select from a row of CSV.

    Raises:
        UnreadableFile: naming the option.
    """
    joined = options.join == "input"
    if joined and (format != written or not FORMATS[format].text):
        raise UnreadableFile(
            f"join: expected CSV or JSON Lines, the same in and out, got {format} and {written}"
        )
    for name, kind in (("input_filter", format), ("output_filter", written)):
        path = parse_path(getattr(options, name))
        if path.whole:
            continue
        if not FORMATS[kind].text:
            raise UnreadableFile(f"{name}: expected CSV or JSON Lines, got {kind}")
        if kind == "csv" and not path.by_index:
            raise UnreadableFile(
                f"{name}: expected column numbers such as $[0,-1] or $[1:] for CSV, got {path.text}"
            )


class RankingWriter:
    """Writes the best classes of each row in place of its scores."""

    def __init__(self, writer: Writer, ranking: Ranking):
        self._writer = writer
        self._ranking = ranking
        self.finish = writer.finish
        self.head = writer.head

    def encode(self, predictions: Predictions) -> bytes:
        return self._writer.encode(self._ranking.rank(predictions))
