"""What becomes of every row and of every wrong file, in each format: counts that add up, rows that can be mended."""

import gzip
import io
import json
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from tests.batch.bench import Bench, memory_store
from tests.models import identity, publish_onnx

BAD = 2.5  # no integer


@pytest.fixture(scope="module")
def whole() -> Bench:
    """A model that takes two integers and gives them back: 2.5 is a bad row in every format."""
    store = Store(MemoryStore(), "memory://registry")
    publish_onnx(store, "whole", identity({"x": ("INT64", ["n", 2])}))
    service = ModelService(Registry([store]), Settings.from_environ({}))
    return Bench(service, memory_store("inputs"), memory_store("results"))


def write(format: str, rows: list[list[float]]) -> bytes:
    """Rows of two numbers as a file."""
    table = np.array(rows, np.float64).reshape(-1, 2)
    if format == "csv":
        return "".join(f"{a!r},{b!r}\n" for a, b in rows).encode()
    if format == "jsonl":
        return "".join(f"[{a!r},{b!r}]\n" for a, b in rows).encode()
    file = io.BytesIO()
    if format == "npy":
        np.save(file, table)
    elif format == "npz":
        np.savez(file, x=table)
    else:
        core, arro3_io = pytest.importorskip("arro3.core"), pytest.importorskip("arro3.io")
        arrays = [core.Array.from_numpy(np.ascontiguousarray(column)) for column in table.T]
        arro3_io.write_parquet(core.Table.from_arrays(arrays, names=["x[0]", "x[1]"]), file)
    return file.getvalue()


def read(format: str, out: bytes) -> list[list[int] | None]:
    """The rows of an output; None for a failed one, where the format has it."""
    if format == "csv":
        cells = [line.split(",") for line in out.decode().splitlines()]
        return [None if row == ["", ""] else [int(cell) for cell in row] for row in cells]
    if format == "jsonl":
        return [json.loads(line) for line in out.splitlines()]
    if format == "parquet":
        table = pytest.importorskip("arro3.io").read_parquet(io.BytesIO(out)).read_all()
        return [[a.as_py(), b.as_py()] for a, b in zip(table.column(0), table.column(1), strict=True)]
    loaded: Any = np.load(io.BytesIO(out))
    return (loaded if format == "npy" else loaded["x_out"]).tolist()


FORMATS = ["csv", "jsonl", "npy", "npz", "parquet"]
ALIGNED = ("csv", "jsonl")
numbers = st.sampled_from([0.0, 1.0, -7.0, 40000.0, BAD])


@pytest.mark.parametrize("format", FORMATS)
@given(
    rows=st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=12),
    batch_rows=st.integers(1, 5),
)
def test_every_row_is_predicted_or_named_and_the_counts_add_up(whole: Bench, format, rows, batch_rows):
    key = f"whole/a.{format}"
    whole.inputs.put("whole/_batch.json", json.dumps({"batch_rows": batch_rows}).encode())
    for name in [info.key for info in whole.results.walk()]:
        whole.results.delete(name)

    report = whole.run(key, write(format, rows))

    bad = [n for n, row in enumerate(rows) if BAD in row]
    assert (report.reason, report.rows_in, report.rows_failed) == ("", len(rows), len(bad))
    assert report.rows_out + report.rows_failed == report.rows_in
    assert [failure["row"] for failure in whole.err(key)] == bad
    assert (whole.read(f"{key}.err.jsonl") is None) == (not bad)
    expected = [None if n in bad else row for n, row in enumerate(rows)]
    if format not in ALIGNED:
        expected = [row for row in expected if row is not None]
    assert read(format, whole.out(key)) == expected


@pytest.mark.parametrize("format", FORMATS)
def test_the_rows_that_failed_can_be_mended_and_dropped_again(whole: Bench, format):
    whole.inputs.delete("whole/_batch.json")
    key = f"whole/b.{format}"
    whole.run(key, write(format, [[1, 2], [BAD, 4], [5, 6], [7, BAD]]))
    quarantine = whole.read(f"{key}.err.jsonl")

    again = whole.run(f"{key}.err.jsonl", quarantine)
    assert (again.rows_in, again.rows_failed) == (2, 2)

    report = whole.run(f"{key}.err.jsonl", quarantine.replace(b"2.5", b"3"))
    assert (report.reason, report.rows_out, report.rows_failed) == ("", 2, 0)
    assert read("jsonl", whole.out(f"{key}.err.jsonl")) == [[3, 4], [7, 3]]


def test_mended_rows_are_filtered_and_joined_as_the_file_was(whole: Bench):
    whole.inputs.put("whole/_batch.json", b'{"input_filter": "$[1:]", "join": "input"}')
    whole.run("whole/c.csv", b"id,a,b\nu1,1,2\nu2,oops,4\n")
    quarantine = whole.read("whole/c.csv.err.jsonl")
    whole.run("whole/c.csv.err.jsonl", quarantine.replace(b'"a":"oops"', b'"a":"3"'))
    assert whole.err("whole/c.csv.err.jsonl") == []
    [row] = read("jsonl", whole.out("whole/c.csv.err.jsonl"))
    assert row == {"id": "u2", "a": "3", "b": "4", "SageMakerOutput": [3, 4]}
    whole.inputs.delete("whole/_batch.json")


TEXT = b"1,2\n3,4\n"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        pytest.param("a.csv", b"\x93NUMPY" + bytes(99), "not UTF-8", id="CSV that is NPY"),
        pytest.param("a.csv", b"\xff\xfe1\x00,\x002\x00\n\x00", "not UTF-8", id="CSV in UTF-16"),
        pytest.param("a.csv", b'1,2\n"3,4\n5,6\n', "a quote is never closed", id="CSV with an open quote"),
        pytest.param(
            "a.csv", b'"1,2\n3,4\n', "a quote is never closed", id="CSV that begins with an open quote"
        ),
        pytest.param(
            "a.csv",
            b'"a,b\n' + b"3,4\n" * 50000 + b'"\n5,6\n',
            "no row ends in the first",
            id="CSV with a late quote",
        ),
        pytest.param("a.csv", b"1\n1,2,3\n1\n", "takes 2 numbers", id="ragged CSV"),
        pytest.param("a.csv.gz", TEXT, "gzip is damaged", id="gzip that is none"),
        pytest.param(
            "a.csv.gz", gzip.compress(TEXT * 99)[:-9], "gzip is cut off", id="truncated gzip of CSV"
        ),
        pytest.param(
            "a.jsonl.gz", gzip.compress(b"[1,2]\n" * 99)[:-9], "gzip is cut off", id="truncated gzip of JSONL"
        ),
        pytest.param("a.jsonl", TEXT * 99, "not JSON Lines", id="JSONL that is CSV"),
        pytest.param("a.jsonl", b"[1,2]\n\xff\n", "not UTF-8", id="JSONL that is not UTF-8"),
        pytest.param("a.npy", TEXT, "not NPY", id="NPY that is CSV"),
        pytest.param("a.npy", b"", "not NPY", id="empty NPY"),
        pytest.param("a.npz", TEXT, "not NPZ", id="NPZ that is CSV"),
        pytest.param("a.npz", b"", "not NPZ", id="empty NPZ"),
        pytest.param("a.parquet", TEXT, "not Parquet", id="Parquet that is CSV"),
        pytest.param("a.parquet", b"", "not Parquet", id="empty Parquet"),
        pytest.param("a.parquet", b"PAR1" + bytes(64) + b"PAR1", "not Parquet", id="damaged Parquet"),
    ],
)
def test_a_wrong_file_gives_its_reason_and_no_output(whole: Bench, name, data, reason):
    if "parquet" in name:
        pytest.importorskip("arro3.io")
    report = whole.run(f"whole/wrong/{name}", data)
    assert reason in report.reason
    assert (report.rows_in, report.rows_out, report.rows_failed, report.outputs) == (0, 0, 0, ())
    assert whole.out(f"whole/wrong/{name}") is None
    assert whole.read(f"whole/wrong/{name}.err.jsonl") is None


@pytest.mark.parametrize(
    ("name", "data", "out"),
    [
        pytest.param("a.csv", b"", b"", id="empty CSV"),
        pytest.param("a.csv", b"\xef\xbb\xbf", b"", id="a byte order mark and nothing else"),
        pytest.param("a.csv", b"a,b\n", b"x_out[0],x_out[1]\n", id="only a header"),
        pytest.param("a.csv.gz", gzip.compress(b""), gzip.compress(b"", mtime=0), id="empty CSV in gzip"),
        pytest.param("a.jsonl", b"", b"", id="empty JSONL"),
        pytest.param("a.jsonl", b"\n \n", b"", id="JSONL of empty lines"),
        pytest.param(
            "b.csv", b"\xef\xbb\xbf1,2\r\n\r\n3,4\r\n", TEXT, id="byte order mark, CRLF, empty line"
        ),
        pytest.param("b.jsonl", b"\xef\xbb\xbf[1,2]\r\n[3,4]", b"[1,2]\n[3,4]\n", id="the same in JSONL"),
        pytest.param("b.csv", b'"1","2"\n"3\n",4\n', TEXT, id="quoted newlines"),
    ],
)
def test_a_file_that_only_looks_wrong_is_predicted(whole: Bench, name, data, out):
    report = whole.run(f"whole/odd/{name}", data)
    assert (report.reason, report.rows_failed) == ("", 0)
    found = whole.out(f"whole/odd/{name}")
    assert (
        (gzip.decompress(found), b"") == (gzip.decompress(out), b"") if name.endswith("gz") else found == out
    )


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ":", "#", "~"])
def test_any_delimiter_will_do(whole: Bench, delimiter):
    whole.inputs.put("whole/d/_batch.json", json.dumps({"delimiter": delimiter}).encode())
    whole.run("whole/d/a.csv", TEXT.replace(b",", delimiter.encode()))
    assert whole.out("whole/d/a.csv") == TEXT.replace(b",", delimiter.encode())


def test_parquet_without_its_library_says_what_to_install(whole: Bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "arro3", None)  # so that importing it fails
    monkeypatch.delitem(sys.modules, "arro3.core", raising=False)
    assert "install `tensorlet[parquet]`" in whole.run("whole/missing.parquet", b"PAR1").reason
    assert whole.run("whole/there.csv", TEXT).reason == ""
