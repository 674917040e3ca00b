"""Input filter, join and output filter as SageMaker's Batch Transform has them, and the other formats of outputs.

Source: Amazon SageMaker AI Developer Guide, "Associate Prediction Results with Input Records".
"""

import io
import json
from typing import Any

import numpy as np
import pytest

from tests.batch.bench import Bench
from tests.models import linear_weights, publish_onnx

HEADER = b"scores[0],scores[1],scores[2]"


def answers(*rows: list[float]) -> np.ndarray:
    weights, bias = linear_weights(4, 3)
    return np.array(rows, np.float32) @ weights + bias


def run(bench: Bench, key: str, data: bytes, **options: Any) -> bytes | None:
    bench.inputs.put(f"{key.rpartition('/')[0]}/_batch.json", json.dumps(options).encode())
    bench.run(key, data)
    return bench.out(key)


def cells(out: bytes | None) -> list[list[str]]:
    assert out is not None
    return [line.split(",") for line in out.decode().splitlines()]


def test_csv_is_joined_by_appending_the_prediction_to_the_row_as_it_was(bench: Bench):
    text = b'id,a,b,c,d\n"x, ""y""",1.50,2,3,4\nu2,5,6,7,8\n'
    plain = cells(run(bench, "linear/a.csv", text))
    joined = run(bench, "linear/a.csv", text + b"\n", join="input")

    header, *rows = joined.splitlines()
    assert header == b"id,a,b,c,d," + HEADER
    assert rows == [
        b'"x, ""y""",1.50,2,3,4,' + ",".join(plain[1]).encode(),
        b"u2,5,6,7,8," + ",".join(plain[2]).encode(),
    ]


def test_ids_come_out_beside_the_prediction_and_do_not_go_in(bench: Bench):
    """The guide's example: `$[1:]` in, input joined, and here `$[0,-1]` out."""
    out = run(
        bench,
        "linear/a.csv",
        b"17,1,2,3,4\n18,5,6,7,8\n",
        input_filter="$[1:]",
        join="Input",
        output_filter="$[0,-1]",
    )
    assert [row[0] for row in cells(out)] == ["17", "18"]
    np.testing.assert_allclose(
        [float(row[1]) for row in cells(out)], answers([1, 2, 3, 4], [5, 6, 7, 8])[:, 2], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("text", "input_filter"),
    [
        ("1,2,3,4,9\n", "$[0:-1]"),
        ("1,2,3,4,9\n", "$[:4]"),
        ("9,1,2,3,4\n", "$[1:]"),
        ("4,3,9,2,1\n", "$[4,3,1,0]"),
        ("a,b,c,d,e\n9,1,2,3,4\n", "$[-4:]"),
        ('x,1,2,3,4\n"y\nz",1,2,3,4\n', "$[1:]"),
    ],
)
def test_the_model_gets_the_columns_that_are_selected_in_that_order(bench: Bench, text, input_filter):
    out = run(bench, "linear/a.csv", text.encode(), input_filter=input_filter)
    row = cells(out)[-1]
    np.testing.assert_allclose(np.array(row, float), answers([1, 2, 3, 4])[0], rtol=1e-5)


def test_a_failed_row_is_empty_also_when_it_is_joined(bench: Bench):
    text = b"id,a,b,c,d\nu1,1,x,3,4\nu2,1,2\nu3,1,2,3,4\n"
    out = run(bench, "linear/a.csv", text, join="input").splitlines()
    assert out[1:3] == [b",,,,,,,"] * 2
    assert out[3].startswith(b"u3,1,2,3,4,")

    out = run(bench, "linear/b.csv", text, join="input", output_filter="$[0]").splitlines()
    assert out == [b"id", b'""', b'""', b"u3"]


def test_an_output_filter_needs_no_join(bench: Bench):
    plain = cells(run(bench, "linear/a.csv", b"1,2,3,4\n"))
    assert cells(run(bench, "linear/b.csv", b"1,2,3,4\n", output_filter="$[2,0]")) == [
        [plain[0][2], plain[0][0]]
    ]
    [value] = (run(bench, "linear/b.jsonl", b"[1,2,3,4]\n", output_filter="$[2]")).splitlines()
    assert value.decode() == plain[0][2]


def test_a_quoted_cell_is_selected_whole(bench: Bench):
    text = b'"a,b",1,2,3,4,"c ""d"" e"\nx,1,2,3,4,y\n'
    out = run(bench, "linear/a.csv", text, join="input", output_filter="$[5,0]")
    assert out == b'"c ""d"" e","a,b"\ny,x\n'


@pytest.mark.parametrize(
    ("row", "before", "after"),
    [
        pytest.param(
            '{"image":[1,2,3,4],"id":7}', '{"image":[1,2,3,4],"id":7,"SageMakerOutput":', "}", id="object"
        ),
        pytest.param('{"inputs": [1,2,3,4] }', '{"inputs": [1,2,3,4] ,"SageMakerOutput":', "}", id="spaces"),
        pytest.param("[1,2,3,4.0]", '{"SageMakerInput":[1,2,3,4.0],"SageMakerOutput":', "}", id="list"),
        pytest.param(
            '{"SageMakerOutput":9,"image":[1,2,3,4]}',
            '{"image":[1,2,3,4],"SageMakerOutput":',
            "}",
            id="name taken",
        ),
        pytest.param(
            '{"SageMaker\\u004futput":9,"image":[1,2,3,4]}',
            '{"image":[1,2,3,4],"SageMakerOutput":',
            "}",
            id="name taken, escaped",
        ),
    ],
)
def test_a_json_row_is_joined_as_a_member_of_an_object(bench: Bench, row, before, after):
    [plain] = run(bench, "linear/a.jsonl", b"[1,2,3,4]\n").splitlines()
    [joined] = run(bench, "linear/a.jsonl", f" {row} \r\n".encode(), join="input").splitlines()
    assert joined.decode() == f"{before}{plain.decode()}{after}"
    json.loads(joined)


def test_an_id_comes_out_beside_the_prediction_of_its_features(bench: Bench):
    """The guide's example for JSON: `$.features` in, `$['id','SageMakerOutput']` out."""
    rows = b'{"id":"u1","features":[1,2,3,4]}\n{"id":"u2","features":[1,2]}\n{"id":"u3"}\n{"features":[5,6,7,8]}\n'
    out = run(
        bench,
        "linear/a.jsonl",
        rows,
        input_filter="$.features",
        join="Input",
        output_filter="$['id','SageMakerOutput']",
    )
    first, *others = [json.loads(line) for line in out.splitlines()]
    assert first["id"] == "u1" and list(first) == ["id", "SageMakerOutput"]
    np.testing.assert_allclose(first["SageMakerOutput"], answers([1, 2, 3, 4])[0], rtol=1e-5)
    assert others == [None, None, None]
    assert [(failure["row"], failure["error"]) for failure in bench.err("linear/a.jsonl")] == [
        (1, "input 'image': expected shape [4], got [2]"),
        (2, "$.features finds nothing in an object with 'id'"),
        (
            3,
            "output_filter: $['id','SageMakerOutput'] finds nothing in an object with 'features', 'SageMakerOutput'",
        ),
    ]
    assert bench.report("linear/a.jsonl")["rows_failed"] == 3


@pytest.mark.parametrize(
    ("key", "data", "options", "reason"),
    [
        ("a.csv", b"1,2,3,4\n", {"input_filter": "$.a"}, "input_filter: expected column numbers such as"),
        (
            "a.csv",
            b"1,2,3,4\n",
            {"output_filter": "$['id']"},
            "output_filter: expected column numbers such as",
        ),
        (
            "a.csv",
            b"1,2,3,4\n",
            {"input_filter": "$[7]"},
            "input_filter: $[7] finds nothing in a list of 4 columns",
        ),
        (
            "a.csv",
            b"1,2,3,4\n",
            {"output_filter": "$[7]"},
            "output_filter: $[7] finds nothing in a list of 3 columns",
        ),
        ("a.csv", b"1,2,3,4\n", {"input_filter": "$[1:]"}, "takes 4 numbers, the file has 3 columns"),
        (
            "a.csv",
            b"1,2,3,4\n",
            {"join": "input", "format": "npy"},
            "join: expected CSV or JSON Lines, the same in",
        ),
        (
            "a.npy",
            b"",
            {"join": "input"},
            "join: expected CSV or JSON Lines, the same in and out, got npy and npy",
        ),
        ("a.npz", b"", {"input_filter": "$[1:]"}, "input_filter: expected CSV or JSON Lines, got npz"),
        (
            "a.parquet",
            b"",
            {"output_filter": "$[1:]"},
            "output_filter: expected CSV or JSON Lines, got parquet",
        ),
    ],
)
def test_options_that_do_not_fit_the_file_are_its_reason(bench: Bench, key, data, options, reason):
    assert run(bench, f"linear/{key}", data, **options) is None
    assert reason in bench.report(f"linear/{key}")["reason"]


def test_a_file_without_rows_is_joined_to_a_header(bench: Bench):
    assert run(bench, "linear/a.csv", b"a,b,c,d\n", join="input") == b"a,b,c,d," + HEADER + b"\n"
    assert run(bench, "linear/b.csv", b"a,b,c,d\n", join="input", output_filter="$[0,-1]") == b"a,scores[2]\n"
    assert run(bench, "linear/c.csv", b"", join="input", output_filter="$[5]") == b""
    assert bench.report("linear/c.csv")["rows_in"] == 0


ROWS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


INPUTS = {"a.csv": b"1,2,3,4\n5,6,7,8\n", "a.jsonl": b"[1,2,3,4]\n[5,6,7,8]\n", "a.npy": npy(ROWS)}


def read_as(format: str, out: bytes) -> np.ndarray:
    if format == "csv":
        return np.loadtxt(io.BytesIO(out), delimiter=",", skiprows=int(out.startswith(b"scores")))
    if format == "jsonl":
        return np.array([json.loads(line) for line in out.splitlines()])
    if format == "parquet":
        parquet = pytest.importorskip("arro3.io").read_parquet(io.BytesIO(out)).read_all()
        return np.column_stack([parquet.column(n).to_numpy() for n in range(3)])
    loaded = np.load(io.BytesIO(out))
    return loaded if format == "npy" else loaded["scores"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "npy", "npz", "parquet"])
@pytest.mark.parametrize("name", INPUTS)
def test_predictions_are_written_in_the_format_that_is_asked_for(bench: Bench, name, format):
    out = run(bench, f"linear/{name}", INPUTS[name], format=format)
    np.testing.assert_allclose(read_as(format, out), answers(*ROWS.tolist()), rtol=1e-5)


def test_csv_of_another_format_has_a_header_unless_the_options_say_no(bench: Bench):
    assert run(bench, "linear/a.npy", INPUTS["a.npy"], format="csv").startswith(HEADER + b"\n")
    assert cells(run(bench, "linear/b.npy", INPUTS["a.npy"], format="csv", header=False))[0][0] != "scores[0]"


def test_text_that_comes_compressed_leaves_compressed_only_as_text(bench: Bench):
    import gzip

    data = gzip.compress(INPUTS["a.csv"])
    assert gzip.decompress(run(bench, "linear/a.csv.gz", data, format="jsonl")).startswith(b"[")
    assert run(bench, "linear/b.csv.gz", data, format="npy").startswith(b"\x93NUMPY")


LABELS = {"labels": ["cat", "dog", "cow"]}


def test_the_best_classes_have_the_models_labels(bench: Bench, store):
    publish_onnx(store, "animals", _linear(), **LABELS)
    scores = answers([1, 2, 3, 4])[0]
    best, second = np.argsort(-scores)[:2]

    out = run(bench, "animals/a.jsonl", b"[1,2,3,4]\n[1]\n", top_k=2)
    first, failed = [json.loads(line) for line in out.splitlines()]
    assert first["classes"] == [LABELS["labels"][best], LABELS["labels"][second]]
    np.testing.assert_allclose(first["scores"], scores[[best, second]], rtol=1e-5)
    assert failed is None

    header, row = cells(run(bench, "animals/a.csv", b"id,a,b,c,d\nu,1,2,3,4\n", top_k=1, join="input"))
    assert header == ["id", "a", "b", "c", "d", "classes", "scores"]
    assert row[5] == LABELS["labels"][best]


def test_classes_without_labels_are_numbers_and_k_is_at_most_their_number(bench: Bench):
    out = run(bench, "linear/a.csv", b"1,2,3,4\n", top_k=9)
    order = np.argsort(-answers([1, 2, 3, 4])[0])
    assert [int(cell) for cell in cells(out)[0][:3]] == order.tolist()
    out = cells(run(bench, "linear/b.csv", b"1,2,3,4\n5,6,7,8\n", top_k=2))
    assert [[int(cell) for cell in row[:2]] for row in out] == [
        np.argsort(-scores)[:2].tolist() for scores in answers(*ROWS.tolist())
    ]
    loaded = np.load(io.BytesIO(run(bench, "linear/a.npz", _npz(ROWS), top_k=1)))
    assert loaded["classes"].shape == (2, 1)


def test_equal_scores_keep_the_order_of_the_classes_and_what_is_no_number_comes_last(bench: Bench, store):
    from tests.models import identity

    publish_onnx(store, "same", identity({"x": ("FP32", ["n", 4])}))
    out = run(bench, "same/a.csv", b"1,nan,2,2\n", top_k=4)
    assert out == b"2,3,0,1,2.0,2.0,1.0,nan\n"


@pytest.mark.parametrize(
    ("name", "document", "reason"),
    [
        ("few", {"labels": ["cat"]}, "top_k: the model has 1 labels for 3 classes"),
        ("half", {}, "top_k: expected scores of shape [-1, classes], got FP32 [-1]"),
    ],
)
def test_a_model_without_such_scores_is_refused(bench: Bench, store, name, document, reason):
    if name == "few":
        publish_onnx(store, name, _linear(), **document)
    run(bench, f"{name}/a.csv", b"1,2,3,4\n" if name == "few" else b"1\n", top_k=1)
    assert reason in bench.report(f"{name}/a.csv")["reason"]


def _linear() -> bytes:
    from tests.models import linear

    return linear()


def _npz(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, image=array)
    return file.getvalue()
