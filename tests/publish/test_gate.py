"""The comparison behind the gate, and the golden inputs it runs on."""

import numpy as np
import pytest
from tensorlet.errors import ParityError, PublishError
from tensorlet.publish.gate import compare
from tensorlet.publish.golden import Golden, golden_inputs, load_golden, save_golden
from tensorlet.signature import TensorSpec


def array(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(-1, 1)


@pytest.mark.parametrize(
    ("expected", "got", "worst"),
    [
        pytest.param(array(1, 2), array(1, 2.5e0), 0.5, id="the largest difference"),
        pytest.param(array(np.nan), array(np.nan), 0.0, id="NaN where the source has NaN"),
        pytest.param(array(np.inf, -np.inf), array(np.inf, -np.inf), 0.0, id="equal infinities"),
        pytest.param(array(), array(), 0.0, id="nothing"),
        pytest.param(array(3, dtype=np.int64), array(3, dtype=np.int64), 0.0, id="whole numbers"),
    ],
)
def test_close_answers_pass_with_their_difference(expected, got, worst):
    assert compare("y", expected, got, tolerance=1.0).max_abs_diff == pytest.approx(worst)


@pytest.mark.parametrize(
    ("expected", "got", "row"),
    [
        pytest.param(array(0, 0, 0), array(0, 0.1, 0.2), 2, id="too far"),
        pytest.param(array(0, 0), array(0, np.nan), 1, id="NaN"),
        pytest.param(array(0, np.inf), array(0, -np.inf), 1, id="the other infinity"),
    ],
)
def test_answers_too_far_off_are_refused_naming_the_row(expected, got, row):
    with pytest.raises(ParityError, match=rf"model\.onnx.* on row {row}, tolerance 0\.01"):
        compare("model.onnx", expected, got, tolerance=0.01)


def test_answers_of_another_shape_are_refused():
    with pytest.raises(ParityError, match=r"expected shape \[2, 1\], got \[1, 1\]"):
        compare("y", array(1, 2), array(1), tolerance=1.0)


def test_the_tolerance_grows_with_the_answers():
    """Logits in the thousands differ by more than probabilities do."""
    assert compare("y", array(5000), array(5000.25), tolerance=1e-4).tolerance == pytest.approx(0.5)
    with pytest.raises(ParityError):
        compare("y", array(0.5), array(0.5002), tolerance=1e-4)


def test_golden_inputs_are_reproducible_and_fit_their_specification():
    specs = [
        TensorSpec("x", "FP32", (-1, 3)),
        TensorSpec("ids", "INT64", (-1, -1)),
        TensorSpec("k", "BOOL", ()),
    ]

    first, second = golden_inputs(specs), golden_inputs(specs)

    for spec in specs:
        assert spec.accepts(first[spec.name].shape)
        np.testing.assert_array_equal(first[spec.name], second[spec.name])
    assert first["x"].shape[0] == first["ids"].shape[0] > 1
    assert first["ids"].dtype == np.int64 and first["ids"].min() >= 0


def test_given_golden_inputs_must_fit():
    with pytest.raises(
        PublishError, match=r"golden input 'x': expected FP32 \[-1, 3\], got float64 \[2, 3\]"
    ):
        golden_inputs([TensorSpec("x", "FP32", (-1, 3))], {"x": np.zeros((2, 3))})


def test_text_inputs_must_be_given():
    with pytest.raises(PublishError, match="'words' is text"):
        golden_inputs([TensorSpec("words", "BYTES", (-1,))])


def test_golden_values_survive_a_round_trip(tmp_path):
    golden = Golden({"x": array(1, 2)}, {"y": array(3, 4), "z:0": array(5)})
    save_golden(tmp_path / "golden.npz", golden)
    again = load_golden(tmp_path / "golden.npz")

    assert list(again.inputs) == ["x"] and list(again.outputs) == ["y", "z:0"]
    np.testing.assert_array_equal(again.outputs["z:0"], golden.outputs["z:0"])
