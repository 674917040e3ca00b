"""Tensors as values: a datatype, a shape and a buffer. NumPy is a view for whoever asks for it.

Datatypes are those of the Open Inference Protocol (inference_rest.md, "Tensor Data Types"), and BF16,
which Triton adds. Bytes are little endian, row-major and without padding, as on the wire.
"""

import sys
from array import array
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from tensorlet.errors import InvalidTensor

if TYPE_CHECKING:
    import numpy as np


class Datatype(NamedTuple):
    """One element type. `code` is its `struct` code; BF16 has none, BYTES elements have no fixed size."""

    name: str
    size_bytes: int
    code: str
    numpy: str
    tensorflow: str
    kind: str  # bool, int, float or bytes: what JSON may hold


DATATYPES = {
    row[0]: Datatype(*row)
    for row in (
        ("BOOL", 1, "?", "bool", "DT_BOOL", "bool"),
        ("UINT8", 1, "B", "uint8", "DT_UINT8", "int"),
        ("UINT16", 2, "H", "uint16", "DT_UINT16", "int"),
        ("UINT32", 4, "I", "uint32", "DT_UINT32", "int"),
        ("UINT64", 8, "Q", "uint64", "DT_UINT64", "int"),
        ("INT8", 1, "b", "int8", "DT_INT8", "int"),
        ("INT16", 2, "h", "int16", "DT_INT16", "int"),
        ("INT32", 4, "i", "int32", "DT_INT32", "int"),
        ("INT64", 8, "q", "int64", "DT_INT64", "int"),
        ("FP16", 2, "e", "float16", "DT_HALF", "float"),
        ("BF16", 2, "", "uint16", "DT_BFLOAT16", "float"),  # NumPy sees the raw bits
        ("FP32", 4, "f", "float32", "DT_FLOAT", "float"),
        ("FP64", 8, "d", "float64", "DT_DOUBLE", "float"),
        ("BYTES", 0, "", "object", "DT_STRING", "bytes"),
    )
}
FROM_NUMPY = {d.numpy: d.name for d in DATATYPES.values() if d.name != "BF16"}
FLOAT32 = DATATYPES["FP32"]

Shape = tuple[int, ...]
Buffer = bytes | bytearray | memoryview


class Tensor(NamedTuple):
    """A datatype, a shape and its elements.

    `data` is a C-contiguous little-endian buffer of `prod(shape) * size_bytes` bytes; for BYTES it is a list
    of `prod(shape)` byte strings. A NamedTuple and not a dataclass: `dataclasses` costs 20 ms of a cold start.
    """

    datatype: str
    shape: Shape
    data: Any

    @classmethod
    def from_numpy(cls, values: "np.ndarray[Any, Any]") -> "Tensor":
        """`values` of any layout and byte order, as a tensor; text becomes UTF-8 BYTES.

        Raises:
            InvalidTensor: a NumPy dtype that no datatype stands for (complex, datetime).
        """
        shape = values.shape
        if values.dtype.kind in "OSU":
            elements = [v.encode() if isinstance(v, str) else bytes(v) for v in values.ravel().tolist()]
            return cls("BYTES", shape, elements)
        name = FROM_NUMPY.get(values.dtype.name)
        if name is None:
            raise InvalidTensor(f"expected a dtype of {', '.join(FROM_NUMPY)}, got {values.dtype}")
        if values.dtype.byteorder == ">":
            values = values.astype(values.dtype.newbyteorder("<"))
        if not values.flags.c_contiguous:
            values = values.copy(order="C")
        # A zero-size or 0-d array cannot be cast to bytes by memoryview.
        data = values.data.cast("B") if values.ndim and values.size else values.tobytes()
        return cls(name, shape, data)

    def numpy(self) -> "np.ndarray[Any, Any]":
        """This tensor as an array of `shape`: a view of the buffer, read-only where the buffer is; BYTES are copied."""
        import numpy as np  # on demand: 100 ms of a cold start

        if self.datatype == "BYTES":
            elements = np.empty(len(self.data), dtype=object)
            elements[:] = self.data
            return elements.reshape(self.shape)
        dtype: Any = DATATYPES[self.datatype].numpy
        return np.frombuffer(self.data, dtype=dtype).reshape(self.shape)

    def tolist(self) -> list[Any]:
        """All elements in row-major order as Python values; FP16 and BF16 as floats, BYTES as bytes."""
        datatype, _, data = self
        if datatype == "BYTES":
            return list(data)
        view = memoryview(data).cast("B")
        if datatype == "BF16":
            wide = bytearray(2 * len(view))
            wide[2::4], wide[3::4] = view[0::2], view[1::2]  # the upper half of a float32
            return memoryview(wide).cast("f").tolist()
        if datatype == "FP16":  # memoryview cannot cast to half precision
            from struct import unpack

            return list(unpack(f"<{len(view) // 2}e", view))
        return view.cast(DATATYPES[datatype].code).tolist()  # type: ignore[call-overload,no-any-return]  # one of its codes

    @property
    def size_bytes(self) -> int:
        if self.datatype == "BYTES":
            return sum(4 + len(element) for element in self.data)
        return memoryview(self.data).nbytes


def element_count(shape: Sequence[int]) -> int:
    """The number of elements of a fully known shape; a 0-d tensor has one."""
    return prod(shape)


def from_values(datatype: str, shape: Shape, values: Sequence[Any]) -> Tensor:
    """Python values in row-major order as a tensor; the values are of the datatype's kind already.

    Raises:
        InvalidTensor: too few or too many values, or one outside the datatype's range.
    """
    kind = DATATYPES[datatype]
    if len(values) != element_count(shape):
        raise InvalidTensor(f"shape {list(shape)} takes {element_count(shape)} values, got {len(values)}")
    if datatype == "BYTES":
        return Tensor("BYTES", shape, [v.encode() if isinstance(v, str) else bytes(v) for v in values])
    if datatype == "BF16":
        # Truncating a float32 to its upper half is what tritonclient does too.
        wide = memoryview(_float32(values)).cast("B")
        half = bytearray(len(wide) // 2)
        half[0::2], half[1::2] = wide[2::4], wide[3::4]
        return Tensor("BF16", shape, half)
    try:
        if kind.code in "?e":
            from struct import pack

            return Tensor(datatype, shape, pack(f"<{len(values)}{kind.code}", *values))
        packed = _float32(values) if kind.code == "f" else array(kind.code, values)
        return Tensor(datatype, shape, memoryview(packed).cast("B") if len(packed) else b"")
    except (OverflowError, ValueError) as error:
        raise InvalidTensor(f"a value is outside the range of {datatype}: {error}") from None


def _float32(values: Sequence[Any]) -> "array[float]":
    """Values as float32; those beyond its range become infinities, as a C cast does and TensorFlow Serving answers."""
    return array("f", values)


def narrow(doubles: Buffer) -> Buffer:
    """float64 elements as float32, rounded to nearest; those beyond its range become infinities.

    `array` takes them one by one, at 25 ns. NumPy is quicker where somebody has imported it already; for many
    elements so is a loaded runtime, which says so by `narrow_with`.
    """
    view = memoryview(doubles).cast("B")
    if np := sys.modules.get("numpy"):
        with np.errstate(over="ignore"):
            return memoryview(np.frombuffer(view, np.float64).astype(np.float32).tobytes())
    if view.nbytes >= _MANY_BYTES and _narrow_many is not None:
        return _narrow_many(view)
    return array("f", view.cast("d")).tobytes()


def narrow_with(function: Callable[[memoryview], Buffer]) -> None:
    """Let `function` narrow large buffers."""
    global _narrow_many
    _narrow_many = function


_MANY_BYTES = 8 * 384
_narrow_many: Callable[[memoryview], Buffer] | None = None
