"""JSON bodies, in two lanes.

The fast lane (`number_arrays`, and orjson in `parse_json`) only ever accepts. Whatever it does not take goes to
the careful lane (the standard library), which also knows the bare tokens NaN, Infinity and -Infinity that Triton
and TensorFlow Serving send and take. So every refusal, and its text, comes from one place.

The fast lane opens with the second request of a process, or with a large one: importing simdjson and orjson takes
40 ms, which the first answer of a cold start does without. `open_fast_lane` opens it at once, for a server.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from tensorlet.errors import InvalidJson, PayloadTooLarge
from tensorlet.settings import Settings
from tensorlet.tensors import Buffer, Shape

# Possessive, and a string may lack its end: a body of many quotes is still read once, from left to right.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MAX_DIMENSIONS = 32
_MAX_LISTS = 4096  # looking into more of them costs more than the fast lane saves
_WORTH_IMPORTING_BYTES = 1 << 20  # the careful lane takes some 20 ms for them
_KEPT_PARSER_BYTES = 8 << 20  # a parser holds some times the bytes of its largest document

Call = TypeVar("Call")  # a decoded request


class Numbers(NamedTuple):
    """A JSON array of numbers, parsed straight into a buffer: `shape` as it was nested, elements of `code`."""

    buffer: Buffer
    code: str  # d: float64, q: int64
    shape: Shape


def parse_json(body: bytes, limits: Settings, first: bool = False) -> Any:
    """The document as Python values; with `first`, whatever follows it is ignored, as TensorFlow Serving does.

    Raises:
        InvalidJson: not JSON, nested too deeply, or text with half a surrogate pair.
        PayloadTooLarge: more values than the limit.
    """
    check_elements(body, limits)
    if body.count(b"[") + body.count(b"{") > limits.max_json_depth:
        _check_depth(body, limits.max_json_depth)
    if _fast_lane_is_open:
        import orjson

        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    return _parse_carefully(body, first)


def check_elements(body: bytes, limits: Settings) -> None:
    """Raises PayloadTooLarge for more values than the limit, before any is parsed; commas are counted for them."""
    if len(body) // 2 > limits.max_json_elements and body.count(b",") >= limits.max_json_elements:
        raise PayloadTooLarge(
            f"body: expected at most {limits.max_json_elements} values in JSON, got more; use binary tensors"
        )


def dump_json(document: Any) -> bytes:
    """`document` as compact JSON; floats that are not finite become the bare tokens NaN and Infinity."""
    global _fast_lane_is_open
    if _fast_lane_is_open:
        import orjson

        text = orjson.dumps(document)
        # orjson writes null for them; a null that was meant comes out of the careful lane as the same null.
        if b"null" not in text:
            return text
    _fast_lane_is_open = True
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def open_fast_lane() -> None:
    """Import simdjson and orjson now, and use them from now on."""
    global _fast_lane_is_open
    import orjson  # noqa: F401
    import simdjson  # noqa: F401

    _fast_lane_is_open = True


_fast_lane_is_open = False


def decode_repeated(
    body: bytes, signature: Any, limits: Settings, decode: Callable[[bytes, Any, Settings], Call], *place: Any
) -> Call:
    """`decode(body, signature, limits)`, from the second request of a process on by way of `repeats.decode_again`."""
    if not _fast_lane_is_open:
        return decode(body, signature, limits)
    from tensorlet.protocols.repeats import decode_again

    call: Call = decode_again(body, signature, limits, decode, *place)
    return call


def number_arrays(body: bytes, limits: Settings, extract: Callable[[Any, "ArrayReader"], Any]) -> Any:
    """What `extract(document, reader)` makes of a simdjson document, or None where it, or simdjson, declines.

    `extract` raises Declined for anything out of the ordinary. It must not keep parts of the document: the parser
    and its memory are used again.

    Raises:
        PayloadTooLarge: more values than the limit.
    """
    check_elements(body, limits)
    if not _fast_lane_is_open and len(body) < _WORTH_IMPORTING_BYTES:
        return None
    parser = _PARSERS.pop() if _PARSERS else _new_parser()
    try:
        reader = ArrayReader()
        result = extract(parser.parse(body), reader)
        # as_buffer flattens whatever is nested: only if no other list is in the body are the arrays what they seem.
        if not _has_lists(body, reader.lists):
            return None
    except (Declined, ValueError, TypeError, RuntimeError, KeyError, IndexError, AttributeError):
        return None  # and the parser is dropped: the traceback still holds parts of its document
    if len(body) <= _KEPT_PARSER_BYTES:
        _PARSERS.append(parser)
    return result


def flat_numbers(text: bytes, code: str) -> memoryview | None:
    """The numbers of a JSON list without lists in it, as float64 (`d`) or int64 (`q`); None for anything else."""
    parser = _PARSERS.pop() if _PARSERS else _new_parser()
    try:
        array: Any = parser.parse(text)
        buffer = array.as_buffer(of_type="d" if code == "d" else "i")
        del array  # it belongs to the parser
    except (ValueError, TypeError, RuntimeError, AttributeError):
        return None
    _PARSERS.append(parser)
    return memoryview(buffer).cast("B")


def _new_parser() -> Any:
    import simdjson

    return simdjson.Parser()


def _has_lists(body: bytes, count: int) -> bool:
    """Whether `[` stands exactly `count` times in the body; `find` skips what `count` would look at one by one."""
    position = -1
    for _ in range(count):
        position = body.find(b"[", position + 1)
        if position < 0:
            return False
    return body.find(b"[", position + 1) < 0


_PARSERS: list[Any] = []  # list.pop and append are atomic: one parser for each thread at work


class Declined(Exception):
    """The fast lane passes; the careful lane decides."""


class ArrayReader:
    """Reads arrays out of a simdjson document and counts the lists it has accounted for."""

    def __init__(self) -> None:
        self.lists = 0

    def list(self, array: Any) -> Any:
        """A list that is not numbers; only counted. Raises Declined for what is no list."""
        if not hasattr(array, "as_buffer"):
            raise Declined
        self.lists += 1
        return array

    def text(self, value: Any) -> str:
        """A string. Raises Declined for anything else: it would belong to the parser."""
        if type(value) is not str:
            raise Declined
        return value

    def numbers(self, array: Any, code: str) -> Numbers:
        """An array of numbers, nested evenly or flat, as float64 (`d`) or int64 (`q`). Raises Declined."""
        shape = _even_shape(array)
        count = 1
        for length in shape:
            self.lists += count
            count *= length
        buffer = memoryview(array.as_buffer(of_type="d" if code == "d" else "i")).cast("B")
        if buffer.nbytes != 8 * count:
            raise Declined
        return Numbers(buffer, code, shape)


def _even_shape(array: Any) -> Shape:
    """The shape of an array whose lists all have the same length. Raises Declined."""
    if type(array[0]) in (float, int):
        return (len(array),)
    kind, shape, level = type(array), [], [array]
    while True:
        length = len(level[0])
        if any(type(item) is not kind or len(item) != length for item in level):
            raise Declined
        shape.append(length)
        if length == 0 or type(level[0][0]) is not kind:
            return tuple(shape)
        if len(shape) >= _MAX_DIMENSIONS or len(level) * length > _MAX_LISTS:
            raise Declined
        level = [item for items in level for item in items]


def _parse_carefully(body: bytes, first: bool) -> Any:
    if not body.strip():
        raise InvalidJson("JSON Parse error: The document is empty")
    try:
        text = body.decode()
        document = json.JSONDecoder().raw_decode(text.lstrip(" \t\r\n"))[0] if first else json.loads(text)
        if _ESCAPED_SURROGATE.search(body):
            json.dumps(document, ensure_ascii=False).encode()  # half a pair has no UTF-8
    except UnicodeDecodeError as error:
        raise InvalidJson(f"JSON Parse error: Invalid value: not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise InvalidJson("JSON Parse error: Invalid value: a string holds half a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        raise InvalidJson(f"JSON Parse error: Invalid value: {error}") from None
    return document


def _check_depth(body: bytes, max_depth: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > max_depth:
                raise InvalidJson(f"JSON nesting depth exceeds maximum allowed limit ({max_depth})")
        elif token in (b"]", b"}"):
            depth -= 1
