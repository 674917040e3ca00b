"""API keys: how one is made, what is kept of it, and whose key a request carries.

A key is `tl_<id>_<secret>`. Of the secret, 256 random bits, only a salted SHA-256 is kept: a slow hash protects what
people choose, and nobody guesses 256 bits. The kept keys are one JSON document, which AWS Secrets Manager holds:

    {"keys": {"<id>": {"name", "salt", "sha256", "created", "rate", "burst"}}}
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from time import strftime
from typing import NamedTuple

from tensorlet.errors import InvalidSetting

PREFIX = "tl"
EMPTY = '{"keys": {}}'


class ApiKey(NamedTuple):
    """What is kept of a key. `rate` requests a second are let through, `burst` at once; a rate of 0: no limit."""

    name: str
    salt: str
    sha256: str
    created: str
    rate: float = 0.0
    burst: float = 0.0


def make_key(name: str, rate: float = 0.0, burst: float = 0.0) -> tuple[str, str, ApiKey]:
    """A new key, its id, and what to keep of it. The key itself is nowhere else and cannot be shown again."""
    from secrets import token_hex, token_urlsafe  # for the command line; a request makes none

    key_id, secret, salt = token_hex(4), token_urlsafe(32), token_hex(16)
    kept = ApiKey(name, salt, _digest(salt, secret), strftime("%Y-%m-%d"), rate, burst or rate)
    return f"{PREFIX}_{key_id}_{secret}", key_id, kept


def load_keys(text: str) -> dict[str, ApiKey]:
    """The kept keys by id.

    Raises:
        InvalidSetting: not the document described above, naming the key that is wrong.
    """
    try:
        entries = dict(json.loads(text)["keys"])
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidSetting(f"API keys: expected an object with `keys`, got {error!r}") from None
    keys = {}
    for key_id, entry in entries.items():
        try:
            keys[key_id] = ApiKey(**entry)
            bytes.fromhex(keys[key_id].sha256)
        except (TypeError, ValueError) as error:
            raise InvalidSetting(f"API key {key_id}: {error}") from None
    return keys


def dump_keys(keys: Mapping[str, ApiKey]) -> str:
    """`load_keys(dump_keys(keys)) == keys`."""
    return json.dumps({"keys": {key_id: key._asdict() for key_id, key in keys.items()}})


def presented_key(headers: Mapping[str, str]) -> str:
    """The key in `x-api-key`, else in `Authorization: Bearer`; empty if there is none. Names are in lower case."""
    if key := headers.get("x-api-key", "").strip():
        return key
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def find_key(keys: Mapping[str, ApiKey], presented: str) -> str | None:
    """The id of the key that was presented, or None. How long it takes does not tell how near a guess was."""
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    kept = keys.get(key_id, _NOBODY)
    right = compare_digest(_digest(kept.salt, secret), kept.sha256)
    return key_id if right and prefix == PREFIX and key_id in keys else None


class Buckets:
    """Token buckets: each key gains `rate` tokens a second, up to `burst`, and a request takes one.

    They belong to one process: Lambda runs as many as it needs, and a key may use each of them up to its rate.
    """

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, float]] = {}  # id -> tokens, at which second

    def take(self, key_id: str, key: ApiKey, now_s: float) -> bool:
        """Whether one more request of this key is let through, `now_s` by any clock that never goes back."""
        if not key.rate:
            return True
        tokens, then_s = self._levels.get(key_id, (key.burst, now_s))
        tokens = min(key.burst, tokens + (now_s - then_s) * key.rate)
        self._levels[key_id] = (tokens - 1 if tokens >= 1 else tokens, now_s)
        return tokens >= 1


_NOBODY = ApiKey("", "", sha256(b"").hexdigest(), "")


def _digest(salt: str, secret: str) -> str:
    return sha256(f"{salt}{secret}".encode("utf-8", "surrogatepass")).hexdigest()
