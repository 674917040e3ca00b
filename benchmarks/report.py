"""docs/benchmarks.md and docs/costs.md: tables and a plot between `<!-- begin NAME -->` and `<!-- end NAME -->`."""

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks import costs
from benchmarks.measure import Line, read

DOCS = Path(__file__).parents[1] / "docs"
Table = list[list[str]]


def main() -> None:
    """Write the tables of every result there is; a block whose result is missing stays as it is."""
    blocks = {name: "\n".join(make(*found)) for name, make in BLOCKS.items() if (found := read(name))[1]}
    fill(DOCS / "benchmarks.md", blocks)
    cold, warm, batch = (read(name)[1] for name in ("cold", "warm", "batch"))
    if cold and warm:
        client_ms = next(line for line in cold if line["name"] == "runtime client alone")["warm_ms"]["median"]
        tables = {
            "predictions": costs.prediction_table(warm, client_ms, cold),
            "batch": costs.batch_table(batch),
        }
        fill(DOCS / "costs.md", {name: markdown(table) for name, table in tables.items() if len(table) > 1})
    if cold:
        (DOCS / "cold-start.svg").write_text(plot(cold))


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


def cold(header: Line, lines: Sequence[Line]) -> list[str]:
    head = [
        "",
        "ratio to the tutorial",
        "first answer, ms",
        "min",
        "init",
        "first request",
        "CPU ms",
        "peak RSS MB",
    ]
    table = [head]
    for line in lines:
        ratio, total = line["ratio"]["total_ms"], line["total_ms"]
        table.append(
            [
                f"{line['group']}: {bold(line['name'])}",
                spread(ratio),
                spread(total, 0),
                f"{total['min']:.0f}",
                *(f"{line[name]['median']:.0f}" for name in ("init_ms", "first_ms", "cpu_ms", "rss_mb")),
            ]
        )
    return [
        provenance(header),
        "",
        "![Cold start, ratio to the tutorial](cold-start.svg)",
        "",
        markdown(table),
    ]


def warm(header: Line, lines: Sequence[Line]) -> list[str]:
    handlers = [
        ["", "ratio to the bare handler", "of the quietest", "µs, quietest", "beyond the model", "µs"]
    ]
    quietest = {line["request"]: line["us"]["min"] for line in lines if line["name"] == "model alone"}
    stages = [["Tensorlet, µs", "decode", "infer", "encode", "around them"]]
    for line in lines:
        if "stages_us" in line:
            whole = next(o for o in lines if (o["request"], o["name"]) == (line["request"], "Tensorlet"))
            spent = line["stages_us"]
            rest = whole["us"]["median"] - sum(spent.values())
            stages.append([line["request"], *(f"{spent[s]:.0f}" for s in stages[0][1:4]), f"{rest:.0f}"])
            continue
        ratio, least = line["ratio_to_bare"], line["us"]["min"]
        handlers.append(
            [
                f"{line['request']}: {bold(line['name'])}",
                spread(ratio),
                f"{ratio['quietest']:.2f}",
                f"{least:.0f}",
                f"{least - quietest[line['request']]:.0f}",
                spread(line["us"], 0),
            ]
        )
    return [provenance(header), "", markdown(handlers), "", markdown(stages)]


def start(header: Line, lines: Sequence[Line]) -> list[str]:
    table = [["", "ratio", "session + first run, ms", "RSS, ratio", "RSS MB", "warm, ratio"]]
    for line in lines:
        ratio = line["ratio"]
        table.append(
            [
                f"{line['group']}: {bold(line['name'])}",
                spread(ratio["start_ms"]),
                spread(line["start_ms"], 0),
                f"{ratio['peak_mb']['median']:.2f}",
                f"{line['peak_mb']['median']:.0f}",
                spread(ratio["warm_ms"]),
            ]
        )
    return [provenance(header), "", markdown(table)]


def server(header: Line, lines: Sequence[Line]) -> list[str]:
    names = [name.removesuffix(": p50_ms") for name in lines[0] if name.endswith(": p50_ms")]
    latency = [["p50 ms (ratio to the floor)", *names]]
    rate = [
        ["", "first answer, s", "memory (PSS), MB", *(f"{name}, requests/s" for name in names[:2]), "CPU µs"]
    ]
    for line in lines:
        cells = [
            f"{line[f'{name}: p50_ms']['median']:.2f} ({line['ratio'][f'{name}: p50_ms']['median']:.2f})"
            if f"{name}: p50_ms" in line
            else "-"
            for name in names
        ]
        latency.append([bold(line["name"]), *cells])
        rate.append(
            [
                bold(line["name"]),
                spread(line["first_answer_s"]),
                f"{line['pss_mb']['median']:.0f}",
                *(spread(line[f"{name}: requests_per_s"], 0) for name in names[:2]),
                f"{line[f'{names[0]}: server_cpu_us']['median']:.0f}",
            ]
        )
    versions = [f"{line['name']}: Python {line['python']}, {named(line['packages'])}" for line in lines]
    return [provenance(header), "", markdown(latency), "", markdown(rate), "", *(f"- {v}" for v in versions)]


def batch(header: Line, lines: Sequence[Line]) -> list[str]:
    table = [["", "ratio to the script", "rows/s", "MB/s", "CPU µs a row", "peak RSS MB"]]
    names = {"tensorlet": "**Tensorlet**", "script": "script by hand", "model": "model alone"}
    large = [["one file, Tensorlet", "rows/s", "MB/s", "peak RSS MB"]]
    for line in lines:
        if "file" in line:
            figures = (f"{line[name]:,.0f}" for name in ("rows_s", "mb_s", "rss_mb"))
            large.append([f"{line['file']}", *figures])
            continue
        table.append(
            [
                f"{line['format'].upper()}: {names[line['variant']]}",
                spread(line["ratio"]["rows_s"]),
                spread(line["rows_s"], 0),
                f"{line['mb_s']['median']:.0f}",
                f"{line['cpu_us_row']['median']:.1f}",
                f"{line['rss_mb']['median']:.0f}",
            ]
        )
    return [provenance(header), "", markdown(table), "", markdown(large)]


BLOCKS: dict[str, Callable[[Line, Sequence[Line]], list[str]]] = {
    "cold": cold,
    "warm": warm,
    "start": start,
    "server": server,
    "batch": batch,
}


def spread(found: Line, digits: int = 2) -> str:
    """The median, and the middle half of all rounds."""
    return f"{found['median']:.{digits}f} ({found['p25']:.{digits}f}-{found['p75']:.{digits}f})"


def bold(name: str) -> str:
    return f"**{name}**" if name.startswith("Tensorlet") else name


def provenance(header: Line) -> str:
    """How to measure the same again, and on what this was measured."""
    python = f" Python {header['python']}, {named(header['packages'])}." if "packages" in header else ""
    return (
        f"`{header['command']}`, {header['date']}, {header['rounds']} rounds: median (middle half)."
        f" {header['cores']} cores of {header['cpu']}, {header['system']},"
        f" load {', '.join(map(str, header['load']))} at the end.{python}"
    )


def named(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


WIDTH, ROW, LEFT = 720, 22, 250  # pixels


def plot(lines: Sequence[Line]) -> str:
    """Bars of the cold start's ratio to the tutorial, its middle half as a line; one block for each group."""
    rows: list[Any] = []
    group = None
    for line in lines:
        if line["group"] != group:
            group = line["group"]
            rows.append(group)
        rows.append(line)
    longest = max(line["ratio"]["total_ms"]["p75"] for line in lines)
    parts = [part for index, row in enumerate(rows) for part in _row(row, 10 + index * ROW, longest)]
    height = 20 + len(rows) * ROW
    style = "text{font:13px sans-serif;fill:#24292f}.g{font-weight:bold}.n{fill:#57606a}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<title>Cold start, ratio to the tutorial</title><style>{style}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _row(row: Any, top: int, longest: float) -> list[str]:
    text = top + 15
    if isinstance(row, str):
        return [f'<text class="g" x="10" y="{text}">{escape(row)}</text>']
    ratio = row["ratio"]["total_ms"]
    scale = (WIDTH - LEFT - 70) / longest
    color = "#1a7f37" if row["name"].startswith("Tensorlet") else "#afb8c1"
    end, low, high = (LEFT + ratio[name] * scale for name in ("median", "p25", "p75"))
    return [
        f'<text x="{LEFT - 8}" y="{text}" text-anchor="end">{escape(row["name"])}</text>',
        f'<rect x="{LEFT}" y="{top + 3}" width="{end - LEFT:.1f}" height="{ROW - 7}" fill="{color}"/>',
        f'<path d="M{low:.1f} {top + 10.5}H{high:.1f}" stroke="#24292f"/>',
        f'<text class="n" x="{max(end, high) + 6:.1f}" y="{text}">{ratio["median"]:.2f}</text>',
    ]
