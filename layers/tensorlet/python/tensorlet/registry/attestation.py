"""Attestations: a statement about some bytes, and who signed it.

A statement names the bytes, gives their SHA-256 and says what they are; it is an in-toto Statement in a DSSE
envelope, so that other tools can check it. That it holds the name keeps a signature from being put beside other
bytes; a predicate of ours says the version, or the state of the aliases.

Sources: in-toto Attestation Framework, spec/v1/statement.md and envelope.md; DSSE protocol.md v1.0.2.
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from tensorlet.errors import ChangedAfterSigning, InvalidSignature, SignedForAnother, UnknownSigner, Unsigned
from tensorlet.registry.keys import PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MANIFEST_PREDICATE = "urn:tensorlet:attestation:manifest:v1"
ALIASES_PREDICATE = "urn:tensorlet:attestation:aliases:v1"
MOST_SIGNATURES = 16  # each costs a verification for each trusted key

Envelope = dict[str, Any]


class Signer(NamedTuple):
    """A private key, wherever it is: its public part, and a function from a message to its signature."""

    key: PublicKey
    sign: Callable[[bytes], bytes]


class Subject(NamedTuple):
    """What a statement is about: bytes by name, and what they are."""

    name: str  # its key in the registry
    data: bytes
    predicate_type: str
    predicate: Mapping[str, Any]

    def statement(self) -> bytes:
        """The in-toto Statement; the same subject always gives the same bytes."""
        document = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": self.name, "digest": {"sha256": sha256(self.data).hexdigest()}}],
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        }
        return json.dumps(document, separators=(",", ":")).encode()


def attest(subject: Subject, signers: Sequence[Signer]) -> Envelope:
    """The DSSE envelope of a statement about `subject`, signed by each of `signers`."""
    payload = subject.statement()
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": _base64(payload),
        "signatures": [
            {"keyid": signer.key.id, "sig": _base64(signer.sign(pre_authentication_encoding(payload)))}
            for signer in signers
        ],
    }


class Verified(NamedTuple):
    """A statement that was believed: who signed it, and what it says."""

    key: PublicKey
    predicate: Any


def verify(envelope: Any, keys: Sequence[PublicKey], name: str, data: bytes, predicate_type: str) -> Verified:
    """The statement that one of `keys` signed about exactly `data` under this `name`.

    Raises:
        Unsigned: there is no envelope.
        UnknownSigner: it was signed, by none of `keys`.
        InvalidSignature: it is no envelope, or its signature is not that of what it holds.
        SignedForAnother: the signed statement is about something else.
        ChangedAfterSigning: `data` is not what was signed.
    """
    if envelope is None:
        raise Unsigned(f"{name}: it is not signed, and only signed models are served here")
    payload, signatures = opened(name, envelope)
    signer = _signer(name, keys, pre_authentication_encoding(payload), signatures)
    try:
        statement = json.loads(payload)
        [subject] = statement["subject"]
        about = (statement["_type"], statement["predicateType"], subject["name"])
        digest, predicate = subject["digest"]["sha256"], statement["predicate"]
    except (KeyError, RecursionError, TypeError, ValueError):
        about, digest, predicate = ("", "", "something else"), "", None
    if about != (STATEMENT_TYPE, predicate_type, name):
        raise SignedForAnother(f"{name}: its signature is that of {str(about[2])[:200]}")
    if digest != (found := sha256(data).hexdigest()):
        raise ChangedAfterSigning(
            f"{name}: key {signer.id[:16]} signed sha256 {str(digest)[:64]}, and it has {found}"
        )
    return Verified(signer, predicate)


def pre_authentication_encoding(payload: bytes) -> bytes:
    """The bytes that a DSSE signature signs: the payload and its type, each with its length."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def opened(name: str, envelope: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The payload, and the key id and signature of each signer."""
    try:
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(f"payload type {str(envelope['payloadType'])[:100]!r} is not {PAYLOAD_TYPE!r}")
        entries = envelope["signatures"]
        if len(entries) > MOST_SIGNATURES:
            raise ValueError(f"{len(entries)} signatures are more than {MOST_SIGNATURES}")
        signatures = [(str(entry.get("keyid", "")), _decoded(entry["sig"])) for entry in entries]
        return _decoded(envelope["payload"]), signatures
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidSignature(
            f"{name}: its signature is not a DSSE envelope: {type(error).__name__}: {error}"
        ) from error


def _signer(
    name: str, keys: Sequence[PublicKey], message: bytes, signatures: list[tuple[str, bytes]]
) -> PublicKey:
    """The first of `keys` that signed. A key id is a hint, which nobody signs: without one all keys are tried."""
    known = [(key, signature) for id, signature in signatures for key in keys if id in ("", key.id)]
    if not known:
        signers = ", ".join(id[:16] for id, _ in signatures[:8]) or "nobody"
        trusted = ", ".join(key.id[:16] for key in keys[:8])
        raise UnknownSigner(f"{name}: signed by key {signers}, and trusted is {trusted}")
    for key, signature in known:
        if key.verifies(message, signature):
            return key
    raise InvalidSignature(f"{name}: its signature is not one by key {known[0][0].id[:16]}")


def _decoded(text: str) -> bytes:
    return a2b_base64(text.encode(), strict_mode=True)


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()
