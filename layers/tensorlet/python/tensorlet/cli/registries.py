"""Which registry a command means."""

import os
from argparse import Namespace
from pathlib import Path

from tensorlet.errors import InvalidSetting
from tensorlet.registry.store import Store, open_store

WORKING_FOLDER = ".tensorlet"  # in the current folder: everything the command line keeps


def registry_uri(arguments: Namespace) -> str:
    """`--registry`, else $TENSORLET_REGISTRY, else ./.tensorlet/registry; may be several, separated by commas."""
    return arguments.registry or os.environ.get("TENSORLET_REGISTRY") or working_uri("registry")


def working_uri(name: str) -> str:
    """file:// of ./.tensorlet/NAME."""
    return f"file://{Path.cwd() / WORKING_FOLDER / name}"


def writable_uri(arguments: Namespace) -> str:
    """The one registry to write to. Raises InvalidSetting when there are several to read from."""
    uris = [uri.strip() for uri in registry_uri(arguments).split(",") if uri.strip()]
    if len(uris) != 1:
        raise InvalidSetting(
            f"expected one registry to write to, got {len(uris)}; choose with --registry URI"
        )
    return uris[0]


def writable_store(arguments: Namespace) -> Store:
    return open_store(writable_uri(arguments))
