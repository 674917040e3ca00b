"""Columns of a table as the inputs of a model."""

import re
from typing import NamedTuple

from tensorlet.batch.jsonpath import Path
from tensorlet.batch.rows import RowError, UnreadableFile
from tensorlet.batch.values import is_number, row_size
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Shape

ELEMENT = re.compile(r"(.*)\[([0-9]{1,9})\]", re.DOTALL)


class Take(NamedTuple):
    """The columns, by position, that make one input; `shape` is that of one row of it."""

    spec: TensorSpec
    positions: tuple[int, ...]
    shape: Shape


class Columns(NamedTuple):
    """How many cells a row has, what they are called, and which of them the model takes."""

    width: int
    names: tuple[str, ...]  # of the header, else numbers from 0
    takes: tuple[Take, ...]

    @property
    def positions(self) -> list[int]:
        """The columns that are taken, ascending."""
        return sorted({position for take in self.takes for position in take.positions})


def choose_filtered_columns(
    signature: Signature, header: list[str] | None, sample: list[list[str]], input_filter: Path
) -> Columns:
    """As `choose_columns`, among the columns that `input_filter` selects and in its order. Raises UnreadableFile."""
    if input_filter.whole:
        return choose_columns(signature, header, sample)
    width = len(header) if header is not None else _usual_width(sample)
    try:
        selected = input_filter.positions(width)
    except RowError as error:
        raise UnreadableFile(f"input_filter: {error} columns") from None
    names = tuple(header) if header is not None else tuple(map(str, range(width)))
    rows = [[row[n] for n in selected] for row in sample if len(row) == width]
    columns = choose_columns(signature, None if header is None else [header[n] for n in selected], rows)
    takes = [take._replace(positions=tuple(selected[n] for n in take.positions)) for take in columns.takes]
    return Columns(width, names, tuple(takes))


def choose_columns(signature: Signature, header: list[str] | None, sample: list[list[str]]) -> Columns:
    """Decide from the header and some rows which columns the model takes.

    An input takes the columns of its name, `name` or `name[0]`, `name[1]`, ... A single input that no column is
    named after takes the columns of numbers in their order: ids and labels are ignored.

    Raises:
        UnreadableFile: the columns do not make the model's inputs.
    """
    width = len(header) if header is not None else _usual_width(sample)
    names = tuple(header) if header is not None else tuple(map(str, range(width)))
    named = [_named(spec, header or []) for spec in signature.inputs]
    if all(named):
        return Columns(width, names, tuple(take for take in named if take))
    if len(signature.inputs) > 1:
        missing = [spec.name for spec, take in zip(signature.inputs, named, strict=True) if not take]
        raise UnreadableFile(
            f"the model takes {len(signature.inputs)} inputs; expected a header with columns for {missing},"
            f" `NAME` or `NAME[0]` to `NAME[n-1]`, got {_listing(header)}"
        )
    return Columns(width, names, (_in_order(signature.inputs[0], width, names, sample),))


def _named(spec: TensorSpec, header: list[str]) -> Take | None:
    """The columns called after an input, or None if they are not all there."""
    size = row_size(spec.shape)
    if header.count(spec.name) == 1 and size in (1, None):
        return _take(spec, (header.index(spec.name),))
    found: dict[int, int] = {}
    for position, name in enumerate(header):
        if (match := ELEMENT.fullmatch(name)) and match[1] == spec.name:
            found[int(match[2])] = position
    if not found or set(found) != set(range(size or len(found))):
        return None
    return _take(spec, tuple(position for _, position in sorted(found.items())))


def _in_order(spec: TensorSpec, width: int, names: tuple[str, ...], sample: list[list[str]]) -> Take:
    size = row_size(spec.shape)
    if width == size:
        return _take(spec, tuple(range(width)))
    if DATATYPES[spec.datatype].kind == "bytes":
        raise UnreadableFile(
            f"input {spec.name!r} takes {size or 'any number of'} texts, the file has {width} columns:"
            f" name those to take {spec.name!r}, or `{spec.name}[0]` and so on"
        )
    rows = [row for row in sample if len(row) == width]
    numeric = [sum(is_number(row[n]) for row in rows) for n in range(width)]
    positions = tuple(n for n in range(width) if 2 * numeric[n] > len(rows))
    if size and len(positions) < size:  # few rows, and bad ones among them
        positions = tuple(n for n in range(width) if numeric[n])
    if not positions or (size is not None and len(positions) != size):
        raise UnreadableFile(
            f"input {spec.name!r} takes {size or 'some'} numbers, the file has {width} columns,"
            f" {len(positions)} of them numeric: {_listing([names[n] for n in positions])}"
        )
    return _take(spec, positions)


def _take(spec: TensorSpec, positions: tuple[int, ...]) -> Take:
    """The shape of a row: the input's own; with open dimensions only a plain list of values is possible."""
    if row_size(spec.shape) is not None:
        return Take(spec, positions, spec.shape[1:])
    if len(spec.shape) != 2:
        raise UnreadableFile(
            f"input {spec.name!r} has the shape {list(spec.shape)}, which a table cannot give"
        )
    return Take(spec, positions, (len(positions),))


def _usual_width(sample: list[list[str]]) -> int:
    """The most frequent number of cells."""
    widths = [len(row) for row in sample]
    return max(set(widths), key=lambda width: (widths.count(width), width), default=0)


def _listing(names: list[str] | None) -> str:
    return "none" if not names else ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
