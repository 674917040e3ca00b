"""The tables of docs/costs.md: what the measured work costs by `tensorlet.cost`, at three memory sizes."""

from collections.abc import Sequence

from tensorlet.cost import Cost, cost_of_file, cost_of_requests, seconds_of_file, slowdown, usd_of_compute

from benchmarks.measure import Line

MEMORY_MB = (512, 1769, 3538)
HEADERS = [f"{memory_mb:,} MB" for memory_mb in MEMORY_MB]
COMPARED = ("Tensorlet", "tutorial")
Table = list[list[str]]


def prediction_table(warm: Sequence[Line], client_ms: float, cold: Sequence[Line]) -> Table:
    """A million rows by each request, and a thousand cold starts; `client_ms` is what the runtime client adds."""
    requests = [line for line in warm if line["name"] in COMPARED]
    starts = [line for line in cold if line["group"] == "mlp" and line["name"] in COMPARED]
    return [
        ["a million predictions, warm", *HEADERS],
        *(
            [f"{line['request']}, {line['name']}", *(_million(line, client_ms, mb) for mb in MEMORY_MB)]
            for line in requests
        ),
        *(
            [f"a thousand cold starts, {line['name']}", *(_thousand_starts(line, mb) for mb in MEMORY_MB)]
            for line in starts
        ),
    ]


def batch_table(batch: Sequence[Line]) -> Table:
    """Files of 1 GB, by the CPU time that our jobs take for each format."""
    ours = [line for line in batch if line["name"] == "Tensorlet"]
    return [
        ["a GB of batch", *HEADERS],
        *(
            [
                f"{line['format'].upper()}, {bytes_per_cpu_s(line) / 1e6:,.0f} MB in a second of CPU",
                *(_gigabyte(line, mb) for mb in MEMORY_MB),
            ]
            for line in ours
        ),
    ]


def bytes_per_cpu_s(line: Line) -> float:
    """Bytes of input for a second of CPU time: what one virtual CPU can do, where several would overlap."""
    return float(line["input_bytes"] / line["rows"] / line["cpu_us_row"]["median"] * 1e6)


def _million(line: Line, client_ms: float, memory_mb: int) -> str:
    rows = int(line["request"].partition("x")[0])
    seconds = (line["us"]["median"] / 1e3 + client_ms) / 1e3 * slowdown(memory_mb)
    return _cell(cost_of_requests(1e6 / rows, memory_mb, seconds, body_bytes=line["body_bytes"]))


def _thousand_starts(line: Line, memory_mb: int) -> str:
    """Lambda bills the init phase like any other time."""
    return dollars(1000 * usd_of_compute(memory_mb, line["total_ms"]["median"] / 1e3 * slowdown(memory_mb)))


def _gigabyte(line: Line, memory_mb: int) -> str:
    written_bytes = int(1e9 * line["output_bytes"] / line["input_bytes"])
    seconds = seconds_of_file(10**9, bytes_per_cpu_s(line), memory_mb)
    return _cell(cost_of_file(10**9, written_bytes, memory_mb, seconds))


def _cell(cost: Cost) -> str:
    return f"{dollars(cost.total)} ({dollars(cost.compute)} compute)"


def dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"
