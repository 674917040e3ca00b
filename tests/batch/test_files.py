"""`tensorlet batch`: one file, local or on S3, without a queue."""

import json

import pytest
from tensorlet.batch import Progress, run_file
from tensorlet.errors import ModelNotFound, ObjectNotFound

from tests.batch.bench import Bench

ROWS = b"1,2,3,4\n5,6,7,x\n"


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_outputs_lie_beside_the_file(bench: Bench, tmp_path):
    (tmp_path / "a.csv").write_bytes(ROWS)
    report = run_file(bench.service, str(tmp_path / "a.csv"), "linear")

    assert (report.rows_in, report.rows_failed) == (2, 1)
    assert sorted(files(tmp_path)) == ["a.csv", "a.csv.err.jsonl", "a.csv.out", "a.csv.report.json"]
    assert json.loads(files(tmp_path)["a.csv.report.json"])["rows_out"] == 1


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("b.csv", ["b.csv", "b.csv.err.jsonl", "b.csv.report.json"]),
        ("sub/b.out", ["sub/b.err.jsonl", "sub/b.out", "sub/b.report.json"]),
    ],
)
def test_outputs_lie_where_they_are_wanted(bench: Bench, tmp_path, output, names):
    (tmp_path / "a.csv").write_bytes(ROWS)
    run_file(bench.service, str(tmp_path / "a.csv"), "linear", output=str(tmp_path / output))
    assert sorted(files(tmp_path)) == sorted(["a.csv", *names])


def test_a_second_run_replaces_the_first(bench: Bench, tmp_path):
    (tmp_path / "a.csv").write_bytes(ROWS)
    run_file(bench.service, str(tmp_path / "a.csv"), "linear")
    (tmp_path / "a.csv").write_bytes(b"1,2,3,4\n")
    run_file(bench.service, str(tmp_path / "a.csv"), "linear", "1")
    assert sorted(files(tmp_path)) == ["a.csv", "a.csv.out", "a.csv.report.json"]

    (tmp_path / "a.csv").write_bytes(b"\xff")
    assert run_file(bench.service, str(tmp_path / "a.csv"), "linear").reason
    assert sorted(files(tmp_path)) == ["a.csv", "a.csv.report.json"]


def test_progress_counts_rows_and_bytes(bench: Bench, tmp_path):
    text = b"1,2,3,4\n" * 2000
    (tmp_path / "a.csv").write_bytes(text)
    seen: list[Progress] = []
    run_file(bench.service, str(tmp_path / "a.csv"), "linear", progress=seen.append)
    assert seen[-1] == Progress(2000, 0, len(text), len(text))
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)


def test_what_is_not_there_is_an_error(bench: Bench, tmp_path):
    with pytest.raises(ObjectNotFound, match=r"a\.csv does not exist"):
        run_file(bench.service, str(tmp_path / "a.csv"), "linear")
    (tmp_path / "a.csv").write_bytes(ROWS)
    with pytest.raises(ModelNotFound, match="unknown"):
        run_file(bench.service, str(tmp_path / "a.csv"), "unknown")
    assert sorted(files(tmp_path)) == ["a.csv"]


def test_files_on_s3(bench: Bench, s3, bucket, tmp_path):
    s3.put_object(Bucket=bucket, Key="in/a.csv", Body=ROWS)
    run_file(bench.service, f"s3://{bucket}/in/a.csv", "linear")
    run_file(bench.service, f"s3://{bucket}/in/a.csv", "linear", output=str(tmp_path / "a.out"))
    out = s3.get_object(Bucket=bucket, Key="in/a.csv.out")["Body"].read()
    assert out == files(tmp_path)["a.out"]
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["in/a.csv", "in/a.csv.err.jsonl", "in/a.csv.out", "in/a.csv.report.json"]
