"""The route table: method, path and the function that answers. Paths are matched as sent, then decoded once."""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest, MethodNotAllowed, RouteNotFound
from tensorlet.http import tfs, v2
from tensorlet.http.message import Request


class Route(NamedTuple):
    """`{name}` in `path` stands for one segment; `[...]` is optional, with `|` for "or"."""

    method: str
    path: str
    answer: Callable[..., Any]


def _later(module: str, function: str) -> Callable[..., Any]:
    """A function of a module that is imported when it is first asked for: most processes never are."""

    def answer(*arguments: Any, **names: Any) -> Any:
        from importlib import import_module

        return getattr(import_module(f"tensorlet.http.{module}"), function)(*arguments, **names)

    return answer


_MODEL = "/v2/models/{model}[/versions/{version}]"
_TFS = "/v1/models/{model}[/versions/{version}|/labels/{label}]"

ROUTES = [
    Route("POST", f"{_MODEL}/infer", v2.infer),
    Route("POST", f"{_TFS}:predict", tfs.predict),
    Route("GET", "/v2[/]", v2.server_metadata),
    Route("GET", "/v2/health/live", v2.live),
    Route("GET", "/v2/health/ready", v2.ready),
    Route("GET", "/v2/models", v2.models),
    Route("GET", "/v2/models/stats", _later("v2_admin", "all_statistics")),
    Route("GET", _MODEL, v2.model_metadata),
    Route("GET", f"{_MODEL}/ready", v2.model_ready),
    Route("GET", f"{_MODEL}/stats", _later("v2_admin", "model_statistics")),
    Route("GET", f"{_MODEL}/config", _later("v2_admin", "config")),
    Route("POST", f"{_MODEL}/generate", _later("generate", "generate")),
    Route("POST", f"{_MODEL}/generate_stream", _later("generate", "generate_stream")),
    Route("POST", f"{_MODEL}/explain", _later("explain", "explain_v2")),
    Route("POST", f"{_TFS}:explain", _later("explain", "explain_v1")),
    Route("POST", f"{_MODEL}/jobs", _later("jobs", "create")),
    Route("GET", f"{_MODEL}/jobs/{{id}}", _later("jobs", "look")),
    Route("POST", "/v2/repository/index", _later("v2_admin", "repository_index")),
    Route("POST", "/v2/repository/models/{model}/load", _later("v2_admin", "load")),
    Route("POST", "/v2/repository/models/{model}/unload", _later("v2_admin", "unload")),
    Route("POST", f"{_TFS}:classify", tfs.classify),
    Route("POST", f"{_TFS}:regress", tfs.regress),
    Route("GET", _TFS, tfs.status),
    Route("GET", f"{_TFS}/metadata", tfs.metadata),
    Route("GET", "/v1/models", tfs.models),
    Route("POST", "/invocations[/{model}]", _later("neighbours", "invoke")),
    Route("GET", "/ping", _later("neighbours", "ping")),
    Route("GET", "/openapi.json", _later("openapi", "server_document")),
    Route("GET", "/v2/models/{model}/openapi.json", _later("openapi", "model_document")),
    Route("GET", "/docs", _later("openapi", "page")),
    *(
        Route(method, path, v2.unsupported)
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
    allowed = set()
    wanted = "GET" if method == "HEAD" else method
    for route in ROUTES:
        if (found := _pattern(route.path).fullmatch(path)) is None:
            continue
        if route.method == wanted:
            return route.answer, {name: text and _decoded(text) for name, text in found.groupdict().items()}
        allowed.add(route.method)
    if path[:3].lower() == "/v1" and path[3:4] in ("", "/"):
        raise InvalidRequest(f"Malformed request: {method} {path}")
    if allowed:
        methods = tuple(sorted(allowed))
        raise MethodNotAllowed(f"{path}: expected {' or '.join(methods)}, got {method}", methods)
    raise RouteNotFound(f"Not Found: {method} {path}")


@cache  # and not at import: a cold start needs one or two of them, and each costs it a third of a millisecond
def _pattern(path: str) -> re.Pattern[str]:
    is_tfs = path.startswith("/v1")
    pattern = path.replace("[", "(?:").replace("]", ")?")
    # TensorFlow Serving matches without regard to case, and its names end at a colon.
    pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/:]+)" if is_tfs else r"(?P<\1>[^/]+)", pattern)
    return re.compile(pattern, re.IGNORECASE if is_tfs else 0)


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # 10 ms of a cold start

    return unquote(text)
