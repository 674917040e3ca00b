"""The route table: method, path and the function that answers. Paths are matched as sent, then decoded once."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from tensorlet.errors import InvalidRequest, MethodNotAllowed, RouteNotFound
from tensorlet.http import tfs, v2
from tensorlet.http.message import Request


class Route(NamedTuple):
    method: str
    pattern: re.Pattern[str]
    answer: Callable[..., Any]


def _route(method: str, path: str, answer: Callable[..., Any], flags: int = 0) -> Route:
    """`{name}` in `path` stands for one segment; `[...]` is optional."""
    pattern = path.replace("[", "(?:").replace("]", ")?")
    pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/:]+)" if flags else r"(?P<\1>[^/]+)", pattern)
    return Route(method, re.compile(pattern, flags), answer)


_MODEL = "/v2/models/{model}[/versions/{version}]"
_TFS = "/v1/models/{model}[/versions/{version}|/labels/{label}]"
# TensorFlow Serving matches its paths without regard to case.
_ANY = re.IGNORECASE

ROUTES = [
    _route("POST", f"{_MODEL}/infer", v2.infer),
    _route("POST", f"{_TFS}:predict", tfs.predict, _ANY),
    _route("GET", "/v2[/]", v2.server_metadata),
    _route("GET", "/v2/health/live", v2.live),
    _route("GET", "/v2/health/ready", v2.ready),
    _route("GET", "/v2/models", v2.models),
    _route("GET", _MODEL, v2.model_metadata),
    _route("GET", f"{_MODEL}/ready", v2.model_ready),
    _route("GET", _TFS, tfs.status, _ANY),
    _route("GET", f"{_TFS}/metadata", tfs.metadata, _ANY),
]


def match(request: Request) -> tuple[Callable[..., Any], dict[str, str | None]]:
    """The function that answers, and the decoded names in the path.

    Raises:
        RouteNotFound, MethodNotAllowed; InvalidRequest for both under /v1, as TensorFlow Serving answers.
    """
    method = "GET" if request.method == "HEAD" else request.method
    allowed = []
    for route in ROUTES:
        found = route.pattern.fullmatch(request.path)
        if found is None:
            continue
        if route.method == method:
            return route.answer, {name: value and unquote(value) for name, value in found.groupdict().items()}
        allowed.append(route.method)
    if request.path.startswith("/v1"):
        raise InvalidRequest(f"Malformed request: {request.method} {request.path}")
    if allowed:
        raise MethodNotAllowed(f"{request.path}: expected {' or '.join(allowed)}, got {request.method}")
    raise RouteNotFound(f"Not Found: {request.method} {request.path}")
