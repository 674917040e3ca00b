"""Public keys: which kinds there are, and how TENSORLET_TRUSTED_KEYS and `--key` write them."""

from binascii import a2b_base64
from hashlib import sha256
from typing import NamedTuple

from tensorlet.errors import InvalidSetting
from tensorlet.registry import libcrypto

FILE_CHARACTERS = 1 << 20  # of a file of keys; more is no file of keys
PEM_BEGIN, PEM_END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


class Algorithm(NamedTuple):
    """A kind of key: all of its SubjectPublicKeyInfo before the key itself, and the length of the whole.

    Source: RFC 8410, section 4 (Ed25519); RFC 5480, section 2 (P-256, uncompressed point).
    """

    name: str
    prefix: bytes
    size_bytes: int
    hashed: bool  # whether the SHA-256 of a message is signed, or the message


ALGORITHMS = (
    Algorithm("Ed25519", bytes.fromhex("302a300506032b6570032100"), 44, hashed=False),
    Algorithm(
        "ECDSA P-256",
        bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
        91,
        hashed=True,
    ),
)


class PublicKey(NamedTuple):
    algorithm: Algorithm
    der: bytes  # SubjectPublicKeyInfo

    @property
    def id(self) -> str:
        """SHA-256 of the DER form, as hexadecimal: what `openssl pkey -pubin -outform DER | sha256sum` prints."""
        return sha256(self.der).hexdigest()

    def verifies(self, message: bytes, signature: bytes) -> bool:
        return libcrypto.verify(self.der, self.algorithm.hashed, message, signature)


def public_key(der: bytes) -> PublicKey:
    """Raises ValueError for a key of another kind."""
    for algorithm in ALGORITHMS:
        if der.startswith(algorithm.prefix) and len(der) == algorithm.size_bytes:
            return PublicKey(algorithm, der)
    raise ValueError(f"expected a key for {' or '.join(algorithm.name for algorithm in ALGORITHMS)}")


def parse_keys(text: str) -> tuple[PublicKey, ...]:
    """Keys separated by commas: each PEM text, the base64 in it, or the path of a file of PEM texts.

    Raises:
        InvalidSetting: naming the entry that is none of them.
    """
    keys = [
        key for entry in filter(None, (part.strip() for part in text.split(","))) for key in _entry(entry)
    ]
    if not keys:
        raise InvalidSetting("expected one or more public keys, got none")
    return tuple(keys)


def read_keys(path: str) -> list[PublicKey]:
    """The public keys in a file of PEM texts, one or more. Raises InvalidSetting."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # no pathlib on the cold path
            keys = _pem(file.read(FILE_CHARACTERS))
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{path[:200]!r}: expected public keys, base64 or a PEM file: {error}") from None
    if not keys:
        raise InvalidSetting(f"{path[:200]!r}: expected public keys, as PEM, and found none")
    return keys


def _entry(entry: str) -> list[PublicKey]:
    if PEM_BEGIN in entry:
        try:
            return _pem(entry)
        except ValueError as error:
            raise InvalidSetting(f"expected public keys as PEM: {error}, got {entry[:80]!r}") from None
    try:
        return [public_key(_decoded(entry))]
    except ValueError:  # not base64, or not of a key
        return read_keys(entry)


def _pem(text: str) -> list[PublicKey]:
    bodies = [part.partition(PEM_END)[0] for part in text.split(PEM_BEGIN)[1:]]
    return [public_key(_decoded("".join(body.replace("\\n", "").split()))) for body in bodies]


def _decoded(text: str) -> bytes:
    return a2b_base64(text.encode(), strict_mode=True)
