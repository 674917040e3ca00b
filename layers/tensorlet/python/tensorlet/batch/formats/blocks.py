"""The fast lane: a whole block of text as numbers, in one pass of a JSON parser that uses SIMD.

It only ever accepts, and only what the careful lane reads in the same way: JSON's numbers are a part of what
a CSV cell may hold, with the same values. Text beside the numbers is cut away first. Whatever it refuses (None)
the careful lane reads again, slowly, and that lane alone says what is wrong with a row.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from operator import itemgetter
from threading import local
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson

from tensorlet.batch.rows import Array


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
    if _has_lone_return(block):
        return None  # to JSON it is white space anywhere, to CSV an end of line
    if delimiter != b",":
        block = block.replace(delimiter, b",")
    if not block.endswith(b"\n"):
        block += b"\n"  # the last line of a file may lack it
    marked = block.replace(b"\n", b",%b," % lane.mark)
    rows = (len(marked) - len(block)) // (len(lane.mark) + 1)
    document = b"".join((b"[", memoryview(marked)[:-1], b"]"))  # one copy less than with `+`
    return _numbers(document, rows, width, lane)


def csv_columns(
    block: bytes, width: int, positions: Sequence[int], lane: Lane, delimiter: bytes = b","
) -> Array | None:
    """Some columns of a block of whole CSV lines as (rows, columns) numbers, or None if it is not as simple as that.

    The other columns may hold any text without quotes. `positions` ascend.
    """
    if b'"' in block or _has_lone_return(block) or not _is_utf8(block):
        return None
    lines = block_lines(block)
    cells = _cut_columns(lines, width, positions, delimiter)
    if len(cells) != len(lines):
        return None
    if delimiter != b",":
        if any(b"," in line for line in cells):
            return None
        cells = [line.replace(delimiter, b",") for line in cells]
    return _lines_of_numbers(cells, len(positions), lane)


def jsonl_numbers(block: bytes, width: int, lane: Lane) -> Array | None:
    """A block of lines `[1, 2, ...]` as (rows, width) numbers, or None if it is not as simple as that."""
    lines = block_lines(block)
    if not all([line[:1] == b"[" and line[-1:] == b"]" for line in lines]):  # a list: twice as fast
        return None
    return _lines_of_numbers([line[1:-1] for line in lines], width, lane)


def jsonl_lists(block: bytes, width: int, lane: Lane, is_row: Callable[[Any], bool]) -> Array | None:
    """The one list of each line as (rows, width) numbers, or None if it is not as simple as that.

    `is_row` is given each line's document with an empty list in the place of the list, and says whether that is what
    the model takes.
    """
    lists = []
    for line in block_lines(block):
        start, end = line.find(b"[") + 1, line.rfind(b"]")
        if not 0 < start <= end:
            return None
        try:
            if not is_row(orjson.loads(line[:start] + line[end:])):
                return None
        except orjson.JSONDecodeError:
            return None
        lists.append(line[start:end])
    return _lines_of_numbers(lists, width, lane)


def block_lines(block: bytes) -> list[bytes]:
    """The lines of a block, without what ends them."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    # To find newlines, `readlines` is ten times as fast as `split` where lines are long.
    lines = [line[:-1] for line in BytesIO(block)]
    if not block.endswith(b"\n"):
        lines[-1] = block[block.rfind(b"\n") + 1 :]
    return lines


def _cut_columns(lines: list[bytes], width: int, positions: Sequence[int], delimiter: bytes) -> list[bytes]:
    """The cells at `positions` of each line that has enough of them, joined as they were."""
    before, after = positions[0], width - 1 - positions[-1]
    if before + len(positions) + after != width:
        pick = itemgetter(*positions)
        cells = [line.split(delimiter) for line in lines]
        return [delimiter.join(pick(row)) for row in cells if len(row) == width]
    # The usual case, ids first and labels last: what lies between them stays in one piece.
    if before:
        lines = [
            parts[before]
            for parts in (line.split(delimiter, before) for line in lines)
            if len(parts) > before
        ]
    if after:
        lines = [
            parts[0] for parts in (line.rsplit(delimiter, after) for line in lines) if len(parts) > after
        ]
    return lines


def _lines_of_numbers(lines: list[bytes], width: int, lane: Lane) -> Array | None:
    """Lines `1, 2, ...`, with commas between the numbers."""
    rows = len(lines)
    lines[0] = b"[" + lines[0]
    lines[-1] += b",%b]" % lane.mark
    document = (b",%b," % lane.mark).join(lines)
    if document.find(b"[", 1) >= 0:
        return None  # simdjson flattens nested lists silently
    return _numbers(document, rows, width, lane)


def _numbers(document: bytes, rows: int, width: int, lane: Lane) -> Array | None:
    """One JSON array, in which a mark must follow exactly every `width` values; the marks were put in, one a row."""
    try:
        flat = np.frombuffer(_parser().parse(document).as_buffer(of_type=lane.code), lane.dtype)
    except (RuntimeError, TypeError, ValueError):  # not JSON, or no numbers of this kind
        return None
    if flat.size != rows * (width + 1):
        return None
    # If all marks are in the last column and nowhere else, every row has `width` values.
    table = flat.reshape(rows, width + 1)
    mark = lane.dtype(float(lane.mark) if lane.code == "d" else int(lane.mark))
    if np.count_nonzero(flat == mark) != rows or not (table[:, -1] == mark).all():
        return None
    return table[:, :-1]


def _parser() -> Any:
    if not hasattr(PARSERS, "parser"):
        PARSERS.parser = simdjson.Parser()
    return PARSERS.parser


def _has_lone_return(block: bytes) -> bool:
    return b"\r" in block and block.count(b"\r") != block.count(b"\r\n")


def _is_utf8(block: bytes) -> bool:
    try:
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False
