"""Parquet in, Parquet out; rows that fail are left out and listed."""

import io

import numpy as np
import pytest
from tensorlet.batch import Job

from tests.batch.bench import Bench, CrashingStore
from tests.models import identity, linear_weights, publish_onnx

core = pytest.importorskip("arro3.core", reason="arro3-io is not installed")
arro3_io = pytest.importorskip("arro3.io", reason="arro3-io is not installed")


def save(**columns) -> bytes:
    arrays = [core.Array.from_numpy(c) if isinstance(c, np.ndarray) else c for c in columns.values()]
    file = io.BytesIO()
    arro3_io.write_parquet(core.Table.from_arrays(arrays, names=list(columns)), file)
    return file.getvalue()


def load(data: bytes) -> dict[str, list]:
    table = arro3_io.read_parquet(io.BytesIO(data)).read_all()
    return {name: [value.as_py() for value in table.column(name)] for name in table.schema.names}


def test_columns_of_numbers_are_taken_in_order_and_text_is_ignored(bench: Bench):
    rows = np.random.default_rng(0).random((9000, 4))
    ids = core.Array([f"u{n}" for n in range(9000)], type=core.DataType.string())
    a, b, c, d = (np.ascontiguousarray(column) for column in rows.T)
    report = bench.run("linear/a.parquet", save(id=ids, a=a, b=b.astype(np.float32), c=c, d=d))

    weights, bias = linear_weights(4, 3)
    out = load(bench.out("linear/a.parquet"))
    assert (report.reason, report.rows_out) == ("", 9000)
    assert list(out) == ["scores[0]", "scores[1]", "scores[2]"]
    np.testing.assert_allclose(
        np.array(list(out.values())).T, rows.astype(np.float32) @ weights + bias, rtol=1e-4
    )


def test_a_row_with_a_null_fails(bench: Bench, store):
    publish_onnx(store, "two", identity({"a": ("INT64", ["n"]), "b": ("FP32", ["n"])}))
    a = core.Array([1, None, 2**53 + 1], type=core.DataType.int64())
    report = bench.run("two/a.parquet", save(b=np.array([0.5, 1.5, 2.5]), a=a))
    assert (report.rows_in, report.rows_failed) == (3, 1)
    assert load(bench.out("two/a.parquet")) == {"a_out": [1, 2**53 + 1], "b_out": [0.5, 2.5]}
    assert bench.err("two/a.parquet") == [
        {"row": 1, "error": "column 'a' is null", "input": {"a": None, "b": 1.5}}
    ]


def test_a_column_of_lists_holds_the_rows_of_its_input(bench: Bench):
    offsets, values = np.array([0, 4, 6], np.int32), np.array([1.0, 2, 3, 4, 1, 2])
    lists = core.list_array(core.Array.from_numpy(offsets), core.Array.from_numpy(values))
    bench.run("linear/a.parquet", save(image=lists))
    assert bench.err("linear/a.parquet")[0]["error"] == "input 'image': expected shape [4], got [2]"
    assert len(load(bench.out("linear/a.parquet"))["scores[0]"]) == 1


def test_no_rows_give_columns_without_rows(bench: Bench):
    empty = np.zeros(0)
    bench.run("linear/a.parquet", save(a=empty, b=empty, c=empty, d=empty))
    assert load(bench.out("linear/a.parquet")) == {"scores[0]": [], "scores[1]": [], "scores[2]": []}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not Parquet", id="empty"),
        pytest.param(b"1,2,3,4\n", "not Parquet", id="text"),
        pytest.param(b"PAR1PAR1", "not Parquet", id="magic alone"),
        pytest.param(b"PAR1" + b"x" * 99 + b"PAR1", "not Parquet", id="magic and rubbish"),
        pytest.param(save(a=np.zeros(3)), "takes 4 numbers, the file has 1 columns", id="columns"),
    ],
)
def test_a_wrong_file_gives_a_report_with_the_reason_and_no_output(bench: Bench, data, reason):
    assert reason in bench.run("linear/a.parquet", data).reason
    assert bench.out("linear/a.parquet") is None


def test_a_file_that_changes_while_it_is_read_is_no_wrong_file(bench: Bench):
    """What a read raises inside arro3 comes out as what it was."""
    old, new = (save(**{name: np.arange(n) for name in "abcd"}) for n in (100_000, 3))
    bench.inputs.put("linear/a.parquet", old)

    class Overtaken(CrashingStore):
        def read(self, *arguments):
            if self.calls == 4:
                bench.inputs.put("linear/a.parquet", new)
            return super().read(*arguments)

    report = Job(bench.service, Overtaken(bench.inputs), bench.results, "linear/a.parquet").run()
    assert (report.reason, report.rows_in) == ("", 3)
