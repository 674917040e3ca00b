"""The recorder: keeps what a process sees of its requests, and writes it to storage now and then.

A request counts in its version's tally always, and is kept whole with the probability of the sampling rate, or if it
failed. What has gathered is written at the end of the first request after each interval, because a Lambda function
runs only while it answers: a quiet function writes with each request, a busy one once in an interval. What a process
has gathered when Lambda ends it is lost, at most one interval's worth.
"""

import os
import random
from bisect import bisect_left
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any, NamedTuple

from tensorlet.errors import StorageUnavailable
from tensorlet.monitoring.observations import LATENCY_MS, Observation, Seen, Tally, tensor_to_json, write
from tensorlet.registry.store import Store
from tensorlet.tensors import Tensor

MOST_ERRORS = 100  # of one kind kept in an interval: the next thousand say the same
MOST_SAMPLE_BYTES = 4 << 20  # of tensors kept in memory for one version; beyond it requests only count

Version = tuple[str, int]


class Rules(NamedTuple):
    """What is kept: the part of the requests from 0 to 1, the tensors whose values are not, and how often to write."""

    rate: float
    redacted: frozenset[str]
    interval_s: float


class _Gathered:
    """What has been seen of one version since the last write."""

    __slots__ = ("errors", "latency", "requests", "rows", "sample", "sample_bytes")

    def __init__(self) -> None:
        self.requests = self.rows = self.sample_bytes = 0
        self.errors: dict[str, int] = {}
        self.latency = [0] * (len(LATENCY_MS) + 1)
        self.sample: list[Observation] = []

    def seen(self) -> Seen:
        return Seen(Tally(self.requests, self.rows, self.errors, self.latency), self.sample)


class Recorder:
    """Gathers the requests of all versions in a process; safe for several threads."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ):
        self.store = store
        self.rules = rules
        self._clock = clock
        self._chance = chance
        self._lock = Lock()
        self._gathered: dict[Version, _Gathered] = {}
        self._written = 0.0  # by the clock, in seconds since 1970
        self._writes = 0
        self._process = _process_name()

    def answered(
        self,
        version: Version,
        request: str,
        artifact: str,
        rows: int,
        infer_ms: float,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
    ) -> None:
        """Count one answered request of `rows` batch elements, and keep it if chance says so."""
        with self._lock:
            gathered = self._of(version)
            gathered.rows += rows
            gathered.latency[bisect_left(LATENCY_MS, infer_ms)] += 1
            if self._chance() < self.rules.rate:
                self._keep(gathered, request, artifact, infer_ms, inputs, outputs)
        self._write_if_due()

    def failed(self, version: Version, request: str, error: Exception) -> None:
        """Count one request that this version could not answer, and keep why."""
        name = type(error).__name__
        with self._lock:
            gathered = self._of(version)
            gathered.errors[name] = gathered.errors.get(name, 0) + 1
            if gathered.errors[name] <= MOST_ERRORS:
                told = f"{name}: {error}"[:1024]
                gathered.sample.append(Observation(self._now(), request, "", 0.0, [], [], told))
        self._write_if_due()

    def reopen(self, store: Store) -> None:
        """Write to `store` from now on, as another process: a snapshot has many lives."""
        with self._lock:
            self.store, self._process = store, _process_name()

    def flush(self) -> None:
        """Write what has gathered, whatever the interval. A store that does not answer loses it: answers come first."""
        with self._lock:
            gathered, self._gathered = self._gathered, {}
            self._written = self._clock().timestamp()
            self._writes += 1
            writer = f"{self._process}-{self._writes}"
        for (model, version), part in gathered.items():
            try:
                write(self.store, model, version, writer, self._clock(), part.seen())
            except StorageUnavailable as error:
                from tensorlet.telemetry import logger  # imported when a line is really written: 30 ms

                logger().warning("observations were lost", extra={"model": model, "reason": str(error)})

    def _of(self, version: Version) -> _Gathered:
        gathered = self._gathered.setdefault(version, _Gathered())
        gathered.requests += 1
        return gathered

    def _keep(
        self,
        gathered: _Gathered,
        request: str,
        artifact: str,
        infer_ms: float,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
    ) -> None:
        size = sum(tensor.size_bytes for tensor in (*inputs.values(), *outputs.values()))
        if gathered.sample_bytes + size > MOST_SAMPLE_BYTES:
            return
        gathered.sample_bytes += size
        gathered.sample.append(
            Observation(
                self._now(),
                request,
                artifact,
                round(infer_ms, 4),
                self._tensors(inputs),
                self._tensors(outputs),
            )
        )

    def _tensors(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        return [
            {"name": name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": None}
            if name in self.rules.redacted
            else tensor_to_json(name, tensor)
            for name, tensor in tensors.items()
        ]

    def _now(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")

    def _write_if_due(self) -> None:
        if self._clock().timestamp() - self._written >= self.rules.interval_s:
            self.flush()


def _process_name() -> str:
    """Unlike that of any other process."""
    return os.urandom(6).hex()
