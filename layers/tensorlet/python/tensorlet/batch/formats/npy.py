"""NPY and NPZ: arrays whose first dimension counts the rows. NPZ holds one for each input, by its name.

The predictions of NPY are one array too, or NPZ if the model has several outputs; those of NPZ are NPZ.
Source: NumPy documentation, `numpy.lib.format`.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader, BytesIO, RawIOBase
from math import prod
from tempfile import TemporaryFile
from tokenize import TokenError
from typing import IO, Any, NamedTuple, Protocol
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import error as DeflateError

import numpy as np
from numpy.lib import format as npy

from tensorlet.batch.options import Options
from tensorlet.batch.predict import Predictions, row_to_json
from tensorlet.batch.rows import Array, Column, RowError, Rows, RowsBuilder, UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.batch.values import cast, fit, row_size
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Shape

HEADER_BYTES = 1 << 16  # of what is read to find the header; NumPy refuses to read longer ones
CHUNK_BYTES = 4 << 20
COLUMN_CHUNK_BYTES = 64 << 20  # Fortran order needs a range for every column, so fewer and larger chunks
COLUMN_READERS = 8
LOCAL_HEADER = 30  # bytes before name and extra field of a ZIP member, whose lengths are in its last four


class Header(NamedTuple):
    """What an NPY file says of its array, and where in the file the elements begin."""

    shape: Shape
    fortran: bool
    dtype: Any
    start: int

    @property
    def row_bytes(self) -> int:
        return prod(self.shape[1:]) * int(self.dtype.itemsize)

    @property
    def size_bytes(self) -> int:
        return self.row_bytes * self.shape[0]


class RowArray(Protocol):
    """An array that is read by rows, in order."""

    header: Header

    def read(self, first: int, count: int) -> Array: ...


class PlainArray:
    """An array that lies in the file as it is, from byte `offset` on."""

    def __init__(self, source: Source, offset: int = 0, size_bytes: int | None = None):
        self._source = source
        available = source.info.size_bytes - offset if size_bytes is None else size_bytes
        header = read_header(BytesIO(source.read(offset, offset + min(HEADER_BYTES, available))))
        if header.start + header.size_bytes > available:
            raise UnreadableFile(
                f"NPY is cut off: {header.size_bytes} bytes of data expected, got {available - header.start}"
            )
        self.header = header._replace(start=offset + header.start)

    def read(self, first: int, count: int) -> Array:
        header = self.header
        shape = (count, *header.shape[1:])
        if not header.fortran or count == header.shape[0]:
            start = header.start + first * header.row_bytes
            data = self._source.view(start, start + count * header.row_bytes)
            return np.frombuffer(data, header.dtype).reshape(shape, order="F" if header.fortran else "C")
        return self._read_columns(first, count).reshape(shape, order="F")

    def _read_columns(self, first: int, count: int) -> Array:
        """Fortran order: the first dimension runs fastest, so some rows are a range of every column."""
        rows, item = self.header.shape[0], self.header.dtype.itemsize
        columns = self.header.row_bytes // item
        starts = [self.header.start + (column * rows + first) * item for column in range(columns)]
        with ThreadPoolExecutor(COLUMN_READERS) as readers:
            parts = readers.map(lambda start: self._source.read(start, start + count * item), starts)
            return np.frombuffer(b"".join(parts), self.header.dtype)


class CompressedArray:
    """An array in a compressed member of an NPZ file, which can only be read from its beginning."""

    def __init__(self, archive: ZipFile, name: str):
        self._file = archive.open(name)
        self._name = name
        self.header = read_header(self._file)
        if self.header.fortran and self.header.size_bytes > COLUMN_CHUNK_BYTES:
            raise UnreadableFile(
                f"{name} is compressed and in Fortran order, which cannot be read by rows: save it in C order"
            )

    def read(self, first: int, count: int) -> Array:
        size_bytes = count * self.header.row_bytes
        try:
            data = self._file.read(size_bytes)
        except (BadZipFile, DeflateError) as error:
            raise UnreadableFile(f"{self._name} is damaged: {error}") from None
        if len(data) < size_bytes:
            raise UnreadableFile(f"{self._name} is cut off")
        shape = (count, *self.header.shape[1:])
        return np.frombuffer(data, self.header.dtype).reshape(
            shape, order="F" if self.header.fortran else "C"
        )


class ArraysReader:
    """One array for each input of a model, as rows."""

    def __init__(self, arrays: Mapping[str, RowArray], signature: Signature):
        self._arrays = arrays
        self._specs = signature.inputs
        for spec in self._specs:
            _row_shape(arrays[spec.name].header.shape, spec)  # refuse it now, not after the first chunk
        sizes = {name: array.header.shape[0] for name, array in arrays.items()}
        if len(set(sizes.values())) > 1:
            raise UnreadableFile(f"the arrays have different numbers of rows: {sizes}")
        self.size = min(sizes.values())

    def rows(self) -> Iterator[Rows]:
        """All rows, in chunks of as many as memory allows."""
        headers = [array.header for array in self._arrays.values()]
        by_columns = any(header.fortran and len(header.shape) > 1 for header in headers)
        row_bytes = max(1, sum(header.row_bytes for header in headers))
        step = max(1, (COLUMN_CHUNK_BYTES if by_columns else CHUNK_BYTES) // row_bytes)
        if by_columns and any(isinstance(array, CompressedArray) for array in self._arrays.values()):
            step = max(step, self.size)  # it is small: that was checked
        firsts = range(0, self.size, step)
        with ThreadPoolExecutor(1) as reader:  # the next chunk is read while one is predicted
            ahead = reader.submit(self._read, 0, min(step, self.size))
            for first in firsts[1:]:
                chunk = ahead.result()
                ahead = reader.submit(self._read, first, min(step, self.size - first))
                yield _to_rows(chunk, self._specs)
            yield _to_rows(ahead.result(), self._specs)

    def _read(self, first: int, count: int) -> dict[str, Array]:
        return {name: array.read(first, count) for name, array in self._arrays.items()}


class NpyWriter:
    """Predictions as NPY, or NPZ if the model has several outputs; failed rows are left out."""

    def __init__(self, signature: Signature, npz: bool = False):
        self._columns = {spec.name: ArrayStream(spec) for spec in signature.outputs}
        self._spools: dict[str, IO[bytes]] = {}
        if npz or len(self._columns) > 1:  # a ZIP file holds one array after the other
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


class ArrayStream:
    """An array that grows by rows."""

    def __init__(self, spec: TensorSpec, format: str = "NPY"):
        if spec.datatype == "BYTES":
            raise UnreadableFile(
                f"{format} cannot hold output {spec.name!r}, which is text; use JSONL or CSV"
            )
        self._name = spec.name
        self.rows = 0
        self._shape: Shape | None = None if DYNAMIC in spec.shape[1:] else spec.shape[1:]
        self.dtype = np.dtype("float32" if spec.datatype == "BF16" else DATATYPES[spec.datatype].numpy)

    def add(self, column: Column, failures: dict[int, Any]) -> bytes:
        """The bytes of the rows that did not fail."""
        if isinstance(column, np.ndarray):
            rows = np.delete(column, list(failures), axis=0) if failures else column
            return self._add(rows)
        return b"".join(self._add(row[np.newaxis]) for row in column if row is not None)

    @property
    def shape(self) -> Shape:
        """Of a row; one of open length that no row has shown is a single value."""
        return self._shape or ()

    def header(self) -> bytes:
        header = BytesIO()
        description = npy.dtype_to_descr(self.dtype)
        npy.write_array_header_1_0(
            header, {"descr": description, "fortran_order": False, "shape": (self.rows, *self.shape)}
        )
        return header.getvalue()

    def _add(self, rows: Array) -> bytes:
        self._shape = rows.shape[1:] if self._shape is None else self._shape
        if rows.shape[1:] != self._shape:
            raise UnreadableFile(
                f"output {self._name!r} has rows of shape {list(rows.shape[1:])} and {list(self._shape)}:"
                " one array cannot hold both; use JSONL"
            )
        self.rows += len(rows)
        return rows.astype(self.dtype, copy=False).tobytes()


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


class RangeFile(RawIOBase):
    """A source as the seekable file that zipfile wants."""

    def __init__(self, source: Source):
        self._source = source
        self._position = 0
        self.error: BaseException | None = None  # for a caller that hides what a read has raised

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._source.view(self._position, self._position + len(buffer))
        except BaseException as error:
            self.error = error
            raise
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._source.info.size_bytes)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def read_npy(source: Source, signature: Signature, options: Options) -> ArraysReader:
    if len(signature.inputs) > 1:
        raise UnreadableFile(f"NPY holds one array, the model takes {len(signature.inputs)} inputs: use NPZ")
    return _counted(source, ArraysReader({signature.inputs[0].name: PlainArray(source)}, signature))


def read_npz(source: Source, signature: Signature, options: Options) -> ArraysReader:
    try:
        archive = ZipFile(BufferedReader(RangeFile(source), CHUNK_BYTES))
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        names = _members_of_inputs(signature, list(members))
        arrays = {name: _open_member(source, archive, members[member]) for name, member in names.items()}
    except (BadZipFile, DeflateError, NotImplementedError) as error:
        raise UnreadableFile(f"not NPZ: {error}") from None
    return _counted(source, ArraysReader(arrays, signature))


def _counted(source: Source, reader: ArraysReader) -> ArraysReader:
    """Reader and source, which knows now how many rows there will be."""
    source.rows = reader.size
    return reader


def write_npy(signature: Signature, options: Options, reader: Any) -> NpyWriter:
    return NpyWriter(signature)


def write_npz(signature: Signature, options: Options, reader: Any) -> NpyWriter:
    return NpyWriter(signature, npz=True)


def _members_of_inputs(signature: Signature, members: list[str]) -> dict[str, str]:
    """Which member is which input: by name, or the only one for the only one. Raises UnreadableFile."""
    wanted = [spec.name for spec in signature.inputs]
    if len(wanted) == len(members) == 1:
        return {wanted[0]: members[0]}
    missing = [name for name in wanted if name not in members]
    if missing:
        raise UnreadableFile(f"NPZ has no array {missing[0]!r}, got {', '.join(map(repr, members[:10]))}")
    return {name: name for name in wanted}


def _open_member(source: Source, archive: ZipFile, info: ZipInfo) -> RowArray:
    """A member that is not compressed is read by ranges. Source: PKWARE APPNOTE.TXT, 4.3.7, "Local file header"."""
    if info.compress_type != ZIP_STORED or info.flag_bits & 1:  # 1: encrypted; zipfile says so
        return CompressedArray(archive, info.filename)
    local = source.read(info.header_offset, info.header_offset + LOCAL_HEADER)
    name_bytes, extra_bytes = local[26:28], local[28:30]
    lengths = int.from_bytes(name_bytes, "little") + int.from_bytes(extra_bytes, "little")
    return PlainArray(source, info.header_offset + LOCAL_HEADER + lengths, info.file_size)


def read_header(file: Any) -> Header:
    """Raises UnreadableFile: not NPY, or no numbers."""
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except (KeyError, TypeError, ValueError, SyntaxError, TokenError) as error:  # it parses a Python literal
        raise UnreadableFile(f"not NPY: {error}") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise UnreadableFile(f"NPY holds {dtype}, expected numbers")  # above all: no pickled objects
    if not shape:
        raise UnreadableFile("NPY holds a single value, expected rows")
    if min(shape) < 0:
        raise UnreadableFile(f"not NPY: shape {list(shape)}")
    return Header(shape, fortran, dtype, file.tell())


def _to_rows(arrays: dict[str, Array], specs: tuple[TensorSpec, ...]) -> Rows:
    """Some rows of every array as rows of the inputs; the ones that do not fit fail one by one."""
    native = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}
    size = len(native[specs[0].name])
    shapes = {spec.name: _row_shape(native[spec.name].shape, spec) for spec in specs}
    try:
        columns: dict[str, Column] = {
            spec.name: cast(native[spec.name], spec.datatype).reshape(size, *shapes[spec.name])
            for spec in specs
        }
        return Rows(size, columns, {})
    except RowError:
        rows = RowsBuilder(shapes)
        for n in range(size):
            try:
                rows.add({s.name: cast(native[s.name][n], s.datatype).reshape(shapes[s.name]) for s in specs})
            except RowError as error:
                rows.fail(str(error), row_to_json(native, n))
        return rows.build()


def _row_shape(shape: Shape, spec: TensorSpec) -> Shape:
    """The shape in which a row of an array of `shape` goes into the model. Raises UnreadableFile."""
    row = np.broadcast_to(np.int8(0), shape[1:])
    if row_size(spec.shape) == row.size:
        return spec.shape[1:]  # also 28 x 28 for 1 x 28 x 28: there is only one way to take them
    try:
        return tuple(fit(row, spec).shape)
    except RowError as error:
        raise UnreadableFile(str(error)) from None


def _member(name: str) -> ZipInfo:
    return ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))  # the same bytes whenever it is written
