"""A request and a response, free of any transport."""

from typing import Any, NamedTuple

from tensorlet.protocols.json_body import dump_json


class Request(NamedTuple):
    """`path` is as sent (percent-encoded), header names are lower case, `id` names the request in replies and logs."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = b""  # bytes, bytearray or memoryview
    id: str = ""


class Response(NamedTuple):
    """Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: Any = b""


JSON = "application/json"
OCTETS = "application/octet-stream"


def json_response(document: Any, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """`document` as JSON."""
    return Response(status, {"content-type": JSON, **(headers or {})}, dump_json(document))
