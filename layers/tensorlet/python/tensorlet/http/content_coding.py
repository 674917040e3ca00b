"""gzip and deflate of bodies, both ways (RFC 9110, 8.4 and 12.5.3); deflate is the zlib format."""

from collections.abc import Mapping

from tensorlet.errors import InvalidRequest, PayloadTooLarge, UnsupportedEncoding
from tensorlet.tensors import Buffer

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
CHUNK_BYTES = 64 << 10
MAX_MEMBERS = 8192  # of 64 KiB each, as block gzip makes them
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
    import zlib  # here and below, as few cold starts compress

    try:
        return _inflate(body, WINDOW_BITS[coding], limit_bytes)
    except zlib.error as error:
        raise InvalidRequest(f"body is not valid {coding}: {error}") from None


def _inflate(body: Buffer, window_bits: int, limit_bytes: int) -> bytearray:
    """The plain bytes of one stream, or of several gzip members after one another (RFC 1952, 2.2)."""
    import zlib

    plain = bytearray()
    members, stream = 1, zlib.decompressobj(window_bits)
    for start in range(0, len(body), CHUNK_BYTES):  # in pieces: what is left of one is copied each time
        piece: Buffer = memoryview(body)[start : start + CHUNK_BYTES]
        while len(piece):
            if stream.eof:
                members, stream = members + 1, zlib.decompressobj(window_bits)
                if window_bits != WINDOW_BITS["gzip"] or members > MAX_MEMBERS:
                    raise InvalidRequest(
                        "compressed body: something follows its end, or it has too many parts"
                    )
            plain += stream.decompress(piece, limit_bytes - len(plain) + 1)
            if len(plain) > limit_bytes:
                raise PayloadTooLarge(f"body: expected at most {limit_bytes} bytes decompressed, got more")
            piece = stream.unused_data if stream.eof else stream.unconsumed_tail
    if not stream.eof:
        raise InvalidRequest("compressed body is cut short")
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
    import zlib

    # Level 1: on tensors and JSON numbers more time buys next to nothing.
    stream = zlib.compressobj(1, zlib.DEFLATED, WINDOW_BITS[coding])
    return stream.compress(body) + stream.flush()


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
