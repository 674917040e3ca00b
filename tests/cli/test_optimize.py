"""`tensorlet optimize`: wrong usage, and errors in one line. What it does is in tests/publish/test_optimize.py."""

import pytest

from tests.models import linear, publish_precisions


def test_a_model_that_is_not_there_is_one_line(tensorlet, registry):
    outcome = tensorlet("optimize", "nothing", "--target", "fp16")

    assert outcome.status == 1
    assert outcome.err.startswith("tensorlet: model 'nothing' is not in the registry")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no target"),
        pytest.param(["--target", "int4"], id="unknown target"),
        pytest.param(["--target", "fp16", "--max-accuracy-drop", "2"], id="drop over 1"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(tensorlet, digits, arguments):
    assert tensorlet("optimize", "digits", *arguments).status == 2


def test_without_rows_it_says_which_flag_gives_some(tensorlet, digits):
    outcome = tensorlet("optimize", "digits", "--target", "fp16")

    assert outcome.status == 1
    assert "digits/2: has no rows to compare with: add --test FILE" in outcome.err


def test_an_alias_is_served_in_a_precision(tensorlet, registry):
    publish_precisions(registry, "digits", {"fp32": linear(seed=1), "int8": linear(seed=2)})

    assert tensorlet("alias", "digits", "live", 1, "--precision", "int8").out.startswith("digits@live → 1")
    refused = tensorlet("alias", "digits", "live", 1, "--precision", "fp16")

    assert refused.status == 1
    assert "expected a precision of fp32, int8, got 'fp16'" in refused.err
