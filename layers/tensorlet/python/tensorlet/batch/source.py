"""The bytes of an input file: in order, or by range, and always those of one ETag."""

import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tensorlet.batch.rows import UnreadableFile
from tensorlet.registry.store import ObjectInfo, Store
from tensorlet.tensors import Buffer

READ_BYTES = 2 << 20  # per request: with some requests at a time, S3 fills a function's 78 MB/s
READS_AHEAD = 2
BLOCK_BYTES = 1 << 19  # what is parsed at once: it stays in the processor's cache
RECORD_BYTES = 64 << 20  # the longest row
SEARCH_BYTES = 1 << 15  # copied at once to look for a newline, which a memoryview cannot
BOM = b"\xef\xbb\xbf"


class Source:
    """One object as it was under its ETag. Reading raises Conflict once it has changed."""

    def __init__(
        self,
        store: Store,
        info: ObjectInfo,
        gzipped: bool = False,
        read_bytes: int = READ_BYTES,
        block_bytes: int = BLOCK_BYTES,
    ):
        self.store = store
        self.info = info
        self.gzipped = gzipped
        self.read_bytes = read_bytes
        self.block_bytes = block_bytes
        self.bytes_read = 0  # more than was used: some ranges are read ahead
        self.position = 0  # where the rows given so far end; stays 0 where that is not known
        self.rows: int | None = None  # how many there are, if the file says so

    def read(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive), fewer at the end of the object."""
        return bytes(self.view(start, end))

    def view(self, start: int, end: int) -> memoryview:
        """The same without a copy."""
        end = min(end, self.info.size_bytes)
        if start >= end:
            return memoryview(b"")
        data = memoryview(self.store.read(self.info.key, start, end, self.info.etag))
        self.bytes_read += len(data)
        return data

    def ranges(self, start: int = 0) -> Iterator[Buffer]:
        """All bytes from `start` on; the next ranges are read while one is used."""
        ahead: deque[Future[memoryview]] = deque()
        with ThreadPoolExecutor(READS_AHEAD) as readers:
            for first in range(start, self.info.size_bytes, self.read_bytes):
                ahead.append(readers.submit(self.view, first, first + self.read_bytes))
                if len(ahead) > READS_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def lines(self) -> Iterator[bytes]:
        """The content in blocks of whole lines, a byte order mark removed; only the last may lack its newline.

        Raises:
            UnreadableFile: gzip that is damaged or cut off, or a line longer than `RECORD_BYTES`.
        """
        chunks = gunzip(self.ranges(), self.block_bytes) if self.gzipped else self.ranges()
        tail = b""
        for data in without_bom(chunks):
            chunk, start = memoryview(data), 0
            while end := _line_end(chunk, start, self.block_bytes):
                block = tail + chunk[start:end] if tail else bytes(chunk[start:end])
                self._advance(block)
                yield block
                tail, start = b"", end
            tail += chunk[start:]
            if len(tail) > RECORD_BYTES:
                raise UnreadableFile(f"a line is longer than {RECORD_BYTES >> 20} MiB")
        if tail:
            self._advance(tail)
            yield tail

    def _advance(self, block: bytes) -> None:
        if not self.gzipped:
            self.position += len(block)


class Excerpt(Source):
    """Some ranges of an object one after the other, after a `head` of our own, as if that were the file."""

    def __init__(
        self, store: Store, info: ObjectInfo, ranges: Sequence[tuple[int, int]], head: bytes = b""
    ) -> None:
        size_bytes = len(head) + sum(end - start for start, end in ranges)
        super().__init__(store, info._replace(size_bytes=size_bytes))
        self._whole = Source(store, info)
        self._ranges = ranges
        self._head = head

    def view(self, start: int, end: int) -> memoryview:
        """Bytes `start` to `end` (exclusive) of the excerpt; without a copy if they lie in one range."""
        end = min(end, self.info.size_bytes)
        pieces = [memoryview(self._head)[start : max(start, end)]]
        offset = len(self._head)  # in the excerpt, of the range at hand
        for first, last in self._ranges:
            low, high = max(start, offset), min(end, offset + last - first)
            if low < high:
                pieces.append(self._whole.view(first + low - offset, first + high - offset))
            offset += last - first
        self.bytes_read += sum(map(len, pieces))
        pieces = [piece for piece in pieces if piece]
        return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def without_bom(chunks: Iterator[Buffer]) -> Iterator[Buffer]:
    """UTF-8 needs no byte order mark, but some programs write one."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= len(BOM):
            break
    yield first.removeprefix(BOM)
    yield from chunks


def _line_end(data: memoryview, start: int, size: int) -> int:
    """Where to cut: after the last newline within `size` bytes, else after the next one; 0 if there is none."""
    last = min(start + size, len(data))
    for first in range(last, start, -SEARCH_BYTES):
        low = max(start, first - SEARCH_BYTES)
        if end := bytes(data[low:first]).rfind(b"\n") + 1:
            return low + end
    for first in range(last, len(data), SEARCH_BYTES):
        if end := bytes(data[first : first + SEARCH_BYTES]).find(b"\n") + 1:
            return first + end
    return 0


def gunzip(chunks: Iterator[Buffer], piece_bytes: int) -> Iterator[bytes]:
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
                    chunk = bytes(chunk).lstrip(b"\0")  # some tools pad a file with zeros
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
