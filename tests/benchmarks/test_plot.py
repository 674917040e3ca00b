"""Pictures are valid SVG whose bars are as long as their figures."""

from xml.etree import ElementTree

import pytest

from benchmarks.plot import Bar, Group, chart

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_share_one_scale_and_names_are_escaped():
    groups = [
        Group("one", [Bar("tutorial", 1.0, 0.9, 1.2, "1.00")]),
        Group(
            "two",
            [Bar("ours <&>", 0.25, 0.2, 0.3, "0.25", "ours"), Bar("nothing", 0.1, 0.1, 0.1, "0.10", "floor")],
        ),
    ]

    svg = ElementTree.fromstring(chart("Title", "subtitle", groups, "footer"))

    widths = {bar.get("class"): float(bar.get("width")) for bar in svg.iter(f"{SVG}rect") if bar.get("rx")}
    assert widths["ours"] == pytest.approx(widths["theirs"] / 4, abs=0.1)
    assert widths["floor"] == pytest.approx(widths["theirs"] / 10, abs=0.1)
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert {"Title", "subtitle", "one", "two", "ours <&>", "footer"} <= set(texts)


def test_everything_stays_within_the_picture():
    bars = [Bar("name", value, 0, 10 * value, f"{value}") for value in (1.0, 1000.0)]

    svg = ElementTree.fromstring(chart("t", "s", [Group("", bars)], "f"))

    width, height = float(svg.get("width")), float(svg.get("height"))
    for text in svg.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x")) < width and 0 < float(text.get("y")) < height
