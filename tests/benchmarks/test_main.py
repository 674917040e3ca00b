"""`python -m benchmarks`: one part that fails costs no other, and what is measured already can stay."""

import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import measure, report
from benchmarks.measure import Skipped


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """The parts that were measured, instead of measuring them; `warm` cannot be."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "main", lambda: None)
    parts = []

    class Part:
        def __init__(self, module):
            self.name = module.removeprefix("benchmarks.")

        def main(self, rounds):
            if self.name == "warm":
                raise Skipped("no such interpreter")
            parts.append((self.name, rounds))
            measure.write(self.name, {"rounds": rounds}, [{"name": "a"}])

    monkeypatch.setattr(command, "import_module", Part)
    return parts


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    return command.main()


def test_a_part_that_fails_costs_no_other(measured, monkeypatch, capsys):
    assert run(monkeypatch) == 1

    assert [name for name, _ in measured] == ["cold", "start", "server", "batch"]
    assert "warm: not measured: no such interpreter" in capsys.readouterr().err


def test_the_long_part_is_measured_only_when_named(measured, monkeypatch):
    assert run(monkeypatch, "large", "--rounds", "1") == 0

    assert measured == [("large", 1)]


def test_an_interrupted_run_goes_on_with_what_is_not_measured_yet(measured, monkeypatch):
    run(monkeypatch, "cold")

    run(monkeypatch, "cold", "batch", "--resume")

    assert [name for name, _ in measured] == ["cold", "batch"]


def test_a_result_of_other_code_is_measured_again(measured, monkeypatch):
    run(monkeypatch, "cold")
    monkeypatch.setattr(command, "code_digest", lambda: "changed since")

    run(monkeypatch, "cold", "--resume")

    assert [name for name, _ in measured] == ["cold", "cold"]
