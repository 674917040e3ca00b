"""NPY: one array, whose first dimension counts the rows. The predictions are an array too, or NPZ if there are several.

Source: NumPy documentation, `numpy.lib.format`.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy

from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Array, Column, RowError, Rows, RowsBuilder, UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.batch.values import cast, fit, row_size
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Shape

HEADER_BYTES = 1 << 16  # of what is read to find the header; NumPy refuses to read longer ones
CHUNK_BYTES = 4 << 20
COLUMN_CHUNK_BYTES = 64 << 20  # Fortran order needs a range for every column, so fewer and larger chunks
COLUMN_READERS = 8


class NpyReader:
    """An NPY file as rows of a model's only input."""

    def __init__(self, source: Source, signature: Signature):
        if len(signature.inputs) > 1:
            raise UnreadableFile(
                f"NPY holds one array, the model takes {len(signature.inputs)} inputs: use NPZ"
            )
        self._source = source
        self._spec = signature.inputs[0]
        self._shape, self._fortran, self._dtype, self._start = read_header(source)
        _row_shape(self._shape, self._spec)  # refuse it now, not after the first chunk
        size_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        if self._start + size_bytes > source.info.size_bytes:
            raise UnreadableFile(
                f"NPY is cut off: {size_bytes} bytes of data expected, got {source.info.size_bytes - self._start}"
            )

    def rows(self) -> Iterator[Rows]:
        by_columns = self._fortran and len(self._shape) > 1
        for array in self._by_columns() if by_columns else self._in_order():
            yield array_to_rows(array, self._spec)

    def _in_order(self) -> Iterator[Array]:
        row_bytes = int(np.prod(self._shape[1:])) * self._dtype.itemsize
        step = max(1, CHUNK_BYTES // max(1, row_bytes))
        for first in range(0, self._shape[0], step):
            count = min(step, self._shape[0] - first)
            start = self._start + first * row_bytes
            data = self._source.read(start, start + count * row_bytes)
            yield np.frombuffer(data, self._dtype).reshape(count, *self._shape[1:])

    def _by_columns(self) -> Iterator[Array]:
        """Fortran order: the first dimension runs fastest, so a chunk of rows is a range of every column."""
        rows, item = self._shape[0], self._dtype.itemsize
        columns = int(np.prod(self._shape[1:]))
        step = max(1, COLUMN_CHUNK_BYTES // max(1, columns * item))
        if step >= rows:
            data = self._source.read(self._start, self._start + rows * columns * item)
            yield np.frombuffer(data, self._dtype).reshape(self._shape, order="F")
            return
        with ThreadPoolExecutor(COLUMN_READERS) as readers:
            for first in range(0, rows, step):
                count = min(step, rows - first)
                starts = [self._start + (column * rows + first) * item for column in range(columns)]
                parts = readers.map(
                    lambda start, size=count * item: self._source.read(start, start + size), starts
                )
                flat = np.frombuffer(b"".join(parts), self._dtype)
                yield flat.reshape((count, *self._shape[1:]), order="F")


class NpyWriter:
    """Predictions as NPY, or NPZ if the model has several outputs; failed rows are left out."""

    def __init__(self, signature: Signature):
        self._columns = {spec.name: _ArrayStream(spec) for spec in signature.outputs}
        self._spools: dict[str, IO[bytes]] = {}
        if len(self._columns) > 1:  # a ZIP file holds one array after the other
            self._spools = {name: TemporaryFile() for name in self._columns}  # noqa: SIM115  # closed by finish
        self._started = False

    def encode(self, predictions: Predictions) -> bytes:
        """Raises UnreadableFile when an output changes its shape from row to row."""
        data = {
            name: stream.add(predictions.outputs[name], predictions.failures)
            for name, stream in self._columns.items()
            if predictions.outputs
        }
        for name, spool in self._spools.items():
            spool.write(data.get(name, b""))
        if self._spools or not data:
            return b""
        start = b"" if self._started else self.head()
        self._started = True
        return start + b"".join(data.values())

    def finish(self) -> Iterator[bytes]:
        if not self._spools:
            yield b"" if self._started else self.head()
            return
        sink = _Sink()
        with ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # it only ever writes
            for name, spool in self._spools.items():
                with archive.open(_member(name), "w", force_zip64=True) as member:
                    member.write(self._columns[name].header())
                    spool.seek(0)
                    while data := spool.read(CHUNK_BYTES):
                        member.write(data)
                        yield sink.take()
                spool.close()
        yield sink.take()

    def head(self) -> bytes:
        """The header of a single array: its length does not depend on the number of rows, which comes last."""
        return b"" if self._spools else next(iter(self._columns.values())).header()


class _ArrayStream:
    """An array that grows by rows."""

    def __init__(self, spec: TensorSpec):
        if spec.datatype == "BYTES":
            raise UnreadableFile(f"NPY cannot hold output {spec.name!r}, which is text; use JSONL or CSV")
        self._name = spec.name
        self._rows = 0
        self._shape: Shape | None = None if DYNAMIC in spec.shape[1:] else spec.shape[1:]
        self._dtype = np.dtype("float32" if spec.datatype == "BF16" else DATATYPES[spec.datatype].numpy)

    def add(self, column: Column, failures: dict[int, Any]) -> bytes:
        """The bytes of the rows that did not fail."""
        if isinstance(column, np.ndarray):
            rows = np.delete(column, list(failures), axis=0) if failures else column
            return self._add(rows)
        return b"".join(self._add(row[np.newaxis]) for row in column if row is not None)

    def header(self) -> bytes:
        shape = tuple(max(0, dim) for dim in self._shape or ())
        header = BytesIO()
        description = npy.dtype_to_descr(self._dtype)
        npy.write_array_header_1_0(
            header, {"descr": description, "fortran_order": False, "shape": (self._rows, *shape)}
        )
        return header.getvalue()

    def _add(self, rows: Array) -> bytes:
        self._shape = rows.shape[1:] if self._shape is None else self._shape
        if rows.shape[1:] != self._shape:
            raise UnreadableFile(
                f"output {self._name!r} has rows of shape {list(rows.shape[1:])} and {list(self._shape)}:"
                " one array cannot hold both; use JSONL"
            )
        self._rows += len(rows)
        return rows.astype(self._dtype, copy=False).tobytes()


class _Sink:
    """The writing end of a pipe: what was written since the last `take`."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def open_npy(source: Source, signature: Signature, options: Options) -> tuple[Iterator[Rows], NpyWriter]:
    return NpyReader(source, signature).rows(), NpyWriter(signature)


def read_header(source: Source) -> tuple[Shape, bool, Any, int]:
    """Shape, Fortran order, dtype and where the data begins. Raises UnreadableFile."""
    file = BytesIO(source.read(0, HEADER_BYTES))
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except (KeyError, ValueError) as error:
        raise UnreadableFile(f"not NPY: {error}") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise UnreadableFile(f"NPY holds {dtype}, expected numbers")  # above all: no pickled objects
    return shape, fortran, dtype, file.tell()


def array_to_rows(array: Array, spec: TensorSpec) -> Rows:
    """Some rows of an array as rows of an input; the ones that do not fit fail one by one."""
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    inner = _row_shape(array.shape, spec)
    try:
        return Rows(len(array), {spec.name: cast(array, spec.datatype).reshape(len(array), *inner)}, {})
    except RowError:
        rows = RowsBuilder([spec.name])
        for row in array:
            try:
                rows.add({spec.name: cast(row, spec.datatype).reshape(inner)})
            except RowError as error:
                rows.fail(str(error), row.tolist())
        return rows.build()


def _row_shape(shape: Shape, spec: TensorSpec) -> Shape:
    """The shape in which a row of an array of `shape` goes into the model. Raises UnreadableFile."""
    if not shape:
        raise UnreadableFile("NPY holds a single value, expected rows")
    row = np.broadcast_to(np.int8(0), shape[1:])
    if row_size(spec.shape) == row.size:
        return spec.shape[1:]  # also 28 x 28 for 1 x 28 x 28: there is only one way to take them
    try:
        return tuple(fit(row, spec).shape)
    except RowError as error:
        raise UnreadableFile(str(error)) from None


def _member(name: str) -> ZipInfo:
    return ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))  # the same bytes whenever it is written
