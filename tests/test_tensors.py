"""Tensors are values: what goes in as NumPy or as Python values comes out the same, to the bit."""

import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tensorlet import tensors
from tensorlet.errors import InvalidTensor
from tensorlet.runtimes.onnx import load_api
from tensorlet.tensors import DATATYPES, Tensor, from_values, narrow

NUMERIC = [name for name in DATATYPES if name not in ("BF16", "BYTES")]
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.sampled_from(NUMERIC).flatmap(lambda name: npst.arrays(DATATYPES[name].numpy, SHAPES)))
def test_an_array_survives_being_a_tensor(array):
    tensor = Tensor.from_numpy(array)

    assert tensor.shape == array.shape
    assert tensor.size_bytes == array.nbytes
    assert tensor.numpy().dtype == array.dtype
    assert tensor.numpy().tobytes() == array.tobytes()


@given(st.sampled_from(NUMERIC).flatmap(lambda name: npst.arrays(DATATYPES[name].numpy, SHAPES)))
def test_values_are_those_of_numpy(array):
    tensor = Tensor.from_numpy(array)

    values = tensor.tolist()

    np.testing.assert_array_equal(np.array(values, array.dtype), array.ravel())
    assert (
        from_values(tensor.datatype, tensor.shape, values).numpy().tobytes() == array.tobytes()
        or np.isnan(array.astype(np.float64)).any()
    )


@pytest.mark.parametrize("order", ["F", "strided", "big-endian"])
def test_any_layout_becomes_row_major_little_endian(order):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    layouts = {
        "F": np.asfortranarray(array),
        "strided": np.repeat(array, 2, 0)[::2],
        "big-endian": array.astype(">f4"),
    }

    tensor = Tensor.from_numpy(layouts[order])

    assert bytes(tensor.data) == array.tobytes()


@given(npst.arrays(np.float32, SHAPES))
def test_bfloat16_keeps_the_upper_half_of_a_float32(array):
    tensor = from_values("BF16", array.shape, array.ravel().tolist())

    upper_halves = (array.view(np.uint32) >> 16).astype(np.uint16)
    values = upper_halves.view(ml_dtypes.bfloat16).astype(np.float32).ravel()

    np.testing.assert_array_equal(np.array(tensor.tolist(), np.float32), values)


def test_text_becomes_utf8_bytes():
    tensor = Tensor.from_numpy(np.array([["héllo", ""]], dtype=object))

    assert tensor == Tensor("BYTES", (1, 2), ["héllo".encode(), b""])
    assert tensor.numpy().tolist() == [["héllo".encode(), b""]]


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        pytest.param("UINT8", [256], id="too large for uint8"),
        pytest.param("UINT8", [-1], id="negative in an unsigned"),
        pytest.param("INT64", [2**63], id="too large for int64"),
        pytest.param("FP32", [10**400], id="an integer no float can hold"),
        pytest.param("FP32", [1.0, 2.0], id="too many"),
        pytest.param("FP32", [], id="too few"),
    ],
)
def test_values_that_do_not_fit_are_refused(datatype, values):
    with pytest.raises(InvalidTensor):
        from_values(datatype, (1,), values)


def test_a_dtype_without_a_datatype_is_refused():
    with pytest.raises(InvalidTensor, match="complex128"):
        Tensor.from_numpy(np.array([1j]))


@pytest.mark.parametrize("by", ["NumPy", "ONNX Runtime", "the standard library"])
@given(array=npst.arrays(np.float64, st.integers(0, 3000), fill=st.floats()))
def test_narrowing_is_what_numpy_does(by, array):
    with np.errstate(all="ignore"):
        expected = array.astype(np.float32)
    load_api()  # takes over large buffers

    with pytest.MonkeyPatch.context() as patch:
        if by != "NumPy":
            patch.delitem(sys.modules, "numpy")
        if by == "the standard library":
            patch.setattr(tensors, "_narrow_many", None)
        narrowed = bytes(narrow(array.tobytes()))

    np.testing.assert_array_equal(np.frombuffer(narrowed, np.float32), expected)
