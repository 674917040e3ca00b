"""Bar charts as SVG, light and dark by the reader's own setting: Tensorlet, what it is compared with, and floors."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT = 760, 220, 130  # pixels: the picture, room for names, room for figures
ROW, BAR = 24, 14
TOP, BOTTOM = 62, 30

STYLE = """
text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-size:17px;font-weight:600}.group{font-weight:600}.quiet{fill:#59636e;font-size:12px}
.page{fill:#fff}.ours{fill:#1a7f37}.theirs{fill:#a8b3be}.floor{fill:none;stroke:#a8b3be;stroke-dasharray:3 2}
.spread{stroke:#1f2328;stroke-opacity:.55}.strong{font-weight:600}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.page{fill:#0d1117}.ours{fill:#3fb950}
.theirs{fill:#56606b}.floor{stroke:#6e7a86}.spread{stroke:#e6edf3}}
"""


class Bar(NamedTuple):
    name: str
    value: float
    low: float  # of the middle half of the rounds
    high: float
    text: str  # what is written beside it
    kind: str = "theirs"  # ours, theirs, or floor: what nothing can be better than


class Group(NamedTuple):
    title: str
    bars: Sequence[Bar]


def chart(title: str, subtitle: str, groups: Sequence[Group], footer: str) -> str:
    """One picture; all groups share a scale from 0 to the longest bar."""
    longest = max(bar.value for group in groups for bar in group.bars)
    y, parts = TOP, []
    for group in groups:
        if group.title:
            parts.append(_text(10, y + 16, group.title, "group"))
            y += ROW
        for bar in group.bars:
            parts += _bar(bar, y, (WIDTH - LEFT - RIGHT) / longest)
            y += ROW
        y += 6
    height = y + BOTTOM
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<title>{escape(title)}</title><style>{STYLE.strip()}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        _text(10, 28, title, "title"),
        _text(10, 48, subtitle, "quiet"),
    ]
    return "\n".join([*head, *parts, _text(10, height - 10, footer, "quiet"), "</svg>\n"])


def _bar(bar: Bar, y: int, scale: float) -> Iterable[str]:
    end = LEFT + bar.value * scale
    low, high = LEFT + bar.low * scale, min(LEFT + bar.high * scale, WIDTH - RIGHT)
    box = f'x="{LEFT}" y="{y + (ROW - BAR) // 2}" width="{end - LEFT:.1f}" height="{BAR}" rx="2"'
    strong = " strong" if bar.kind == "ours" else ""
    middle = y + ROW / 2
    return [
        _text(LEFT - 10, y + 16, bar.name, f"name{strong}", 'text-anchor="end"'),
        f'<rect class="{bar.kind}" {box}/>',
        f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}"/>',
        _text(max(end, high) + 8, y + 16, bar.text, f"figure{strong}"),
    ]


def _text(x: float, y: float, text: str, classes: str, extra: str = "") -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y}" {extra}>{escape(text)}</text>'
