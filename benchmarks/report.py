"""docs/benchmarks.md and docs/costs.md: tables between `<!-- begin NAME -->` and `<!-- end NAME -->`, and the plots."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import costs
from benchmarks.measure import Line, read
from benchmarks.plot import Bar, Group, chart

DOCS = Path(__file__).parents[1] / "docs"
FLOORS = {
    "runtime client alone",
    "bare handler",
    "model alone",
    "floor",
    "bare ASGI on uvicorn",
    "script by hand",
}
SPEEDS = DOCS.parent / "layers/tensorlet/python/tensorlet/cli/speeds.json"
LOAD = "1x784 JSON, 8 clients"  # what the plot of servers shows
Table = list[list[str]]


def main() -> None:
    """Write the tables and plots of every result there is; a block whose result is missing stays as it is."""
    results = {name: found for name in BLOCKS if (found := read(name))[1]}
    fill(DOCS / "benchmarks.md", {name: "\n".join(BLOCKS[name](*found)) for name, found in results.items()})
    for name, draw in PLOTS.items():
        if name in results:
            (DOCS / f"benchmark-{name}.svg").write_text(draw(*results[name]))
    if "batch" in results:
        SPEEDS.write_text(speeds(*results["batch"]))
    fill(DOCS / "costs.md", cost_blocks({name: lines for name, (_, lines) in results.items()}))


def cost_blocks(results: dict[str, list[Line]]) -> dict[str, str]:
    tables = {}
    if "cold" in results and "warm" in results:
        client = next(line for line in results["cold"] if line["name"] == "runtime client alone")
        tables["predictions"] = costs.prediction_table(
            results["warm"], client["warm_ms"]["median"], results["cold"]
        )
    if "batch" in results:
        tables["batch"] = costs.batch_table(results["batch"])
    return {name: markdown(table) for name, table in tables.items()}


def speeds(header: Line, lines: Sequence[Line]) -> str:
    """What `tensorlet cost --file` estimates by: bytes read in a second of CPU, and the share of them written."""
    formats = {
        line["format"]: {
            "bytes_s": int(costs.bytes_per_cpu_s(line)),
            "written_share": round(line["output_bytes"] / line["input_bytes"], 4),
        }
        for line in lines
        if line["name"] == "Tensorlet"
    }
    about = {
        "model": "784-128-10 perceptron, rows of 784 values",
        "measured": header["date"],
        "cpu": header["cpu"],
    }
    return json.dumps({**about, "formats": formats}, indent=2) + "\n"


def fill(path: Path, blocks: dict[str, str]) -> None:
    """Put each block between its marks. Raises ValueError where a document has no place for it."""
    text = path.read_text()
    for name, block in blocks.items():
        marks = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not marks.search(text):
            raise ValueError(f"{path.name} has no place for {name}")
        text = marks.sub(lambda found, block=block: f"{found[1]}\n{block}\n\n{found[2]}", text)
    path.write_text(text)


def markdown(table: Table) -> str:
    head, *rows = table
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


# ---------------------------------------------------------------- tables


def cold(header: Line, lines: Sequence[Line]) -> list[str]:
    names = ("init_ms", "first_ms", "cpu_ms", "rss_mb")
    head = ["", "ratio to the tutorial", "first answer, ms", "init", "first request", "CPU ms", "peak RSS MB"]
    rows = [
        [
            f"{line['group']}: {bold(line['name'])}",
            spread(line["ratio"]["total_ms"]),
            spread(line["total_ms"], 0),
            *(f"{line[name]['median']:.0f}" for name in names),
        ]
        for line in lines
    ]
    return [markdown([head, *rows]), "", provenance(header)]


def start(header: Line, lines: Sequence[Line]) -> list[str]:
    head = ["", "ratio", "session + first run, ms", "RSS, ratio", "RSS MB", "warm, ratio"]
    rows = [
        [
            f"{line['group']}: {bold(line['name'])}",
            spread(line["ratio"]["start_ms"]),
            spread(line["start_ms"], 0),
            f"{line['ratio']['peak_mb']['median']:.2f}",
            f"{line['peak_mb']['median']:.0f}",
            spread(line["ratio"]["warm_ms"]),
        ]
        for line in lines
    ]
    return [markdown([head, *rows]), "", provenance(header)]


def warm(header: Line, lines: Sequence[Line]) -> list[str]:
    """Two tables: whole handlers, and ours by its stages."""
    head = ["", "ratio to the bare handler", "CPU µs", "quietest", "beyond the model"]
    handlers = [
        [
            f"{line['request']}: {bold(line['name'])}",
            spread(line["ratio"]["us"]),
            spread(line["us"], 0),
            f"{line['us']['min']:,.0f}",
            f"{line['over_us']['median']:,.0f}" if "over_us" in line else "",
        ]
        for line in lines
        if "us" in line
    ]
    stages = [
        [line["request"], *(f"{share:.0%}" for share in line["stages"].values())]
        for line in lines
        if "stages" in line
    ]
    ours = markdown([["of Tensorlet's time", "decode", "infer", "encode", "around them"], *stages])
    return [markdown([head, *handlers]), "", ours, "", provenance(header)]


def server(header: Line, lines: Sequence[Line]) -> list[str]:
    """Two tables: latency by request, and what a server costs; then the versions of each."""
    names = [name.removesuffix(": p50_ms") for name in lines[0] if name.endswith(": p50_ms")]
    latency = [["p50 ms (ratio to the floor)", *names]]
    latency += [
        [
            bold(line["name"]),
            *(
                f"{line[key]['median']:.2f} ({line['ratio'][key]['median']:.1f})" if key in line else "-"
                for key in (f"{name}: p50_ms" for name in names)
            ),
        ]
        for line in lines
    ]
    rate = [
        ["", "requests/s, 8 clients", "p95 ms, 1 client", "CPU µs a request", "first answer, s", "PSS MB"]
    ]
    rate += [
        [
            bold(line["name"]),
            spread(line[f"{LOAD}: requests_per_s"], 0),
            f"{line[f'{names[0]}: p95_ms']['median']:.2f}",
            f"{line[f'{names[0]}: server_cpu_us']['median']:.0f}",
            spread(line["first_answer_s"]),
            f"{line['pss_mb']['median']:.0f}",
        ]
        for line in lines
    ]
    versions = [f"- {line['name']}: Python {line['python']}, {named(line['packages'])}" for line in lines]
    return [markdown(latency), "", markdown(rate), "", provenance(header), "", *versions]


def batch(header: Line, lines: Sequence[Line]) -> list[str]:
    head = ["", "ratio to the script", "rows/s", "MB/s", "CPU µs a row", "peak RSS MB"]
    rows = [
        [
            f"{line['format'].upper()}: {bold(line['name'])}",
            spread(line["ratio"]["rows_s"]),
            spread(line["rows_s"], 0),
            f"{line['mb_s']['median']:.0f}",
            f"{line['cpu_us_row']['median']:.1f}",
            f"{line['rss_mb']['median']:.0f}",
        ]
        for line in lines
    ]
    return [markdown([head, *rows]), "", provenance(header)]


def large(header: Line, lines: Sequence[Line]) -> list[str]:
    head = ["CSV", "rows", "MB", "rows/s", "MB/s", "peak RSS MB"]
    rows = [
        [
            line["name"],
            f"{line['rows']:,}",
            f"{line['input_bytes'] / 1e6:,.0f}",
            f"{line['rows_s']['median']:,.0f}",
            f"{line['mb_s']['median']:.0f}",
            f"{line['rss_mb']['median']:.0f}",
        ]
        for line in lines
    ]
    return [markdown([head, *rows]), "", provenance(header)]


BLOCKS: dict[str, Callable[[Line, Sequence[Line]], list[str]]] = {
    "cold": cold,
    "start": start,
    "warm": warm,
    "server": server,
    "batch": batch,
    "large": large,
}


def spread(found: Line, digits: int = 2) -> str:
    """The median, and the middle half of all rounds."""
    return " ".join(
        [
            f"{found['median']:,.{digits}f}",
            f"({found['p25']:,.{digits}f}-{found['p75']:,.{digits}f})",
        ]
    )


def bold(name: str) -> str:
    return f"**{name}**" if name.startswith("Tensorlet") else name


def provenance(header: Line) -> str:
    """How to measure the same again, and on what this was measured."""
    python = f" Python {header['python']}, {named(header['packages'])}." if "packages" in header else ""
    return (
        f"`{header['command']}`, {header['date']}, {header['rounds']} rounds: median (middle half)."
        f" {header['cores']} cores of {header['cpu']}, {header['system']},"
        f" load average {header['load'][0]} at the end.{python}"
    )


def named(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


# ---------------------------------------------------------------- plots

SHOWN = {  # groups of the cold start in the plot, by what they are called there
    "mlp": "0.4 MB model from S3, ONNX Runtime",
    "mlp, LiteRT": "0.4 MB model from S3, LiteRT",
    "mlp100m": "100 MB model from S3, ONNX Runtime",
    "mlp, disk-cold": "0.4 MB model, nothing in the page cache",
}


def plot_cold(header: Line, lines: Sequence[Line]) -> str:
    """Each group in units of its own tutorial."""
    groups = [
        Group(title, shortest([line for line in lines if line["group"] == group], "total_ms", "ms"))
        for group, title in SHOWN.items()
    ]
    return chart(
        "Cold start of a Lambda function, fresh process to first answer",
        "relative to the tutorial (powertools, boto3) in the same round; shorter is better; line: the middle half",
        [group for group in groups if group.bars],
        plotted(header),
    )


def shortest(lines: Sequence[Line], figure: str, unit: str) -> list[Bar]:
    """Bars of a figure's ratio to the reference, the shortest first."""
    ordered = sorted(lines, key=lambda line: line["ratio"][figure]["median"])
    return [
        bar(
            line,
            line["ratio"][figure],
            f"{line['ratio'][figure]['median']:.2f}×  {line[figure]['median']:,.0f} {unit}",
        )
        for line in ordered
    ]


def plot_server(header: Line, lines: Sequence[Line]) -> str:
    key = f"{LOAD}: requests_per_s"
    return chart(
        "One model behind one worker, requests a second",
        "784 values as JSON, 8 connections, loopback HTTP; longer is better; line: the middle half",
        [Group("", longest(lines, key))],
        plotted(header),
    )


def plot_batch(header: Line, lines: Sequence[Line]) -> str:
    """Each format has the scale of the picture: NPY, which needs no parsing, is left out."""
    text = [line for line in lines if line["format"] != "npy"]
    groups = [
        Group(
            f"{format.upper()} to {format.upper()}",
            longest([x for x in text if x["format"] == format], "rows_s"),
        )
        for format in dict.fromkeys(line["format"] for line in text)
    ]
    return chart(
        "A file of predictions from a file of rows, rows a second",
        "rows of 784 values, one model thread; longer is better; line: the middle half",
        groups,
        plotted(header),
    )


def longest(lines: Sequence[Line], figure: str) -> list[Bar]:
    ordered = sorted(lines, key=lambda line: -line[figure]["median"])
    return [bar(line, line[figure], f"{line[figure]['median']:,.0f}") for line in ordered]


def bar(line: Line, found: Line, text: str) -> Bar:
    name = line["name"]
    kind = "ours" if name.startswith("Tensorlet") else "floor" if name in FLOORS else "theirs"
    return Bar(name, found["median"], found["p25"], found["p75"], text, kind)


def plotted(header: Line) -> str:
    return (
        f"{header['cores']} cores of {header['cpu']}, {header['rounds']} rounds, {header['date']}."
        " Dashed: floors, which check nothing."
    )


PLOTS: dict[str, Callable[[Line, Sequence[Line]], str]] = {
    "cold": plot_cold,
    "server": plot_server,
    "batch": plot_batch,
}
