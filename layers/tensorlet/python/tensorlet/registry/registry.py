"""Reading the registry: from a name and a version or alias to a manifest, and to checked bytes."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tensorlet.errors import (
    AliasNotFound,
    ArtifactRefused,
    DigestMismatch,
    InvalidSetting,
    ModelNotFound,
    ObjectNotFound,
    PayloadTooLarge,
    Unsigned,
    VersionNotFound,
)
from tensorlet.registry.manifest import MANIFEST, SIGNATURE, ArtifactFile, Manifest
from tensorlet.registry.store import Store, StoredObject, open_store

if TYPE_CHECKING:
    from tensorlet.registry.trust import Trust

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ALIAS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
VERSION_NUMBER = re.compile(r"[1-9][0-9]{0,17}")

ALIASES = "aliases.json"
DEFAULT_ALIAS = "live"
DOCUMENT_BYTES = 16 << 20  # most that is read of a manifest, of its signature, or of the aliases


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
            DigestMismatch: the file is missing, or is not the one that was published.
        """
        from hashlib import sha256

        try:
            data = self.store.get(f"{self.name}/{file.path}", file.size_bytes).data
        except ObjectNotFound:
            raise self._missing(file) from None
        except PayloadTooLarge as error:
            raise DigestMismatch(f"{self.name}/{file.path}: {error}") from None
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

        digest, size_bytes = sha256(), 0
        try:
            for chunk in self.store.chunks(f"{self.name}/{file.path}"):
                size_bytes += len(chunk)
                if size_bytes > file.size_bytes:  # it is another file, and may have no end
                    raise DigestMismatch(
                        f"{self.name}/{file.path}: expected {file.size_bytes:,} bytes, got more"
                    )
                digest.update(chunk)
                use(chunk)
        except ObjectNotFound:
            raise self._missing(file) from None
        self._check(file, digest)

    def _check(self, file: ArtifactFile, digest: Any) -> None:
        if digest.hexdigest() != file.sha256:
            raise DigestMismatch(
                f"{self.name}/{file.path}: expected sha256 {file.sha256}, got {digest.hexdigest()}"
            )

    def _missing(self, file: ArtifactFile) -> DigestMismatch:
        return DigestMismatch(f"{self.name}/{file.path}: the file is missing from the registry")


class Aliases(NamedTuple):
    """The aliases of a model as stored: alias -> version -> weight, their history, and the ETag.

    `settings` says how an alias is served, for those that say: alias -> {"precision": "int8"}.
    """

    weights: dict[str, dict[str, float]]
    history: list[dict[str, Any]]
    etag: str
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    document: Mapping[str, Any] = MappingProxyType({})  # the whole of it
    serial: int = 0  # of signed aliases that were checked: higher with each change

    def version(self, alias: str) -> int | None:
        """The version an alias points at: the one of the greatest weight, the newer one of equals."""
        weights = self.weights.get(alias)
        return max((weight, int(version)) for version, weight in weights.items())[1] if weights else None

    def precision(self, alias: str) -> str:
        """The precision an alias is served in, "" for the one that the manifest and the settings choose."""
        return str(self.settings.get(alias, {}).get("precision", ""))


NO_ALIASES = Aliases({}, [], "")


class Registry:
    """One or more stores, looked up in order; reads only. Nothing is remembered between calls.

    With `trust`, only manifests and aliases are believed that one of its keys has signed.
    """

    def __init__(self, stores: Sequence[Store], trust: "Trust | None" = None):
        self.stores = stores
        self.trust = trust

    @classmethod
    def open(
        cls, uris: str, trusted_keys: str = "", alias_serials: Sequence[tuple[str, int]] = ()
    ) -> "Registry":
        """The settings TENSORLET_REGISTRY, TENSORLET_TRUSTED_KEYS and TENSORLET_ALIAS_SERIALS.

        Raises:
            InvalidSetting: no URI, or one that names no store; what is no public key.
        """
        stores = [open_store(uri.strip()) for uri in uris.split(",") if uri.strip()]
        if not stores:
            raise InvalidSetting("TENSORLET_REGISTRY: expected one or more URIs, got nothing")
        if not trusted_keys:
            return cls(stores)
        from tensorlet.registry.trust import Trust  # only where somebody asks for it

        return cls(stores, Trust.from_settings(trusted_keys, alias_serials))

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
        """The aliases of `model`, by a conditional read against the `known` ones; none is no error.

        Raises:
            ArtifactRefused: what is there is no file of aliases, or not one that is trusted.
        """
        for store in self.stores:
            try:
                stored = get_document(store, f"{model}/{ALIASES}", known.etag)
            except ObjectNotFound:
                continue
            if stored is None:
                return known
            aliases = parse_aliases(stored)
            if self.trust:
                serial = self.trust.check_aliases(model, aliases.document, known.serial)
                return aliases._replace(serial=serial)
            return aliases
        return NO_ALIASES

    def release(self, model: str, version: int) -> Release:
        """One version.

        Raises:
            ModelNotFound, VersionNotFound.
            ArtifactRefused: what is there is no manifest of it, or not one that is trusted.
        """
        check_model_name(model)
        for store in self.stores:
            try:
                data = read_document(store, f"{model}/{version}/{MANIFEST}")
            except ObjectNotFound:
                continue
            if self.trust:
                self.trust.check_manifest(model, version, data, read_signature(store, f"{model}/{version}"))
            manifest = parse_manifest(data)
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

        Where keys are set there is no highest version: whoever may delete files could choose it.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound, Unsigned.
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
        if self.trust:
            raise Unsigned(f"{model}/{ALIASES}: there is no signed alias {DEFAULT_ALIAS!r}; name a version")
        return versions[-1]

    def resolve(self, model: str, selector: str | None = None) -> Release:
        """`choose` and `release` in one, with the aliases as they are now."""
        check_model_name(model)
        aliases = NO_ALIASES if selector and selector.isdecimal() else self.aliases(model)
        return self.release(model, self.choose(model, selector, aliases))


def check_model_name(model: str) -> None:
    """A name outside the grammar names no model. Raises ModelNotFound."""
    if not MODEL_NAME.fullmatch(model):
        raise ModelNotFound(f"model {model[:128]!r} is not in the registry")


def parse_aliases(stored: StoredObject) -> Aliases:
    """Raises ArtifactRefused for a document that is not an alias file."""
    try:
        document = json.loads(bytes(stored.data))
        weights = {
            str(alias): {_version(version): _weight(weight) for version, weight in versions.items()}
            for alias, versions in document["aliases"].items()
        }
        settings = {str(alias): dict(chosen) for alias, chosen in document.get("settings", {}).items()}
        history = [_change(change) for change in document["history"]]
        return Aliases(weights, history, stored.etag, settings, document)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ArtifactRefused(f"{ALIASES} is not valid: {type(error).__name__}: {error}") from error


def _change(change: Any) -> Any:
    """An entry of the history, whose `to` is what an alias can be put back to."""
    if not isinstance(change, dict) or not isinstance(change["to"], dict) or not change["to"]:
        raise ValueError(f"expected a change of an alias, got {str(change)[:80]}")
    return change


def _version(text: str) -> str:
    if not VERSION_NUMBER.fullmatch(text):
        raise ValueError(f"expected a version, got {text[:32]!r}")
    return text


def _weight(weight: Any) -> float:
    if not 0 <= float(weight) <= 1:  # nor is NaN
        raise ValueError(f"expected a weight from 0 to 1, got {str(weight)[:32]}")
    return float(weight)


def parse_manifest(data: bytes) -> Manifest:
    """Raises ArtifactRefused."""
    try:
        document = json.loads(data)
    except (RecursionError, ValueError) as error:
        raise ArtifactRefused(f"{MANIFEST} is not valid: {error}") from error
    return Manifest.from_json(document)


def get_document(store: Store, key: str, etag: str = "") -> StoredObject | None:
    """A manifest, its signature or the aliases; None while it is still the one read under `etag`.

    Raises:
        ObjectNotFound.
        ArtifactRefused: it is larger than any of them can be.
    """
    try:
        if etag:
            return store.get_if_changed(key, etag, DOCUMENT_BYTES)
        return store.get(key, DOCUMENT_BYTES)
    except PayloadTooLarge as error:
        raise ArtifactRefused(str(error)) from None


def read_document(store: Store, key: str) -> bytes:
    """The bytes of a manifest, its signature or the aliases. Raises as `get_document`."""
    stored = get_document(store, key)
    return bytes(stored.data) if stored else b""


def read_signature(store: Store, folder: str) -> bytes | None:
    """The signature beside the manifest of a version, None where there is none."""
    try:
        return read_document(store, f"{folder}/{SIGNATURE}")
    except ObjectNotFound:
        return None


def has_manifest(store: Store, version: str) -> bool:
    try:
        store.head(f"{version}/{MANIFEST}")
    except ObjectNotFound:
        return False
    return True
