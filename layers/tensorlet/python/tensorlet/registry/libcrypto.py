"""OpenSSL's libcrypto, driven directly: Ed25519 and ECDSA P-256 signatures without a package.

Python's `hashlib` is linked with it, so every process of ours has it loaded already, and calling it costs a tenth
of a millisecond. The `cryptography` package calls the same code after 100 ms of imports and with 18 MB in a layer.

Source: OpenSSL manual, EVP_DigestVerifyInit(3), EVP_DigestSignInit(3), d2i_PUBKEY(3), PEM_read_bio_PrivateKey(3),
which 1.1.1 and 3 have alike.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tensorlet.errors import InvalidSetting

# Where the interpreter was linked without it: the names of the shared library on Linux.
SHARED_LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1")

_POINTER, _SIZE, _INT, _LONG = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_long
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "BIO_free": (_INT, [_POINTER]),
    "BIO_new_mem_buf": (_POINTER, [ctypes.c_char_p, _INT]),
    "ERR_clear_error": (None, []),
    "EVP_DigestSign": (_INT, [_POINTER, ctypes.c_char_p, _POINTER, ctypes.c_char_p, _SIZE]),
    "EVP_DigestSignInit": (_INT, [_POINTER] * 5),
    "EVP_DigestVerify": (_INT, [_POINTER, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE]),
    "EVP_DigestVerifyInit": (_INT, [_POINTER] * 5),
    "EVP_MD_CTX_free": (None, [_POINTER]),
    "EVP_MD_CTX_new": (_POINTER, []),
    "EVP_PKEY_free": (None, [_POINTER]),
    "EVP_sha256": (_POINTER, []),
    "PEM_read_bio_PrivateKey": (_POINTER, [_POINTER, _POINTER, _POINTER, ctypes.c_char_p]),
    "d2i_PUBKEY": (_POINTER, [_POINTER, _POINTER, _LONG]),
    "i2d_PUBKEY": (_INT, [_POINTER, _POINTER]),
}


def verify(public_key: bytes, hashed: bool, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `message` by the owner of `public_key` (DER, SubjectPublicKeyInfo).

    `hashed` for ECDSA, which signs the SHA-256 of the message; Ed25519 takes the message as it is.

    Raises:
        InvalidSetting: there is no libcrypto here.
    """
    crypto = load()
    start = ctypes.cast(ctypes.c_char_p(public_key), _POINTER)
    with (
        _owned(crypto, "EVP_PKEY", crypto.d2i_PUBKEY(None, ctypes.byref(start), len(public_key))) as key,
        _owned(crypto, "EVP_MD_CTX", crypto.EVP_MD_CTX_new()) as context,
    ):
        digest = crypto.EVP_sha256() if hashed else None
        return bool(
            key
            and crypto.EVP_DigestVerifyInit(context, None, digest, None, key) == 1
            and crypto.EVP_DigestVerify(context, signature, len(signature), message, len(message)) == 1
        )


def sign(private_key: bytes, hashed: bool, message: bytes) -> bytes:
    """The signature of `message` by a private key in PEM; `hashed` as for `verify`.

    Raises:
        ValueError: not a private key, or one under a passphrase.
    """
    crypto = load()
    with (
        _private_key(crypto, private_key) as key,
        _owned(crypto, "EVP_MD_CTX", crypto.EVP_MD_CTX_new()) as context,
    ):
        signature = ctypes.create_string_buffer(256)  # Ed25519 takes 64 bytes, P-256 up to 72
        size = _SIZE(len(signature))
        digest = crypto.EVP_sha256() if hashed else None
        if (
            crypto.EVP_DigestSignInit(context, None, digest, None, key) != 1
            or crypto.EVP_DigestSign(context, signature, ctypes.byref(size), message, len(message)) != 1
        ):
            raise ValueError("the key does not sign")
        return signature.raw[: size.value]


def public_part(private_key: bytes) -> bytes:
    """The public key (DER, SubjectPublicKeyInfo) of a private one in PEM. Raises ValueError as `sign`."""
    crypto = load()
    with _private_key(crypto, private_key) as key:
        target = ctypes.create_string_buffer(crypto.i2d_PUBKEY(key, None))
        crypto.i2d_PUBKEY(key, ctypes.byref(ctypes.cast(target, _POINTER)))
        return target.raw


@cache
def load() -> Any:
    """The library, with the types of what is called here.

    Raises:
        InvalidSetting: this Python has none; nothing can be verified, so nothing is.
    """
    import _hashlib

    # dlsym looks through what the module is linked with.
    for name in (getattr(_hashlib, "__file__", None), *SHARED_LIBRARIES):
        try:
            library = ctypes.CDLL(name)
            for function, (result, arguments) in _FUNCTIONS.items():
                getattr(library, function).restype = result
                getattr(library, function).argtypes = arguments
            return library
        except (AttributeError, OSError):
            continue
    raise InvalidSetting("signatures need OpenSSL's libcrypto 1.1.1 or 3, and this Python has none")


@contextmanager
def _owned(crypto: Any, kind: str, pointer: Any) -> Iterator[Any]:
    """Free what OpenSSL gave; its errors go too, or the next TLS connection of this thread would find them."""
    try:
        yield pointer
    finally:
        getattr(crypto, f"{kind}_free")(pointer)
        crypto.ERR_clear_error()


@contextmanager
def _private_key(crypto: Any, pem: bytes) -> Iterator[Any]:
    with _owned(crypto, "BIO", crypto.BIO_new_mem_buf(pem, len(pem))) as source:
        no_passphrase = b""  # else OpenSSL asks for one on the terminal
        pointer = crypto.PEM_read_bio_PrivateKey(source, None, None, no_passphrase)
        with _owned(crypto, "EVP_PKEY", pointer) as key:
            if not key:
                raise ValueError("expected a PEM file with a private key that has no passphrase")
            yield key
