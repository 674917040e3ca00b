"""Pruning, distillation and calibration as arithmetic. Needs no framework."""

import numpy as np
import pytest
from tensorlet.cli.arguments import ModelReference
from tensorlet.errors import InvalidSetting, ModelNotFound
from tensorlet.registry.store import open_store

from tests.models import linear, publish_onnx
from training.distillation import TEMPERATURE, load_teacher, soften
from training.evaluation import calibration, evaluate
from training.knobs import parse_knobs
from training.pruning import masks, sparsity


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
def test_pruning_takes_the_smallest_weights_of_all_layers_together(share):
    random = np.random.default_rng(0)
    layers = [random.standard_normal((20, 10)) * 10, random.standard_normal((10, 5))]

    kept = masks(layers, share)

    pruned = [layer * mask for layer, mask in zip(layers, kept, strict=True)]
    assert sparsity(pruned) == pytest.approx(share, abs=0.01)
    gone = np.concatenate([np.abs(a[m == 0]) for a, m in zip(layers, kept, strict=True)])
    left = np.concatenate([np.abs(a[m == 1]) for a, m in zip(layers, kept, strict=True)])
    assert gone.max(initial=0.0) < left.min()


def test_softening_divides_logits_by_the_temperature():
    logits = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 9.0]])
    expected = np.exp(logits / TEMPERATURE) / np.exp(logits / TEMPERATURE).sum(axis=1, keepdims=True)

    found = soften(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))

    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_answer_that_is_certain_stays_finite():
    assert np.isfinite(soften(np.array([[1.0, 0.0]]))).all()


def test_a_teacher_answers_images_of_any_layout(tmp_path):
    publish_onnx(open_store(str(tmp_path)), "teacher", linear(columns=6, outputs=3))

    teacher = load_teacher(ModelReference("teacher", None), f"file://{tmp_path}", (2, 3), 3)

    assert teacher.model.name == "teacher/1"
    assert teacher.soft_answers(np.abs(np.ones((5, 2, 3), np.float32))).shape == (5, 3)


@pytest.mark.parametrize(("shape", "classes"), [((2, 2), 3), ((2, 3), 4)])
def test_a_teacher_of_other_images_or_classes_is_refused(tmp_path, shape, classes):
    publish_onnx(open_store(str(tmp_path)), "teacher", linear(columns=6, outputs=3))

    with pytest.raises(InvalidSetting, match="--distill-from teacher: expected one input of"):
        load_teacher(ModelReference("teacher", None), f"file://{tmp_path}", shape, classes)


def test_a_teacher_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(ModelNotFound):
        load_teacher(ModelReference("nobody", None), f"file://{tmp_path}", (2, 3), 3)


def test_calibration_compares_confidence_with_how_often_it_is_right():
    probabilities = np.array([[0.95, 0.05], [0.97, 0.03], [0.55, 0.45], [0.45, 0.55]], np.float32)

    found = calibration(probabilities, np.array([0, 1, 0, 0]))

    assert [entry["rows"] for entry in found] == [2, 2]
    assert [entry["accuracy"] for entry in found] == [0.5, 0.5]
    assert [entry["confidence"] for entry in found] == pytest.approx([0.55, 0.96])
    assert evaluate(probabilities, np.array([0, 1, 0, 0]))["calibration"] == found


def test_knobs_that_make_models_small_are_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    knobs = parse_knobs(
        "torch", "", ["--prune", "0.8", "--distill-from", "big@3", "--variants", "fp16,int8-static"]
    )

    assert knobs.recorded()["prune"] == 0.8 and knobs.recorded()["distill_from"] == "big@3"
    assert knobs.variants == ("fp16", "int8-static")
    assert "prune" not in parse_knobs("torch", "", []).recorded()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--prune", "1"],
        ["--prune", "x"],
        ["--variants", "int4"],
        ["--distill-from", "a@"],
        ["--sign", "/nowhere"],
    ],
)
def test_knobs_that_make_no_sense_are_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        parse_knobs("torch", "", arguments)

    assert left.value.code == 2
    assert arguments[0] in capsys.readouterr().err
