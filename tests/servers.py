"""A real HTTP server on a thread, for tests that need one on a socket."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorlet.http.app import App
from tensorlet.local.answers import Answers
from tensorlet.local.http1 import HttpServer
from tensorlet.local.server import listen, url
from tensorlet.registry.store import Store, open_store
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings


@contextmanager
def serve_in_thread(publish: Callable[[Store], None], folder: Path, **environ: str) -> Iterator[str]:
    """The URL of our server over what `publish` puts into a registry in `folder`."""
    publish(open_store(f"file://{folder}"))
    settings = Settings.from_environ(
        {"TENSORLET_REGISTRY": f"file://{folder}", "TENSORLET_ALIAS_TTL_S": "0", **environ}
    )
    app = App(ModelService.from_settings(settings))
    server, started = HttpServer(Answers(app), settings.max_body_bytes), threading.Event()
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.run(listener, started.set)))
        thread.start()
        try:
            assert started.wait(10)
            yield url(listener)
        finally:
            server.stop()
            thread.join()
