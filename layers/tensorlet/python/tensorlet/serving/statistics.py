"""What this process has answered with one version: the counters of Triton's extension_statistics.md."""

import time
from collections.abc import Iterable
from threading import Lock

MAX_BATCH_SIZES = 128  # batch sizes are the callers' choice; more different ones are only in the totals


class Statistics:
    """Counters of one version; times are nanoseconds, summed. Safe for several threads.

    Each success is counted once, under its batch size; the totals are sums for whoever asks.
    """

    __slots__ = ("_last_ns", "_lock", "_other_rows", "_others", "batches", "errors", "fail_ns", "failures")

    def __init__(self) -> None:
        self._lock = Lock()
        self.batches: dict[int, list[int]] = {}  # rows -> [executions, input, infer, output]
        self._others, self._other_rows = [0, 0, 0, 0], 0  # those of further batch sizes
        self._last_ns = 0  # since 1970
        self.failures = self.fail_ns = 0
        self.errors: dict[str, int] = {}  # failures by the name of their error

    def succeeded(self, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count one execution over `rows` batch elements: decoded, run and encoded in these times."""
        with self._lock:
            counts = self.batches.get(rows) or self._counts(rows)
            counts[0] += 1
            counts[1] += input_ns
            counts[2] += infer_ns
            counts[3] += output_ns
            self._last_ns = time.time_ns()

    def failed(self, ns: int, error: str) -> None:
        """Count one request that was refused or that the runtime could not answer, by the name of its error."""
        with self._lock:
            self.failures += 1
            self.fail_ns += ns
            self.errors[error] = self.errors.get(error, 0) + 1

    @property
    def executions(self) -> int:
        return self._sum(0)

    @property
    def rows(self) -> int:
        return self._other_rows + sum(rows * counts[0] for rows, counts in self.batches.copy().items())

    @property
    def input_ns(self) -> int:
        return self._sum(1)

    @property
    def infer_ns(self) -> int:
        return self._sum(2)

    @property
    def output_ns(self) -> int:
        return self._sum(3)

    @property
    def last_inference_ms(self) -> int:
        """Since 1970; 0 before the first."""
        return self._last_ns // 1_000_000

    def add(self, other: "Statistics") -> None:
        """Count what another has counted, too."""
        self._others = _added(self._others, other._others)
        self._other_rows += other._other_rows
        for rows, counts in other.batches.copy().items():
            self.batches[rows] = _added(self.batches.get(rows, [0, 0, 0, 0]), counts)
        self._last_ns = max(self._last_ns, other._last_ns)
        self.failures += other.failures
        self.fail_ns += other.fail_ns
        for error, count in other.errors.copy().items():
            self.errors[error] = self.errors.get(error, 0) + count

    def _counts(self, rows: int) -> list[int]:
        """The counts to which a batch size that has none yet belongs."""
        if len(self.batches) < MAX_BATCH_SIZES:
            return self.batches.setdefault(rows, [0, 0, 0, 0])
        self._other_rows += rows
        return self._others

    def _sum(self, place: int) -> int:
        return self._others[place] + sum(counts[place] for counts in self.batches.copy().values())


def merged(parts: Iterable[Statistics]) -> Statistics:
    """The sum of several counters, as it is now."""
    total = Statistics()
    for part in parts:
        total.add(part)
    return total


def _added(counts: list[int], more: list[int]) -> list[int]:
    return [a + b for a, b in zip(counts, more, strict=True)]
