"""Tensors in JSON: nested or flat lists, and their way back."""

from collections.abc import Callable
from math import prod
from typing import Any

from tensorlet.errors import InvalidTensor
from tensorlet.protocols.json_body import Numbers
from tensorlet.tensors import DATATYPES, Buffer, Shape, Tensor, from_values, narrow

# What JSON may hold for each kind of datatype, and what an error calls it. `bool` is an `int` in Python only.
KINDS: dict[str, tuple[set[type], str]] = {
    "bool": ({bool}, "true or false"),
    "int": ({int}, "an integer"),
    "float": ({int, float}, "a number"),
    "bytes": ({str, bytes}, "a string"),
}


def nested_values(data: Any) -> tuple[Shape, list[Any]]:
    """The shape of nested lists and their elements in row-major order; anything but a list is an element.

    Raises:
        InvalidTensor: ragged lists, in TensorFlow Serving's words.
    """
    if not isinstance(data, list):
        return (), [data]
    shape, level = [len(data)], data
    while level and isinstance(level[0], list):
        length = len(level[0])
        below: list[Any] = []
        for item in level:
            if not isinstance(item, list):
                raise InvalidTensor(f"Expecting list but got {json_type(item)} at depth {len(shape)}")
            if len(item) != length:
                raise InvalidTensor(f"Expecting tensor size: {length} but got: {len(item)}")
            below += item
        shape.append(length)
        level = below
    if list in set(map(type, level)):
        raise InvalidTensor(f"Encountered list at unexpected size: {len(shape)} dimensions expected")
    return tuple(shape), level


def tensor_from_json(data: Any, datatype: str, shape: Shape | None, where: str) -> Tensor:
    """`data` (Numbers or Python lists) as a tensor; `shape` None takes the shape it is nested in.

    Raises:
        InvalidTensor: an element of another type, ragged lists, or data that does not fill the shape.
    """
    if isinstance(data, Numbers):
        found, values = data.shape, None
    else:
        found, values = nested_values(data)
    if shape is None:
        shape = found
    elif found != shape and not (len(found) == 1 and found[0] == prod(shape)):
        raise InvalidTensor(
            f"{where}: shape {list(shape)} takes {prod(shape)} values, got data of shape {list(found)}"
        )
    if values is None:
        return Tensor(datatype, shape, _cast(data, datatype, where))
    allowed, expected = KINDS[DATATYPES[datatype].kind]
    if not set(map(type, values)) <= allowed:
        wrong = next(value for value in values if type(value) not in allowed)
        raise InvalidTensor(f"{where}: expected {expected} for {datatype}, got {shorten(wrong)}")
    try:
        return from_values(datatype, shape, values)
    except InvalidTensor as error:
        raise InvalidTensor(f"{where}: {error}") from None


def nest(values: list[Any], shape: Shape) -> Any:
    """Row-major `values` as lists nested in `shape`; a 0-d shape gives the bare value."""
    if not shape:
        return values[0]
    for axis in range(len(shape) - 1, 0, -1):
        length = shape[axis]
        values = [values[i * length : (i + 1) * length] for i in range(prod(shape[:axis]))]
    return values


def shorten(value: Any) -> str:
    """`value` for an error text, at most 64 characters of it."""
    text = repr(value)
    return text if len(text) <= 64 else f"{text[:61]}..."


def _cast(numbers: Numbers, datatype: str, where: str) -> Buffer:
    """Parsed numbers as elements of `datatype`. Raises InvalidTensor for a value outside its range."""
    if datatype in CASTS:
        return CASTS[datatype][1](numbers.buffer)
    values = memoryview(numbers.buffer).cast(numbers.code).tolist()  # type: ignore[call-overload]
    try:
        return from_values(datatype, (len(values),), values).data  # type: ignore[no-any-return]
    except InvalidTensor as error:
        raise InvalidTensor(f"{where}: {error}") from None


def _same(buffer: Buffer) -> Buffer:
    return buffer


# Datatypes that parsed numbers become at once: what `Numbers` they are read as, and how they change.
CASTS: dict[str, tuple[str, Callable[[Buffer], Buffer]]] = {
    "FP32": ("d", narrow),
    "FP64": ("d", _same),
    "INT64": ("q", _same),
}


def json_type(value: Any) -> str:
    """What JSON calls the type of `value`."""
    names = {
        dict: "object",
        list: "array",
        str: "string",
        bool: "boolean",
        int: "number",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), "value")
