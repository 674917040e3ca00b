"""Parquet, read by row groups through ranged reads, and written from disk: both by arro3, Rust's parquet in 33 MB.

A column of lists that is named after an input holds its rows; else columns become inputs as in CSV.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from tensorlet.batch.formats.columns import Columns, choose_columns
from tensorlet.batch.formats.csv import column_names
from tensorlet.batch.formats.npy import CHUNK_BYTES, ArrayStream, RangeFile
from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Array, RowError, Rows, RowsBuilder, UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.batch.values import cast, json_to_array, object_array
from tensorlet.signature import Signature

MAGIC = b"PAR1"
READ_BUFFER_BYTES = 1 << 18
ROWS = 4096  # of a batch, read or written


class ParquetReader:
    """A Parquet file as rows of a model's inputs."""

    def __init__(self, source: Source, signature: Signature):
        core, io = _arro3()
        if (
            source.read(0, 4) != MAGIC
            or source.read(source.info.size_bytes - 4, source.info.size_bytes) != MAGIC
        ):
            raise UnreadableFile("not Parquet, or cut off")
        self._file = RangeFile(source)
        self._signature = signature
        with self._errors():
            self._batches = iter(
                io.read_parquet(BufferedReader(self._file, READ_BUFFER_BYTES), batch_size=ROWS)
            )
            fields = list(self._batches.schema)
        kind = core.DataType
        numeric = [any(is_kind(f.type) for is_kind in (kind.is_integer, kind.is_floating)) for f in fields]
        names = [field.name for field in fields]
        lists = {f.name for f in fields if kind.is_list(f.type) or kind.is_fixed_size_list(f.type)}
        self._by_lists = all(spec.name in lists for spec in signature.inputs)
        self._columns = Columns(0, (), ())
        if not self._by_lists:
            self._columns = choose_columns(
                signature, names, [["0" if is_number else "" for is_number in numeric]]
            )

    def rows(self) -> Iterator[Rows]:
        """All rows, some thousands at a time. Raises UnreadableFile: the file is damaged."""
        while True:
            with self._errors():
                batch = next(self._batches, None)
            if batch is None:
                return
            yield self._read_lists(batch) if self._by_lists else self._read_columns(batch)

    def _read_columns(self, batch: Any) -> Rows:
        columns = [batch.column(n) for take in self._columns.takes for n in take.positions]
        if all(column.null_count == 0 for column in columns):
            try:
                return Rows(
                    batch.num_rows,
                    {take.spec.name: self._take(batch, take) for take in self._columns.takes},
                    {},
                )
            except RowError:
                pass  # one by one, to find the row
        return self._read_rows(batch)

    def _take(self, batch: Any, take: Any) -> Array:
        if take.spec.datatype == "BYTES":
            texts = [str(text).encode() for n in take.positions for text in batch.column(n).to_pylist()]
            return object_array(texts).reshape(len(take.positions), -1).T.reshape(-1, *take.shape)
        table = np.column_stack([batch.column(n).to_numpy() for n in take.positions])
        return cast(table, take.spec.datatype).reshape(-1, *take.shape)

    def _read_rows(self, batch: Any) -> Rows:
        takes = self._columns.takes
        values = {n: batch.column(n).to_pylist() for take in takes for n in take.positions}
        rows = RowsBuilder(take.spec.name for take in takes)
        for row in range(batch.num_rows):
            try:
                rows.add({take.spec.name: self._take_row(values, row, take) for take in takes})
            except RowError as error:
                rows.fail(str(error), {self._columns.names[n]: column[row] for n, column in values.items()})
        return rows.build()

    def _take_row(self, values: dict[int, list[Any]], row: int, take: Any) -> Array:
        cells = [values[n][row] for n in take.positions]
        if None in cells:
            raise RowError(f"column {self._columns.names[take.positions[cells.index(None)]]!r} is null")
        return json_to_array(cells, take.spec._replace(shape=(-1, len(cells)))).reshape(take.shape)

    def _read_lists(self, batch: Any) -> Rows:
        values = {spec.name: batch.column(spec.name).to_pylist() for spec in self._signature.inputs}
        rows = RowsBuilder(values)
        for row in range(batch.num_rows):
            try:
                rows.add(
                    {
                        spec.name: json_to_array(values[spec.name][row], spec)
                        for spec in self._signature.inputs
                    }
                )
            except RowError as error:
                rows.fail(str(error), {name: column[row] for name, column in values.items()})
        return rows.build()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What arro3 raises, a Rust panic too, is the file's fault, unless reading it raised first."""
        try:
            yield
        except BaseException as error:
            if self._file.error is not None:
                raise self._file.error from None
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise UnreadableFile(f"not Parquet: {str(error).partition(chr(10))[0]}") from None


class ParquetWriter:
    """Predictions as Parquet, columns `NAME` or `NAME[i]`; failed rows are left out."""

    def __init__(self, signature: Signature):
        self._streams = {spec.name: ArrayStream(spec, "Parquet") for spec in signature.outputs}
        self._spools: dict[str, IO[bytes]] = {name: TemporaryFile() for name in self._streams}  # noqa: SIM115  # closed by finish

    def encode(self, predictions: Predictions) -> bytes:
        """Raises UnreadableFile when an output changes its shape from row to row."""
        for name, stream in self._streams.items():
            if predictions.outputs:
                self._spools[name].write(stream.add(predictions.outputs[name], predictions.failures))
        return b""

    def finish(self) -> Iterator[bytes]:
        core, io = _arro3()
        with TemporaryFile() as file:
            reader = core.RecordBatchReader.from_batches(self._batch(0).schema, self._batches())
            io.write_parquet(reader, file, compression="snappy")
            file.seek(0)
            while data := file.read(CHUNK_BYTES):
                yield data
        for spool in self._spools.values():
            spool.close()

    def head(self) -> bytes:
        return b""

    def _batches(self) -> Iterator[Any]:
        for spool in self._spools.values():
            spool.seek(0)
        rows = next(iter(self._streams.values())).rows
        for first in range(0, rows, ROWS):
            yield self._batch(min(ROWS, rows - first))

    def _batch(self, rows: int) -> Any:
        """The next rows of every spool as a record batch; one of no rows has the schema."""
        core, _ = _arro3()
        arrays, names = [], []
        for name, stream in self._streams.items():
            size = int(np.prod(stream.shape))
            data = self._spools[name].read(rows * size * stream.dtype.itemsize) if rows else b""
            table = np.frombuffer(data, stream.dtype).reshape(rows, size)
            arrays += [core.Array.from_numpy(np.ascontiguousarray(column)) for column in table.T]
            names += column_names(name, size)
        return core.RecordBatch.from_arrays(arrays, names=names)


def read_parquet(source: Source, signature: Signature, options: Options) -> ParquetReader:
    return ParquetReader(source, signature)


def write_parquet(signature: Signature, options: Options, reader: Any) -> ParquetWriter:
    return ParquetWriter(signature)


def _arro3() -> tuple[Any, Any]:
    """Imported here: it is not needed for other formats, and not in every installation."""
    try:
        import arro3.core
        import arro3.io
    except ImportError:
        raise UnreadableFile(
            "Parquet needs the package `arro3-io`, which is not installed here:"
            " install `tensorlet[parquet]`, or on AWS give the function the layer `ParquetLayer`"
        ) from None
    return arro3.core, arro3.io
