"""Observations: what a version was asked and what it answered, as lines of JSON in object storage.

A file holds what one process saw of one version in one interval, under
`<model>/<version>/<YYYY-MM-DD>/<HHMMSS.mmm>-<process>.jsonl`. Its first line is a `Tally` of all requests, the others
are the requests of the sample. Tensors have the form of the Open Inference Protocol (inference_rest.md), so that a
captured request can be sent again as it is.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from math import prod
from typing import Any, NamedTuple

from tensorlet.errors import ArtifactRefused
from tensorlet.registry.store import Store
from tensorlet.tensors import DATATYPES, Shape, Tensor, from_values

# Upper ends of the latency histogram in milliseconds, ten to a decade (ISO 3, R10); what is slower is in one more bin.
LATENCY_MS = tuple(
    round(step * 10.0**decade, 3)
    for decade in range(-1, 4)
    for step in (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)
)

READERS = 16  # files read at once: storage answers in milliseconds, and a busy stack writes many small ones
MOST_VALUES = 4_000_000  # numbers of a sample in memory, some 32 bytes each


class Tally(NamedTuple):
    """All requests of an interval: how many, by which errors they failed, and how long the runtime took.

    `latency` counts the answered ones by the bins of LATENCY_MS.
    """

    requests: int = 0
    rows: int = 0
    errors: Mapping[str, int] = {}
    latency: Sequence[int] = (0,) * (len(LATENCY_MS) + 1)

    def plus(self, other: "Tally") -> "Tally":
        errors = {
            name: self.errors.get(name, 0) + other.errors.get(name, 0)
            for name in {**self.errors, **other.errors}
        }
        latency = tuple(map(sum, zip(self.latency, other.latency, strict=True)))
        return Tally(self.requests + other.requests, self.rows + other.rows, errors, latency)

    @property
    def error_rate(self) -> float:
        """The part of the requests that failed, from 0 to 1."""
        return sum(self.errors.values()) / self.requests if self.requests else 0.0

    def latency_ms(self, quantile: float) -> float:
        """The upper end of the bin that holds this quantile of the answered requests; 0 without any."""
        wanted, seen = quantile * sum(self.latency), 0
        for end, count in zip((*LATENCY_MS, float("inf")), self.latency, strict=True):
            seen += count
            if seen and seen >= wanted:
                return end
        return 0.0

    def slower_than(self, ms: float) -> int:
        """How many of the answered requests certainly took longer: those of the bins that lie above."""
        return sum(
            count for start, count in zip((0.0, *LATENCY_MS), self.latency, strict=True) if start >= ms
        )


class Observation(NamedTuple):
    """One request of the sample; `outputs` is empty for one that failed, and `error` says why."""

    time: str  # ISO 8601, UTC
    request: str  # its id
    artifact: str
    infer_ms: float
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    error: str = ""


class Seen(NamedTuple):
    """One file of observations."""

    tally: Tally
    sample: list[Observation]


def tensor_to_json(name: str, tensor: Tensor) -> dict[str, Any]:
    """A tensor as V2 has it in requests and replies; bytes that are no UTF-8 as their replacement characters."""
    values = tensor.tolist()
    if tensor.datatype == "BYTES":
        values = [value.decode("utf-8", "replace") for value in values]
    return {"name": name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": values}


def tensor_from_json(document: Mapping[str, Any]) -> Tensor:
    """The inverse of `tensor_to_json`. Raises InvalidTensor; ValueError for a redacted one."""
    if document["data"] is None:
        raise ValueError(f"{document['name']} was redacted")
    shape: Shape = tuple(document["shape"])
    return from_values(DATATYPES[document["datatype"]].name, shape, document["data"])


def write(store: Store, model: str, version: int, process: str, at: datetime, seen: Seen) -> str:
    """Store a file of observations, create-only; returns its key."""
    key = f"{model}/{version}/{at:%Y-%m-%d}/{at:%H%M%S}.{at.microsecond // 1000:03d}-{process}.jsonl"
    lines = [seen.tally._asdict(), *(observation._asdict() for observation in seen.sample)]
    store.create(key, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return key


def read(store: Store, model: str, version: int, since: datetime, until: datetime) -> Iterator[Seen]:
    """What was seen of a version from `since` on and before `until`, oldest first; READERS files at a time."""
    wanted = list(keys(store, model, version, since, until))
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(wanted), READERS):
            batch = wanted[start : start + READERS]
            for key, found in zip(batch, pool.map(store.get, batch), strict=True):
                yield parse(key, bytes(found.data))


def newest(store: Store, model: str, version: int, since: datetime, until: datetime, files: int) -> datetime:
    """From when on a version has no more than so many files; `since` if it has not."""
    found = list(keys(store, model, version, since, until))
    return written_at(found[-files]) if len(found) > files else since


def keys(store: Store, model: str, version: int, since: datetime, until: datetime) -> Iterator[str]:
    """The files of observations of a version that were written in this time, oldest first."""
    first, last = since.astimezone(UTC), until.astimezone(UTC)
    for day in store.folder(f"{model}/{version}").folders:
        if f"{first:%Y-%m-%d}" <= day <= f"{last:%Y-%m-%d}":
            for key in sorted(info.key for info in store.folder(f"{model}/{version}/{day}").objects):
                if first <= written_at(key) < last:
                    yield key


def written_at(key: str) -> datetime:
    """When a file of observations was written, to the millisecond, from its name."""
    *_, day, name = key.split("/")
    return datetime.strptime(f"{day} {name.partition('-')[0]}", "%Y-%m-%d %H%M%S.%f").replace(tzinfo=UTC)


def parse(key: str, data: bytes) -> Seen:
    """Raises ArtifactRefused for a file that holds no observations."""
    try:
        tally, *sample = [json.loads(line) for line in data.splitlines()]
        if len(tally["latency"]) != len(LATENCY_MS) + 1:  # of a release with other bins
            tally["latency"] = Tally().latency
        return Seen(Tally(**tally), [Observation(**line) for line in sample])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactRefused(f"{key} is not a file of observations: {error}") from error


def total(files: Iterable[Seen]) -> Seen:
    """Several files as one; of their samples the newest requests, those with MOST_VALUES numbers together."""
    tally, values = Tally(), 0
    sample: deque[Observation] = deque()
    for seen in files:
        tally = tally.plus(seen.tally)
        for observation in seen.sample:
            sample.append(observation)
            values += _values(observation)
            while values > MOST_VALUES and len(sample) > 1:
                values -= _values(sample.popleft())
    return Seen(tally, list(sample))


def _values(observation: Observation) -> int:
    """How many numbers are kept of a request."""
    return sum(
        prod(document["shape"])
        for document in (*observation.inputs, *observation.outputs)
        if document["data"] is not None
    )


def tensors(sample: Sequence[Observation], side: str) -> dict[str, Any]:
    """The `inputs` or `outputs` of a sample as arrays by name, the rows of all requests together.

    Redacted tensors are left out, and those whose rows differ in shape.
    """
    import numpy as np

    rows: dict[str, list[Any]] = {}
    for observation in sample:
        for document in getattr(observation, side):
            if document["data"] is not None:
                rows.setdefault(document["name"], []).append(
                    np.atleast_1d(tensor_from_json(document).numpy())
                )
    return {
        name: np.concatenate(parts)
        for name, parts in rows.items()
        if len({part.shape[1:] for part in parts}) == 1
    }
