"""The route table: method, path and the function that answers. Paths are matched as sent, then decoded once."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from tensorlet.errors import InvalidRequest, MethodNotAllowed, RouteNotFound
from tensorlet.http import tfs, v2
from tensorlet.http.message import Request


class Route(NamedTuple):
    method: str
    path: str
    pattern: re.Pattern[str]
    answer: Callable[..., Any]


def _route(method: str, path: str, answer: Callable[..., Any]) -> Route:
    """`{name}` in `path` stands for one segment; `[...]` is optional, with `|` for "or"."""
    is_tfs = path.startswith("/v1")
    pattern = path.replace("[", "(?:").replace("]", ")?")
    # TensorFlow Serving matches without regard to case, and its names end at a colon.
    pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/:]+)" if is_tfs else r"(?P<\1>[^/]+)", pattern)
    return Route(method, path, re.compile(pattern, re.IGNORECASE if is_tfs else 0), answer)


def _later(module: str, function: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is first asked for: most processes never are."""

    def answer(*arguments: Any, **names: Any) -> Any:
        from importlib import import_module

        return getattr(import_module(f"tensorlet.http.{module}"), function)(*arguments, **names)

    return answer


_MODEL = "/v2/models/{model}[/versions/{version}]"
_TFS = "/v1/models/{model}[/versions/{version}|/labels/{label}]"

ROUTES = [
    _route("POST", f"{_MODEL}/infer", v2.infer),
    _route("POST", f"{_TFS}:predict", tfs.predict),
    _route("GET", "/v2[/]", v2.server_metadata),
    _route("GET", "/v2/health/live", v2.live),
    _route("GET", "/v2/health/ready", v2.ready),
    _route("GET", "/v2/models", v2.models),
    _route("GET", "/v2/models/stats", _later("v2_admin", "all_statistics")),
    _route("GET", _MODEL, v2.model_metadata),
    _route("GET", f"{_MODEL}/ready", v2.model_ready),
    _route("GET", f"{_MODEL}/stats", _later("v2_admin", "model_statistics")),
    _route("GET", f"{_MODEL}/config", _later("v2_admin", "config")),
    _route("POST", f"{_MODEL}/generate", _later("generate", "generate")),
    _route("POST", f"{_MODEL}/generate_stream", _later("generate", "generate_stream")),
    _route("POST", "/v2/repository/index", _later("v2_admin", "repository_index")),
    _route("POST", "/v2/repository/models/{model}/load", _later("v2_admin", "load")),
    _route("POST", "/v2/repository/models/{model}/unload", _later("v2_admin", "unload")),
    _route("POST", f"{_TFS}:classify", tfs.classify),
    _route("POST", f"{_TFS}:regress", tfs.regress),
    _route("GET", _TFS, tfs.status),
    _route("GET", f"{_TFS}/metadata", tfs.metadata),
    _route("GET", "/v1/models", tfs.models),
    _route("POST", "/invocations[/{model}]", _later("neighbours", "invoke")),
    _route("GET", "/ping", _later("neighbours", "ping")),
    _route("GET", "/openapi.json", _later("openapi", "server_document")),
    _route("GET", "/v2/models/{model}/openapi.json", _later("openapi", "model_document")),
    _route("GET", "/docs", _later("openapi", "page")),
    *(
        _route(method, path, v2.unsupported)
        for path in (
            "/v2/trace/setting",
            "/v2/models/{model}/trace/setting",
            "/v2/logging",
            "/v2/systemsharedmemory[/region/{region}]/{action}",
            "/v2/cudasharedmemory[/region/{region}]/{action}",
        )
        for method in ("GET", "POST")
    ),
]


def documented(route: Route) -> bool:
    """Whether OpenAPI lists the route: all but those that only say they are not supported."""
    return route.answer is not v2.unsupported


def match(request: Request) -> tuple[Callable[..., Any], dict[str, str | None]]:
    """The function that answers, and the decoded names in the path.

    Raises:
        RouteNotFound, MethodNotAllowed; InvalidRequest for both under /v1, as TensorFlow Serving answers.
    """
    return _match(request.method, request.path)


@lru_cache(maxsize=256)  # of what matched only: what raises is not kept
def _match(method: str, path: str) -> tuple[Callable[..., Any], dict[str, str | None]]:
    found = [(route, matched) for route in ROUTES if (matched := route.pattern.fullmatch(path))]
    wanted = "GET" if method == "HEAD" else method
    for route, matched in found:
        if route.method == wanted:
            return route.answer, {name: text and unquote(text) for name, text in matched.groupdict().items()}
    if path[:3].lower() == "/v1" and path[3:4] in ("", "/"):
        raise InvalidRequest(f"Malformed request: {method} {path}")
    if found:
        allowed = tuple(sorted({route.method for route, _ in found}))
        raise MethodNotAllowed(f"{path}: expected {' or '.join(allowed)}, got {method}", allowed)
    raise RouteNotFound(f"Not Found: {method} {path}")
