"""Reading the registry: from a name and a version or alias to a manifest, and to checked bytes."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tensorlet.errors import (
    AliasNotFound,
    ArtifactRefused,
    InvalidSetting,
    ModelNotFound,
    ObjectNotFound,
    VersionNotFound,
)
from tensorlet.registry.manifest import MANIFEST, ArtifactFile, Manifest
from tensorlet.registry.store import Store, StoredObject, open_store

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ALIAS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
VERSION_NUMBER = re.compile(r"[1-9][0-9]{0,17}")

ALIASES = "aliases.json"
DEFAULT_ALIAS = "live"


class Release(NamedTuple):
    """One version of one model, and the store it was found in."""

    store: Store
    manifest: Manifest

    @property
    def name(self) -> str:
        return f"{self.manifest.model}/{self.manifest.version}"

    def read(self, file: ArtifactFile) -> Any:
        """The bytes of one file, as a buffer, once their SHA-256 is the one in the manifest.

        Raises:
            ArtifactRefused: the file is missing, or is not the one that was published.
        """
        from hashlib import sha256

        try:
            data = self.store.get(f"{self.name}/{file.path}").data
        except ObjectNotFound:
            raise self._missing(file) from None
        self._check(file, sha256(data))
        return data

    def save(self, file: ArtifactFile, path: str) -> None:
        """Write one file to `path`, a piece at a time; checked, and refused, as by `read`."""
        with open(path, "wb") as target:  # noqa: PTH123  # no pathlib on the cold path
            self._each_chunk(file, target.write)

    def local_folder(self, files: Sequence[ArtifactFile]) -> str | None:
        """Where `files` lie, checked as by `read`, if they are on this machine and cannot change: in a layer.

        None elsewhere: a file that is mapped and then overwritten would be served, unchecked.
        """
        if not self.store.uri.startswith("file:"):
            return None
        folder = self.store.path(self.name)
        if os.access(folder, os.W_OK):
            return None
        for file in files:
            self._each_chunk(file, len)
        return folder

    def _each_chunk(self, file: ArtifactFile, use: Callable[[bytes], Any]) -> None:
        from hashlib import sha256

        digest = sha256()
        try:
            for chunk in self.store.chunks(f"{self.name}/{file.path}"):
                digest.update(chunk)
                use(chunk)
        except ObjectNotFound:
            raise self._missing(file) from None
        self._check(file, digest)

    def _check(self, file: ArtifactFile, digest: Any) -> None:
        if digest.hexdigest() != file.sha256:
            raise ArtifactRefused(
                f"{self.name}/{file.path}: expected sha256 {file.sha256}, got {digest.hexdigest()}"
            )

    def _missing(self, file: ArtifactFile) -> ArtifactRefused:
        return ArtifactRefused(f"{self.name}/{file.path}: the file is missing from the registry")


class Aliases(NamedTuple):
    """The aliases of a model as stored: alias -> version -> weight, their history, and the ETag.

    `settings` says how an alias is served, for those that say: alias -> {"precision": "int8"}.
    """

    weights: dict[str, dict[str, float]]
    history: list[dict[str, Any]]
    etag: str
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    def version(self, alias: str) -> int | None:
        """The version an alias points at: the one of the greatest weight, the newer one of equals."""
        weights = self.weights.get(alias)
        return max((weight, int(version)) for version, weight in weights.items())[1] if weights else None

    def precision(self, alias: str) -> str:
        """The precision an alias is served in, "" for the one that the manifest and the settings choose."""
        return str(self.settings.get(alias, {}).get("precision", ""))


NO_ALIASES = Aliases({}, [], "")


class Registry:
    """One or more stores, looked up in order; reads only. Nothing is remembered between calls."""

    def __init__(self, stores: Sequence[Store]):
        self.stores = stores

    @classmethod
    def open(cls, uris: str) -> "Registry":
        """`uris` as in TENSORLET_REGISTRY: one or more, separated by commas. Raises InvalidSetting."""
        stores = [open_store(uri.strip()) for uri in uris.split(",") if uri.strip()]
        if not stores:
            raise InvalidSetting("TENSORLET_REGISTRY: expected one or more URIs, got nothing")
        return cls(stores)

    def models(self) -> list[str]:
        """The names of all models that have a version."""
        names = {
            name for store in self.stores for name in store.folder().folders if MODEL_NAME.fullmatch(name)
        }
        return sorted(name for name in names if self.versions(name))

    def versions(self, model: str) -> list[int]:
        """All versions of `model`, ascending; empty when there is no such model."""
        if not MODEL_NAME.fullmatch(model):
            return []
        found = set()
        for store in self.stores:
            for name in store.folder(model).folders:
                if VERSION_NUMBER.fullmatch(name) and has_manifest(store, f"{model}/{name}"):
                    found.add(int(name))
        return sorted(found)

    def aliases(self, model: str, known: Aliases = NO_ALIASES) -> Aliases:
        """The aliases of `model`, by a conditional read against the `known` ones; none is no error."""
        for store in self.stores:
            key = f"{model}/{ALIASES}"
            try:
                stored = store.get_if_changed(key, known.etag) if known.etag else store.get(key)
            except ObjectNotFound:
                continue
            return known if stored is None else parse_aliases(stored)
        return NO_ALIASES

    def release(self, model: str, version: int) -> Release:
        """One version. Raises ModelNotFound or VersionNotFound."""
        check_model_name(model)
        for store in self.stores:
            try:
                stored = store.get(f"{model}/{version}/{MANIFEST}")
            except ObjectNotFound:
                continue
            manifest = parse_manifest(stored)
            if (manifest.model, manifest.version) != (model, version):
                raise ArtifactRefused(
                    f"{model}/{version}: its manifest is that of {manifest.model}/{manifest.version}"
                )
            return Release(store, manifest)
        if self.versions(model):
            raise VersionNotFound(f"model {model!r} has no version {version}")
        raise ModelNotFound(f"model {model!r} is not in the registry")

    def choose(self, model: str, selector: str | None, aliases: Aliases) -> int:
        """The version that `selector` means: digits, an alias, or None for alias `live`, else the highest.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound.
        """
        check_model_name(model)
        if selector and selector.isdecimal():
            if not VERSION_NUMBER.fullmatch(selector):
                raise VersionNotFound(f"model {model!r} has no version {selector[:32]}")
            return int(selector)
        version = aliases.version(selector or DEFAULT_ALIAS)
        if version is not None:
            return version
        versions = self.versions(model)
        if not versions:
            raise ModelNotFound(f"model {model!r} is not in the registry")
        if selector:
            raise AliasNotFound(f"model {model!r} has no alias {selector[:64]!r}")
        return versions[-1]

    def resolve(self, model: str, selector: str | None = None) -> Release:
        """`choose` and `release` in one, with the aliases as they are now."""
        check_model_name(model)
        return self.release(model, self.choose(model, selector, self.aliases(model)))


def check_model_name(model: str) -> None:
    """A name outside the grammar names no model. Raises ModelNotFound."""
    if not MODEL_NAME.fullmatch(model):
        raise ModelNotFound(f"model {model[:128]!r} is not in the registry")


def parse_aliases(stored: StoredObject) -> Aliases:
    """Raises ArtifactRefused for a document that is not an alias file."""
    try:
        document = json.loads(bytes(stored.data))
        weights = {
            str(alias): {str(int(version)): float(weight) for version, weight in versions.items()}
            for alias, versions in document["aliases"].items()
        }
        settings = {str(alias): dict(chosen) for alias, chosen in document.get("settings", {}).items()}
        return Aliases(weights, list(document["history"]), stored.etag, settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactRefused(f"{ALIASES} is not valid: {type(error).__name__}: {error}") from error


def parse_manifest(stored: StoredObject) -> Manifest:
    """Raises ArtifactRefused."""
    try:
        document = json.loads(bytes(stored.data))
    except ValueError as error:
        raise ArtifactRefused(f"{MANIFEST} is not valid: {error}") from error
    return Manifest.from_json(document)


def has_manifest(store: Store, version: str) -> bool:
    try:
        store.head(f"{version}/{MANIFEST}")
    except ObjectNotFound:
        return False
    return True
