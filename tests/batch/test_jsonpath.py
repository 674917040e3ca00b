"""The paths of SageMaker's Batch Transform. The examples of its guide's table of operators are the first rows."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.batch.jsonpath import parse_path
from tensorlet.batch.rows import RowError

ROW = {"id": 7, "field1": {"child1": "a", "child2": "b", "deep": [1, 2]}, "SageMakerOutput": {"label": 1}}


@pytest.mark.parametrize(
    ("path", "value", "selected"),
    [
        ("$", ROW, ROW),
        ("$.id", ROW, 7),
        ("$.field1.*", ROW, ["a", "b", [1, 2]]),
        ("$['id','SageMakerOutput']", ROW, {"id": 7, "SageMakerOutput": {"label": 1}}),
        ("$.field1.['child1','child2']", ROW, {"child1": "a", "child2": "b"}),
        ("$.field1.deep[1]", ROW, 2),
        ("$['field1']['deep'][-1]", ROW, 2),
        ("$.SageMakerOutput.label", ROW, 1),
        ("$[1]", [0, 1, 2], 1),
        ("$[1,3,5]", [0, 1, 2, 3, 4, 5, 6], [1, 3, 5]),
        ("$[2:5]", [0, 1, 2, 3, 4, 5, 6], [2, 3, 4]),
        ("$[:5]", [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4]),
        ("$[2:]", [0, 1, 2, 3], [2, 3]),
        ("$[0:-1]", [0, 1, 2, 3], [0, 1, 2]),
        ("$[-2:]", [0, 1, 2, 3], [2, 3]),
        ("$[0,5:]", [0, 1, 2, 3, 4, 5, 6], [0, 5, 6]),
        ("$[0,-1]", [0, 1, 2], [0, 2]),
        ("$[*]", [0, 1], [0, 1]),
        ("$.*", {"a": 1, "b": 2}, [1, 2]),
        ("$[*].x", [{"x": 1}, {"x": 2}], [1, 2]),
        ("$[\"a b\", 'c]d']", {"a b": 1, "c]d": 2, "e": 3}, {"a b": 1, "c]d": 2}),
        ("$.account_id", {"account_id": 1}, 1),
    ],
)
def test_what_a_path_selects(path, value, selected):
    assert parse_path(path).select(value) == selected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "id",
        "$id",
        "$.",
        "$..id",
        "$[",
        "$[]",
        "$[x]",
        "$['a',1]",
        "$[*,1]",
        "$[1:2:3]",
        "$.a b",
        "$[?(@.a)]",
        "$[1]]",
        3,
    ],
)
def test_what_is_no_path(path):
    with pytest.raises(ValueError):
        parse_path(path)


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("$.name", ROW, r"\$\.name finds nothing in an object with 'id', 'field1', 'SageMakerOutput'"),
        ("$[3]", [1, 2], r"\$\[3\] finds nothing in a list of 2"),
        ("$[-3]", [1, 2], "a list of 2"),
        ("$[1:]", 5, "finds nothing in 5"),
        ("$.id.x", ROW, "finds nothing in 7"),
        ("$['id','x']", ROW, "finds nothing in an object"),
        ("$.*", {}, None),
    ],
)
def test_what_is_not_there_is_an_error(path, value, error):
    if error is None:
        assert parse_path(path).select(value) == []
        return
    with pytest.raises(RowError, match=error):
        parse_path(path).select(value)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9))
def test_columns_are_selected_as_python_does(start, end, width):
    assert parse_path(f"$[{start}:{end}]").positions(width) == list(range(width))[start:end]


@given(st.text("$.[]'\",:*-09ab ", max_size=12))
def test_any_text_is_a_path_or_none(text):
    try:
        path = parse_path(text)
    except ValueError:
        return
    assert path.text == text
    with suppress(RowError):
        path.select([{"a": [1, 2]}, "x"])
