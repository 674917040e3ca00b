"""JSON Lines in, JSON Lines out."""

import json

import numpy as np
import pytest

from tests.batch.bench import Bench
from tests.models import identity, linear_weights, publish_onnx


def lines(data: bytes) -> list:
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize(
    "row",
    [
        "[1,2,3,4]",
        "[ 1, 2.0, 3e0, 4 ]",
        '{"image":[1,2,3,4]}',
        '{"inputs":[1,2,3,4]}',
        '{"inputs":{"image":[1,2,3,4]}}',
    ],
)
def test_a_row_is_a_list_or_an_object_by_input_name_or_inputs(bench: Bench, row):
    weights, bias = linear_weights(4, 3)
    bench.run("linear/a.jsonl", f"{row}\n".encode())
    expected = np.array([1, 2, 3, 4], np.float32) @ weights + bias
    np.testing.assert_allclose(lines(bench.out("linear/a.jsonl"))[0], expected, rtol=1e-5)


def test_one_value_a_row_may_be_bare(bench: Bench):
    bench.run("half/a.jsonl", b'1\n[2]\n{"x":3}\n\n   \n{"inputs":4}')
    assert bench.out("half/a.jsonl") == b"2.5\n3.0\n3.5\n4.0\n"


def test_several_outputs_are_an_object_by_name(bench: Bench, store):
    publish_onnx(store, "two", identity({"a": ("INT64", ["n"]), "b": ("BYTES", ["n", 2])}))
    bench.run("two/a.jsonl", b'{"a":1,"b":["x","\xc3\xa9"]}\n{"a":1}\n')
    assert bench.out("two/a.jsonl") == '{"a_out":1,"b_out":["x","é"]}\nnull\n'.encode()
    assert bench.err("two/a.jsonl") == [
        {"row": 1, "error": "input 'b' is missing, got 'a'", "input": {"a": 1}}
    ]


def test_nested_rows_have_the_shape_of_the_input(bench: Bench, store):
    publish_onnx(store, "grid", identity({"x": ("FP32", ["n", 2, 2])}))
    bench.run("grid/a.jsonl", b"[[1,2],[3,4]]\n[1,2,3,4]\n[[1,2,3],[4]]\n[[1,2]]\n")
    assert bench.out("grid/a.jsonl") == b"[[1.0,2.0],[3.0,4.0]]\n" * 2 + b"null\n" * 2
    assert [failure["error"] for failure in bench.err("grid/a.jsonl")] == [
        "input 'x': the lists are ragged",
        "input 'x': expected shape [2, 2], got [1, 2]",
    ]


def test_rows_of_open_length_may_differ(bench: Bench, store):
    publish_onnx(store, "words", identity({"x": ("FP32", ["n", "length"])}))
    bench.run("words/a.jsonl", b"[1]\n[1,2]\nnull\n[3]\n[]\n")
    assert bench.out("words/a.jsonl") == b"[1.0]\n[1.0,2.0]\nnull\n[3.0]\n[]\n"


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("nope", "not JSON"),
        ("[1,2,3]", "expected shape [4], got [3]"),
        ("[1,2,3,null]", "expected numbers"),
        ('[1,2,3,"4"]', "expected numbers"),
        ("null", "expected numbers"),
        ('{"other":1}', "'image' is missing, got 'other'"),
        ("{}", "'image' is missing, got none"),
    ],
)
def test_a_row_that_does_not_fit_is_null_and_named_and_the_rest_goes_on(bench: Bench, row, error):
    report = bench.run("linear/a.jsonl", f"[1,2,3,4]\n{row}\n[1,2,3,4]\n".encode())
    assert (report.rows_in, report.rows_out, report.rows_failed) == (3, 2, 1)
    first, second, third = bench.out("linear/a.jsonl").splitlines()
    assert (second, third) == (b"null", first)
    assert error in bench.err("linear/a.jsonl")[0]["error"]


@pytest.mark.parametrize(
    ("datatype", "value", "error"),
    [
        ("INT64", "1.5", "expected integers, got 1.5"),
        ("UINT8", "256", "expected UINT8, 0 to 255, got 256"),
        ("INT64", "9007199254740992.0", "expected integers"),
        ("BOOL", "2", "expected BOOL, 0 to 1, got 2"),
        ("BYTES", "3", "expected strings"),
        ("FP32", '"3"', "expected numbers"),
    ],
)
def test_values_outside_the_datatype_fail_their_row(bench: Bench, store, datatype, value, error):
    publish_onnx(store, "typed", identity({"x": (datatype, ["n"])}))
    bench.run("typed/a.jsonl", f"{value}\n".encode())
    assert error in bench.err("typed/a.jsonl")[0]["error"]


def test_the_runtimes_refusal_of_one_row_does_not_take_the_others_with_it(bench: Bench, store):
    """ONNX Runtime takes strings as UTF-8 only; an index out of range is the like."""
    publish_onnx(store, "lookup", _lookup())
    report = bench.run("lookup/a.jsonl", b"".join(b"%d\n" % n for n in [0, 1, 99, 2, -77, 1]))
    assert (report.rows_out, report.rows_failed) == (4, 2)
    assert bench.out("lookup/a.jsonl") == b"10.0\n11.0\nnull\n12.0\nnull\n11.0\n"
    assert [failure["row"] for failure in bench.err("lookup/a.jsonl")] == [2, 4]
    assert [failure["input"] for failure in bench.err("lookup/a.jsonl")] == [99, -77]


def _lookup() -> bytes:
    """`y = table[x]` for x of 0 to 2."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "lookup",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array([10, 11, 12], np.float32), "table")],
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


def test_a_file_that_is_not_json_at_all_is_a_wrong_file(bench: Bench):
    assert "not JSON Lines" in bench.run("linear/a.jsonl", b"1,2,3,4\n" * 200).reason
    assert "not UTF-8" in bench.run("linear/b.jsonl", b"[1,2,3,4]\n\xff\xfe\n").reason


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_quarantine_file_can_be_mended_and_dropped_again(bench: Bench, name):
    """`.err.jsonl` is read by the `input` of its records, from whatever format they came."""
    rows = {
        "a.csv": b"id,a,b,c,d\nu1,1,2,3,4\nu2,1,x,3,4\nu3,5,6,7,8\n",
        "a.jsonl": b"[1,2,3,4]\n[1,x,3,4]\n",
    }
    bench.run(f"linear/{name}", rows[name])
    good = bench.out(f"linear/{name}").splitlines()[1 if name == "a.csv" else 0].strip(b"[]")
    mended = bench.read(f"linear/{name}.err.jsonl").replace(b"x", b"2")

    report = bench.run(f"linear/{name}.err.jsonl", mended)

    assert (report.rows_out, report.rows_failed) == (1, 0)
    assert bench.out(f"linear/{name}.err.jsonl").strip(b"[]\n") == good


def test_what_is_still_wrong_in_a_quarantine_file_can_be_mended_once_more(bench: Bench):
    bench.run("linear/a.csv", b"id,a,b,c,d\nu1,1,2,3,4\nu2,1,x,3,4\n")
    bench.run("linear/b.err.jsonl", bench.read("linear/a.csv.err.jsonl"))
    again = bench.read("linear/b.err.jsonl.err.jsonl")
    assert json.loads(again)["input"] == {"id": "u2", "a": "1", "b": "x", "c": "3", "d": "4"}
    bench.run("linear/c.err.jsonl", again.replace(b'"x"', b'"2"'))
    assert bench.err("linear/c.err.jsonl") == []


def test_a_record_without_input_fails(bench: Bench):
    bench.run("linear/a.err.jsonl", b'{"row":0,"error":"?","input":[1,2,3,4]}\n[1,2,3,4]\n')
    assert bench.err("linear/a.err.jsonl")[0]["error"] == "expected a record with `input`"
