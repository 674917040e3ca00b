"""What a user may choose for the files of a folder, in a `_batch.json` beside them.

The choices are pinned in the plan of a run, so that every retry makes the same ones.
"""

from typing import Any, NamedTuple

import orjson

from tensorlet.batch.rows import UnreadableFile

FILE = "_batch.json"
MOST_ROWS = 1 << 20


class Options(NamedTuple):
    """`batch_rows`: rows predicted at once. `header`: whether CSV has one; None finds out. `delimiter`: of CSV."""

    batch_rows: int = 512
    header: bool | None = None
    delimiter: str = ","


# What each option may be, in words for the message and as a check.
CHOICES: dict[str, tuple[str, Any]] = {
    "batch_rows": (
        f"a whole number from 1 to {MOST_ROWS}",
        lambda value: type(value) is int and 0 < value <= MOST_ROWS,
    ),
    "header": ("true, false or null", lambda value: value is None or isinstance(value, bool)),
    "delimiter": (
        "one ASCII character that is no letter, digit, quote, sign, point or line end",
        lambda value: (
            isinstance(value, str)
            and len(value) == 1
            and value.isascii()
            and not value.isalnum()
            and value not in "\"'+-.\r\n\0 "
        ),
    ),
}


def parse_options(data: Any, defaults: Options) -> Options:
    """The options in a `_batch.json`. Raises UnreadableFile naming the option."""
    try:
        document = orjson.loads(memoryview(data))  # orjson takes no other buffer
    except orjson.JSONDecodeError as error:
        raise UnreadableFile(f"{FILE}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableFile(f"{FILE}: expected an object, got {type(document).__name__}")
    for name, value in document.items():
        if name not in CHOICES:
            raise UnreadableFile(f"{FILE}: unknown option {name!r}, expected {', '.join(CHOICES)}")
        words, fits = CHOICES[name]
        if not fits(value):
            raise UnreadableFile(f"{FILE}: {name}: expected {words}, got {value!r}")
    return defaults._replace(**document)


def options_key(key: str) -> str:
    """The key of the options for `key`: in the same folder."""
    folder, separator, _ = key.rpartition("/")
    return f"{folder}{separator}{FILE}"
