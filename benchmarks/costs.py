"""What the measured work costs at AWS's public prices (`prices.json`), by memory size.

Lambda bills the time of a request rounded up to a millisecond, times the memory, plus a price for each request. It
gives one virtual CPU for each 1,769 MB: a smaller function takes as much longer, a larger one is no faster with
one request at a time (AWS Lambda developer guide, "Configure Lambda function memory").
"""

import json
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import Line

PRICES: dict[str, Any] = json.loads((Path(__file__).parent / "prices.json").read_text())
MEMORY_MB = (512, 1769, 3538)
VCPU_MB = 1769
FILE_GB = 1.0


class Cost(NamedTuple):
    """In the currency of the prices."""

    compute: float
    requests: float

    @property
    def total(self) -> float:
        return self.compute + self.requests


def price(name: str) -> float:
    return float(PRICES["prices"][name]["price"])


def slowdown(memory_mb: int) -> float:
    """How much longer work of one thread takes than with a whole virtual CPU."""
    return max(1.0, VCPU_MB / memory_mb)


def compute(seconds: float, memory_mb: int, architecture: str = "x86_64") -> float:
    """The price of `seconds` billed at this memory size."""
    return seconds * memory_mb / 1024 * float(PRICES["prices"]["lambda_gb_s"][architecture])


def million_predictions(handler_us: float, client_ms: float, rows: int, memory_mb: int) -> Cost:
    """A million rows asked for over the HTTP API, `rows` in each request, all warm.

    `handler_us` is the handler's time, `client_ms` what the runtime client adds, both with a whole virtual CPU.
    """
    requests = 1e6 / rows
    billed_ms = ceil((handler_us / 1e3 + client_ms) * slowdown(memory_mb))
    per_request = price("lambda_million_requests") + price("http_api_million_requests")
    return Cost(compute(requests * billed_ms / 1e3, memory_mb), requests / 1e6 * per_request)


def thousand_cold_starts(cpu_ms: float, memory_mb: int) -> float:
    """What a thousand cold starts add to the bill: Lambda bills the init phase like any other time."""
    return compute(ceil(cpu_ms * slowdown(memory_mb)), memory_mb)


def gigabyte_of_batch(mb_per_s: float, memory_mb: int) -> Cost:
    """One file of 1 GB: a message, an invocation, ranged reads of 8 MiB, a multipart write, report and plan.

    The output of a classifier of 784 numbers is a fiftieth of its input: four parts hold it.
    """
    seconds = FILE_GB * 1e3 / mb_per_s * slowdown(memory_mb)
    gets, puts = ceil(FILE_GB * 1e9 / (8 << 20)) + 4, 8
    requests = price("lambda_million_requests") / 1e6 + 3 * price("sqs_million_requests") / 1e6
    storage = gets * price("s3_thousand_gets") / 1e3 + puts * price("s3_thousand_puts") / 1e3
    return Cost(compute(seconds, memory_mb), requests + storage)


def prediction_table(warm: Sequence[Line], client_ms: float, cold: Sequence[Line]) -> list[list[str]]:
    """Rows of the table in docs/costs.md: a request, and its price at each memory size."""
    table = [["a million predictions, warm", *(f"{memory:,} MB" for memory in MEMORY_MB)]]
    for line in warm:
        if line["name"] in ("Tensorlet", "tutorial"):
            rows = int(line["request"].partition("x")[0])
            costs = [million_predictions(line["us"]["min"], client_ms, rows, mb) for mb in MEMORY_MB]
            cells = [f"{dollars(cost.total)} ({dollars(cost.compute)} compute)" for cost in costs]
            table.append([f"{line['request']}, {line['name']}", *cells])
    for line in cold:
        if line["group"] == "mlp" and line["name"] in ("Tensorlet", "tutorial"):
            cells = [dollars(thousand_cold_starts(line["total_ms"]["median"], mb)) for mb in MEMORY_MB]
            table.append([f"a thousand cold starts, {line['name']}", *cells])
    return table


def batch_table(batch: Sequence[Line]) -> list[list[str]]:
    """The same for files of 1 GB, at the MB of input a second that our jobs read of each format."""
    table = [["a GB of batch", *(f"{memory:,} MB" for memory in MEMORY_MB)]]
    for line in batch:
        if line.get("variant") == "tensorlet":
            mb_per_s = line["mb_s"]["median"]
            costs = [gigabyte_of_batch(mb_per_s, mb) for mb in MEMORY_MB]
            cells = [f"{dollars(cost.total)} ({dollars(cost.compute)} compute)" for cost in costs]
            table.append([f"{line['format'].upper()} ({mb_per_s:.0f} MB/s with one virtual CPU)", *cells])
    return table


def dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"
