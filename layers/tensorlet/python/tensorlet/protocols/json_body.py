"""JSON bodies, in two lanes.

The fast lane (`number_arrays`, and orjson in `parse_json`) only ever accepts. Whatever it does not take goes to
the careful lane (the standard library), which also knows the bare tokens NaN, Infinity and -Infinity that Triton
and TensorFlow Serving send and take. So every refusal, and its text, comes from one place.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from tensorlet.errors import InvalidJson
from tensorlet.tensors import Buffer, Shape

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class Numbers(NamedTuple):
    """A JSON array of numbers, parsed straight into a buffer: `shape` as it was nested, elements of `code`."""

    buffer: Buffer
    code: str  # d: float64, q: int64
    shape: Shape


def parse_json(body: bytes, max_depth: int) -> Any:
    """The document as Python values. Raises InvalidJson."""
    if body.count(b"[") + body.count(b"{") > max_depth:
        _check_depth(body, max_depth)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_carefully(body)


def dump_json(document: Any) -> bytes:
    """`document` as compact JSON; floats that are not finite become the bare tokens NaN and Infinity."""
    text = orjson.dumps(document)
    # orjson writes null for them; a null that was meant comes out of the careful lane as the same null.
    return json.dumps(document, separators=(",", ":")).encode() if b"null" in text else text


def number_arrays(body: bytes, extract: Callable[[Any, "ArrayReader"], Any]) -> Any:
    """What `extract(document, reader)` makes of a simdjson document, or None where it, or simdjson, declines.

    `extract` raises Declined for anything out of the ordinary. It must not keep parts of the document: the parser
    and its memory are used again.
    """
    import simdjson  # 18 ms of a cold start that binary requests need not pay

    parser = _PARSERS.pop() if _PARSERS else simdjson.Parser()
    try:
        reader = ArrayReader()
        result = extract(parser.parse(body), reader)
        # as_buffer flattens whatever is nested: only if no other list is in the body are the arrays what they seem.
        if body.count(b"[") != reader.lists:
            return None
    except (Declined, ValueError, TypeError, RuntimeError, KeyError, IndexError):
        return None  # and the parser is dropped: the traceback still holds parts of its document
    _PARSERS.append(parser)
    return result


_PARSERS: list[Any] = []  # list.pop and append are atomic: one parser for each thread at work


class Declined(Exception):
    """The fast lane passes; the careful lane decides."""


class ArrayReader:
    """Reads arrays out of a simdjson document and counts the lists it has accounted for."""

    def __init__(self) -> None:
        self.lists = 0

    def list(self, array: Any) -> Any:
        """A list that is not numbers; only counted."""
        self.lists += 1
        return array

    def numbers(self, array: Any, code: str) -> Numbers:
        """An array of numbers, nested evenly or flat, as float64 (`d`) or int64 (`q`). Raises Declined."""
        shape = _even_shape(array)
        self.lists += sum(math.prod(shape[:depth]) for depth in range(len(shape)))
        buffer = memoryview(array.as_buffer(of_type="d" if code == "d" else "i")).cast("B")
        if buffer.nbytes != 8 * math.prod(shape):
            raise Declined
        return Numbers(buffer, code, shape)


def _even_shape(array: Any) -> Shape:
    """The shape of an array whose lists all have the same length. Raises Declined."""
    kind, shape, level = type(array), [], [array]
    while True:
        length = len(level[0])
        if any(type(item) is not kind or len(item) != length for item in level):
            raise Declined
        shape.append(length)
        if length == 0 or type(level[0][0]) is not kind:
            return tuple(shape)
        if len(shape) > 1 and len(level) * length > 4096:
            raise Declined  # more lists than this cost more than the careful lane saves
        level = [item for items in level for item in items]


def _parse_carefully(body: bytes) -> Any:
    if not body.strip():
        raise InvalidJson("JSON Parse error: The document is empty")
    try:
        return json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidJson(f"JSON Parse error: Invalid value: not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidJson(f"JSON Parse error: Invalid value: {error}") from None


def _check_depth(body: bytes, max_depth: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth > max_depth:
                raise InvalidJson(f"JSON nesting depth exceeds maximum allowed limit ({max_depth})")
        elif token in b"]}":
            depth -= 1
