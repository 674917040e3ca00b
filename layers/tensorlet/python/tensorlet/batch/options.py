"""What a user may choose for a file: in its metadata, in a `_batch.json` of its folder, or as flags.

The choices are pinned in the plan of a run, so that every retry makes the same ones.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from tensorlet.batch.jsonpath import EXPECTED as A_PATH
from tensorlet.batch.jsonpath import parse_path
from tensorlet.batch.rows import UnreadableFile
from tensorlet.errors import ObjectNotFound
from tensorlet.registry.store import ObjectInfo, Store

FILE = "_batch.json"
METADATA = (
    "tensorlet-"  # the object metadata `x-amz-meta-tensorlet-input-filter` is the option `input_filter`
)
MOST_ROWS = 1 << 20
MOST_CLASSES = 1000
OUTPUT_FORMATS = ("csv", "jsonl", "npy", "npz", "parquet")


class Options(NamedTuple):
    """How a file is read, predicted and written; the meaning of each is in docs/batch.md, "Options"."""

    batch_rows: int = 512
    header: bool | None = None
    delimiter: str = ","
    input_filter: str = "$"
    join: str = "none"
    output_filter: str = "$"
    format: str = ""
    precision: str = ""
    top_k: int = 0


class Choice(NamedTuple):
    """What an option may be: in words, and as a function that gives the value or raises ValueError."""

    expected: str
    parse: Callable[[Any], Any]


def _whole_number(least: int, most: int) -> Choice:
    def parse(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return Choice(f"a whole number from {least} to {most}", parse)


def _one_of(*names: str) -> Choice:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in names:
            raise ValueError
        return value.lower()

    return Choice(", ".join(names[:-1]) + f" or {names[-1]}", parse)


def _header(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ValueError
    return value


def _delimiter(value: Any) -> str:
    value = "\t" if value in ("\\t", "tab") else value
    if not isinstance(value, str) or len(value) != 1 or not value.isascii():
        raise ValueError
    if value.isalnum() or value in "\"'+-.\r\n\0 ":
        raise ValueError
    return value


def _path(value: Any) -> str:
    return parse_path(value).text


def _precision(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


CHOICES = {
    "batch_rows": _whole_number(1, MOST_ROWS),
    "header": Choice("true, false or null", _header),
    "delimiter": Choice(
        "one ASCII character that is no letter, digit, quote, sign, point or line end", _delimiter
    ),
    "input_filter": Choice(A_PATH, _path),
    "join": _one_of("none", "input"),
    "output_filter": Choice(A_PATH, _path),
    "format": _one_of(*OUTPUT_FORMATS),
    "precision": Choice("the precision of an artifact, such as int8", _precision),
    "top_k": _whole_number(1, MOST_CLASSES),
}
assert set(CHOICES) == set(Options._fields)


def read_options(inputs: Store, info: ObjectInfo, defaults: Options) -> Options:
    """The options for an object: its metadata, else those of the nearest folder, else `defaults`, one by one.

    Raises:
        UnreadableFile: an option that does not exist or cannot be so; it is named.
        StorageUnavailable.
    """
    options = defaults
    for key in options_keys(info.key):
        try:
            data = inputs.get(key).data
        except ObjectNotFound:
            continue
        options = parse_options(data, options, key)
    texts = {
        name.lower().removeprefix(METADATA).replace("-", "_"): text
        for name, text in info.metadata.items()
        if name.lower().startswith(METADATA)
    }
    return choose(texts_to_values(texts), options, "metadata")


def options_keys(key: str) -> list[str]:
    """The keys of the options for `key`: of its model's folder, and on down to its own."""
    folders = key.split("/")[:-1]
    return ["/".join([*folders[: depth + 1], FILE]) for depth in range(len(folders))] or [FILE]


def parse_options(data: Any, defaults: Options, where: str = FILE) -> Options:
    """The options in a `_batch.json`. Raises UnreadableFile naming the option."""
    try:
        document = orjson.loads(memoryview(data))  # orjson takes no other buffer
    except orjson.JSONDecodeError as error:
        raise UnreadableFile(f"{where}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableFile(f"{where}: expected an object, got {type(document).__name__}")
    return choose(document, defaults, where)


def choose(values: Mapping[str, Any], defaults: Options, where: str) -> Options:
    """`defaults` with some options chosen. Raises UnreadableFile naming the option, what was expected and got."""
    chosen = {}
    for name, value in values.items():
        if name not in CHOICES:
            raise UnreadableFile(f"{where}: unknown option {name!r}, expected {', '.join(CHOICES)}")
        try:
            chosen[name] = CHOICES[name].parse(value)
        except ValueError:
            raise UnreadableFile(
                f"{where}: {name}: expected {CHOICES[name].expected}, got {value!r}"
            ) from None
    return defaults._replace(**chosen)


def texts_to_values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Options as text, as metadata and flags have them: JSON where it is JSON, else the text itself."""
    return {name: _text_to_value(text) for name, text in texts.items()}


def _text_to_value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
