"""gzip and deflate of bodies, both ways (RFC 9110, 8.4 and 12.5.3); deflate is the zlib format."""

import zlib
from collections.abc import Mapping

from tensorlet.errors import InvalidRequest, PayloadTooLarge, UnsupportedEncoding
from tensorlet.tensors import Buffer

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
MIN_COMPRESSED_BYTES = 1024  # below this the header costs more than it saves


def decompress(body: Buffer, headers: Mapping[str, str], limit_bytes: int) -> Buffer:
    """The body as it was before its Content-Encoding; at most `limit_bytes` are ever produced.

    Raises:
        UnsupportedEncoding: another coding.
        PayloadTooLarge: more than `limit_bytes` would come out.
        InvalidRequest: not what the header says, or cut short.
    """
    coding = headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in WINDOW_BITS:
        raise UnsupportedEncoding(
            f"Content-Encoding: expected gzip, deflate or identity, got {coding[:64]!r}"
        )
    stream = zlib.decompressobj(WINDOW_BITS[coding])
    try:
        plain = stream.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"body is not valid {coding}: {error}") from None
    if len(plain) > limit_bytes:
        raise PayloadTooLarge(f"body: expected at most {limit_bytes} bytes after {coding}, got more")
    if not stream.eof or stream.unused_data:
        raise InvalidRequest(f"body is not valid {coding}: it is cut short, or something follows it")
    return plain


def accepted_coding(accept_encoding: str) -> str | None:
    """The coding to answer in: the one with the greatest q-value that we have, gzip before deflate."""
    best, best_weight = None, 0.0
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.partition(";")
        name = "gzip" if name.strip() == "*" else name.strip()
        weight = _weight(parameters)
        if name in ("gzip", "deflate") and (
            weight > best_weight or (weight == best_weight > 0 and name == "gzip")
        ):
            best, best_weight = name, weight
    return best


def compress(body: Buffer, coding: str) -> bytes:
    # Level 1: on tensors and JSON numbers more time buys next to nothing.
    stream = zlib.compressobj(1, zlib.DEFLATED, WINDOW_BITS[coding])
    return stream.compress(body) + stream.flush()


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
