"""File formats: each reads rows of a model's inputs out of a file, and writes predictions in the same format.

A format is one function `(source, signature, options) -> (blocks of rows, writer)`; the table below is all
that the rest knows of them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from tensorlet.batch.formats.csv import open_csv
from tensorlet.batch.formats.jsonl import open_jsonl
from tensorlet.batch.formats.npy import open_npy, open_npz
from tensorlet.batch.formats.parquet import open_parquet
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Rows
from tensorlet.batch.source import Source
from tensorlet.signature import Signature


class Writer(Protocol):
    """Predictions as the bytes of an output file."""

    def encode(self, predictions: Predictions) -> bytes:
        """What these rows add to the file."""
        ...

    def finish(self) -> Iterator[bytes]:
        """What comes after the last row."""
        ...

    def head(self) -> bytes:
        """What takes the place of the first bytes written, now that all is known; usually nothing."""
        ...


class Format(NamedTuple):
    """`text`: it may also come compressed, as `.gz`."""

    open: Callable[[Source, Signature, Options], tuple[Iterator[Rows], Writer]]
    text: bool


FORMATS = {
    "csv": Format(open_csv, text=True),
    "jsonl": Format(open_jsonl, text=True),
    "npy": Format(open_npy, text=False),
    "npz": Format(open_npz, text=False),
    "parquet": Format(open_parquet, text=False),
}
