"""docs/operations.md has a paragraph for each alarm, and names parameters and outputs that exist."""

import re

import pytest

from tests.template.source import ROOT, template

PAGE = (ROOT / "docs/operations.md").read_text()
ALARMS = [
    name for name, found in template()["Resources"].items() if found["Type"] == "AWS::CloudWatch::Alarm"
]


@pytest.mark.parametrize("alarm", ALARMS)
def test_every_alarm_has_a_paragraph(alarm):
    (paragraph,) = re.findall(rf"^### {alarm}\n\n(.+?)(?=\n###|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert len(paragraph.split()) > 15


def test_every_alarm_that_is_described_exists():
    assert set(re.findall(r"^### (\w+Alarm)$", PAGE, re.MULTILINE)) == set(ALARMS)


def test_every_name_in_the_style_of_the_template_is_one_of_it():
    names = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)(?:=[^`]*)?`", PAGE))
    values = {
        value for entry in template()["Parameters"].values() for value in entry.get("AllowedValues", [])
    }
    known = {*template()["Parameters"], *template()["Resources"], *template()["Outputs"], *values}
    assert names
    assert names - known == set()
