"""Rows on their way from a file to the model: blocks of them, and the ones that failed with their reason."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tensorlet.errors import InvalidRequest

Array = np.ndarray[Any, Any]
Column = Array | list[Any]  # rows stacked in one array, or a list of arrays where their shapes differ


class UnreadableFile(InvalidRequest):
    """The file as a whole cannot be predicted; the reason goes into its report."""


class RowError(InvalidRequest):
    """One row does not fit; it is recorded and the others go on."""


class Failure(NamedTuple):
    """Why a row failed, and the row as it was in the file."""

    error: str
    input: Any


class Rows(NamedTuple):
    """Consecutive rows of a file. Each column has `size` rows; the failed ones hold any values.

    `records` is the text of every row, if the predictions are to be joined with it.
    """

    size: int
    columns: Mapping[str, Column]
    failures: dict[int, Failure]  # offset in these rows -> why
    records: list[bytes] | None = None

    def part(self, start: int, stop: int) -> "Rows":
        """Rows `start` to `stop` (exclusive)."""
        if start == 0 and stop == self.size:
            return self
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        failures = {n - start: failure for n, failure in self.failures.items() if start <= n < stop}
        return Rows(stop - start, columns, failures, self.records and self.records[start:stop])


def regroup(blocks: Iterable[Rows], size: int) -> Iterator[Rows]:
    """The same rows, `size` at a time and the rest last, however the file was cut into blocks.

    A model may answer in other last bits for another number of rows, so what is predicted together must depend
    on the file alone: on a row's number, and never on how many bytes a read has returned.
    """
    held: list[Rows] = []  # fewer than `size` rows
    missing = size
    for block in blocks:
        start = 0
        while block.size - start >= missing:
            held.append(block.part(start, start + missing))
            start += missing
            yield _join(held)
            held, missing = [], size
        if start < block.size:
            held.append(block.part(start, block.size))
            missing -= block.size - start
    if held:
        yield _join(held)


def _join(blocks: list[Rows]) -> Rows:
    if len(blocks) == 1:
        return blocks[0]
    failures, offset = {}, 0
    for block in blocks:
        failures.update({offset + n: failure for n, failure in block.failures.items()})
        offset += block.size
    columns = {name: _join_column([block.columns[name] for block in blocks]) for name in blocks[0].columns}
    records = None
    if blocks[0].records is not None:
        records = [record for block in blocks for record in block.records or ()]
    return Rows(offset, columns, failures, records)


def _join_column(parts: list[Column]) -> Column:
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts) and len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    return [row for part in parts for row in part]


class RowsBuilder:
    """Collects rows one by one, with their text if it is `joined`."""

    def __init__(self, names: Iterable[str], joined: bool = False):
        self._values: dict[str, list[Any]] = {name: [] for name in names}
        self._failures: dict[int, Failure] = {}
        self._records: list[bytes] | None = [] if joined else None
        self.size = 0

    def add(self, values: dict[str, Array], record: bytes = b"") -> None:
        for name, rows in self._values.items():
            rows.append(values[name])
        self._count(record)

    def fail(self, error: str, original: Any) -> None:
        for rows in self._values.values():
            rows.append(None)
        self._failures[self.size] = Failure(error, original)
        self._count(b"")

    def build(self) -> Rows:
        columns = {name: _stack(rows) for name, rows in self._values.items()}
        return Rows(self.size, columns, self._failures, self._records)

    def _count(self, record: bytes) -> None:
        self.size += 1
        if self._records is not None:
            self._records.append(record)


def _stack(rows: list[Any]) -> Column:
    """Arrays of one shape as one array, with zeros for the rows that are missing."""
    present = [row for row in rows if row is not None]
    if len({row.shape for row in present}) != 1:
        return rows
    column = np.zeros((len(rows), *present[0].shape), present[0].dtype)
    for n, row in enumerate(rows):
        if row is not None:
            column[n, ...] = row  # without the dots, an object array would hold the array `row`
    return column
