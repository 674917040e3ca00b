"""Raw tensors: little endian, row-major, no padding; a BYTES element is a 4-byte length and its bytes.

Source: Triton Inference Server, extension_binary_data.md.
"""

from math import prod
from typing import Any

from tensorlet.errors import InvalidTensor
from tensorlet.tensors import DATATYPES, Buffer, Shape, Tensor

LENGTH_BYTES = 4


def decode_binary(raw: memoryview, datatype: str, shape: Shape, where: str) -> Tensor:
    """A tensor over `raw`, which is not copied; BYTES elements are.

    Raises:
        InvalidTensor: bytes missing or left over.
    """
    if datatype == "BYTES":
        return Tensor("BYTES", shape, _decode_elements(raw, prod(shape), where))
    expected = prod(shape) * DATATYPES[datatype].size_bytes
    if raw.nbytes != expected:
        raise InvalidTensor(
            f"{where}: expected {expected} bytes for {datatype} {list(shape)}, got {raw.nbytes}"
        )
    if datatype == "BOOL" and not {*bytes(raw)} <= {0, 1}:
        raise InvalidTensor(f"{where}: expected bytes 0 or 1 for BOOL")
    return Tensor(datatype, shape, raw)


def encode_binary(tensor: Tensor) -> Buffer:
    """`decode_binary(encode_binary(t), t.datatype, t.shape) == t`, to the bit."""
    if tensor.datatype != "BYTES":
        return tensor.data  # type: ignore[no-any-return]
    pieces: list[Any] = []
    for element in tensor.data:
        pieces += (len(element).to_bytes(LENGTH_BYTES, "little"), element)
    return b"".join(pieces)


def _decode_elements(raw: memoryview, count: int, where: str) -> list[bytes]:
    elements: list[bytes] = []
    offset = 0
    while offset < raw.nbytes:
        start = offset + LENGTH_BYTES
        end = start + int.from_bytes(raw[offset:start], "little")
        if start > raw.nbytes or end > raw.nbytes:
            raise InvalidTensor(f"{where}: BYTES element {len(elements)} runs beyond the end of its data")
        elements.append(bytes(raw[start:end]))
        offset = end
    if len(elements) != count:
        raise InvalidTensor(f"{where}: expected {count} BYTES elements, got {len(elements)}")
    return elements
