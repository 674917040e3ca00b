"""How the command line looks: tables, sizes, and colours where there is a terminal."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

NUMBER = re.compile(r"[-+]?\$?[0-9][0-9,.e+-]*( ?[%×]| ?[kMG]?B| ?ms| ?s)?|-|")
UNITS = ("B", "kB", "MB", "GB")
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns under upper-case headers; a column of nothing but numbers is aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(*([header.upper() for header in headers], *cells), strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(map(NUMBER.fullmatch, column[1:])) for column in columns]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in zip(*columns, strict=True)
    )
    return "\n".join(lines)


def size(size_bytes: float) -> str:
    """A size for people, in decimal units as AWS's prices are."""
    power = min(3, (len(str(int(size_bytes))) - 1) // 3)
    value = size_bytes / 1000**power
    return f"{value:.1f} {UNITS[power]}" if power and value < 100 else f"{value:.0f} {UNITS[power]}"


def style(text: str, *names: str, stream: TextIO | None = None) -> str:
    """`text` in the named styles, if the stream (stdout) is a terminal and NO_COLOR (no-color.org) is not set."""
    if not is_terminal(stream or sys.stdout) or os.environ.get("NO_COLOR"):
        return text
    codes = ";".join(STYLES[name] for name in names)
    return f"\033[{codes}m{text}\033[0m"


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty()


def status_line(text: str) -> None:
    """Overwrite the current line of the terminal on stderr with `text`; nothing in a pipe."""
    if is_terminal(sys.stderr):
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
