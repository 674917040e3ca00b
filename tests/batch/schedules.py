"""Workers that stop before every storage call until they are told to go on, to crash or to fail.

With them a test decides the order in which several workers touch storage, call by call.
"""

from collections.abc import Callable
from hashlib import md5
from threading import Semaphore, Thread
from typing import Any

from tensorlet.errors import Conflict, ObjectNotFound, StorageUnavailable
from tensorlet.registry.store import ObjectInfo, Store, StoredObject

from tests.batch.bench import Crash

GATED = ("get", "head", "read", "create", "replace", "remove", "put", "delete")
COMMANDS = ("go", "crash before", "crash after", "fail before", "fail after")


class DictStore(Store):
    """Object storage in a dict, with ETags as S3 makes them.

    They are the MD5 of the content, so that an object which returns to what it was has its old ETag again;
    or different for each write, as for objects encrypted with KMS keys.
    Source: Amazon S3 API Reference, "Object", ETag.
    """

    def __init__(self, content_etags: bool):
        super().__init__(None, "memory://dict")
        self.objects: dict[str, tuple[bytes, str]] = {}
        self._content_etags = content_etags
        self._writes = 0

    def get(self, key: str) -> StoredObject:
        return StoredObject(*self._find(key))

    def head(self, key: str) -> ObjectInfo:
        data, etag = self._find(key)
        return ObjectInfo(key, len(data), etag)

    def read(self, key: str, start: int, end: int, etag: str) -> bytes:
        self.expect(key, etag, missing=ObjectNotFound)
        return self._find(key)[0][start:end]

    def put(self, key: str, data: Any) -> str:
        self._writes += 1
        etag = md5(data).hexdigest() if self._content_etags else str(self._writes)
        self.objects[key] = (bytes(data), f'"{etag}"')
        return f'"{etag}"'

    def create(self, key: str, data: Any) -> str:
        if key in self.objects:
            raise Conflict(f"{key} exists already")
        return self.put(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        self.expect(key, etag)
        return self.put(key, data)

    def remove(self, key: str, etag: str) -> None:
        self.expect(key, etag)
        del self.objects[key]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def expect(self, key: str, etag: str, missing: type[Exception] = Conflict) -> None:
        if key not in self.objects:
            raise missing(key)
        if self.objects[key][1] != etag:
            raise Conflict(f"{key} was changed by somebody else")

    def _find(self, key: str) -> tuple[bytes, str]:
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key]


class Worker:
    """Some work in a thread of its own, one storage call at a time."""

    def __init__(self, work: Callable[["Worker"], Any]):
        self.outcome: BaseException | None = None
        self.done = False
        self.before = ""  # the call it stands before
        self._command = "go"
        self._waiting = Semaphore(0)
        self._order = Semaphore(0)
        self._thread = Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._waiting.acquire()  # it stands before its first call, or is done

    def advance(self, command: str = "go") -> None:
        """Let it do one storage call, or end in it; returns when it stands before the next one or is done."""
        self._command = command
        self._order.release()
        self._waiting.acquire()
        if self.done:
            self._thread.join()

    def store(self, inner: Store) -> Store:
        """`inner`, as this worker sees it."""
        return _Gated(inner, self.call)

    def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self.before = method.__name__
        self._waiting.release()
        self._order.acquire()
        command = self._command
        if command == "crash before":
            raise Crash
        if command == "fail before":
            raise StorageUnavailable("the request was lost")
        try:
            return method(*arguments)
        finally:
            if command == "crash after":
                raise Crash
            if command == "fail after":
                raise StorageUnavailable("the answer was lost")

    def _run(self, work: Callable[["Worker"], Any]) -> None:
        try:
            work(self)
        except BaseException as error:
            self.outcome = error
        self.done = True
        self._waiting.release()


class _Gated(Store):
    def __init__(self, inner: Store, call: Callable[..., Any]):
        super().__init__(inner.backend, "memory://gated")  # so that uploads go through `create` and `replace`
        for name in GATED:
            method = getattr(inner, name)
            setattr(self, name, lambda *arguments, method=method: call(method, *arguments))
