"""Small charts as SVG, for model cards and for `tensorlet optimize --plot`: nothing but text, no drawing library.

Colours are CSS variables with a value for light and one for dark pages. Whatever a chart shows as text is escaped.
"""

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

STYLE = """
:root {
  --ink: #1d2330; --soft: #667085; --line: #d9dee7; --page: #fff; --panel: #f5f6f9;
  --one: #2f6fde; --two: #d9622b; --good: #1f8a5b; --bad: #c2383a; color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8ebf1; --soft: #98a2b3; --line: #343b48; --page: #14171d; --panel: #1c2028;
    --one: #6ea3ff; --two: #ff9a62; --good: #4fc48f; --bad: #ff7b7d;
  }
}
.chart { font: 12px system-ui, sans-serif; fill: var(--soft); }
.chart .ink { fill: var(--ink); }
.chart .grid { stroke: var(--line); }
.chart .one { stroke: var(--one); }
.chart .two { stroke: var(--two); }
.chart .three { stroke: var(--good); }
.chart path, .chart polyline { fill: none; stroke-width: 2; }
"""
STROKES = ("one", "two", "three")
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 40  # margins of a chart, in its own units


class Axis(NamedTuple):
    """A range of values along one side, with round numbers as ticks."""

    label: str
    ticks: tuple[float, ...]

    @property
    def low(self) -> float:
        return self.ticks[0]

    @property
    def high(self) -> float:
        return self.ticks[-1]

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        return (value - self.low) / ((self.high - self.low) or 1)


def axis(label: str, values: Sequence[float], low: float | None = None, high: float | None = None) -> Axis:
    """An axis for these values, from `low` and to `high` where they are given."""
    least = min(values, default=0.0) if low is None else low
    most = max(values, default=1.0) if high is None else high
    span = (most - least) or abs(most) or 1.0
    step = 10 ** floor(log10(span))
    step *= next(size for size in (0.1, 0.2, 0.25, 0.5, 1, 2) if span / (size * step) <= 6)
    first, last = floor(round(least / step, 9)), ceil(round(most / step, 9))
    return Axis(label, tuple(round(number * step, 10) for number in range(first, max(last, first + 1) + 1)))


def line_chart(
    series: Mapping[str, Sequence[float]], label: str, x_label: str, width: int = 300, height: int = 260
) -> str:
    """Values at 1, 2, 3, ... for each name, with a legend."""
    values = [value for points in series.values() for value in points]
    count = max(map(len, series.values()))
    across = axis(x_label, [1, count], low=1)
    if count <= 12:
        across = Axis(x_label, tuple(range(1, max(count, 2) + 1)))
    up = axis(label, values, low=0.0 if min(values) >= 0 and min(values) < 0.6 * max(values) else None)
    frame = Frame(across, up, width, height)
    marks = []
    for (name, points), stroke in zip(series.items(), STROKES, strict=False):
        line = " ".join(frame.at(index, value) for index, value in enumerate(points, 1))
        marks.append(f'<polyline class="{stroke}" points="{line}"><title>{escape(name)}</title></polyline>')
    return frame.drawn(marks, list(series))


def calibration_plot(bins: Sequence[Mapping[str, float]], width: int = 300, height: int = 260) -> str:
    """How often an answer of a certain confidence is right; on the diagonal it is as sure as it should be."""
    share = Axis("", (0, 0.25, 0.5, 0.75, 1))
    frame = Frame(
        share._replace(label="confidence"), share._replace(label="share that is right"), width, height
    )
    most = max(found["rows"] for found in bins)
    marks = [f'<path class="grid" stroke-dasharray="4 4" d="M{frame.at(0, 0)}L{frame.at(1, 1)}"/>']
    marks.append(
        f'<polyline class="one" points="{" ".join(frame.at(b["confidence"], b["accuracy"]) for b in bins)}"/>'
    )
    for found in bins:
        x, y = frame.at(found["confidence"], found["accuracy"]).split(",")
        radius = 3 + 5 * (found["rows"] / most) ** 0.5
        title = (
            f"{found['rows']:.0f} rows of confidence {found['confidence']:.2f}: {found['accuracy']:.1%} right"
        )
        marks.append(
            f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="var(--one)"><title>{title}</title></circle>'
        )
    return frame.drawn(marks, [])


def confusion_matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Rows are what was there, columns what was answered; the diagonal is right."""
    cell, edge, n = 34, 46, len(counts)
    size = edge + n * cell + 8
    parts = [
        f'<svg class="chart" role="img" aria-label="confusion matrix" viewBox="0 0 {size} {size + 18}" '
        f'style="max-width:{size}px">'
    ]
    for i, row in enumerate(counts):
        total = sum(row) or 1
        short = escape(names[i][:5])
        middle = edge + i * cell + cell / 2
        parts.append(f'<text x="{edge - 6}" y="{middle + 4}" text-anchor="end">{short}</text>')
        parts.append(f'<text x="{middle}" y="{edge - 8}" text-anchor="middle">{short}</text>')
        for j, count in enumerate(row):
            colour = "var(--one)" if i == j else "var(--bad)"
            strength = (
                (0.12 + 0.88 * count / total if i == j else min(1.0, 0.15 + 4 * count / total))
                if count
                else 0
            )
            x, y = edge + j * cell, edge + i * cell
            title = f"{escape(names[i])} answered as {escape(names[j])}: {count}"
            parts.append(
                f'<g><title>{title}</title><rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" rx="4" '
                f'fill="var(--panel)"/><rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" rx="4" '
                f'fill="{colour}" fill-opacity="{strength:.2f}"/>'
            )
            if count:
                ink = "#fff" if strength > 0.5 else "var(--ink)"
                parts.append(
                    f'<text x="{x + cell / 2 - 1}" y="{y + cell / 2 + 3}" text-anchor="middle" font-size="11" '
                    f'style="fill:{ink}">{count}</text>'
                )
            parts.append("</g>")
    parts.append(f'<text x="{edge + n * cell / 2}" y="{size + 8}" text-anchor="middle">answered</text>')
    parts.append(
        f'<text transform="translate(11 {edge + n * cell / 2}) rotate(-90)" text-anchor="middle">is</text></svg>'
    )
    return "".join(parts)


def variants_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """A picture of its own: accuracy (else agreement) against size and against latency at batch 1."""
    panels = variant_panels(rows)
    if not panels:
        return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"/>\n'
    width, height = 430, 290
    nested = "".join(
        panel.replace("<svg ", f'<svg x="{index * width}" width="{width}" height="{height}" ', 1)
        for index, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width * len(panels)} {height}">'
        f"<style>{STYLE}svg{{background:var(--page)}}</style>{nested}</svg>\n"
    )


def variant_panels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Scatter charts of measured variants: against kilobytes, and against milliseconds where they were timed."""
    measured = [row for row in rows if "agreement" in row]
    if not measured:
        return []
    quality = "accuracy" if all("accuracy" in row for row in measured) else "agreement"
    panels = []
    for label, values in (
        ("size, kB", [row["size_bytes"] / 1000 for row in measured]),
        ("latency of one row, ms", [row.get("latency_ms", {}).get("1") for row in measured]),
    ):
        if None not in values:
            points = [(value, row[quality], row) for value, row in zip(values, measured, strict=True)]
            panels.append(_scatter(points, label, f"{quality}, %"))
    return panels


def picture(pixels: npt.NDArray[Any], zoom: int = 96, alt: str = "") -> str:
    """An image (height, width, 3) of bytes, enlarged without smoothing."""
    data = base64.b64encode(png(pixels)).decode()
    height = round(zoom * pixels.shape[0] / pixels.shape[1])
    return (
        f'<img class="pixels" width="{zoom}" height="{height}" alt="{escape(alt)}" '
        f'src="data:image/png;base64,{data}">'
    )


def grey(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(height, width) of any range as (height, width, 3): the least is black, the greatest white."""
    low, high = float(image.min()), float(image.max())
    shades = (255 * (image - low) / ((high - low) or 1)).astype(np.uint8)
    return np.repeat(shades[..., None], 3, axis=2)


def heat(image: npt.NDArray[Any], attributions: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Attributions over a faint image, both (height, width): blue speaks for the answer, red against it."""
    strength = np.abs(attributions) / (np.quantile(np.abs(attributions), 0.995) or 1)
    strength = np.clip(strength, 0, 1)[..., None] ** 0.7
    ground = 255 - 60 * grey(image).astype(np.float64) / 255
    colour = np.where(attributions[..., None] >= 0, [33, 102, 222], [214, 60, 52])
    mixed: npt.NDArray[np.uint8] = (ground * (1 - strength) + colour * strength).astype(np.uint8)
    return mixed


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """RGB bytes (height, width, 3) as a PNG file. Source: Portable Network Graphics (W3C), sections 5 and 11."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))  # 0: no filter

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


class Frame(NamedTuple):
    """A pair of axes and the size of the whole."""

    across: Axis
    up: Axis
    width: int
    height: int

    def at(self, x: float, y: float) -> str:
        """The place of a value, `x,y` in the units of the picture."""
        left = LEFT + self.across.share(x) * (self.width - LEFT - RIGHT)
        top = self.height - BOTTOM - self.up.share(y) * (self.height - TOP - BOTTOM)
        return f"{left:.1f},{top:.1f}"

    def drawn(self, marks: Sequence[str], legend: Sequence[str]) -> str:
        """The chart: grid, ticks, labels, marks, and the names of its lines."""
        label = escape(f"{self.up.label} by {self.across.label}")
        parts = [
            f'<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {self.width} {self.height}" '
            f'style="max-width:{self.width}px">'
        ]
        for tick in self.up.ticks:
            x, y = self.at(self.across.low, tick).split(",")
            end = self.at(self.across.high, tick)
            parts.append(f'<path class="grid" style="stroke-width:1" d="M{x},{y}L{end}"/>')
            parts.append(f'<text x="{float(x) - 7}" y="{float(y) + 4}" text-anchor="end">{tick:g}</text>')
        for tick in self.across.ticks:
            x, y = self.at(tick, self.up.low).split(",")
            parts.append(f'<text x="{x}" y="{float(y) + 17}" text-anchor="middle">{tick:g}</text>')
        middle = (LEFT + self.width - RIGHT) / 2
        parts.append(
            f'<text x="{middle}" y="{self.height - 5}" text-anchor="middle">{escape(self.across.label)}</text>'
        )
        centre = (TOP + self.height - BOTTOM) / 2
        parts.append(
            f'<text transform="translate(12 {centre}) rotate(-90)" text-anchor="middle">{escape(self.up.label)}</text>'
        )
        parts += marks
        for index, (name, stroke) in enumerate(zip(legend, STROKES, strict=False)):
            left, top = self.width - RIGHT - 24, TOP + 6 + 17 * index
            parts.append(f'<path class="{stroke}" d="M{left},{top}h20"/>')
            parts.append(
                f'<text class="ink" x="{left - 6}" y="{top + 4}" text-anchor="end">{escape(name)}</text>'
            )
        return "".join([*parts, "</svg>"])


def _scatter(points: Sequence[tuple[float, float, Mapping[str, Any]]], x_label: str, y_label: str) -> str:
    """One mark for each variant, hollow where it was refused, each on a string from which its name hangs.

    The upward axis spans one percent at least, so that nothing looks like a difference which is none.
    """
    across = axis(x_label, [x for x, _, _ in points], low=0.0)
    best = max(100 * y for _, y, _ in points)
    up = axis(y_label, [100 * y for _, y, _ in points], low=min(best - 1, *(100 * y for _, y, _ in points)))
    frame = Frame(across, up, 430, 290)
    strings, marks = [], []
    taken: list[Box] = []
    for x, y, row in sorted(points, key=lambda point: point[0]):
        left, top = map(float, frame.at(x, 100 * y).split(","))
        name, refused = str(row["name"]), row.get("refused")
        colour = "var(--one)" if name.startswith("onnx") else "var(--two)"
        title = f"{name}: {x:.4g} {x_label.rpartition(' ')[2]}, {y:.2%}"
        label = _hung(taken, left, top, name, frame)
        strings.append(f'<path class="grid" style="stroke-width:1" d="M{left},{top}V{label.top + 2:.1f}"/>')
        marks.append(
            f'<circle cx="{left}" cy="{top}" r="5" fill="{"var(--page)" if refused else colour}" stroke="{colour}" '
            f'stroke-width="2"><title>{escape(f"{title}, refused: {refused}" if refused else title)}</title></circle>'
            f'<text class="ink" x="{label.left:.1f}" y="{label.top + 11:.1f}" font-size="11">{escape(name)}</text>'
        )
    return frame.drawn([*strings, *marks], [])


class Box(NamedTuple):
    """A line of text: where it begins, its top and its width."""

    left: float
    top: float
    width: float

    def meets(self, other: "Box") -> bool:
        apart = self.left > other.left + other.width + 4 or other.left > self.left + self.width + 4
        return not apart and abs(self.top - other.top) < 13


def _hung(taken: list[Box], left: float, top: float, text: str, frame: Frame) -> Box:
    """The highest place for a text under a point where it covers no other one; it is taken from now on."""
    width = 6.0 * len(text)
    start = min(max(left - width / 2, LEFT + 2), frame.width - RIGHT - width)
    lowest = frame.height - BOTTOM - 14
    places = [Box(start, top + 12 + 14 * step, width) for step in range(20)]
    free = (box for box in places if box.top <= lowest and not any(map(box.meets, taken)))
    found = next(free, Box(start, lowest, width))
    taken.append(found)
    return found
