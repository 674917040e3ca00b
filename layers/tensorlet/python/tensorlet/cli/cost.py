"""`tensorlet cost`: what requests or files would cost on AWS, from public prices and measured speeds.

`speeds.json` holds what `benchmarks` measured of each file format with one virtual CPU, for a small model; a large
one takes longer than its file takes to read.
"""

import json
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tensorlet.cli.text import table
from tensorlet.cost import (
    Cost,
    billed_ms,
    cost_of_file,
    cost_of_requests,
    price_list,
    seconds_of_file,
    slowdown,
)
from tensorlet.errors import InvalidRequest

MEMORY_MB = (512, 1769, 3538)
MILLION, INVOCATION_S = 1_000_000, 900
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Estimate(NamedTuple):
    """One line of the answer: `seconds` are of one request or file, `cost` is of all of them."""

    what: str  # "request", or the format of the file
    times: int
    memory_mb: int
    seconds: float
    cost: Cost


def run(arguments: Namespace) -> int:
    sizes_mb = (arguments.memory,) if arguments.memory else MEMORY_MB
    if arguments.file:
        estimates = of_files(arguments.file, arguments.requests or 1, sizes_mb, arguments.architecture)
    else:
        requests, ms = arguments.requests or MILLION, arguments.ms or 1.0
        estimates = of_requests(requests, ms, sizes_mb, arguments.architecture)
    show = as_json if arguments.json else as_table
    print(show(estimates, arguments.architecture))
    return 0


def of_requests(requests: int, ms: float, sizes_mb: Sequence[int], architecture: str) -> list[Estimate]:
    """`ms` is what one request takes with a whole virtual CPU; a smaller function takes as much longer."""
    estimates = []
    for memory_mb in sizes_mb:
        seconds = ms / 1e3 * slowdown(memory_mb)
        cost = cost_of_requests(requests, memory_mb, seconds, architecture)
        estimates.append(Estimate("request", requests, memory_mb, seconds, cost))
    return estimates


def of_files(file: str, files: int, sizes_mb: Sequence[int], architecture: str) -> list[Estimate]:
    """A size is estimated in every format that was measured, a file in its own.

    Raises:
        InvalidRequest: neither a file nor a size, or a format without a measured speed.
    """
    size_bytes, formats = _size_and_formats(file)
    estimates = []
    for format, speed in formats.items():
        written_bytes = int(size_bytes * speed["written_share"])
        for memory_mb in sizes_mb:
            seconds = seconds_of_file(size_bytes, speed["bytes_s"], memory_mb)
            one = cost_of_file(size_bytes, written_bytes, memory_mb, seconds, architecture)
            cost = Cost(files * one.compute, files * one.requests)
            estimates.append(Estimate(f"{format} file", files, memory_mb, seconds, cost))
    return estimates


def as_table(estimates: Sequence[Estimate], architecture: str) -> str:
    head = ("what", "count", "memory", "each", "compute", "requests", "total")
    rows = [
        (what, f"{count:,}", f"{memory_mb:,} MB", _duration(seconds), *map(_usd, (*cost, cost.total)))
        for what, count, memory_mb, seconds, cost in estimates
    ]
    notes = [
        f"US dollars in {price_list()['region']}, {architecture}, at the public prices of {price_list()['read']}:",
        "all warm, one thread, without free tiers, data transfer and logs.",
    ]
    if any(estimate.seconds > INVOCATION_S for estimate in estimates):
        notes.append("More than 900 s is more than one invocation: such a file is split over several.")
    return "\n".join([table(head, rows), "", *notes])


def as_json(estimates: Sequence[Estimate], architecture: str) -> str:
    lines = [
        {
            "what": what,
            "count": count,
            "memory_mb": memory_mb,
            "seconds": round(seconds, 6),
            "compute_usd": cost.compute,
            "requests_usd": cost.requests,
            "total_usd": cost.total,
        }
        for what, count, memory_mb, seconds, cost in estimates
    ]
    prices = {name: price_list()[name] for name in ("read", "region", "note")}
    return json.dumps({"architecture": architecture, "prices": prices, "estimates": lines}, indent=2)


def _size_and_formats(file: str) -> tuple[int, dict[str, Any]]:
    speeds = json.loads(Path(__file__).with_name("speeds.json").read_bytes())["formats"]
    path = Path(file)
    if not path.is_file():
        return _size_bytes(file), speeds
    format = path.suffix.removeprefix(".").lower()
    if format not in speeds:
        raise InvalidRequest(
            f"--file: expected one of {', '.join(f'.{known}' for known in speeds)}, whose speed was measured,"
            f" got {path.name!r}; give its size instead"
        )
    return path.stat().st_size, {format: speeds[format]}


def _size_bytes(text: str) -> int:
    """`500`, `2GB` or `1.5 MB`, in decimal units as AWS's prices are."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGT]?B?)", text.strip().upper())
    if not found or found[2] not in UNITS:
        raise InvalidRequest(f"--file: expected a file or a size such as 2GB, got {text!r}")
    return int(float(found[1]) * UNITS[found[2]])


def _duration(seconds: float) -> str:
    return f"{billed_ms(seconds):,} ms" if seconds < 1 else f"{seconds:,.1f} s"


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 10 else f"${amount:,.4f}"
