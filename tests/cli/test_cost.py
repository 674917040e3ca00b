"""`tensorlet cost`: tables that people read, figures that scripts do, from prices and measured speeds."""

import json
from pathlib import Path

import pytest
from tensorlet.cli import cost
from tensorlet.cost import cost_of_file, cost_of_requests, seconds_of_file, slowdown

from benchmarks.measure import read
from benchmarks.report import speeds

SPEEDS = json.loads(Path(cost.__file__).with_name("speeds.json").read_bytes())["formats"]


def test_a_million_requests_are_priced_at_three_memory_sizes(tensorlet):
    outcome = tensorlet("cost", "--ms", 12)

    assert outcome.status == 0
    head, *rows, _, where, left_out = outcome.out.splitlines()
    assert head.split() == ["WHAT", "COUNT", "MEMORY", "EACH", "COMPUTE", "REQUESTS", "TOTAL"]
    assert [row.split()[1:4] for row in rows] == [["1,000,000", mb, "MB"] for mb in ("512", "1,769", "3,538")]
    assert rows[0].endswith("42 ms  $0.3500   $1.2000  $1.5500")  # a fraction of a CPU takes as much longer
    assert "us-east-1" in where and "prices of 20" in where and "warm" in left_out


def test_what_was_asked_for_is_what_is_priced(tensorlet):
    arguments = ["--ms", 12, "--requests", 5000, "--memory", 1024, "--architecture", "arm64"]

    outcome = tensorlet("cost", *arguments, "--json")

    document = json.loads(outcome.out)
    seconds = 0.012 * slowdown(1024)
    expected = cost_of_requests(5000, 1024, seconds, "arm64")
    assert document["architecture"] == "arm64" and document["prices"]["region"] == "us-east-1"
    (line,) = document["estimates"]
    assert (line["what"], line["count"], line["memory_mb"]) == ("request", 5000, 1024)
    assert line["seconds"] == pytest.approx(seconds, abs=1e-6)
    assert line["total_usd"] == pytest.approx(expected.total) == line["compute_usd"] + line["requests_usd"]


@pytest.mark.parametrize(("text", "size_bytes"), [("2GB", 2 * 10**9), ("1.5 mb", 1_500_000), ("700", 700)])
def test_a_size_is_estimated_in_every_measured_format(tensorlet, text, size_bytes):
    outcome = tensorlet("cost", "--file", text, "--memory", 1769, "--json")

    lines = json.loads(outcome.out)["estimates"]
    assert [line["what"] for line in lines] == [f"{format} file" for format in SPEEDS]
    for line, speed in zip(lines, SPEEDS.values(), strict=True):
        seconds = seconds_of_file(size_bytes, speed["bytes_s"], 1769)
        written_bytes = int(size_bytes * speed["written_share"])
        assert line["seconds"] == pytest.approx(seconds, abs=1e-6)
        assert line["total_usd"] == pytest.approx(
            cost_of_file(size_bytes, written_bytes, 1769, seconds).total
        )


def test_a_file_is_estimated_in_its_own_format(tensorlet, tmp_path):
    (tmp_path / "rows.CSV").write_bytes(bytes(1000))

    outcome = tensorlet("cost", "--file", tmp_path / "rows.CSV", "--requests", 10, "--memory", 1769, "--json")

    (line,) = json.loads(outcome.out)["estimates"]
    assert (line["what"], line["count"]) == ("csv file", 10)
    assert line["seconds"] == pytest.approx(seconds_of_file(1000, SPEEDS["csv"]["bytes_s"], 1769), abs=1e-6)


def test_a_file_longer_than_an_invocation_is_said_to_be_split(tensorlet):
    assert "split over several" in tensorlet("cost", "--file", "10TB").out
    assert "split over several" not in tensorlet("cost", "--file", "1MB").out


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        pytest.param(["--file", "3XB"], 1, "expected a file or a size such as 2GB, got '3XB'", id="no size"),
        pytest.param(
            ["--file", __file__], 1, "got 'test_cost.py'; give its size instead", id="no such format"
        ),
        pytest.param(["--ms", "0"], 2, "argument --ms: expected milliseconds", id="no time"),
        pytest.param(["--ms", "many"], 2, "argument --ms: expected milliseconds", id="no number"),
        pytest.param(
            ["--memory", "64"], 2, "argument --memory: expected megabytes from 128", id="too little"
        ),
        pytest.param(["--requests", "0"], 2, "argument --requests: expected a positive number", id="none"),
        pytest.param(["--file", "1GB", "--ms", "1"], 2, "not allowed with argument", id="both"),
    ],
)
def test_what_cannot_be_priced_is_refused_by_name(tensorlet, arguments, status, reason):
    outcome = tensorlet("cost", *arguments)

    assert (outcome.status, outcome.out) == (status, "")
    assert reason in outcome.err and len(outcome.err.splitlines()) == 1


def test_the_speeds_are_those_of_the_committed_results():
    """`python -m benchmarks render` was run after the last measurement."""
    assert json.loads(speeds(*read("batch")))["formats"] == SPEEDS
