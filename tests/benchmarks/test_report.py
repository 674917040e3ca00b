"""Results become documents: ratios within rounds, tables between their marks."""

import pytest

from benchmarks import measure
from benchmarks.measure import alternate, compare
from benchmarks.report import fill, markdown, plot


def test_every_variant_runs_once_in_each_round_after_one_that_does_not_count():
    calls = []

    def variant(name):
        return lambda: calls.append(name) or {"ms": float(len(calls))}

    runs = alternate({"a": variant("a"), "b": variant("b")}, rounds=3)

    assert {name: len(own) for name, own in runs.items()} == {"a": 3, "b": 3}
    assert sorted(calls) == ["a"] * 4 + ["b"] * 4
    assert all(set(calls[start : start + 2]) == {"a", "b"} for start in range(0, 8, 2))


def test_a_ratio_is_taken_within_a_round():
    """The second round is ten times slower for both, and the ratio does not notice."""
    runs = {"ours": [{"ms": 1.0}, {"ms": 10.0}], "theirs": [{"ms": 4.0}, {"ms": 40.0}]}

    line = compare(runs, "theirs")["ours"]

    assert line["ratio"]["ms"]["median"] == line["ratio"]["ms"]["p75"] == 0.25
    assert line["ms"]["median"] == 5.5 and line["ms"]["min"] == 1.0


def test_results_are_read_as_they_were_written(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)

    measure.write("cold", {"rounds": 3}, [{"name": "a"}, {"name": "b"}])

    header, lines = measure.read("cold")
    assert header["rounds"] == 3 and header["cores"] >= 1
    assert lines == [{"name": "a"}, {"name": "b"}]
    assert measure.read("warm") == ({}, [])


def test_a_block_is_replaced_and_the_prose_around_it_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin cold -->\nold\n<!-- end cold -->\nafter\n")

    fill(page, {"cold": markdown([["", "ms"], ["ours", "1"]])})
    fill(page, {"cold": markdown([["", "ms"], ["ours", "2"]])})

    assert page.read_text() == (
        "before\n<!-- begin cold -->\n\n|  | ms |\n| --- | ---: |\n| ours | 2 |\n\n<!-- end cold -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no place for warm"):
        fill(page, {"warm": ""})


def test_the_plot_has_a_bar_for_each_variant_as_long_as_its_ratio():
    from xml.etree import ElementTree

    def line(name, ratio):
        spread = {"median": ratio, "p25": ratio, "p75": ratio}
        return {"group": "mlp", "name": name, "ratio": {"total_ms": spread}}

    svg = ElementTree.fromstring(plot([line("tutorial", 1.0), line("Tensorlet <&>", 0.25)]))

    bars = [
        float(bar.get("width"))
        for bar in svg.iter("{http://www.w3.org/2000/svg}rect")
        if bar.get("fill") != "#fff"
    ]
    assert bars[1] == pytest.approx(bars[0] / 4, abs=0.1)
