"""Publishing, with a stand-in for the frameworks: what is written when conversions succeed, fail and lie."""

import json
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from tensorlet.errors import ConversionFailed, InvalidRequest, ParityError, PublishError, UntrustedSource
from tensorlet.monitoring.drift import compare
from tensorlet.publish import publish
from tensorlet.publish.convert import convert_python
from tensorlet.registry.registry import Registry
from tensorlet.signature import TensorSpec

from tests import models

TFLITE = Path(__file__).parents[1] / "data"
SCHEMA = Path(__file__).parents[2] / "docs" / "manifest.schema.json"


def released(registry, name="doubler"):
    return Registry.open(registry).resolve(name).manifest


def test_both_formats_are_published_with_their_parity_and_the_golden_values(keras_model, registry, tmp_path):
    lines = []
    version = publish(keras_model, "doubler", registry, aliases=["live", "edge"], report=lines.append)

    manifest = released(registry)
    assert version == manifest.version == 1
    assert [artifact.id for artifact in manifest.artifacts] == ["onnx", "tflite"]
    for artifact in manifest.document["artifacts"]:
        assert artifact["parity"]["max_abs_diff"] <= artifact["parity"]["tolerance"]
    with np.load(tmp_path / "registry/doubler/1/golden.npz") as golden:
        np.testing.assert_array_equal(golden["output:y"], 2 * golden["input:x"] + 1)
    aliases = Registry.open(registry).aliases("doubler")
    assert aliases.version("live") == aliases.version("edge") == 1
    assert any("model.tflite" in line for line in lines)


@pytest.mark.slow
def test_a_published_manifest_follows_its_schema(keras_model, registry):
    publish(keras_model, "doubler", registry, scores="y", labels=["a", "b", "c"])

    document = released(registry).document
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert (document["roles"], document["labels"]) == ({"scores": "y"}, ["a", "b", "c"])


@pytest.mark.parametrize(("crashing", "left"), [("onnx", "tflite"), ("tflite", "onnx")])
@pytest.mark.slow
def test_a_crashing_conversion_takes_only_its_own_format_down(
    keras_model, registry, monkeypatch, crashing, left
):
    monkeypatch.setenv("FAKE_CRASH", crashing)
    lines = []
    publish(keras_model, "doubler", registry, report=lines.append)

    assert [artifact.id for artifact in released(registry).artifacts] == [left]
    assert released(registry).default_artifact == left
    assert any(f"{crashing} " in line and "skipped" in line and "SIGSEGV" in line for line in lines)


@pytest.mark.parametrize("lying", ["onnx", "describe"])
@pytest.mark.slow
def test_nothing_is_published_when_an_artifact_answers_differently_from_its_source(
    keras_model, registry, monkeypatch, lying
):
    monkeypatch.setenv("FAKE_WRONG", lying)

    with pytest.raises(ParityError, match=r"model\.onnx, output 'y'.* by 0\.001 on row \d, tolerance"):
        publish(keras_model, "doubler", registry)

    assert Registry.open(registry).models() == []


@pytest.mark.slow
def test_the_row_of_the_largest_difference_is_named(keras_model, registry, monkeypatch):
    monkeypatch.setenv("FAKE_WRONG", "describe")  # in row 5

    with pytest.raises(ParityError, match="on row 5"):
        publish(keras_model, "doubler", registry)


def test_a_source_model_that_does_not_run_is_refused_with_the_reason(keras_model, registry, monkeypatch):
    monkeypatch.setenv("FAKE_MISSING", "describe")

    with pytest.raises(ConversionFailed, match=r"install tensorlet\[train\]"):
        publish(keras_model, "doubler", registry)


def test_a_python_that_is_not_there_is_named(keras_model, registry, monkeypatch):
    monkeypatch.setenv("TENSORLET_CONVERT_PYTHON", "/nowhere/python")

    with pytest.raises(ConversionFailed, match="TENSORLET_CONVERT_PYTHON: cannot run /nowhere/python"):
        publish(keras_model, "doubler", registry)


@pytest.mark.parametrize("name", ["TENSORLET_CONVERT_PYTHON"])
def test_the_python_for_conversions_is_the_one_that_is_named(name):
    assert convert_python({name: "/opt/python"}) == "/opt/python"


@pytest.mark.slow
def test_an_onnx_file_is_published_as_it_is(tmp_path, registry):
    source = tmp_path / "linear.onnx"
    source.write_bytes(models.linear())

    publish(source, "linear", registry)

    assert (tmp_path / "registry/linear/1/model.onnx").read_bytes() == source.read_bytes()
    assert released(registry, "linear").signature.inputs == (TensorSpec("image", "FP32", (-1, 4)),)


@pytest.mark.slow
def test_weights_beside_an_onnx_file_are_taken_into_it(tmp_path, registry):
    source = tmp_path / "linear.onnx"
    model = onnx.load_from_string(models.linear())
    onnx.save(model, source, save_as_external_data=True, location="linear.weights", size_threshold=0)

    publish(source, "linear", registry)

    answer = Registry.open(registry).resolve("linear")
    assert [file.path for file in answer.manifest.artifacts[0].files] == ["model.onnx"]


@pytest.mark.slow
def test_weights_outside_the_folder_of_an_onnx_file_are_refused(tmp_path, registry):
    (tmp_path / "inner").mkdir()
    source = tmp_path / "inner" / "linear.onnx"
    model = onnx.load_from_string(models.linear())
    onnx.save(model, source, save_as_external_data=True, location="linear.weights", size_threshold=0)
    (tmp_path / "inner" / "linear.weights").rename(tmp_path / "linear.weights")
    source.write_bytes(source.read_bytes().replace(b"linear.weights", b"../near.weight"))
    (tmp_path / "linear.weights").rename(tmp_path / "near.weight")

    with pytest.raises(ConversionFailed, match="onnx"):
        publish(source, "linear", registry)


def test_a_file_that_no_runtime_opens_is_refused_when_it_is_published(tmp_path, registry):
    source = tmp_path / "broken.tflite"
    source.write_bytes(b"not a flatbuffer")

    with pytest.raises(PublishError, match="LiteRT cannot open"):
        publish(source, "broken", registry)

    assert Registry.open(registry).models() == []


def test_a_file_that_crashes_its_runtime_is_refused_and_the_publisher_lives(tmp_path, registry):
    """One byte more or less in an offset, and LiteRT ends the process it is in."""
    source = tmp_path / "hostile.tflite"
    content = bytearray((TFLITE / "dynamic.tflite").read_bytes())
    content[458] = 0
    source.write_bytes(content)

    with pytest.raises(ConversionFailed, match=r"the runtime crashed \(SIGABRT\) on model\.tflite"):
        publish(source, "hostile", registry)

    assert Registry.open(registry).models() == []


@pytest.mark.slow
def test_a_tflite_file_of_fixed_batch_can_be_published_for_any_batch(registry):
    publish(TFLITE / "batch1.tflite", "doubler", registry, inputs=[TensorSpec("x", "FP32", (-1, 3))])

    assert released(registry).signature.batched


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("model.bin", "ending in .onnx", id="unknown ending"),
        pytest.param("missing.onnx", "no such file", id="no file"),
        pytest.param("", "SavedModel folder", id="a folder of something else"),
    ],
)
def test_a_source_of_no_known_format_is_refused(tmp_path, registry, name, message):
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(PublishError, match=message):
        publish(tmp_path / name, "m", registry)


@pytest.mark.parametrize("form", ["saved_model", "torchscript"])
def test_a_program_is_refused_unless_the_caller_trusts_it(tmp_path, registry, form):
    if form == "saved_model":
        source = tmp_path / "saved"
        source.mkdir()
        (source / "saved_model.pb").write_bytes(b"")
    else:
        source = tmp_path / "model.pt"
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("model/constants.pkl", b"")

    with pytest.raises(UntrustedSource, match="--trust-source"):
        publish(source, "m", registry)


@pytest.mark.parametrize("arguments", [{"name": "../x"}, {"name": "m", "aliases": ["7"]}])
def test_bad_names_are_refused_before_any_work(keras_model, registry, arguments):
    with pytest.raises(InvalidRequest):
        publish(keras_model, registry=registry, **arguments)


@pytest.mark.slow
def test_a_role_must_be_an_output(keras_model, registry):
    with pytest.raises(PublishError, match="--scores: expected an output, one of y"):
        publish(keras_model, "doubler", registry, scores="probabilities")


@pytest.mark.slow
def test_typical_rows_leave_a_profile_of_inputs_and_answers(tmp_path, registry):
    (tmp_path / "model.onnx").write_bytes(models.linear(4, 3))
    x = np.random.default_rng(0).random((500, 4), dtype=np.float32)
    np.savez(tmp_path / "rows.npz", image=x)

    publish(tmp_path / "model.onnx", "linear", registry, profile=tmp_path / "rows.npz")

    document = released(registry, "linear").document
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert sorted(document["profile"]) == [f"image[{i}]" for i in range(4)] + [
        f"scores[{i}]" for i in range(3)
    ]
    weights, bias = models.linear_weights(4, 3)
    assert [
        drift.psi for drift in compare(document["profile"], {"image": x, "scores": x @ weights + bias})
    ] == (pytest.approx([0.0] * 7, abs=1e-3))
