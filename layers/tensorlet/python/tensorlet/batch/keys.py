"""The names of input files and of what is written for them.

`<model>[@<version|alias>]/<any path>/<file>.<ext>[.gz]`, and beside it in the output bucket `<key>.out`,
`<key>.err.jsonl`, `<key>.report.json`; what a run is, is pinned in `.tensorlet/<key>/<input etag>.plan.json`.
"""

from hashlib import sha256
from typing import NamedTuple

from tensorlet.batch.formats import FORMATS
from tensorlet.batch.rows import UnreadableFile

HIDDEN = ".tensorlet"


class FileType(NamedTuple):
    format: str
    gzipped: bool


class Outputs(NamedTuple):
    """The keys of what one input file turns into."""

    out: str
    err: str
    report: str


def parse_model(key: str) -> tuple[str, str | None]:
    """The model an input key belongs to, and the version or alias it asks for.

    Raises:
        UnreadableFile: the key lies in no model's folder.
    """
    folder, separator, _ = key.partition("/")
    name, at, selector = folder.partition("@")
    if not separator or not name or (at and not selector):
        raise UnreadableFile(f"expected the key MODEL/FILE or MODEL@VERSION/FILE, got {key!r}")
    return name, selector or None


def is_path(key: str) -> bool:
    """Whether object storage in general takes the key; S3 alone takes any."""
    segments = key.split("/")
    return not any(segment in ("", ".", "..") for segment in segments) and not any(
        ord(mark) < 32 for mark in key
    )


def file_type(key: str) -> FileType:
    """Format and compression, from the extension. Raises UnreadableFile."""
    name = key.rpartition("/")[2].lower()
    plain = name.removesuffix(".gz")
    extension = plain.rpartition(".")[2]
    gzipped = plain != name
    if extension not in FORMATS or "." not in plain or (gzipped and not FORMATS[extension].text):
        names = [f".{name}" for name in FORMATS] + [
            f".{name}.gz" for name, kind in FORMATS.items() if kind.text
        ]
        raise UnreadableFile(f"expected a file of {', '.join(names)}, got {key.rpartition('/')[2]!r}")
    return FileType(extension, gzipped)


def outputs(key: str) -> Outputs:
    return Outputs(f"{key}.out", f"{key}.err.jsonl", f"{key}.report.json")


def plan_key(key: str, etag: str) -> str:
    return f"{HIDDEN}/{key}/{plain_etag(etag)}.plan.json"


def chunk_folder(key: str, etag: str, plan: bytes) -> str:
    """Where the parts of a split file lie: those of one input under one plan."""
    return f"{HIDDEN}/{key}/{plain_etag(etag)}/{sha256(plan).hexdigest()[:16]}"


def plain_etag(etag: str) -> str:
    """An ETag as S3's events and most people write it, without its quotes."""
    return etag.strip('"')
