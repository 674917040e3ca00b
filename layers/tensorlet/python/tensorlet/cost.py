"""What AWS bills for predictions, in US dollars, at the public prices in `prices.json`.

Lambda bills an invocation by its time, rounded up to a millisecond, times its memory, and a price for each. It gives
one virtual CPU for each 1,769 MB: a smaller function takes as much longer, a larger one is no faster at work of one
thread (AWS Lambda developer guide, "Configure Lambda function memory"; AWS Lambda pricing, "AWS Lambda Pricing").

Prices are of one region and the first tier; free tiers, savings plans, taxes, logs and data transfer are left out.
"""

import json
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest

X86_64 = "x86_64"
VCPU_MB = 1769
NETWORK_BYTES_S = 625_000_000 / 8  # of one environment (AWS Lambda developer guide, "Lambda quotas")
METERED_BYTES = 512 << 10  # API Gateway counts a request of its HTTP APIs for each begun 512 KB of a body
READ_BYTES, PART_BYTES = 2 << 20, 5 << 20  # of a GET and of an upload's part: batch.source, registry.upload
OWN_READS, OWN_WRITES = (
    8,
    4,
)  # of a job beside its file: options, plan, registry, report; plan, errors, report
MESSAGE_REQUESTS = 3  # SQS: sent by S3, received, deleted


class Cost(NamedTuple):
    """In US dollars: the time of the function, and whatever is billed by the request."""

    compute: float
    requests: float

    @property
    def total(self) -> float:
        return self.compute + self.requests


@cache
def price_list() -> dict[str, Any]:
    """`prices.json`: `read` (a date), `region`, `note`, and `prices`, each with its unit in its name and its source."""
    return dict(json.loads(Path(__file__).with_name("prices.json").read_bytes()))


def price(name: str) -> float:
    return float(price_list()["prices"][name]["usd"])


def slowdown(memory_mb: int) -> float:
    """How much longer work of one thread takes than with a whole virtual CPU."""
    return max(1.0, VCPU_MB / memory_mb)


def seconds_of_file(size_bytes: int, bytes_s: float, memory_mb: int) -> float:
    """How long a file takes that a whole virtual CPU reads at `bytes_s`; no memory makes the network faster."""
    return max(size_bytes / bytes_s * slowdown(memory_mb), size_bytes / NETWORK_BYTES_S)


def billed_ms(seconds: float) -> int:
    """Whole milliseconds, rounded up."""
    return ceil(round(seconds * 1e3, 6))  # 1.1 s is 1,100 ms, and not 1,100.0000000000002


def usd_of_compute(memory_mb: int, seconds: float, architecture: str = X86_64) -> float:
    """One invocation's time, as it is billed: whole milliseconds of `memory_mb`.

    Raises:
        InvalidRequest: an architecture that has no price.
    """
    name = f"lambda_gb_second_{architecture}"
    if name not in price_list()["prices"]:
        raise InvalidRequest(f"architecture: expected x86_64 or arm64, got {architecture!r}")
    return billed_ms(seconds) / 1e3 * memory_mb / 1024 * price(name)


def usd_of_invocation(memory_mb: int, seconds: float, architecture: str = X86_64) -> float:
    """One invocation of `seconds` at this memory size, as Lambda alone bills it."""
    return usd_of_compute(memory_mb, seconds, architecture) + price("lambda_million_requests") / 1e6


def cost_of_requests(
    requests: float, memory_mb: int, seconds: float, architecture: str = X86_64, body_bytes: int = 0
) -> Cost:
    """`requests` through the HTTP API, all warm, each of `seconds` at this memory size and of `body_bytes`."""
    metered = max(1, ceil(body_bytes / METERED_BYTES))
    each = (price("lambda_million_requests") + metered * price("http_api_million_requests")) / 1e6
    return Cost(requests * usd_of_compute(memory_mb, seconds, architecture), requests * each)


def cost_of_file(
    read_bytes: int, written_bytes: int, memory_mb: int, seconds: float, architecture: str = X86_64
) -> Cost:
    """A file through the batch function in one invocation: its message, its time, its reads and writes in S3."""
    reads = OWN_READS + ceil(read_bytes / READ_BYTES)
    writes = OWN_WRITES + ceil(written_bytes / PART_BYTES)
    storage = reads * price("s3_thousand_gets") / 1e3 + writes * price("s3_thousand_puts") / 1e3
    message = MESSAGE_REQUESTS * price("sqs_million_requests") / 1e6
    invocation = price("lambda_million_requests") / 1e6
    return Cost(usd_of_compute(memory_mb, seconds, architecture), invocation + message + storage)
