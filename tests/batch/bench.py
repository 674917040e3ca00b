"""A workbench for batch: input and output stores in memory, and stores that crash when told to."""

import json
from typing import Any, NamedTuple

from obstore.store import MemoryStore
from tensorlet.batch import Job, Report
from tensorlet.errors import ObjectNotFound
from tensorlet.registry.store import Store
from tensorlet.serving.service import ModelService


class Bench(NamedTuple):
    service: ModelService
    inputs: Store
    results: Store

    def run(self, key: str, data: bytes | None = None) -> Report | None:
        """Drop `data` under `key`, if given, and process the key."""
        if data is not None:
            self.inputs.put(key, data)
        return Job(self.service, self.inputs, self.results, key).run()

    def read(self, key: str) -> bytes | None:
        return read(self.results, key)

    def out(self, key: str) -> bytes | None:
        return self.read(f"{key}.out")

    def err(self, key: str) -> list[Any]:
        return [json.loads(line) for line in (self.read(f"{key}.err.jsonl") or b"").splitlines()]

    def report(self, key: str) -> Any:
        return json.loads(self.read(f"{key}.report.json") or b"null")


def read(store: Store, key: str) -> bytes | None:
    try:
        return bytes(store.get(key).data)
    except ObjectNotFound:
        return None


def memory_store(name: str) -> Store:
    return Store(MemoryStore(), f"memory://{name}")


class Crash(BaseException):
    """The process is gone: nothing catches this."""


class CrashingStore(Store):
    """A store that counts its calls, and crashes before or after one of them."""

    def __init__(self, store: Store):
        super().__init__(store.backend, store.uri)
        self.calls = 0
        self.crash_at = -1  # the call's number, from 0
        self.crash_after = False  # whether storage still did what the call asked for

    def _call(self, name: str, *arguments: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if number == self.crash_at and not self.crash_after:
            raise Crash(f"before {name}{arguments[:1]}")
        try:
            return getattr(Store, name)(self, *arguments)
        finally:
            if number == self.crash_at:
                raise Crash(f"after {name}{arguments[:1]}")

    def get(self, key: str) -> Any:
        return self._call("get", key)

    def head(self, key: str) -> Any:
        return self._call("head", key)

    def read(self, key: str, start: int, end: int, etag: str) -> Any:
        return self._call("read", key, start, end, etag)

    def create(self, key: str, data: Any) -> str:
        return self._call("create", key, data)  # type: ignore[no-any-return]

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self._call("replace", key, data, etag)  # type: ignore[no-any-return]

    def delete(self, key: str) -> None:
        self._call("delete", key)
