"""`tensorlet serve`: the command in front of `tensorlet.local.server`."""

import os
from argparse import Namespace

from tensorlet.cli.registries import registry_uri
from tensorlet.errors import InvalidSetting
from tensorlet.settings import Settings


def run(arguments: Namespace) -> int:
    settings = Settings.from_environ(
        # The page of docs is on here, off in a deployed function, and the environment says otherwise.
        {"TENSORLET_DOCS": "on", **os.environ, "TENSORLET_REGISTRY": registry_uri(arguments)}
    )
    try:
        import httptools  # noqa: F401  # an extra: the functions do without it
    except ImportError:
        raise InvalidSetting("the HTTP server is not installed: pip install 'tensorlet[serve]'") from None
    from tensorlet.local.server import serve

    return serve(settings, arguments.host, arguments.port, arguments.workers)
