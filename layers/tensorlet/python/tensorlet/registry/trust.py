"""Which manifests and aliases are believed: those that one of TENSORLET_TRUSTED_KEYS signed.

A manifest's signature lies beside it, and the digests in the manifest protect every other file of the version. The
aliases of a model are one file with the signature in it, so that both change together. An older file of aliases was
signed, too; each carries a serial number, and one lower than another that was seen is refused.

Imported only where keys are set. docs/trust.md says what this protects against, and what not.
"""

import json
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tensorlet.errors import InvalidSetting, InvalidSignature, Replayed
from tensorlet.registry import libcrypto
from tensorlet.registry.attestation import (
    ALIASES_PREDICATE,
    MANIFEST_PREDICATE,
    Signer,
    Subject,
    attest,
    opened,
    verify,
)
from tensorlet.registry.keys import PublicKey, parse_keys

SIGNED = "signed"  # the member of a file of aliases that holds their signature


class Trust(NamedTuple):
    """The keys that are trusted, and the lowest serial number believed of each model's aliases."""

    keys: tuple[PublicKey, ...]
    serials: Mapping[str, int]

    @classmethod
    def from_settings(cls, trusted_keys: str, alias_serials: Sequence[tuple[str, int]] = ()) -> "Trust":
        """Raises InvalidSetting for what is no key, and where nothing here could verify a signature."""
        try:
            libcrypto.load()
            return cls(parse_keys(trusted_keys), dict(alias_serials))
        except InvalidSetting as error:
            raise InvalidSetting(f"TENSORLET_TRUSTED_KEYS: {error}") from None

    def check_manifest(self, model: str, version: int, manifest: bytes, signature: bytes | None) -> PublicKey:
        """The key that signed a manifest; `signature` is the content of `manifest.sig`, None where there is none.

        Raises:
            Untrusted: in one of its kinds.
        """
        subject = manifest_subject(model, version, manifest)
        envelope = None if signature is None else parse_envelope(subject.name, signature)
        return verify(envelope, self.keys, subject.name, manifest, MANIFEST_PREDICATE).key

    def check_aliases(self, model: str, document: Mapping[str, Any], seen: int) -> int:
        """The serial number of a file of aliases, when the highest one that this process has seen is `seen`.

        Raises:
            Untrusted: in one of its kinds.
        """
        try:
            subject = aliases_subject(model, document, 0)
        except RecursionError:
            raise InvalidSignature(f"{model}/aliases.json: nested too deeply") from None
        envelope = document.get(SIGNED)
        predicate = verify(envelope, self.keys, subject.name, subject.data, ALIASES_PREDICATE).predicate
        serial = predicate.get("serial") if isinstance(predicate, dict) else None
        if type(serial) is not int:
            raise InvalidSignature(f"{subject.name}: the signed statement has no serial number")
        lowest = max(seen, self.serials.get(model, 0))
        if serial < lowest:
            raise Replayed(f"{subject.name}: its serial number is {serial}, and there was {lowest} already")
        return serial


def manifest_subject(model: str, version: int, manifest: bytes) -> Subject:
    """What is signed of a version: the exact bytes of its manifest."""
    about = {"model": model, "version": version}
    return Subject(f"{model}/{version}/manifest.json", manifest, MANIFEST_PREDICATE, about)


def aliases_subject(model: str, document: Mapping[str, Any], serial: int) -> Subject:
    """What is signed of a file of aliases: all other members, as JSON with sorted keys and no spaces."""
    state = {key: value for key, value in document.items() if key != SIGNED}
    data = json.dumps(state, sort_keys=True, separators=(",", ":")).encode()
    return Subject(f"{model}/aliases.json", data, ALIASES_PREDICATE, {"model": model, "serial": serial})


def sign_document(model: str, document: Mapping[str, Any], serial: int, signer: Signer) -> dict[str, Any]:
    """A file of aliases with its signature in it."""
    return {**document, SIGNED: attest(aliases_subject(model, document, serial), [signer])}


def serial_of(document: Mapping[str, Any]) -> int:
    """The serial number that a file of aliases claims to have, 0 if none; nobody has checked it."""
    try:
        return int(json.loads(a2b_base64(document[SIGNED]["payload"]))["predicate"]["serial"])
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError):
        return 0


def parse_envelope(name: str, signature: bytes) -> Any:
    """The envelope in `manifest.sig`. Raises InvalidSignature."""
    try:
        envelope = json.loads(signature)
    except (RecursionError, ValueError) as error:
        raise InvalidSignature(f"{name}: its signature is not JSON: {str(error)[:100]}") from None
    opened(name, envelope)
    return envelope
