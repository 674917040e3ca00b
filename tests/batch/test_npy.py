"""NPY in, NPY out, NPZ for several outputs; NPZ in, NPZ out. Rows that fail are left out and listed."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.batch.formats import FORMATS, npy
from tensorlet.batch.options import Options
from tensorlet.batch.rows import UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.signature import Signature, TensorSpec

from tests.batch.bench import Bench, memory_store
from tests.models import identity, linear_weights, publish_onnx

LINEAR = Signature((TensorSpec("image", "FP32", (-1, 4)),), (TensorSpec("scores", "FP32", (-1, 3)),))


def save(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def load(data: bytes):
    return np.load(io.BytesIO(data))


def expected(rows: np.ndarray) -> np.ndarray:
    weights, bias = linear_weights(4, 3)
    return rows.astype(np.float32) @ weights + bias


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "f2", "i1", ">i2", "u8", "?"])
def test_any_numeric_dtype_in_either_order(bench: Bench, dtype, order):
    rows = np.random.default_rng(0).integers(0, 100, (777, 4)).astype(dtype, order=order)
    report = bench.run("linear/a.npy", save(rows))
    assert (report.reason, report.rows_out) == ("", 777)
    out = load(bench.out("linear/a.npy"))
    assert (out.shape, out.dtype) == ((777, 3), np.float32)
    np.testing.assert_allclose(out, expected(rows), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_larger_than_one_chunk_is_read_in_chunks(bench: Bench, order, monkeypatch):
    monkeypatch.setattr(npy, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(npy, "COLUMN_CHUNK_BYTES", 1000)
    rows = np.random.default_rng(0).random((500, 4), np.float32)
    bench.run("linear/a.npy", save(np.asarray(rows, order=order)))
    np.testing.assert_allclose(load(bench.out("linear/a.npy")), expected(rows), rtol=1e-5)


def test_rows_of_another_shape_and_the_same_size_are_reshaped(bench: Bench):
    rows = np.arange(8).reshape(2, 1, 2, 2)
    bench.run("linear/a.npy", save(rows))
    np.testing.assert_allclose(load(bench.out("linear/a.npy")), expected(rows.reshape(2, 4)), rtol=1e-5)


def test_one_value_a_row(bench: Bench):
    bench.run("half/a.npy", save(np.array([1, 2, 3])))
    assert load(bench.out("half/a.npy")).tolist() == [2.5, 3.0, 3.5]


def test_several_outputs_become_npz(bench: Bench, store):
    publish_onnx(store, "pair", identity({"x": ("FP32", ["n", 2])}))
    publish_onnx(store, "two", _two_outputs())
    bench.run("two/a.npy", save(np.array([[1, 2], [3, 4]])))
    out = load(bench.out("two/a.npy"))
    assert {name: out[name].tolist() for name in out} == {"sum": [3.0, 7.0], "same": [[1.0, 2.0], [3.0, 4.0]]}


def _two_outputs() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
            helper.make_node("Identity", ["x"], ["same"]),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, ["n", 2]),
        ],
        [numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


def test_rows_that_fail_are_left_out_and_listed(bench: Bench, store):
    publish_onnx(store, "whole", identity({"x": ("INT64", ["n"])}))
    report = bench.run("whole/a.npy", save(np.array([1.0, 2.5, 3.0])))
    assert (report.rows_in, report.rows_out, report.rows_failed) == (3, 2, 1)
    assert load(bench.out("whole/a.npy")).tolist() == [1, 3]
    assert bench.err("whole/a.npy") == [{"row": 1, "error": "expected integers, got 2.5", "input": 2.5}]


def test_no_rows_give_an_array_without_rows(bench: Bench):
    bench.run("linear/a.npy", save(np.zeros((0, 4))))
    assert load(bench.out("linear/a.npy")).shape == (0, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not NPY", id="empty"),
        pytest.param(b"1,2,3,4\n", "not NPY", id="text"),
        pytest.param(
            save(np.zeros((9, 4)))[:-1], "cut off: 288 bytes of data expected, got 287", id="cut off"
        ),
        pytest.param(save(np.array(3.0)), "single value", id="no rows"),
        pytest.param(save(np.zeros((9, 5))), r"expected shape [4], got [5]", id="shape"),
        pytest.param(save(np.zeros((9, 4), complex)), "complex128, expected numbers", id="complex"),
        pytest.param(save(np.array([[None] * 4])), "object, expected numbers", id="pickled objects"),
    ],
)
def test_a_wrong_file_gives_a_report_with_the_reason_and_no_output(bench: Bench, data, reason):
    assert reason in bench.run("linear/a.npy", data).reason
    assert bench.out("linear/a.npy") is None


def test_text_cannot_be_an_npy_file(bench: Bench, store):
    publish_onnx(store, "text", identity({"x": ("BYTES", ["n"])}))
    assert "text" in bench.run("text/a.npy", save(np.array([1]))).reason


def save_npz(compressed: bool = False, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_holds_an_array_for_each_input(bench: Bench, store, monkeypatch, order, compressed):
    monkeypatch.setattr(npy, "CHUNK_BYTES", 1000)
    publish_onnx(store, "two", identity({"a": ("INT64", ["n"]), "b": ("FP32", ["n", 2])}))
    a, b = np.arange(500), np.asarray(np.random.default_rng(0).random((500, 2), np.float32), order=order)
    report = bench.run("two/a.npz", save_npz(compressed, b=b, a=a, unused=np.zeros(3)))

    out = load(bench.out("two/a.npz"))
    assert (report.reason, report.rows_out) == ("", 500)
    assert out["a_out"].tolist() == a.tolist()
    assert out["b_out"].tobytes() == b.tobytes(order="C")


def test_the_only_array_is_the_only_input_whatever_its_name(bench: Bench):
    bench.run("half/a.npz", save_npz(arr_0=np.array([1, 2])))
    assert load(bench.out("half/a.npz"))["y"].tolist() == [2.5, 3.0]


def test_a_row_fails_if_one_of_its_arrays_does_not_fit(bench: Bench, store):
    publish_onnx(store, "two", identity({"a": ("INT64", ["n"]), "b": ("FP32", ["n", 2])}))
    bench.run("two/a.npz", save_npz(a=np.array([1, 1.5, 3]), b=np.arange(6).reshape(3, 2)))
    assert load(bench.out("two/a.npz"))["a_out"].tolist() == [1, 3]
    assert bench.err("two/a.npz") == [
        {"row": 1, "error": "expected integers, got 1.5", "input": {"a": 1.5, "b": [2, 3]}}
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"PK", "not NPZ", id="no archive"),
        pytest.param(
            save_npz(x=np.zeros(3), y=np.zeros(3)), "NPZ has no array 'image', got 'x', 'y'", id="names"
        ),
        pytest.param(save_npz(image=np.zeros((3, 5))), "expected shape [4], got [5]", id="shape"),
        pytest.param(save_npz(image=np.array([[None] * 4])), "expected numbers", id="pickled objects"),
        pytest.param(save_npz(True, image=np.zeros((999, 4)))[:-300], "not NPZ", id="cut off"),
    ],
)
def test_a_wrong_archive_gives_a_report_with_the_reason(bench: Bench, data, reason):
    assert reason in bench.run("linear/a.npz", data).reason
    assert bench.out("linear/a.npz") is None


def test_a_damaged_archive_gives_a_report_with_the_reason(bench: Bench):
    data = bytearray(save_npz(True, image=np.random.default_rng(0).random((999, 4))))
    data[300:400] = bytes(100)
    assert "image.npy is damaged" in bench.run("linear/a.npz", bytes(data)).reason


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_an_array_or_an_unreadable_file(tail, length):
    for name, data in (("m/a.npy", save(np.zeros((3, 4)))), ("m/a.npz", save_npz(image=np.zeros((3, 4))))):
        store = memory_store("inputs")
        store.put(name, data[:length] + tail)
        with suppress(UnreadableFile):
            reader = FORMATS[name[-3:]].read(Source(store, store.head(name)), LINEAR, Options())
            list(reader.rows())
