"""CSV in, CSV out: one record for each row, in order; rows that fail are empty and named with their reason."""

import csv
import gzip
import io

import numpy as np
import pytest
from tensorlet.batch.formats.columns import choose_columns
from tensorlet.batch.formats.csv import CsvWriter
from tensorlet.batch.predict import Predictions
from tensorlet.batch.rows import Failure, UnreadableFile
from tensorlet.signature import Signature, TensorSpec

from tests.batch.bench import Bench
from tests.models import identity, linear_weights, publish_onnx

HEADER = "scores[0],scores[1],scores[2]"


def table(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode())))


def expected(rows) -> np.ndarray:
    weights, bias = linear_weights(4, 3)
    return np.array(rows, np.float32) @ weights + bias


def test_every_row_has_a_prediction_in_order(bench: Bench):
    rows = np.random.default_rng(1).standard_normal((1300, 4)).round(3)
    report = bench.run("linear/a.csv", "".join(",".join(map(str, row)) + "\n" for row in rows).encode())

    assert (report.rows_in, report.rows_out, report.rows_failed) == (1300, 1300, 0)
    np.testing.assert_allclose(
        np.array(table(bench.out("linear/a.csv")), np.float32), expected(rows), rtol=1e-5
    )
    assert bench.read("linear/a.csv.err.jsonl") is None


def test_numbers_are_the_shortest_that_read_back_as_the_same_float32(bench: Bench, store):
    publish_onnx(store, "same", identity({"x": ("FP32", ["n", 3])}))
    bench.run("same/a.csv", b"0.1,1e-7,16777216\n")
    assert bench.out("same/a.csv") == b"0.1,1e-7,16777216.0\n"


@pytest.mark.parametrize(
    ("text", "has_header"),
    [
        ("1,2,3,4\n", False),
        ("1,nan,3,4\n", False),
        ("a,b,c,d\n1,2,3,4\n", True),
        ("0,1,2,x\n1,2,3,4\n", True),
        ("\n\na,b,c,d\n1,2,3,4\n", True),
    ],
)
def test_the_output_has_a_header_if_and_only_if_the_input_has_one(bench: Bench, text, has_header):
    bench.run("linear/a.csv", text.encode())
    lines = bench.out("linear/a.csv").decode().splitlines()
    assert (lines[0] == HEADER) is has_header
    assert len(lines) == 1 + has_header


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("1,x,3,4", "column 'b': expected a number, got 'x'"),
        ("1,,3,4", "column 'b': expected a number, got ''"),
        ("1,2,3", "expected 4 cells, got 3"),
        ("1,2,3,4,5", "expected 4 cells, got 5"),
        ("1,1_000,3,4", "column 'b': expected a number, got '1_000'"),
    ],
)
def test_a_row_that_does_not_fit_is_empty_and_named_and_the_rest_goes_on(bench: Bench, row, error):
    report = bench.run("linear/a.csv", f"a,b,c,d\n1,2,3,4\n{row}\n5,6,7,8\n".encode())

    assert (report.rows_in, report.rows_out, report.rows_failed) == (3, 2, 1)
    lines = bench.out("linear/a.csv").decode().splitlines()
    assert (lines[0], lines[2], len(lines)) == (HEADER, ",,", 4)
    [failure] = bench.err("linear/a.csv")
    assert (failure["row"], failure["error"]) == (1, error)


def test_the_failed_row_is_kept_as_it_was(bench: Bench):
    bench.run("linear/a.csv", b"a,b,c,d\n1,x,3,4\n1,2,3\n")
    assert [failure["input"] for failure in bench.err("linear/a.csv")] == [
        {"a": "1", "b": "x", "c": "3", "d": "4"},
        ["1", "2", "3"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1,2,3,4\r\n5,6,7,8\r\n", id="CRLF"),
        pytest.param("\ufeff1,2,3,4\n5,6,7,8\n", id="byte order mark"),
        pytest.param("\n1,2,3,4\n\n\n5,6,7,8\n\n", id="empty lines"),
        pytest.param('"1",2,"3",4\n5,6,7,8', id="quotes, no last newline"),
        pytest.param(" 1, 2,3 ,4\n5,6,7,8\n", id="spaces"),
    ],
)
def test_ways_to_write_the_same_table(bench: Bench, text):
    bench.run("linear/plain.csv", b"1,2,3,4\n5,6,7,8\n")
    bench.run("linear/a.csv", text.encode())
    assert bench.out("linear/a.csv") == bench.out("linear/plain.csv")


def test_ids_and_labels_are_ignored_also_with_newlines_and_quotes_in_them(bench: Bench):
    bench.run("linear/plain.csv", b"h,b,c,d\n1,2,3,4\n5,6,7,8\n")
    bench.run("linear/a.csv", b'id,a,b,c,d,label\n"a ""1""\nb",1,2,3,4,cat\n"x,y",5,6,7,8,dog\n')
    assert bench.out("linear/a.csv") == bench.out("linear/plain.csv")


def test_columns_named_after_the_input_are_taken_by_name(bench: Bench):
    bench.run("linear/plain.csv", b"h,b,c,d\n1,2,3,4\n")
    bench.run("linear/a.csv", b"image[3],id,image[0],image[1],image[2]\n4,77,1,2,3\n")
    assert bench.out("linear/a.csv") == bench.out("linear/plain.csv")


def test_several_inputs_are_taken_by_name(bench: Bench, store):
    publish_onnx(store, "two", identity({"age": ("INT64", ["n"]), "pixels": ("FP32", ["n", 2])}))
    bench.run("two/a.csv", b"pixels[0],pixels[1],age\n0.5,1.5,9007199254740993\n0.5,1.5,3.5\n")
    assert table(bench.out("two/a.csv")) == [
        ["age_out", "pixels_out[0]", "pixels_out[1]"],
        ["9007199254740993", "0.5", "1.5"],
        ["", "", ""],
    ]
    assert bench.err("two/a.csv")[0]["error"] == "column 'age': expected an integer, got '3.5'"


def test_text_inputs_and_outputs_are_quoted_where_they_must(bench: Bench, store):
    publish_onnx(store, "text", identity({"word": ("BYTES", ["n"])}))
    bench.run("text/a.csv", 'word\n"a,b"\n"say ""é"""\nplain\n'.encode())
    assert bench.out("text/a.csv").decode() == 'word_out\n"a,b"\n"say ""é"""\nplain\n'


def test_what_is_not_finite_is_written_by_name(bench: Bench, store):
    publish_onnx(store, "same", identity({"x": ("FP32", ["n", 3])}))
    bench.run("same/a.csv", b"nan,inf,-1e39\n")
    assert bench.out("same/a.csv") == b"nan,inf,-inf\n"


def test_a_single_empty_cell_is_quoted_so_that_readers_keep_the_row(bench: Bench):
    bench.run(
        "half/a.csv", b"1\n\nx\n3\n"
    )  # the empty line is no row; x makes it a header only in the first row
    assert bench.out("half/a.csv") == b'2.5\n""\n3.5\n'


def test_rows_that_fail_before_the_width_of_an_output_is_known_are_empty_too():
    writer = CsvWriter(Signature((), (TensorSpec("y", "FP32", (-1, -1)),)), header=True)
    failures = {0: Failure("bad", None), 1: Failure("bad", None)}
    text = writer.encode(Predictions(2, {}, failures))
    text += writer.encode(Predictions(1, {"y": np.ones((1, 2), np.float32)}, {}))
    text += b"".join(writer.finish())
    assert text == b"y[0],y[1]\n,\n,\n1.0,1.0\n"


def test_gzip_in_gzip_out(bench: Bench):
    text = b"".join(b"%d,2,3,4\n" % n for n in range(2000))
    bench.run("linear/a.csv", text)
    members = gzip.compress(text[:5000]) + gzip.compress(text[5000:])
    bench.run("linear/a.csv.gz", members)
    assert gzip.decompress(bench.out("linear/a.csv.gz")) == bench.out("linear/a.csv")


@pytest.mark.parametrize(
    ("key", "data", "reason"),
    [
        pytest.param("linear/a.csv", b"1,2,3,4\n\xff,2,3,4\n", "not UTF-8", id="not UTF-8"),
        pytest.param("linear/a.csv", b"1,2,3,4\n" * 9 + b"\xff\xfe", "not UTF-8", id="not UTF-8 at the end"),
        pytest.param(
            "linear/a.csv", b'1,2,3,4\n"1,2,3,4\n' + b"1,2,3,4\n" * 9, "never closed", id="open quote"
        ),
        pytest.param(
            "linear/a.csv", b"a,b,c\n1,2,3\n", "takes 4 numbers, the file has 3 columns", id="columns"
        ),
        pytest.param("linear/a.csv", b"1,2\n3,4,5\n6\n7,8\n", "takes 4 numbers", id="ragged"),
        pytest.param(
            "linear/a.csv", b"a,b,c,d,e\n1,2,3,4,5\n", "5 of them numeric: a, b, c, d, e", id="ambiguous"
        ),
        pytest.param("linear/a.csv.gz", b"1,2,3,4\n", "gzip is damaged", id="not gzip"),
        pytest.param(
            "linear/a.csv.gz", gzip.compress(b"1,2,3,4\n" * 99)[:-9], "gzip is cut off", id="cut off"
        ),
        pytest.param("linear/a.csv.gz", b"", "gzip is cut off", id="empty gzip"),
        pytest.param(
            "linear/a.csv.gz", gzip.compress(b"1,2,3,4\n") + b"rest", "gzip is damaged", id="gzip and more"
        ),
    ],
)
def test_a_wrong_file_gives_a_report_with_the_reason_and_no_output(bench: Bench, key, data, reason):
    report = bench.run(key, data)
    assert reason in report.reason
    assert (report.rows_in, report.rows_out, report.rows_failed) == (0, 0, 0)
    assert bench.out(key) is None
    assert bench.read(f"{key}.err.jsonl") is None
    assert reason in bench.report(key)["reason"]


@pytest.mark.parametrize(("text", "out"), [("", b""), ("\n\n", b""), ("a,b,c,d\n", (HEADER + "\n").encode())])
def test_a_file_without_rows_gives_an_output_without_rows(bench: Bench, text, out):
    report = bench.run("linear/a.csv", text.encode())
    assert (report.reason, report.rows_in) == ("", 0)
    assert bench.out("linear/a.csv") == out


def test_columns_are_chosen_by_what_most_rows_hold():
    sample = [["u1", "1", "x"], ["u2", "2", "y"], ["u3", "oops", "z"]]
    spec = TensorSpec("x", "FP32", (-1, 1))
    columns = choose_columns(Signature((spec,), ()), None, sample)
    assert columns.takes[0].positions == (1,)


def test_inputs_without_columns_are_named():
    signature = Signature((TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "FP32", (-1,))), ())
    with pytest.raises(UnreadableFile, match=r"columns for \['a'\].*got a\[0\], b"):
        choose_columns(signature, ["a[0]", "b"], [["1", "2"]])
