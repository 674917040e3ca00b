"""Writing the registry: create-only versions and compare-and-swap aliases.

A version is published in three steps, so that a crash anywhere leaves no half version visible and two
publishers never share a number: claim the next number (create-only `.claim`), write the files, write
`manifest.json` (create-only). The claim is then removed; one left behind by a crash only skips a number.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

from tensorlet.errors import Conflict, InvalidRequest, ObjectNotFound, VersionNotFound
from tensorlet.registry.manifest import MANIFEST, SCHEMA_VERSION, Manifest
from tensorlet.registry.registry import (
    ALIAS_NAME,
    ALIASES,
    MODEL_NAME,
    NO_ALIASES,
    VERSION_NUMBER,
    Aliases,
    Registry,
    has_manifest,
    parse_aliases,
)
from tensorlet.registry.rollout import Weights, earlier, with_weight
from tensorlet.registry.store import Store

Change = dict[str, Any]  # an entry of an alias file's history

CLAIM = ".claim"
ATTEMPTS = 100  # each lost race means that somebody else has published


def publish_version(store: Store, model: str, document: Mapping[str, Any], files: Mapping[str, Path]) -> int:
    """Publish `files` (path in the version -> local file) under the next free version of `model`; returns it.

    `document` is the manifest without schema_version, model, version and created; the `files` of its artifacts
    need only their `path`: sizes and digests are taken from `files`.

    Raises:
        InvalidRequest: a name outside the registry's grammar, or a document that is not a manifest.
    """
    check_name(model, MODEL_NAME, "model name")
    for artifact in document["artifacts"]:
        artifact["files"] = [describe_file(file["path"], files[file["path"]]) for file in artifact["files"]]
    version = _claim_version(store, model)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "version": version,
        "created": now(),
        **document,
    }
    Manifest.from_json(manifest)
    folder = f"{model}/{version}"
    for path, source in files.items():
        store.put(f"{folder}/{path}", source)
    store.create(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=2).encode())
    store.delete(f"{folder}/{CLAIM}")
    return version


def set_alias(
    store: Store, model: str, alias: str, version: int, precision: str = "", weight: float = 1.0
) -> Weights:
    """Give `version` the share `weight` of the requests for `alias` of `model`, by compare-and-swap.

    The versions that it pointed at before share the rest; with a weight of 1 there is none. The change is recorded
    in the history. With a `precision`, requests for this alias are answered in it unless they ask for another;
    without, what an earlier call chose is forgotten.

    Raises:
        InvalidRequest: an alias outside the grammar, or a weight that cannot be.
        ModelNotFound, VersionNotFound, PrecisionNotFound: there is nothing to point at.
        Conflict: others kept changing the aliases.
    """
    check_name(alias, ALIAS_NAME, "alias")
    if version not in Registry([store]).versions(model):
        raise VersionNotFound(f"model {model!r} has no version {version}")
    if precision:
        Registry([store]).release(model, version).manifest.artifact(precision=precision)

    def point(aliases: Aliases) -> Change:
        weights = with_weight(aliases.weights.get(alias, {}), version, weight)
        return _change(aliases, alias, weights, precision)

    return _change_aliases(store, model, alias, point)


def roll_back(store: Store, model: str, alias: str, reason: str = "") -> Weights:
    """Point `alias` of `model` at what it was before its last change, by one compare-and-swap.

    Raises:
        InvalidRequest: the alias has had one target only.
        Conflict: others kept changing the aliases.
    """

    def back(aliases: Aliases) -> Change:
        change = earlier(aliases.history, alias)
        undone = _change(aliases, alias, change["to"], change.get("precision", ""))
        return {**undone, "rollback": True, **({"reason": reason} if reason else {})}

    return _change_aliases(store, model, alias, back)


def check_name(name: str, grammar: Any, what: str) -> None:
    """Raises InvalidRequest naming the grammar."""
    if not grammar.fullmatch(name):
        raise InvalidRequest(f"{what}: expected {grammar.pattern}, got {name!r}")


def describe_file(path: str, source: Path) -> dict[str, Any]:
    """The manifest's entry for one file: its path in the version, size in bytes and SHA-256."""
    with source.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    return {"path": path, "size_bytes": source.stat().st_size, "sha256": digest}


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _claim_version(store: Store, model: str) -> int:
    """The lowest number above every one that was ever claimed."""
    for _ in range(ATTEMPTS):
        taken = [int(name) for name in store.folder(model).folders if VERSION_NUMBER.fullmatch(name)]
        version = max(taken, default=0) + 1
        claim = f"{model}/{version}/{CLAIM}"
        try:
            store.create(claim, now().encode())
        except Conflict:
            continue
        if not has_manifest(store, f"{model}/{version}"):
            return version
        store.delete(claim)  # published, and its claim removed, since we looked
    raise Conflict(f"no version of {model!r} could be claimed in {ATTEMPTS} attempts")


def _change(aliases: Aliases, alias: str, weights: Weights, precision: str) -> Change:
    """An entry of the history."""
    change = {"time": now(), "alias": alias, "from": aliases.weights.get(alias), "to": dict(weights)}
    return {**change, "precision": precision} if precision else change


def _change_aliases(store: Store, model: str, alias: str, change: Callable[[Aliases], Change]) -> Weights:
    """Make the change that `change` says of the aliases as they are; returns what the alias points at now."""
    key = f"{model}/{ALIASES}"
    for _ in range(ATTEMPTS):
        try:
            current = parse_aliases(store.get(key))
        except ObjectNotFound:
            current = NO_ALIASES
        entry = change(current)
        document = json.dumps(_changed(current, alias, entry), indent=2).encode()
        try:
            store.replace(key, document, current.etag) if current.etag else store.create(key, document)
            return dict(entry["to"])
        except Conflict:
            continue
    raise Conflict(f"{key} kept changing in {ATTEMPTS} attempts")


def _changed(aliases: Aliases, alias: str, entry: Change) -> dict[str, Any]:
    """The alias file after one more change."""
    settings = {name: dict(chosen) for name, chosen in aliases.settings.items()}
    chosen = {name: value for name, value in settings.pop(alias, {}).items() if name != "precision"}
    if "precision" in entry:
        chosen["precision"] = entry["precision"]
    if chosen:
        settings[alias] = chosen
    return {
        "aliases": {**aliases.weights, alias: entry["to"]},
        **({"settings": settings} if settings else {}),
        "history": [*aliases.history, entry],
    }
