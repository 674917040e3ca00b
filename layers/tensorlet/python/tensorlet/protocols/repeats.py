"""JSON requests that come again with other numbers: what stands around the numbers is decoded once.

A client asks one thing over and over: the same text around one array of numbers. Where that text was seen before,
with as many numbers in it, the request is the one of then with these numbers. This is a lane before the two of
`json_body`, and like the fast one of them it only ever accepts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tensorlet.errors import TensorletError
from tensorlet.protocols.json_body import flat_numbers, parse_json
from tensorlet.protocols.json_tensor import CASTS
from tensorlet.settings import Settings
from tensorlet.signature import Signature
from tensorlet.tensors import Buffer, Shape, Tensor, element_count

MAX_AROUND_BYTES = 1024  # of text before the numbers, and of text behind them
MAX_BYTES = 64 << 10  # more numbers take longer than all that stands around them
REMEMBERED = 64

Decode = Callable[[bytes, Signature, Settings], Any]
Key = tuple[
    bytes, bytes, int, int
]  # the text before the numbers, that behind them; which signature and limits
DataOf = Callable[[Any], Any]


class Known(NamedTuple):
    """A decoded request, but for the numbers of its one tensor."""

    code: str  # of the numbers as they are parsed, 8 bytes each
    size_bytes: int
    cast: Callable[[Buffer], Buffer]
    name: str
    datatype: str
    shape: Shape
    call: type  # whose first field is `inputs`
    others: tuple[Any, ...]  # its other fields
    held: tuple[Signature, Settings]  # so that no others get the identity that the key names


def decode_again(
    body: bytes, signature: Signature, limits: Settings, decode: Decode, data_of: DataOf, before: bytes
) -> Any:
    """`decode(body, signature, limits)`, or the same by what a request was decoded to that differs in numbers only.

    `data_of(document)` says where in a request the numbers are, and `before` is what stands somewhere before them.

    Raises:
        TensorletError: whatever `decode` raises.
    """
    if len(body) > MAX_BYTES:
        return decode(body, signature, limits)
    end = body.find(b"]", body.find(before, 0, MAX_AROUND_BYTES)) + 1
    start = body.rfind(b"[", 0, end)
    if not (0 < start <= MAX_AROUND_BYTES and len(body) - end <= MAX_AROUND_BYTES):
        return decode(body, signature, limits)
    key = (body[:start], body[end:], id(signature), id(limits))
    if known := KNOWN.get(key):
        code, size_bytes, cast, name, datatype, shape, kind, others, _ = known
        numbers = flat_numbers(body[start:end], code)
        if numbers is not None and numbers.nbytes == size_bytes:
            return kind({name: Tensor(datatype, shape, cast(numbers))}, *others)
    call = decode(body, signature, limits)
    if known := _learn(key, call, signature, limits, data_of):
        if len(KNOWN) >= REMEMBERED:
            KNOWN.clear()
        KNOWN[key] = known
    return call


def _learn(key: Key, call: Any, signature: Signature, limits: Settings, data_of: DataOf) -> Known | None:
    """What to keep of a request whose one tensor is the list between a head and a tail, else None."""
    inputs, *others = call
    if len(inputs) != 1:
        return None
    ((name, tensor),) = inputs.items()
    if tensor.datatype not in CASTS or not tensor.data:
        return None
    head, tail, *_ = key
    if not _is_data(head, tail, limits, data_of):
        return None
    code, cast = CASTS[tensor.datatype]
    size_bytes = 8 * element_count(tensor.shape)
    held = (signature, limits)
    return Known(code, size_bytes, cast, name, tensor.datatype, tensor.shape, type(call), tuple(others), held)


def _is_data(head: bytes, tail: bytes, limits: Settings, data_of: DataOf) -> bool:
    """Whether the list between `head` and `tail` is all the data there is."""
    try:
        data = data_of(parse_json(b"%b[]%b" % (head, tail), limits, first=True))
    except (TensorletError, LookupError, TypeError, AttributeError):
        return False
    while isinstance(data, list | dict) and len(data) == 1:
        (data,) = data.values() if isinstance(data, dict) else data
    return isinstance(data, list) and not data


KNOWN: dict[Key, Known] = {}
