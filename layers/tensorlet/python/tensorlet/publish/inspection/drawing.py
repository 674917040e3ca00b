"""A graph as SVG: layers from top to bottom, each node below all that it depends on; weights are left out."""

from collections.abc import Sequence
from html import escape

from tensorlet.errors import InvalidRequest
from tensorlet.publish.inspection.graph import Graph

MAX_NODES = 500
WIDTH, HEIGHT = 168, 34  # of a node
GAP_X, GAP_Y, MARGIN = 28, 58, 24
SWEEPS = 4  # of ordering each layer by its neighbours
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933;text-anchor:middle}.s{font-size:11px;fill:#52606d}"
    "rect{fill:#e8f0fe;stroke:#4a6fa5}.io{fill:#e3f4e7;stroke:#3d8b54}path{fill:none;stroke:#9aa5b1;stroke-width:1.3}"
)

Box = tuple[str, str]  # title, style class


def draw(graph: Graph) -> str:
    """Raises InvalidRequest for more nodes than anybody can read."""
    if len(graph.nodes) > MAX_NODES:
        raise InvalidRequest(f"--graph: {len(graph.nodes)} operators; pictures are for up to {MAX_NODES}")
    boxes, edges = _boxes(graph)
    layers = _ordered(_layers(len(boxes), edges), edges)
    width = max(len(layer) for layer in layers) * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    height = len(layers) * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    place = {
        box: (width / 2 + (i - (len(layer) - 1) / 2) * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
        for row, layer in enumerate(layers)
        for i, box in enumerate(layer)
    }
    lines = [_edge(place[a], place[b], label) for a, b, label in edges]
    shapes = [_box(place[i], *box) for i, box in enumerate(boxes)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>{"".join(lines + shapes)}</svg>\n'
    )


def _boxes(graph: Graph) -> tuple[list[Box], list[tuple[int, int, str]]]:
    """Inputs, operators and outputs, and the edges between them with the shapes that flow there."""
    boxes: list[Box] = [(value.name, "io") for value in graph.inputs]
    boxes += [(node.operator, "") for node in graph.nodes]
    boxes += [(value.name, "io") for value in graph.outputs]
    first = len(graph.inputs)
    made = {value.name: i for i, value in enumerate(graph.inputs)}
    made |= {name: first + i for i, node in enumerate(graph.nodes) for name in node.outputs}
    wants = [(first + i, node.inputs) for i, node in enumerate(graph.nodes)]
    wants += [(first + len(graph.nodes) + i, (value.name,)) for i, value in enumerate(graph.outputs)]
    edges = [
        (made[name], box, " × ".join(graph.shapes.get(name, ())))
        for box, names in wants
        for name in dict.fromkeys(names)
        if name in made and made[name] != box
    ]
    return boxes, edges


def _layers(count: int, edges: Sequence[tuple[int, int, str]]) -> list[list[int]]:
    """Each box one layer below the lowest that it depends on; cycles, which no valid file has, are cut."""
    depth = [0] * count
    for _ in range(count):
        changed = False
        for a, b, _label in edges:
            if depth[b] <= depth[a] < count:
                depth[b], changed = depth[a] + 1, True
        if not changed:
            break
    rows = sorted(set(depth))
    return [[i for i in range(count) if depth[i] == row] for row in rows]


def _ordered(layers: list[list[int]], edges: Sequence[tuple[int, int, str]]) -> list[list[int]]:
    """Fewer crossings: boxes in the order of the mean place of what they are connected with."""
    near: dict[int, list[int]] = {}
    for a, b, _ in edges:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    for _ in range(SWEEPS):
        place = {box: i - len(layer) / 2 for layer in layers for i, box in enumerate(layer)}

        def mean(box: int, place: dict[int, float] = place) -> float:
            others = near.get(box, [box])
            return sum(place[other] for other in others) / len(others)

        layers = [sorted(layer, key=mean) for layer in layers]
    return layers


def _edge(start: tuple[float, float], end: tuple[float, float], label: str) -> str:
    (x1, y1), (x2, y2) = (start[0], start[1] + HEIGHT), end
    middle = (y1 + y2) / 2
    line = f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}"/>'
    at = f'x="{(x1 + x2) / 2:.0f}" y="{middle + 4:.0f}"'
    return line + (f'<text class="s" {at}>{escape(label)}</text>' if label else "")


def _box(at: tuple[float, float], title: str, style: str) -> str:
    x, y = at
    text = title if len(title) <= 22 else f"{title[:10]}…{title[-10:]}"
    return (
        f'<g><title>{escape(title)}</title><rect class="{style}" x="{x - WIDTH / 2:.0f}" y="{y:.0f}"'
        f' width="{WIDTH}" height="{HEIGHT}" rx="8"/><text x="{x:.0f}" y="{y + 22:.0f}">{escape(text)}</text></g>'
    )
