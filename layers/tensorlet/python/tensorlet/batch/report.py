"""The report of a run: written last, so its presence for an input's ETag means that the run is done."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson


class Output(NamedTuple):
    """One written object as the report knows it."""

    key: str
    size_bytes: int
    etag: str


class Report(NamedTuple):
    """What was done with one version of one input file; `reason` says why it could not be predicted.

    `seconds` is time of functions, of all `chunks` if the file was split, and `estimated_usd` what AWS bills for it.
    """

    input_key: str
    input_etag: str
    model: str = ""
    model_version: int | None = None
    artifact: str = ""
    artifact_sha256: str = ""
    rows_in: int = 0
    rows_out: int = 0
    rows_failed: int = 0
    seconds: float = 0.0
    outputs: tuple[Output, ...] = ()
    chunks: int = 0
    estimated_usd: float | None = None
    reason: str = ""

    @classmethod
    def from_json(cls, data: Any) -> "Report | None":
        """The report in these bytes, or None if they are none (somebody else's file)."""
        try:
            document: Mapping[str, Any] = orjson.loads(memoryview(data))  # orjson takes no other buffer
            known = {field: document[field] for field in cls._fields if field in document}
            return cls(**{**known, "outputs": tuple(Output(**output) for output in document["outputs"])})
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return None

    def to_json(self) -> bytes:
        """What does not apply is left out: the `reason` of a file that did not fail, the `chunks` of one not split."""
        document: dict[str, Any] = {
            **self._asdict(),
            "outputs": [output._asdict() for output in self.outputs],
        }
        for name in ("chunks", "estimated_usd", "reason"):
            if not document[name]:
                del document[name]
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
