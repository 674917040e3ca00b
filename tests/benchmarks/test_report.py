"""Results become documents: ratios within rounds, tables between their marks."""

import pytest

from benchmarks import measure, report
from benchmarks.measure import Skipped, alternate, compare, summary
from benchmarks.report import fill, markdown


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


def test_a_variant_that_cannot_be_measured_is_left_out_with_its_reason(capsys):
    def missing():
        raise Skipped("no such package")

    runs = alternate({"ours": lambda: {"ms": 1.0}, "theirs": missing}, rounds=2)

    assert runs == {"ours": [{"ms": 1.0}] * 2}
    assert "skipped: theirs: no such package" in capsys.readouterr().err
    with pytest.raises(Skipped, match="theirs, which the others are compared with"):
        compare(runs, "theirs")


def test_the_middle_half_lies_within_what_was_measured():
    found = summary([1.0, 2.0])

    assert 1.0 <= found["p25"] <= found["median"] <= found["p75"] <= 2.0


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


@pytest.mark.parametrize("part", ["cold", "start", "warm", "server", "batch", "large"])
def test_the_committed_results_are_those_of_the_page(part):
    """`python -m benchmarks render` was run after the last measurement."""
    header, lines = measure.read(part)

    page = (report.DOCS / "benchmarks.md").read_text()

    assert "\n".join(report.BLOCKS[part](header, lines)) in page
    if part in report.PLOTS:
        assert (report.DOCS / f"benchmark-{part}.svg").read_text() == report.PLOTS[part](header, lines)


def test_the_price_tables_are_those_of_the_committed_results():
    blocks = report.cost_blocks({part: measure.read(part)[1] for part in ("cold", "warm", "batch")})

    assert set(blocks) == {"predictions", "batch"}
    for block in blocks.values():
        assert block in (report.DOCS / "costs.md").read_text()
