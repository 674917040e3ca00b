"""`tensorlet batch` on local files: outputs beside the input, counts on stderr, and its statuses."""

import json

import numpy as np
import pytest

from tests.models import half_plus_two, linear_weights, publish_onnx


@pytest.fixture
def half(registry):
    publish_onnx(registry, "half", half_plus_two())


def test_every_row_is_predicted_into_a_file_beside(tensorlet, digits, tmp_path):
    rows = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    file = tmp_path / "rows.csv"
    np.savetxt(file, rows, delimiter=",", fmt="%.9g")

    outcome = tensorlet("batch", file, "--model", "digits@1")

    assert (outcome.status, outcome.out) == (0, "")
    assert "100 rows, digits/1" in outcome.err and f"{file}.out" in outcome.err
    weights, bias = linear_weights(4, 3, seed=1)
    answers = np.loadtxt(f"{file}.out", delimiter=",")
    np.testing.assert_allclose(answers, rows @ weights + bias, rtol=1e-5, atol=1e-6)
    report = json.loads((tmp_path / "rows.csv.report.json").read_text())
    assert (report["model"], report["model_version"], report["rows_in"]) == ("digits", 1, 100)


def test_bad_rows_are_counted_and_no_failure(tensorlet, half, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("1\nmany\n3\n")

    outcome = tensorlet("batch", file, "--model", "half", "--output", tmp_path / "answers.csv")

    assert outcome.status == 0
    assert "1 failed" in outcome.err
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.xml", b"<rows/>", "rows.xml"),
        ("rows.csv.gz", b"not gzip", "rows.csv.gz"),
        ("rows.npy", b"not numpy", "rows.npy"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_status_1(tensorlet, half, tmp_path, name, content, reason):
    file = tmp_path / name
    file.write_bytes(content)

    outcome = tensorlet("batch", file, "--model", "half")

    assert outcome.status == 1
    assert outcome.err.startswith("tensorlet: ") and outcome.err.count("\n") == 1
    assert reason in outcome.err


def test_a_missing_file_leaves_nothing_behind(tensorlet, half, tmp_path):
    outcome = tensorlet("batch", tmp_path / "absent" / "rows.csv", "--model", "half")

    assert outcome.status == 1
    assert not (tmp_path / "absent").exists()


def test_flags_choose_how_rows_are_read_and_written(tensorlet, digits, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("u1;1;2;3;4\n")

    flags = ["--delimiter", ";", "--header", "false", "--input-filter", "$[1:]", "--join", "input"]
    outcome = tensorlet("batch", file, "--model", "digits@1", *flags, "--output-filter", "$[0,-1]")

    assert outcome.status == 0, outcome.err
    assert (tmp_path / "rows.csv.out").read_text().startswith("u1;")


def test_a_flag_that_cannot_be_so_is_named(tensorlet, digits, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("1,2,3,4\n")

    outcome = tensorlet("batch", file, "--model", "digits@1", "--top-k", "many")

    assert outcome.status == 1
    assert "top_k: expected a whole number from 1 to 1000, got 'many'" in outcome.err
