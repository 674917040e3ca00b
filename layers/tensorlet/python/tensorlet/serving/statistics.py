"""What this process has answered with one version: the counters of Triton's extension_statistics.md."""

import time
from collections.abc import Iterable
from threading import Lock

MAX_BATCH_SIZES = 128  # batch sizes are the callers' choice; more different ones are only in the totals


class Statistics:
    """Counters of one version; times are nanoseconds, summed. Safe for several threads."""

    __slots__ = (
        "_lock",
        "batches",
        "errors",
        "executions",
        "fail_ns",
        "failures",
        "infer_ns",
        "input_ns",
        "last_inference_ms",
        "output_ns",
        "rows",
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self.executions = self.failures = self.rows = 0
        self.input_ns = self.infer_ns = self.output_ns = self.fail_ns = 0
        self.last_inference_ms = 0  # since 1970
        self.errors: dict[str, int] = {}  # failures by the name of their error
        self.batches: dict[int, list[int]] = {}  # rows -> [executions, input, infer, output]

    def succeeded(self, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count one execution over `rows` batch elements: decoded, run and encoded in these times."""
        with self._lock:
            self.executions += 1
            self.rows += rows
            self.input_ns += input_ns
            self.infer_ns += infer_ns
            self.output_ns += output_ns
            self.last_inference_ms = time.time_ns() // 1_000_000
            batch = self.batches.get(rows)
            if batch is None:
                if len(self.batches) >= MAX_BATCH_SIZES:
                    return
                batch = self.batches[rows] = [0, 0, 0, 0]
            batch[0] += 1
            batch[1] += input_ns
            batch[2] += infer_ns
            batch[3] += output_ns

    def failed(self, ns: int, error: str) -> None:
        """Count one request that was refused or that the runtime could not answer, by the name of its error."""
        with self._lock:
            self.failures += 1
            self.fail_ns += ns
            self.errors[error] = self.errors.get(error, 0) + 1


def merged(parts: Iterable[Statistics]) -> Statistics:
    """The sum of several counters, as it is now."""
    total = Statistics()
    for part in parts:
        for name in ("executions", "failures", "rows", "input_ns", "infer_ns", "output_ns", "fail_ns"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        total.last_inference_ms = max(total.last_inference_ms, part.last_inference_ms)
        for error, count in part.errors.items():
            total.errors[error] = total.errors.get(error, 0) + count
        for rows, counts in part.batches.items():
            known = total.batches.get(rows, (0, 0, 0, 0))
            total.batches[rows] = [a + b for a, b in zip(known, counts, strict=True)]
    return total
