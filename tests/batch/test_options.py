"""Options: in the metadata of a file, in the `_batch.json` of its folder or one above, as flags of the command line."""

import obstore
import pytest
from tensorlet.batch.files import run_file
from tensorlet.batch.options import Options, choose, options_keys, texts_to_values

from tests.batch.bench import Bench
from tests.models import half_plus, publish_precisions


def test_options_hold_for_the_files_of_their_folder(bench: Bench):
    bench.inputs.put("linear/eu/_batch.json", b'{"delimiter": ";", "header": true}')
    bench.run("linear/eu/a.csv", b"1;2;3;4\n5;6;7;8\n")
    bench.run("linear/a.csv", b"1,2,3,4\n5,6,7,8\n")

    header, row = bench.out("linear/eu/a.csv").splitlines()
    assert header == b"scores[0];scores[1];scores[2]"
    assert row == bench.out("linear/a.csv").splitlines()[1].replace(b",", b";")


def test_a_table_of_text_names_may_have_no_header(bench: Bench):
    bench.inputs.put("linear/_batch.json", b'{"header": false}')
    report = bench.run("linear/a.csv", b"u1,1,2,3,4\nu2,5,6,7,8\n")
    assert (report.rows_in, report.rows_failed) == (2, 0)


def test_options_are_pinned_with_the_plan(bench: Bench):
    bench.inputs.put("linear/_batch.json", b'{"header": true}')
    bench.run("linear/a.csv", b"1,2,3,4\n5,6,7,8\n")
    first = bench.out("linear/a.csv")
    bench.inputs.delete("linear/_batch.json")
    bench.results.delete("linear/a.csv.report.json")
    bench.run("linear/a.csv")
    assert bench.out("linear/a.csv") == first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object, got list"),
        (
            '{"headers": true}',
            "linear/_batch.json: unknown option 'headers', expected batch_rows, header, delimiter, input_filter",
        ),
        ('{"header": 1}', "header: expected true, false or null, got 1"),
        ('{"delimiter": "::"}', "delimiter: expected one ASCII character"),
        ('{"delimiter": "."}', "delimiter: expected one ASCII character"),
        ('{"batch_rows": 0}', "batch_rows: expected a whole number"),
        ('{"batch_rows": true}', "batch_rows: expected a whole number"),
        ('{"join": "both"}', "join: expected none or input, got 'both'"),
        ('{"input_filter": "a"}', "input_filter: expected a path such as $, $[1:]"),
        ('{"output_filter": null}', "output_filter: expected a path such as $, $[1:]"),
        ('{"format": "xml"}', "format: expected csv, jsonl, npy, npz or parquet, got 'xml'"),
        ('{"top_k": 0}', "top_k: expected a whole number from 1 to 1000, got 0"),
        ('{"precision": 8}', "precision: expected the precision of an artifact, such as int8, got 8"),
        ('{"precision": "int8"}', "linear/1: expected a precision of fp32, got 'int8'"),
    ],
)
def test_options_that_cannot_be_read_are_the_files_reason(bench: Bench, text, reason):
    bench.inputs.put("linear/_batch.json", text.encode())
    assert reason in bench.run("linear/a.csv", b"1,2,3,4\n").reason


def drop(bench: Bench, key: str, data: bytes, **metadata: str) -> None:
    """Put an object with `x-amz-meta-tensorlet-...` headers."""
    attributes = {f"tensorlet-{name.replace('_', '-')}": value for name, value in metadata.items()}
    obstore.put(bench.inputs.backend, key, data, attributes=attributes)


def test_the_nearest_folder_wins_and_metadata_beats_it(bench: Bench):
    bench.inputs.put("linear/_batch.json", b'{"header": true, "delimiter": ";", "join": "input"}')
    bench.inputs.put("linear/eu/_batch.json", b'{"delimiter": "|"}')
    text = b"1|2|3|4\n5|6|7|8\n"

    bench.run("linear/eu/a.csv", text)
    assert bench.out("linear/eu/a.csv").startswith(
        b"1|2|3|4|scores[0]|"
    )  # header and join of the folder above

    drop(bench, "linear/eu/b.csv", text, header="false", join="none")
    bench.run("linear/eu/b.csv")
    assert len(bench.out("linear/eu/b.csv").splitlines()[0].split(b"|")) == 3


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("a.csv", ["_batch.json"]),
        ("m/a.csv", ["m/_batch.json"]),
        ("m@live/x/y/a.csv", ["m@live/_batch.json", "m@live/x/_batch.json", "m@live/x/y/_batch.json"]),
    ],
)
def test_folders_are_asked_from_the_models_down(key, keys):
    assert options_keys(key) == keys


def test_metadata_is_text_that_may_be_json():
    texts = {
        "batch_rows": "7",
        "header": "null",
        "delimiter": "\\t",
        "input_filter": "$[1:]",
        "join": "Input",
    }
    options = choose(texts_to_values(texts), Options(header=True), "metadata")
    assert options == Options(batch_rows=7, header=None, delimiter="\t", input_filter="$[1:]", join="input")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"joint": "input"}, "metadata: unknown option 'joint', expected batch_rows, header,"),
        ({"join": "left"}, "metadata: join: expected none or input, got 'left'"),
        (
            {"batch_rows": "many"},
            "metadata: batch_rows: expected a whole number from 1 to 1048576, got 'many'",
        ),
    ],
)
def test_metadata_that_cannot_be_read_is_the_files_reason(bench: Bench, metadata, reason):
    drop(bench, "linear/a.csv", b"1,2,3,4\n", **metadata)
    assert reason in bench.run("linear/a.csv").reason
    assert bench.out("linear/a.csv") is None


def test_metadata_of_others_is_no_option(bench: Bench):
    obstore.put(
        bench.inputs.backend,
        "linear/a.csv",
        b"1,2,3,4\n",
        attributes={"owner": "me", "Content-Type": "text/csv"},
    )
    assert bench.run("linear/a.csv").reason == ""


@pytest.mark.stack
def test_metadata_comes_with_an_object_on_s3(s3, bucket, bench: Bench, tmp_path):
    s3.put_object(
        Bucket=bucket,
        Key="a.csv",
        Body=b"9,1,2,3,4\n",
        Metadata={"tensorlet-input-filter": "$[1:]", "Tensorlet-Join": "input"},
    )
    run_file(bench.service, f"s3://{bucket}/a.csv", "linear", output=str(tmp_path / "a.out"))
    assert (tmp_path / "a.out").read_bytes().startswith(b"9,1,2,3,4,")


def test_flags_beat_the_options_beside_the_file(bench: Bench, tmp_path):
    (tmp_path / "_batch.json").write_text('{"join": "input", "header": true}')
    (tmp_path / "a.csv").write_text("1,2,3,4\n5,6,7,8\n")
    run_file(bench.service, str(tmp_path / "a.csv"), "linear", flags={"join": "none"})
    assert (tmp_path / "a.csv.out").read_text().startswith("scores[0],scores[1],scores[2]\n")


def test_the_precision_is_pinned_by_the_artifact(bench: Bench, store):
    publish_precisions(store, "halves", {"fp32": half_plus(2.0), "int8": half_plus(3.0)})
    bench.inputs.put("halves/_batch.json", b'{"precision": "int8"}')
    report = bench.run("halves/a.csv", b"1\n")
    assert (report.artifact, bench.out("halves/a.csv")) == ("onnx.int8", b"3.5\n")

    bench.inputs.delete("halves/_batch.json")
    bench.results.delete("halves/a.csv.report.json")
    assert bench.run("halves/a.csv").artifact == "onnx.int8"
