"""Writing the registry: create-only versions and compare-and-swap aliases.

A version is published in three steps, so that a crash anywhere leaves no half version visible and two
publishers never share a number: claim the next number (create-only `.claim`), write the files, write
`manifest.json` (create-only). The claim is then removed; one left behind by a crash only skips a number.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

from tensorlet.errors import (
    AliasNotFound,
    Conflict,
    InvalidRequest,
    ObjectNotFound,
    Untrusted,
    VersionNotFound,
)
from tensorlet.registry.attestation import Signer, attest
from tensorlet.registry.manifest import MANIFEST, SCHEMA_VERSION, SIGNATURE, Manifest
from tensorlet.registry.registry import (
    ALIAS_NAME,
    ALIASES,
    DOCUMENT_BYTES,
    MODEL_NAME,
    NO_ALIASES,
    VERSION_NUMBER,
    Aliases,
    Registry,
    Release,
    has_manifest,
    parse_aliases,
    read_document,
)
from tensorlet.registry.rollout import Weights, earlier, with_weight
from tensorlet.registry.store import Store, open_store
from tensorlet.registry.trust import (
    SIGNED,
    Trust,
    manifest_subject,
    parse_envelope,
    serial_of,
    sign_document,
)

Change = dict[str, Any]  # an entry of an alias file's history

CLAIM = ".claim"
TIME = "%Y-%m-%dT%H:%M:%SZ"  # ISO 8601 to the second, UTC
ATTEMPTS = 100  # each lost race means that somebody else has published


def publish_version(
    store: Store,
    model: str,
    document: Mapping[str, Any],
    files: Mapping[str, Path],
    signer: Signer | None = None,
    complete: Callable[[Mapping[str, Any]], Mapping[str, Path]] | None = None,
) -> int:
    """Publish `files` (path in the version -> local file) under the next free version of `model`; returns it.

    `document` is the manifest without schema_version, model, version and created; the `files` of its artifacts
    need only their `path`: sizes and digests are taken from `files`, and those of no artifact are listed beside
    the artifacts. With a `signer` the version is signed before it exists. `complete(manifest)` gives more files,
    which tell of the manifest as it stands without them.

    Raises:
        InvalidRequest: a name outside the registry's grammar, or a document that is not a manifest.
    """
    check_name(model, MODEL_NAME, "model name")
    for artifact in document["artifacts"]:
        artifact["files"] = [describe_file(file["path"], files[file["path"]]) for file in artifact["files"]]
    served = {file["path"] for artifact in document["artifacts"] for file in artifact["files"]}
    version = _claim_version(store, model)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "version": version,
        "created": now(),
        **document,
    }
    files = {**files, **(complete(manifest) if complete else {})}
    manifest |= {
        "files": [describe_file(path, source) for path, source in files.items() if path not in served],
    }
    Manifest.from_json(manifest)
    data = json.dumps(manifest, indent=2).encode()
    if len(data) > DOCUMENT_BYTES:
        raise InvalidRequest(
            f"manifest of {model!r}: expected at most {DOCUMENT_BYTES:,} bytes, got {len(data):,}"
        )
    folder = f"{model}/{version}"
    for path, source in files.items():
        store.put(f"{folder}/{path}", source)
    if signer:
        store.put(f"{folder}/{SIGNATURE}", _encoded(attest(manifest_subject(model, version, data), [signer])))
    store.create(f"{folder}/{MANIFEST}", data)
    store.delete(f"{folder}/{CLAIM}")
    return version


def sign_version(release: Release, signer: Signer) -> None:
    """Sign a version that exists; other keys that signed it keep their signatures.

    Raises:
        ArtifactRefused: what lies beside it is no signature.
        Conflict: it is the signature of something else, or somebody else signed meanwhile.
    """
    store, manifest = release.store, release.manifest
    key = f"{release.name}/{SIGNATURE}"
    data = read_document(store, f"{release.name}/{MANIFEST}")
    envelope = attest(manifest_subject(manifest.model, manifest.version, data), [signer])
    try:
        stored = store.get(key, DOCUMENT_BYTES)
    except ObjectNotFound:
        store.create(key, _encoded(envelope))
        return
    before = parse_envelope(key, bytes(stored.data))
    if before["payload"] != envelope["payload"]:
        raise Conflict(f"{key} is the signature of something else; look at both, and delete it to sign anew")
    others = [entry for entry in before["signatures"] if entry.get("keyid") != signer.key.id]
    store.replace(key, _encoded({**envelope, "signatures": [*others, *envelope["signatures"]]}), stored.etag)


def sign_aliases(store: Store, model: str, signer: Signer) -> Aliases:
    """Sign the aliases of `model` as they are, whoever wrote them: look at what is returned.

    Raises:
        AliasNotFound: it has none.
        Conflict: somebody else changed them meanwhile.
    """
    key = f"{model}/{ALIASES}"
    try:
        stored = store.get(key, DOCUMENT_BYTES)
    except ObjectNotFound:
        raise AliasNotFound(f"model {model!r} has no aliases") from None
    aliases = parse_aliases(stored)
    document = sign_document(model, aliases.document, _next_serial(serial_of(aliases.document)), signer)
    store.replace(key, _encoded(document), stored.etag)
    return aliases


def set_alias(
    store: Store,
    model: str,
    alias: str,
    version: int,
    precision: str = "",
    weight: float = 1.0,
    signer: Signer | None = None,
) -> Weights:
    """Give `version` the share `weight` of the requests for `alias` of `model`, by compare-and-swap.

    The versions that it pointed at before share the rest; with a weight of 1 there is none. The change is recorded
    in the history. With a `precision`, requests for this alias are answered in it unless they ask for another;
    without, what an earlier call chose is forgotten.

    Raises:
        InvalidRequest: an alias outside the grammar, or a weight that cannot be; aliases that are signed, and
            no `signer`, or not signed by its key.
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

    return _change_aliases(store, model, alias, point, signer)


def roll_back(
    store: Store,
    model: str,
    alias: str,
    reason: str = "",
    expected: Weights | None = None,
    signer: Signer | None = None,
    without: int | None = None,
) -> Weights:
    """Point `alias` of `model` at what it was before its last change, by one compare-and-swap.

    With a version to be `without`: at what it was before that one got any requests.

    Raises:
        InvalidRequest: the alias has had one target only.
        Conflict: it does not point at what is `expected`, or others kept changing the aliases.
    """

    def back(aliases: Aliases) -> Change:
        if expected is not None and aliases.weights.get(alias) != expected:
            raise Conflict(f"alias {alias!r} of {model!r} was changed by somebody else")
        change = earlier(aliases.history, alias, without)
        undone = _change(aliases, alias, change["to"], change.get("precision", ""))
        return {**undone, "rollback": True, **({"reason": reason} if reason else {})}

    return _change_aliases(store, model, alias, back, signer)


def configure_alias(
    store: Store, model: str, alias: str, settings: Mapping[str, Any], signer: Signer | None = None
) -> None:
    """Set how an alias is served and watched (`limits`, `shadow`), beside what it points at; None takes one away.

    Raises:
        AliasNotFound: there is no such alias.
        Conflict: others kept changing the aliases.
    """

    def configure(aliases: Aliases) -> Change:
        if alias not in aliases.weights:
            raise AliasNotFound(f"model {model!r} has no alias {alias!r}")
        precision = aliases.precision(alias)
        return {**_change(aliases, alias, aliases.weights[alias], precision), "settings": dict(settings)}

    _change_aliases(store, model, alias, configure, signer)


def check_aliases(registry: str, model: str, aliases: Sequence[str], signer: Signer | None) -> None:
    """Refuse aliases that could not be pointed at a new version: before the work of making it, not after.

    Raises:
        InvalidRequest: one outside the grammar, or signed aliases and no `signer` whose key signed them.
    """
    for alias in aliases:
        check_name(alias, ALIAS_NAME, "alias")
    if aliases:
        _serial_before(model, _read_aliases(open_store(registry), model), signer)


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
    return datetime.now(UTC).strftime(TIME)


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


def _change_aliases(
    store: Store, model: str, alias: str, change: Callable[[Aliases], Change], signer: Signer | None
) -> Weights:
    """Make the change that `change` says of the aliases as they are; returns what the alias points at now."""
    key = f"{model}/{ALIASES}"
    for _ in range(ATTEMPTS):
        current = _read_aliases(store, model)
        entry = change(current)
        document, serial = _changed(current, alias, entry), _serial_before(model, current, signer)
        data = _encoded(sign_document(model, document, _next_serial(serial), signer) if signer else document)
        try:
            store.replace(key, data, current.etag) if current.etag else store.create(key, data)
            return dict(entry["to"])
        except Conflict:
            continue
    raise Conflict(f"{key} kept changing in {ATTEMPTS} attempts")


def _read_aliases(store: Store, model: str) -> Aliases:
    try:
        return parse_aliases(store.get(f"{model}/{ALIASES}", DOCUMENT_BYTES))
    except ObjectNotFound:
        return NO_ALIASES


def _serial_before(model: str, aliases: Aliases, signer: Signer | None) -> int:
    """The serial number of the aliases that are about to be changed, 0 where nothing is signed.

    Whoever signs a change signs all aliases, so the others must be signed by the same key already: else somebody
    without it could have written them, and would have them signed now.

    Raises:
        InvalidRequest: signed aliases, and no `signer` whose key signed them.
    """
    if signer is None and SIGNED in aliases.document:
        raise InvalidRequest(f"the aliases of {model!r} are signed: sign the change, too (--sign KEY)")
    if signer is None or not aliases.etag:
        return 0
    try:
        return Trust((signer.key,), {}).check_aliases(model, aliases.document, 0)
    except Untrusted as error:
        raise InvalidRequest(
            f"{error}; `tensorlet sign {model} --aliases` signs them as they are, once you have looked at them"
        ) from error


def _next_serial(serial: int) -> int:
    """Higher than the last one, even where a file of aliases was deleted: seconds since 1970, as a rule."""
    return max(serial + 1, int(time.time()))


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


def _changed(aliases: Aliases, alias: str, entry: Change) -> dict[str, Any]:
    """The alias file after one more change."""
    settings = {name: dict(chosen) for name, chosen in aliases.settings.items()}
    chosen = {name: value for name, value in settings.pop(alias, {}).items() if name != "precision"}
    if "precision" in entry:
        chosen["precision"] = entry["precision"]
    chosen |= entry.get("settings", {})
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if chosen:
        settings[alias] = chosen
    return {
        "aliases": {**aliases.weights, alias: entry["to"]},
        **({"settings": settings} if settings else {}),
        "history": [*aliases.history, entry],
    }
