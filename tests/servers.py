"""A real HTTP server on a thread, for tests that need one on a socket."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from tensorlet.http.app import App
from tensorlet.local.asgi import AsgiApp
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
    app = AsgiApp(App(ModelService.from_settings(settings)), settings.max_body_bytes)
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", ws="none", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
