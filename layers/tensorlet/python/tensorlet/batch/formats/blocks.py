"""The fast lane: a whole block of text as numbers, in one pass of a JSON parser that uses SIMD.

It only ever accepts, and only what the careful lane reads in the same way: JSON's numbers are a part of what
a CSV cell may hold, with the same values. Whatever it refuses (None) the careful lane reads again, slowly,
and that lane alone says what is wrong with a row.
"""

from threading import local
from typing import Any, NamedTuple

import numpy as np
import simdjson

from tensorlet.batch.rows import Array

NEWLINE, OPEN, CLOSE = b"\n[]"


class Lane(NamedTuple):
    """How simdjson gives numbers: the code of its buffer, the dtype, and a mark put after each row."""

    code: str
    dtype: Any
    mark: bytes


PARSERS = local()  # one for each thread: a parser keeps its memory from block to block

# The marks are values that no data is likely to have; a block which has one goes the careful way.
LANES = {
    "float": Lane("d", np.float64, b"-7.7e77"),
    "int": Lane("i", np.int64, b"-7777777777777777777"),
    "uint": Lane("u", np.uint64, b"17777777777777777777"),
}


def csv_numbers(block: bytes, width: int, lane: Lane, delimiter: bytes = b",") -> Array | None:
    """A block of whole CSV lines as (rows, width) numbers, or None if it is not as simple as that."""
    if b'"' in block or b"[" in block or (delimiter != b"," and b"," in block):
        return None
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return None  # to JSON it is white space anywhere, to CSV an end of line
    if delimiter != b",":
        block = block.replace(delimiter, b",")
    return _numbers(block, width, lane)


def jsonl_numbers(block: bytes, width: int, lane: Lane) -> Array | None:
    """A block of lines `[1, 2, ...]` as (rows, width) numbers, or None if it is not as simple as that."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if not block.endswith(b"\n"):
        block += b"\n"
    text = np.frombuffer(block, np.uint8)
    ends, opening, closing = text == NEWLINE, text == OPEN, text == CLOSE
    rows = np.count_nonzero(ends)
    # simdjson flattens nested lists silently, so there must be one pair of brackets for each line ...
    if np.count_nonzero(opening) != rows or np.count_nonzero(closing) != rows:
        return None
    # ... and it must be the first and the last character of the line.
    if np.count_nonzero(closing[:-1] & ends[1:]) != rows:
        return None
    if not opening[0] or np.count_nonzero(opening[1:] & ends[:-1]) != rows - 1:
        return None
    return _numbers(block, width, lane)


def _numbers(block: bytes, width: int, lane: Lane) -> Array | None:
    """Lines of numbers read as one JSON array, in which a mark must follow exactly every `width` values."""
    if not block.endswith(b"\n"):
        block += b"\n"  # the last line of a file may lack it
    marked = block.replace(b"\n", b",%b," % lane.mark)
    rows = (len(marked) - len(block)) // (len(lane.mark) + 1)
    document = b"".join((b"[", memoryview(marked)[:-1], b"]"))  # one copy less than with `+`
    try:
        flat = np.frombuffer(_parser().parse(document).as_buffer(of_type=lane.code), lane.dtype)
    except (RuntimeError, TypeError, ValueError):  # not JSON, or no numbers of this kind
        return None
    if flat.size != rows * (width + 1):
        return None
    # As many marks were put in as there are rows. If they are all in the last column and nowhere else,
    # every row has `width` values.
    table = flat.reshape(rows, width + 1)
    mark = lane.dtype(float(lane.mark) if lane.code == "d" else int(lane.mark))
    if not (table[:, -1] == mark).all() or (table[:, :-1] == mark).any():
        return None
    return table[:, :-1]


def _parser() -> Any:
    if not hasattr(PARSERS, "parser"):
        PARSERS.parser = simdjson.Parser()
    return PARSERS.parser
