"""Which registry a command means."""

import os
from argparse import Namespace
from pathlib import Path

from tensorlet.errors import InvalidSetting
from tensorlet.registry.attestation import Signer
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store, open_store
from tensorlet.settings import Settings

WORKING_FOLDER = ".tensorlet"  # in the current folder: everything the command line keeps


def registry_uri(arguments: Namespace) -> str:
    """`--registry`, else $TENSORLET_REGISTRY, else ./.tensorlet/registry; may be several, separated by commas."""
    return arguments.registry or os.environ.get("TENSORLET_REGISTRY") or working_uri("registry")


def open_registry(arguments: Namespace) -> Registry:
    """The registry to read from, with the keys of $TENSORLET_TRUSTED_KEYS if there are any."""
    settings = Settings.from_environ({**os.environ, "TENSORLET_REGISTRY": registry_uri(arguments)})
    return Registry.open(settings.registry, settings.trusted_keys, settings.alias_serials)


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


def signer_of(arguments: Namespace) -> Signer | None:
    """The key of `--sign`. Raises InvalidRequest."""
    if not arguments.sign:
        return None
    from tensorlet.registry.signing import open_signer  # few commands sign

    return open_signer(arguments.sign)


def writable_store(arguments: Namespace) -> Store:
    return open_store(writable_uri(arguments))
