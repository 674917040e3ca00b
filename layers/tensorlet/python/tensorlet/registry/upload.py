"""Writing an object of any size, whole or not at all and on a condition: what obstore cannot do by itself.

An object of one part is one conditional put. A larger one goes to S3 as a multipart upload whose completion
carries the condition, and on this machine to a file beside it which takes its name in the end. boto3 is
imported only here and only for those: by batch, never on the predict path.
Source: Amazon S3 User Guide, "How to prevent object overwrites with conditional writes".
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Protocol

from tensorlet.errors import Conflict, ObjectNotFound, StorageUnavailable
from tensorlet.registry.store import ObjectInfo, Store

PART_BYTES = 5 << 20  # the least that S3 takes; with at most 10,000 parts: objects of up to 48 GiB
COPY_BYTES = (
    256 << 20
)  # S3 copies up to 5 GiB at once, but several smaller ranges side by side are done sooner
COPIES = 8


class Upload:
    """An object in the making. The first part is held back until the end; memory is at most three parts."""

    def __init__(self, store: Store, key: str, part_bytes: int = PART_BYTES):
        self.store = store
        self.key = key
        self.size_bytes = 0
        self._part_bytes = part_bytes
        self._first = bytearray()
        self._rest = bytearray()
        self._parts: Parts | None = None

    def write(self, data: bytes) -> None:
        """Append. Raises StorageUnavailable."""
        self.size_bytes += len(data)
        room = self._part_bytes - len(self._first)
        self._first += data[:room]
        self._rest += data[room:]
        while len(self._rest) >= self._part_bytes:
            self._send(self._part_bytes)

    def append(self, key: str, size_bytes: int) -> None:
        """Append another object of the same store, which does not change; S3 copies by itself what is large.

        Raises ObjectNotFound, StorageUnavailable.
        """
        room = self._part_bytes - len(self._first)
        if self._rest:
            room += self._part_bytes - len(self._rest)
        streamed = room if size_bytes - room >= self._part_bytes else size_bytes
        for start in range(0, streamed, self._part_bytes):
            self.write(bytes(self.store.get_range(key, start, min(streamed, start + self._part_bytes))))
        if streamed < size_bytes:
            self.size_bytes += size_bytes - streamed
            self._begin().copy(key, streamed, size_bytes)

    def commit(self, etag: str | None, head: bytes = b"") -> str:
        """Make the object visible, with `head` in place of the first bytes written; returns its ETag.

        `etag` is the condition: that of the object to replace, "" if there must be none, None for no condition.

        Raises:
            Conflict: the condition does not hold; nothing was changed.
            StorageUnavailable.
        """
        if self._rest:
            self._send(len(self._rest))
        first = head + bytes(self._first[len(head) :])
        if self._parts is None:
            return _put(self.store, self.key, first, etag)
        committed = self._parts.commit(first, etag)
        self._parts = None
        return committed

    def abort(self) -> None:
        """Drop what was not committed. What a crash leaves is invisible; a lifecycle rule removes it from S3."""
        if self._parts is not None:
            with suppress(Conflict, StorageUnavailable):
                self._parts.abort()

    def _send(self, size_bytes: int) -> None:
        self._begin().append(bytes(self._rest[:size_bytes]))
        del self._rest[:size_bytes]

    def _begin(self) -> "Parts":
        if self._parts is None:
            self._parts = _parts(self.store, self.key, self._part_bytes)
        return self._parts


class Parts(Protocol):
    """Where the second and all later parts go until the first one follows, and with it the condition."""

    def append(self, part: bytes) -> None: ...

    def copy(self, key: str, start: int, end: int) -> None:
        """Append a range of another object."""
        ...

    def commit(self, first: bytes, etag: str | None) -> str: ...

    def abort(self) -> None: ...


def _parts(store: Store, key: str, part_bytes: int) -> Parts:
    if store.uri.startswith("s3:"):
        return S3Parts(store, key)
    return FileParts(store, key, part_bytes) if store.uri.startswith("file:") else MemoryParts(store, key)


def _put(store: Store, key: str, data: bytes, etag: str | None) -> str:
    if etag is None:
        return store.put(key, data)
    return store.replace(key, data, etag) if etag else store.create(key, data)


class MemoryParts:
    """For tests: the memory store has no parts."""

    def __init__(self, store: Store, key: str):
        self.store = store
        self.key = key
        self.parts: list[bytes] = []

    def append(self, part: bytes) -> None:
        self.parts.append(part)

    def copy(self, key: str, start: int, end: int) -> None:
        self.append(bytes(self.store.get_range(key, start, end)))

    def commit(self, first: bytes, etag: str | None) -> str:
        return _put(self.store, self.key, b"".join([first, *self.parts]), etag)

    def abort(self) -> None:
        self.parts.clear()


class FileParts:
    """A hidden file beside the object."""

    def __init__(self, store: Store, key: str, part_bytes: int):
        from pathlib import Path
        from secrets import token_hex

        self.store = store
        self.key = key
        self.target = Path(store.path(key))
        self.hidden = self.target.parent / f".{self.target.name}.{token_hex(8)}.part"
        with store.errors(key):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.hidden.open("xb")
            self.file.seek(part_bytes)

    def append(self, part: bytes) -> None:
        with self.store.errors(self.key):
            self.file.write(part)

    def copy(self, key: str, start: int, end: int) -> None:
        for first in range(start, end, PART_BYTES):
            self.append(bytes(self.store.get_range(key, first, min(end, first + PART_BYTES))))

    def commit(self, first: bytes, etag: str | None) -> str:
        try:
            with self.store.errors(self.key):
                self.file.seek(0)
                self.file.write(first)
                self.file.close()
                self._rename(etag)
        finally:
            self.abort()
        return self.store.head(self.key).etag

    def abort(self) -> None:
        self.file.close()
        self.hidden.unlink(missing_ok=True)

    def _rename(self, etag: str | None) -> None:
        if etag is None:
            self.hidden.replace(self.target)
        elif etag:
            with self.store.locked(self.key):
                self.store.expect(self.key, etag)
                self.hidden.replace(self.target)
        else:
            try:
                self.target.hardlink_to(self.hidden)  # unlike a rename, it fails if the name is taken
            except FileExistsError:
                raise Conflict(f"{self.store.uri}/{self.key} exists already") from None


class S3Parts:
    """A multipart upload, one part on its way while the next one is made, and some copied meanwhile."""

    def __init__(self, store: Store, key: str):
        self.store = store
        self.key = key
        self.target = s3_location(store, key)
        self.sender = ThreadPoolExecutor(1)
        self.copier = ThreadPoolExecutor(COPIES)
        self.sent: list[Future[dict[str, Any]]] = []
        self.last: Future[dict[str, Any]] | None = None  # of those that hold memory
        with _s3_errors(store, key):
            self.id = s3_client().create_multipart_upload(**self.target)["UploadId"]

    def append(self, part: bytes) -> None:
        if self.last:
            self._wait(self.last)
        self.last = self.sender.submit(self._upload, len(self.sent) + 2, part)
        self.sent.append(self.last)

    def copy(self, key: str, start: int, end: int) -> None:
        """Parts of `COPY_BYTES`; the rest goes with the last one, so that none is smaller than S3 takes."""
        source = s3_location(self.store, key)
        while start < end:
            size = COPY_BYTES if end - start >= 2 * COPY_BYTES else end - start
            number = len(self.sent) + 2
            self.sent.append(self.copier.submit(self._copy, number, source, start, start + size))
            start += size

    def commit(self, first: bytes, etag: str | None) -> str:
        condition = {} if etag is None else {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with _s3_errors(self.store, self.key):
            parts = [self._upload(1, first), *(part.result() for part in self.sent)]
            done = s3_client().complete_multipart_upload(
                **self.target, UploadId=self.id, MultipartUpload={"Parts": parts}, **condition
            )
        self._shutdown()
        return str(done["ETag"])

    def abort(self) -> None:
        self._shutdown()
        with _s3_errors(self.store, self.key):
            s3_client().abort_multipart_upload(**self.target, UploadId=self.id)

    def _upload(self, number: int, part: bytes) -> dict[str, Any]:
        sent = s3_client().upload_part(**self.target, UploadId=self.id, PartNumber=number, Body=part)
        return {"PartNumber": number, "ETag": sent["ETag"]}

    def _copy(self, number: int, source: dict[str, str], start: int, end: int) -> dict[str, Any]:
        done = s3_client().upload_part_copy(
            **self.target,
            UploadId=self.id,
            PartNumber=number,
            CopySource=source,
            CopySourceRange=f"bytes={start}-{end - 1}",
        )
        return {"PartNumber": number, "ETag": done["CopyPartResult"]["ETag"]}

    def _shutdown(self) -> None:
        for pool in (self.sender, self.copier):
            pool.shutdown(cancel_futures=True)

    def _wait(self, part: "Future[dict[str, Any]]") -> None:
        with _s3_errors(self.store, self.key):
            part.result()


def remove_from_s3(store: Store, key: str, etag: str) -> None:
    """A conditional delete. Raises Conflict, StorageUnavailable."""
    with _s3_errors(store, key):
        s3_client().delete_object(**s3_location(store, key), IfMatch=etag)


def walk_s3(store: Store, prefix: str) -> Iterator[ObjectInfo]:
    """`Store.walk`, a page at a time, whatever the keys are."""
    place = s3_location(store, f"{prefix.rstrip('/')}/" if prefix else "")
    own = len(place["Key"]) - len(f"{prefix.rstrip('/')}/" if prefix else "")
    with _s3_errors(store, prefix):
        pages = (
            s3_client().get_paginator("list_objects_v2").paginate(Bucket=place["Bucket"], Prefix=place["Key"])
        )
        for page in pages:
            for found in page.get("Contents", []):
                modified = found["LastModified"].timestamp()
                yield ObjectInfo(found["Key"][own:], found["Size"], found["ETag"], modified=modified)


def put_anywhere(store: Store, key: str, data: bytes) -> None:
    """Write an object of S3 whose key obstore does not accept."""
    with _s3_errors(store, key):
        s3_client().put_object(**s3_location(store, key), Body=data)


def head_anywhere(store: Store, key: str) -> ObjectInfo:
    """Look at an object of S3 whose key obstore does not accept. Raises ObjectNotFound."""
    with _s3_errors(store, key), _may_be_missing(store, key):
        found = s3_client().head_object(**s3_location(store, key))
        return ObjectInfo(key, found["ContentLength"], found["ETag"])


def get_anywhere(store: Store, key: str) -> bytes:
    """The content of an object of S3 whose key obstore does not accept. Raises ObjectNotFound."""
    with _s3_errors(store, key), _may_be_missing(store, key):
        return bytes(s3_client().get_object(**s3_location(store, key))["Body"].read())


@contextmanager
def _may_be_missing(store: Store, key: str) -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            raise ObjectNotFound(f"{store.uri}/{key} does not exist") from None
        raise


def s3_location(store: Store, key: str) -> dict[str, str]:
    """Bucket and full key of `key`, as boto3's keyword arguments."""
    bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": f"{prefix}/{key}" if prefix else key}


def s3_client() -> Any:
    """boto3's client for the same environment as the store's: endpoint, region and credentials."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return _s3_client(endpoint, region)


@cache
def _s3_client(endpoint: str | None, region: str) -> Any:
    import boto3
    from botocore.config import Config

    style = {"addressing_style": "path"} if endpoint else {}
    return boto3.client("s3", region_name=region, endpoint_url=endpoint or None, config=Config(s3=style))


LOST = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "NoSuchUpload"}


@contextmanager
def _s3_errors(store: Store, key: str) -> Iterator[None]:
    """Translate what boto3 raises. A condition that fails and one that is still in doubt both mean: look again."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in LOST:
            raise Conflict(f"{store.uri}/{key} was changed by somebody else") from None
        raise StorageUnavailable(f"{store.uri}/{key}: {error}") from error
    except BotoCoreError as error:
        raise StorageUnavailable(f"{store.uri}/{key}: {error}") from error
