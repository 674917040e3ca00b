"""Key pairs for the tests, made by another implementation than the one under test."""

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tensorlet.registry.attestation import Signer
from tensorlet.registry.signing import open_signer
from tensorlet.registry.trust import Trust

KINDS = {
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "ECDSA P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
}


class KeyPair(NamedTuple):
    """`private` and `public` are PEM files."""

    private: Path
    public: Path

    @property
    def signer(self) -> Signer:
        return open_signer(str(self.private))

    @property
    def trust(self) -> Trust:
        """Trust in this key alone."""
        return Trust((self.signer.key,), {})


def make_keys(folder: Path, name: str = "key", kind: str = "Ed25519") -> KeyPair:
    key = KINDS[kind]()
    pair = KeyPair(folder / f"{name}.pem", folder / f"{name}.pub")
    pair.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pair.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair
