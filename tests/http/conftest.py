"""An application over the models of the conformance suite, in memory, and a way to ask it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from obstore.store import MemoryStore
from tensorlet.http.app import App
from tensorlet.http.message import Request, Response
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from tests.conformance.models import publish_all

Ask = Callable[..., Response]


@pytest.fixture(scope="session")
def models() -> Store:
    """The models of the conformance suite; tests must not change them."""
    store = Store(MemoryStore(), "memory://models")
    publish_all(store)
    return store


def make_app(store: Store, **environ: str) -> App:
    return App(ModelService(Registry([store]), Settings.from_environ(environ)))


@pytest.fixture(scope="session")
def app(models: Store) -> App:
    return make_app(models)


def ask(app: App, request: str, body: Any = b"", **headers: str) -> Response:
    """`request` is "METHOD /path"; a body that is no bytes goes as JSON; `_` in header names stands for `-`."""
    method, path = request.split(" ", 1)
    content = body if isinstance(body, bytes | bytearray) else json.dumps(body).encode()
    return app.handle(
        Request(
            method, path, {name.replace("_", "-"): value for name, value in headers.items()}, content, "r1"
        )
    )


def error_of(response: Response) -> str:
    """The text of an error reply, which must be one."""
    assert response.headers["content-type"] == "application/json"
    return str(json.loads(response.body)["error"])
