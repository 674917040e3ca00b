"""Numbers and text of a file as the elements of a tensor: one grammar and one cast for every format."""

import re
from math import prod
from typing import Any

import numpy as np

from tensorlet.batch.rows import Array, RowError
from tensorlet.signature import DYNAMIC, TensorSpec
from tensorlet.tensors import DATATYPES, Shape

EXACT_INTEGERS = 2**53  # from here on, a float64 does not tell neighbouring integers apart
BOOLEANS = {"true": 1, "false": 0}


def number(text: str) -> float:
    """The number in a cell: decimal with an optional exponent, `nan` or `inf`; spaces around it are ignored.

    An integer has no negative zero: `-0` is 0, `-0.0` is not. Raises RowError.
    """
    try:
        value = float(text)
    except ValueError:
        raise RowError(f"expected a number, got {text[:64]!r}") from None
    if "_" in text or not text.isascii():  # Python's own liberties
        raise RowError(f"expected a number, got {text[:64]!r}")
    return 0.0 if value == 0 and text.strip() == "-0" else value


def is_number(text: str) -> bool:
    try:
        number(text)
    except RowError:
        return False
    return True


def integer(text: str) -> int:
    """The integer in a cell; `3.0` is one. Raises RowError."""
    if re.fullmatch(r"\s*[+-]?[0-9]{1,40}\s*", text, re.ASCII):
        return int(text)
    if text.strip().lower() in BOOLEANS:
        return BOOLEANS[text.strip().lower()]
    value = number(text)
    if not value.is_integer() or abs(value) >= EXACT_INTEGERS:
        raise RowError(f"expected an integer, got {text[:64]!r}")
    return int(value)


def cells_to_array(cells: list[str], datatype: str) -> Array:
    """Some cells of one row as a one-dimensional array. Raises RowError."""
    kind = DATATYPES[datatype].kind
    if kind == "bytes":
        return object_array([cell.encode() for cell in cells])
    if kind == "float":
        return cast(np.array([number(cell) for cell in cells], np.float64), datatype)
    values = [integer(cell) for cell in cells]
    _check_range(min(values, default=0), max(values, default=0), datatype)
    return np.array(values, DATATYPES[datatype].numpy)


def json_to_array(value: Any, spec: TensorSpec) -> Array:
    """A JSON value as one row of an input: nested as the input's shape, or flat.

    Raises:
        RowError: a value of another kind, a ragged list, or another shape.
    """
    if DATATYPES[spec.datatype].kind == "bytes":
        return fit(_text_array(value), spec)
    try:
        array = np.array(value)
    except ValueError:
        raise RowError(f"input {spec.name!r}: the lists are ragged") from None
    if array.size == 0:
        array = array.astype(np.float64)
    if array.dtype.kind not in "iuf" and not (array.dtype.kind == "b" and spec.datatype == "BOOL"):
        raise RowError(f"input {spec.name!r}: expected numbers, got {str(value)[:64]}")
    return fit(cast(array, spec.datatype), spec)


def _text_array(value: Any) -> Array:
    rows = [value]
    shape = []
    while any(isinstance(row, list) for row in rows):
        if not all(isinstance(row, list) for row in rows) or len({len(row) for row in rows}) != 1:
            raise RowError("the lists are ragged")
        shape.append(len(rows[0]))
        rows = [item for row in rows for item in row]
    if not all(isinstance(row, str) for row in rows):
        raise RowError(f"expected strings, got {str(value)[:64]}")
    return object_array([row.encode() for row in rows]).reshape(shape)


def fit(array: Array, spec: TensorSpec) -> Array:
    """`array` in the shape of one row of `spec`, if it has that shape, or is flat and as large. Raises RowError."""
    inner = spec.shape[1:]
    if len(array.shape) == len(inner) and all(
        want in (DYNAMIC, got) for want, got in zip(inner, array.shape, strict=True)
    ):
        return array
    if array.ndim <= 1 and DYNAMIC not in inner and array.size == prod(inner):
        return array.reshape(inner)
    raise RowError(f"input {spec.name!r}: expected shape {list(inner)}, got {list(array.shape)}")


def cast(array: Array, datatype: str) -> Array:
    """Numbers as the elements of a datatype; nothing is lost but the precision and range of floats.

    A float beyond its range becomes infinite, as everywhere else. BF16 is given as its bits.

    Raises:
        RowError: a value that is no integer, or beyond the datatype's range.
    """
    kind = DATATYPES[datatype].kind
    target: Any = DATATYPES[datatype].numpy
    if kind == "float":
        if array.dtype.kind in "iu" and array.itemsize == 8:
            array = array.astype(np.float64)  # by way of it, as text is read: rounding at once may differ
        with np.errstate(over="ignore"):
            if datatype != "BF16":
                return array.astype(target, copy=False)
            return (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.trunc(array)) & (np.abs(array) < EXACT_INTEGERS)
        if not whole.all():
            raise RowError(f"expected integers, got {array[~whole].flat[0]}")
        array = array.astype(np.int64)
    if array.size:
        _check_range(int(array.min()), int(array.max()), datatype)
    return array.astype(target)


def object_array(items: list[Any]) -> Array:
    """A one-dimensional array of Python objects, whatever they are."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def row_size(shape: Shape) -> int | None:
    """How many values a row of this tensor has; None if that is left open."""
    return None if DYNAMIC in shape[1:] else prod(shape[1:])


def _check_range(low: int, high: int, datatype: str) -> None:
    if datatype == "BOOL":
        least, most = 0, 1
    else:
        info = np.iinfo(DATATYPES[datatype].numpy)
        least, most = int(info.min), int(info.max)
    if low < least or high > most:
        raise RowError(f"expected {datatype}, {least} to {most}, got {low if low < least else high}")
