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
Key = tuple[bytes, bytes, int]  # the text before the numbers, that behind them, and which signature
DataOf = Callable[[Any], Any]


class Known(NamedTuple):
    """A decoded request; `call.inputs` is one tensor, `name`."""

    call: Any
    name: str
    datatype: str
    shape: Shape
    code: str  # of the numbers as they are parsed, 8 bytes each
    size_bytes: int
    cast: Callable[[Buffer], Buffer]
    signature: Signature
    limits: Settings


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
    key = (body[:start], body[end:], id(signature))
    known = KNOWN.get(key)
    if known is not None and known.signature is signature and known.limits is limits:
        numbers = flat_numbers(body[start:end], known.code)
        if numbers is not None and numbers.nbytes == known.size_bytes:
            tensor = Tensor(known.datatype, known.shape, known.cast(numbers))
            return known.call._replace(inputs={known.name: tensor})
    call = decode(body, signature, limits)
    if known := _learn(key, call, signature, limits, data_of):
        if len(KNOWN) >= REMEMBERED:
            KNOWN.clear()
        KNOWN[key] = known
    return call


def _learn(key: Key, call: Any, signature: Signature, limits: Settings, data_of: DataOf) -> Known | None:
    """What to keep of a request whose one tensor is the list between a head and a tail, else None."""
    if len(call.inputs) != 1:
        return None
    ((name, tensor),) = call.inputs.items()
    if tensor.datatype not in CASTS or not tensor.data:
        return None
    head, tail, _ = key
    if not _is_data(head, tail, limits, data_of):
        return None
    code, cast = CASTS[tensor.datatype]
    return Known(
        call._replace(inputs={}),
        name,
        tensor.datatype,
        tensor.shape,
        code,
        8 * element_count(tensor.shape),
        cast,
        signature,
        limits,
    )


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
