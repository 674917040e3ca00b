"""The model card: one page about a version, `card.html` beside its files, that asks for nothing from anywhere.

What it shows is in the manifest, but for the examples; a section without data is left out. Names and values are
escaped, whoever chose them. The idea: Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tensorlet.cli.text import size
from tensorlet.errors import ArtifactRefused
from tensorlet.publish.charts import (
    STYLE,
    calibration_plot,
    confusion_matrix,
    grey,
    heat,
    line_chart,
    picture,
    variant_panels,
)
from tensorlet.publish.examples import Examples, make_examples

FILE = "card.html"
MOST_CLASSES = 20  # a larger confusion matrix shows nothing
TOP = 3  # answers named for each example
STRONGEST = 6  # elements named where a row is no picture

Manifest = Mapping[str, Any]
METHODS = {
    "integrated_gradients": "integrated gradients from a black image",
    "occlusion": "hiding one part after the other",
    "shap": "Shapley values by sampling",
}


def card_maker(
    document: Manifest, files: Mapping[str, Path], folder: Path, report: Callable[[str], None]
) -> Callable[[Manifest], dict[str, Path]]:
    """What writes the card of a version that is about to be published, once its manifest is known."""
    try:
        examples = make_examples(document, files, folder / "examples")
    except ArtifactRefused as error:
        report(f"card: without examples, {error}")
        examples = None

    def write(manifest: Manifest) -> dict[str, Path]:
        path = folder / FILE
        path.write_text(card(manifest, examples), encoding="utf-8")
        return {FILE: path}

    return write


def card(manifest: Manifest, examples: Examples | None = None) -> str:
    """The page for a manifest."""
    title = f"{manifest['model']} {manifest['version']}"
    sections = (
        _header(manifest),
        _tiles(manifest),
        _section("Examples", _examples(manifest, examples), _examples_note(examples)),
        _section("Quality", _quality(manifest)),
        _section("Classes", _classes(manifest)),
        _section("Variants", _variants(manifest)),
        _section("Signature", _signature(manifest)),
        _section("Call it", _calls(manifest)),
        _section("Artifacts", _artifacts(manifest), "Every digest is checked before a file is loaded."),
        _section("How it was made", _making(manifest)),
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline';"
        ' img-src data:">'
        f"<style>{STYLE}{PAGE_STYLE}</style></head><body><main>{''.join(sections)}"
        f"<footer>Model card of <b>{_text(title)}</b>, published {_text(manifest['created'])} with Tensorlet</footer>"
        "</main></body></html>\n"
    )


def _header(manifest: Manifest) -> str:
    formats = sorted({artifact["format"] for artifact in manifest["artifacts"]})
    training = manifest.get("training", {})
    badges = [
        manifest.get("framework", {}).get("name"),
        training.get("knobs", {}).get("arch"),
        training.get("knobs", {}).get("dataset"),
        *formats,
    ]
    inputs = " and ".join(_spec(spec) for spec in manifest["signature"]["inputs"])
    outputs = " and ".join(_spec(spec) for spec in manifest["signature"]["outputs"])
    derived = manifest.get("derived_from")
    origin = f" Derived from version {_text(derived['version'])}." if derived else ""
    return (
        f'<header><p class="badges">{"".join(f"<span>{_text(badge)}</span>" for badge in badges if badge)}</p>'
        f"<h1>{_text(manifest['model'])}<small>version {_text(manifest['version'])}</small></h1>"
        f'<p class="lead">Takes {inputs} and gives {outputs}.{origin}</p></header>'
    )


def _tiles(manifest: Manifest) -> str:
    """The figures people ask for first."""
    tiles: list[tuple[str, str]] = []
    test = _test(manifest)
    default = next((a for a in manifest["artifacts"] if a["id"] == manifest["default_artifact"]), None)
    if test:
        tiles.append((f"{test['accuracy']:.2%}", f"accuracy on {test['rows']:,} test rows"))
    if default:
        tiles.append((size(_bytes(default)), f"{default['format']} {default['precision']}, the default"))
        latency = default.get("metrics", {}).get("latency_ms", {}).get("1")
        if latency:
            tiles.append((f"{latency:.2f} ms", "for one row, median"))
    smallest = min(manifest["artifacts"], key=_bytes)
    if default and smallest is not default:
        tiles.append((size(_bytes(smallest)), f"{smallest['format']} {smallest['precision']}, the smallest"))
    if manifest.get("labels"):
        tiles.append((str(len(manifest["labels"])), "classes"))
    body = "".join(f"<div><b>{_text(value)}</b>{_text(meaning)}</div>" for value, meaning in tiles)
    return f'<div class="tiles">{body}</div>' if tiles else ""


def _examples(manifest: Manifest, examples: Examples | None) -> str:
    if examples is None:
        return ""
    cards = []
    labels = manifest.get("labels") or []
    for index, answer in enumerate(examples.answers):
        image = as_image(examples.rows[index])
        moved = as_image(examples.attributions[index])
        told = None if examples.labels is None else int(examples.labels[index])
        given = int(answer.argmax())
        wrong = told is not None and told != given
        if image is not None and moved is not None:
            shown = (
                f'<div class="pair">{picture(grey(image), alt="the input")}'
                f"{picture(heat(image, moved), alt='what moved the answer')}</div>"
            )
        else:
            shown = _strongest(examples.attributions[index])
        shares = bool((answer >= 0).all() and (answer <= 1).all())
        most = 1.0 if shares else float(np.abs(answer).max()) or 1.0
        bars = "".join(
            _bar(
                _label(labels, int(place)), float(answer[place]) / most, _score(float(answer[place]), shares)
            )
            for place in np.argsort(-answer, kind="stable")[:TOP]
        )
        verdict = (
            f'<p class="wrong">is {_text(_label(labels, told))}</p>' if wrong and told is not None else ""
        )
        cards.append(
            f'<figure{" class=miss" if wrong else ""}>{shown}<ul class="bars">{bars}</ul>{verdict}</figure>'
        )
    return f'<div class="examples">{"".join(cards)}</div>'


def _examples_note(examples: Examples | None) -> str:
    if examples is None:
        return ""
    how = METHODS[examples.method]
    return f"Blue speaks for the answer, red against it, by {how}." + (
        "" if examples.labels is None else " Framed in red: the mistakes it was surest of."
    )


def as_image(row: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """A row as one picture (height, width), if it looks like one: two dimensions, or a square of 8 x 8 or more."""
    if row.ndim == 3 and row.shape[-1] in (1, 3, 4):
        row = row.mean(axis=-1)
    if row.ndim == 1 and len(row) >= 64 and round(len(row) ** 0.5) ** 2 == len(row):
        row = row.reshape(round(len(row) ** 0.5), -1)
    return row if row.ndim == 2 and min(row.shape) >= 4 else None


def _strongest(attributions: npt.NDArray[Any]) -> str:
    """The elements that moved an answer most, as bars."""
    flat = attributions.reshape(-1)
    most = float(np.abs(flat).max(initial=0.0)) or 1.0
    lines = "".join(
        _bar(f"[{int(place)}]", float(flat[place]) / most, f"{float(flat[place]):+.2g}")
        for place in np.argsort(-np.abs(flat), kind="stable")[:STRONGEST]
    )
    return f'<ul class="bars">{lines}</ul>'


def _score(value: float, is_share: bool) -> str:
    """A probability as a percentage, any other score in three digits."""
    return f"{value:.1%}" if is_share else f"{value:.3g}"


def _bar(name: str, share: float, value: str) -> str:
    """A line of a bar chart: `share` of the whole width, in the colour of its sign."""
    side = "" if share >= 0 else ' class="against"'
    width = 100 * min(1.0, abs(share))
    return (
        f'<li><span>{_text(name)}</span><i{side} style="width:{width:.0f}%"></i><em>{_text(value)}</em></li>'
    )


def _quality(manifest: Manifest) -> str:
    training = manifest.get("training", {})
    curve, test = training.get("curve") or [], _test(manifest)
    panels = []
    if len(curve) > 1:
        losses = {
            "training": [point["training_loss"] for point in curve],
            "validation": [point["validation_loss"] for point in curve],
        }
        panels.append(_panel("Loss", line_chart(losses, "cross entropy", "epoch")))
        accuracy = {"validation": [100 * point["validation_accuracy"] for point in curve]}
        panels.append(_panel("Accuracy", line_chart(accuracy, "accuracy, %", "epoch")))
    if test and len(test.get("calibration") or []) > 1:
        panels.append(_panel("Calibration", calibration_plot(test["calibration"])))
    return f'<div class="panels">{"".join(panels)}</div>' if panels else ""


def _classes(manifest: Manifest) -> str:
    test = _test(manifest)
    if not test or not 1 < len(test["confusion"]) <= MOST_CLASSES:
        return ""
    names = [_label(manifest.get("labels") or [], index) for index in range(len(test["confusion"]))]
    rows = [
        (names[index], _percent(found["precision"]), _percent(found["recall"]), f"{found['rows']:,}")
        for index, found in enumerate(test["per_class"])
    ]
    matrix = _panel("Confusion", confusion_matrix(test["confusion"], names))
    each = _panel("Each class", _table(("class", "precision", "recall", "rows"), rows))
    return f'<div class="panels">{matrix}{each}</div>'


def _variants(manifest: Manifest) -> str:
    measured = [artifact for artifact in manifest["artifacts"] if artifact.get("metrics")]
    if len(measured) < 2:
        return ""
    originals = {artifact["format"]: artifact for artifact in measured if "variant" not in artifact}
    rows, points = [], []
    for artifact in measured:
        metrics = artifact["metrics"]
        original = originals.get(artifact["format"], artifact)
        rows.append(
            (
                f"{artifact['format']} {artifact['precision']}",
                artifact.get("variant", {}).get("target", "original"),
                size(_bytes(artifact)),
                f"{_bytes(artifact) / _bytes(original):.2f}×",
                *(
                    f"{metrics['latency_ms'][batch]:.3f} ms" if batch in metrics["latency_ms"] else "-"
                    for batch in ("1", "32")
                ),
                _percent(metrics.get("accuracy")),
                _percent(metrics["agreement"]),
            )
        )
        points.append({"name": rows[-1][0], "size_bytes": _bytes(artifact), **metrics})
    heads = ("artifact", "made by", "size", "of fp32", "1 row", "32 rows", "accuracy", "agreement")
    panels = "".join(_panel("", panel) for panel in variant_panels(points))
    return f'{_table(heads, rows)}<div class="panels">{panels}</div>'


def _signature(manifest: Manifest) -> str:
    rows = [
        (
            kind,
            spec["name"],
            spec["datatype"],
            " × ".join("any" if dim < 0 else str(dim) for dim in spec["shape"]) or "scalar",
        )
        for kind in ("inputs", "outputs")
        for spec in manifest["signature"][kind]
    ]
    labels = manifest.get("labels") or []
    named = (
        f"<p>Classes: {', '.join(map(_text, labels[:50]))}{' …' if len(labels) > 50 else ''}</p>"
        if labels
        else ""
    )
    return _table(("", "name", "datatype", "shape"), [(kind[:-1], *rest) for kind, *rest in rows]) + named


def _calls(manifest: Manifest) -> str:
    """A request as curl and as Python send it; zeros and dots stand for the values."""
    if not manifest["signature"]["inputs"]:
        return ""
    inputs = ",\n  ".join(
        json.dumps({**spec, "shape": [max(1, dim) for dim in spec["shape"]], "data": ["..."]}).replace(
            '"..."', "..."
        )
        for spec in manifest["signature"]["inputs"]
    )
    path = f"/v2/models/{manifest['model']}"
    body = '{"inputs": [\n  ' + inputs + "]}"
    first: Mapping[str, Any] = manifest["signature"]["inputs"][0]
    shape = ", ".join(str(1 if dim < 0 else dim) for dim in first["shape"])
    python = f"""import numpy as np
from tritonclient.http import InferenceServerClient, InferInput

rows = np.zeros(({shape},), "{_numpy(first["datatype"])}")
tensor = InferInput({first["name"]!r}, rows.shape, {first["datatype"]!r})
tensor.set_data_from_numpy(rows)
client = InferenceServerClient("localhost:8080")
reply = client.infer({manifest["model"]!r}, [tensor])
print(reply.as_numpy({manifest["signature"]["outputs"][0]["name"]!r}))"""
    curl = f"curl -s $URL{path}/infer -d '{body}'"
    explain = f"curl -s $URL{path}/explain -d '{body}'"
    parts = (("Ask", curl), ("Ask why", explain), ("From Python", python))
    return "".join(f"<h3>{title}</h3><pre><code>{_text(code)}</code></pre>" for title, code in parts)


def _artifacts(manifest: Manifest) -> str:
    rows = []
    for artifact in manifest["artifacts"]:
        parity = artifact.get("parity")
        difference = f"{parity['max_abs_diff']:.1e} of {parity['tolerance']:.0e}" if parity else "-"
        for file in artifact["files"]:
            rows.append(
                (file["path"], artifact["precision"], size(file["size_bytes"]), difference, file["sha256"])
            )
    heads = ("file", "precision", "size", "differs from source", "sha256")
    return _table(heads, rows)


def _making(manifest: Manifest) -> str:
    training = manifest.get("training", {})
    source, framework = manifest.get("source", {}), manifest.get("framework", {})
    facts: dict[str, Any] = {
        "source": f"{source.get('file')} ({source.get('format')})" if source else None,
        "source sha256": source.get("sha256"),
        **{name.replace("_", " "): value for name, value in training.get("knobs", {}).items()},
        "pruned weights": _percent(training["sparsity"]) if training.get("sparsity") else None,
        "data": training.get("data_digest"),
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {**training.get("versions", {}), **framework.get("versions", {})}.items()
        ),
    }
    rows = "".join(
        f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
        for name, value in facts.items()
        if value not in (None, "")
    )
    return f"<dl>{rows}</dl>" if rows else ""


def _section(title: str, body: str, note: str = "") -> str:
    if not body:
        return ""
    return f"<section><h2>{title}</h2>{f'<p class=note>{_text(note)}</p>' if note else ''}{body}</section>"


def _panel(title: str, body: str) -> str:
    return f'<div class="panel">{f"<h3>{title}</h3>" if title else ""}{body}</div>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _spec(spec: Mapping[str, Any]) -> str:
    dims = " × ".join("any" if dim < 0 else str(dim) for dim in spec["shape"])
    return f"<code>{_text(spec['name'])}</code> ({_text(dims or 'one')} {_text(spec['datatype'])})"


def _test(manifest: Manifest) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = manifest.get("training", {}).get("metrics", {}).get("test")
    return found


def _bytes(artifact: Mapping[str, Any]) -> int:
    return sum(int(file["size_bytes"]) for file in artifact["files"])


def _label(labels: Sequence[str], index: int) -> str:
    return str(labels[index]) if index < len(labels) else str(index)


def _numpy(datatype: str) -> str:
    from tensorlet.tensors import DATATYPES

    return DATATYPES[datatype].numpy


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _text(value: Any) -> str:
    return escape(str(value))


PAGE_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 20px 60px; }
h1 { font-size: clamp(30px, 6vw, 46px); line-height: 1.1; margin: 8px 0; letter-spacing: -.02em; }
h1, dd, .lead { overflow-wrap: anywhere; }
h1 small { font-size: .4em; font-weight: 500; color: var(--soft); margin-left: .6em; letter-spacing: 0; }
h2 { font-size: 22px; margin: 44px 0 12px; letter-spacing: -.01em; }
h3 { font-size: 14px; margin: 14px 0 6px; color: var(--soft); font-weight: 600; }
.panel h3 { margin-top: 0; }
.lead, .note { color: var(--soft); margin: 6px 0 14px; max-width: 74ch; }
.badges { display: flex; flex-wrap: wrap; gap: 6px; margin: 0; }
.badges span { border: 1px solid var(--line); border-radius: 99px; padding: 1px 11px; }
.badges { font-size: 13px; color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 22px; }
.tiles div { background: var(--panel); border-radius: 12px; padding: 14px 16px; color: var(--soft); font-size: 14px; }
.tiles b { display: block; font-size: 25px; color: var(--ink); letter-spacing: -.02em; line-height: 1.25; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(310px, 100%), 1fr)); gap: 14px; }
.panel { background: var(--panel); border-radius: 12px; padding: 16px; min-width: 0; }
.panel svg { width: 100%; height: auto; display: block; margin: auto; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(225px, 46%), 1fr)); gap: 14px; }
figure { margin: 0; background: var(--panel); border-radius: 12px; padding: 14px; border: 2px solid transparent; }
figure.miss { border-color: var(--bad); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.pixels { image-rendering: pixelated; width: 100%; height: auto; border-radius: 6px; display: block; }
.bars { list-style: none; padding: 0; margin: 10px 0 0; font-size: 13px; }
.bars li { display: grid; grid-template-columns: 3.4em 1fr 4em; align-items: center; gap: 8px; }
.bars span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bars i { height: 8px; border-radius: 4px; background: var(--one); min-width: 2px; }
.bars i.against { background: var(--bad); }
.bars em { font-style: normal; color: var(--soft); text-align: right; white-space: nowrap; }
.wrong { margin: 8px 0 0; font-size: 13px; font-weight: 600; color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
.scroll + .panels { margin-top: 14px; }
pre { background: var(--panel); border-radius: 12px; padding: 14px 16px; overflow-x: auto; font-size: 13px; margin: 0; }
code { font-family: ui-monospace, monospace; font-size: .93em; }
dl { display: grid; grid-template-columns: minmax(110px, auto) 1fr; gap: 5px 18px; font-size: 14px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
footer { margin-top: 50px; padding-top: 16px; border-top: 1px solid var(--line); color: var(--soft); font-size: 14px; }
"""
