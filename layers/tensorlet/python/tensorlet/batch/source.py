"""The bytes of an input file: in order, or by range, and always those of one ETag."""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tensorlet.batch.rows import UnreadableFile
from tensorlet.registry.store import ObjectInfo, Store

READ_BYTES = 8 << 20  # per request: large enough that S3's latency does not matter, small enough to hold two
BLOCK_BYTES = 1 << 20  # what is parsed at once: it stays in the processor's cache
RECORD_BYTES = 64 << 20  # the longest row


class Source:
    """One object as it was under its ETag. Reading raises Conflict once it has changed."""

    def __init__(self, store: Store, info: ObjectInfo, gzipped: bool = False, read_bytes: int = READ_BYTES):
        self.store = store
        self.info = info
        self.gzipped = gzipped
        self.read_bytes = read_bytes
        self.bytes_read = 0

    def read(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive), fewer at the end of the object."""
        end = min(end, self.info.size_bytes)
        if start >= end:
            return b""
        data = bytes(self.store.read(self.info.key, start, end, self.info.etag))
        self.bytes_read += len(data)
        return data

    def ranges(self, start: int = 0) -> Iterator[bytes]:
        """All bytes from `start` on; the next range is read while the last one is used."""
        starts = range(start, self.info.size_bytes, self.read_bytes)
        if not starts:
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.read, starts[0], starts[0] + self.read_bytes)
            for start in starts[1:]:
                data = ahead.result()
                ahead = reader.submit(self.read, start, start + self.read_bytes)
                yield data
            yield ahead.result()

    def lines(self, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
        """The content in blocks of whole lines, a byte order mark removed; only the last may lack its newline.

        Raises:
            UnreadableFile: gzip that is damaged or cut off, or a line longer than `RECORD_BYTES`.
        """
        pieces = gunzip(self.ranges(), block_bytes) if self.gzipped else _pieces(self.ranges(), block_bytes)
        tail = next(pieces, b"").removeprefix(b"\xef\xbb\xbf")
        for piece in pieces:
            end = tail.rfind(b"\n") + 1
            if end:
                yield tail[:end]
            elif len(tail) > RECORD_BYTES:
                raise UnreadableFile(f"a line is longer than {RECORD_BYTES >> 20} MiB")
            tail = tail[end:] + piece
        if tail:
            yield tail


def _pieces(ranges: Iterator[bytes], size: int) -> Iterator[bytes]:
    for data in ranges:
        for start in range(0, len(data), size):
            yield data[start : start + size]


def gunzip(chunks: Iterator[bytes], piece_bytes: int) -> Iterator[bytes]:
    """The content of a gzip file of one or more members, never more than `piece_bytes` at once.

    Raises:
        UnreadableFile: not gzip, a wrong checksum, or an end before the end.

    Source: RFC 1952, "GZIP file format specification".
    """
    member = zlib.decompressobj(wbits=31)
    started = False
    try:
        for chunk in chunks:
            while chunk:
                if member.eof:
                    chunk = chunk.lstrip(b"\0")  # some tools pad a file with zeros
                    if not chunk:
                        break
                    member = zlib.decompressobj(wbits=31)
                started = True
                piece = member.decompress(chunk, piece_bytes)
                chunk = member.unused_data if member.eof else member.unconsumed_tail
                if piece:
                    yield piece
            while not member.eof and (piece := member.decompress(b"", piece_bytes)):
                yield piece
    except zlib.error as error:
        raise UnreadableFile(f"gzip is damaged: {error}") from None
    if not (started and member.eof):
        raise UnreadableFile("gzip is cut off before its end")
