"""A version in several precisions: which one answers, and that none is loaded twice or without need."""

import pytest
from tensorlet.errors import AliasNotFound, ArtifactRefused, PrecisionNotFound
from tensorlet.registry.registry import Registry
from tensorlet.registry.writer import set_alias

from tests.models import linear, publish, publish_onnx, publish_precisions


@pytest.fixture
def digits(store):
    """Version 1 of `digits` in fp32, its default, and int8."""
    publish_precisions(store, "digits", {"fp32": linear(seed=1), "int8": linear(seed=2)})
    return store


def answering(service, selector=None, precision=""):
    return service.model("digits", selector, precision).artifact.files[0].path


def test_the_default_answers_whoever_asks_for_none(digits, service):
    assert answering(service) == "model.fp32.onnx"
    assert answering(service, "1") == "model.fp32.onnx"


def test_the_precision_that_is_asked_for_answers(digits, service):
    assert answering(service, precision="int8") == "model.int8.onnx"
    assert answering(service, "1", "int8") == "model.int8.onnx"


def test_the_default_by_its_own_precision_is_the_same_loaded_model(digits, service):
    assert service.model("digits", precision="fp32") is service.model("digits")
    assert service.model("digits", precision="int8") is service.model("digits", "1", "int8")


def test_a_precision_alone_is_all_that_is_loaded(digits, service):
    service.model("digits", precision="int8")

    assert service.loaded_bytes("digits", 1) == len(linear(seed=2))


def test_a_precision_that_the_version_lacks_is_refused_with_those_it_has(digits, service):
    with pytest.raises(PrecisionNotFound, match=r"digits/1: expected a precision of fp32, int8, got 'fp16'"):
        service.model("digits", precision="fp16")


def test_an_alias_is_answered_in_its_precision_unless_another_is_asked_for(digits, service):
    set_alias(digits, "digits", "small", 1, precision="int8")

    assert answering(service, "small") == "model.int8.onnx"
    assert answering(service, "small", "fp32") == "model.fp32.onnx"
    assert answering(service) == "model.fp32.onnx"


def test_the_alias_live_has_a_precision_too(digits, service):
    set_alias(digits, "digits", "live", 1, precision="int8")

    assert answering(service) == "model.int8.onnx"


def test_an_alias_that_is_moved_without_a_precision_has_none(digits, service):
    set_alias(digits, "digits", "small", 1, precision="int8")
    set_alias(digits, "digits", "other", 1, precision="int8")
    set_alias(digits, "digits", "small", 1)

    assert answering(service, "small") == "model.fp32.onnx"
    assert answering(service, "other") == "model.int8.onnx"


def test_an_alias_cannot_choose_a_precision_that_is_not_there(digits, service):
    with pytest.raises(PrecisionNotFound):
        set_alias(digits, "digits", "small", 1, precision="fp16")
    with pytest.raises(AliasNotFound):
        service.model("digits", "small")


def test_an_alias_file_may_say_more_than_we_know(digits):
    digits.put(
        "digits/aliases.json",
        b'{"aliases": {"live": {"1": 1.0}}, "settings": {"live": {"later": [1]}}, "history": [], "more": 1}',
    )

    aliases = Registry([digits]).aliases("digits")

    assert (aliases.version("live"), aliases.precision("live")) == (1, "")


def test_unloading_lets_go_of_every_precision(digits, service):
    service.model("digits")
    service.model("digits", precision="int8")
    assert service.loaded_bytes("digits", 1) == len(linear(seed=1)) + len(linear(seed=2))

    service.unload("digits", 1)

    assert not service.is_loaded("digits", 1)
    assert service.loaded_bytes("digits", 1) == 0


def test_a_refused_precision_leaves_the_version_ready(digits, service):
    digits.put("digits/1/model.int8.onnx", linear(seed=3))

    with pytest.raises(ArtifactRefused, match="expected sha256"):
        service.model("digits", precision="int8")

    assert service.state("digits", 1).name == "READY"
    assert answering(service) == "model.fp32.onnx"


def test_a_pinned_artifact_answers_whatever_is_the_default(digits, service):
    assert service.pinned("digits", 1, "onnx.int8") is service.model("digits", precision="int8")
    assert service.pinned("digits", 1, "onnx.fp32") is service.model("digits")
    with pytest.raises(ArtifactRefused, match=r"no artifact 'onnx\.fp16'"):
        service.pinned("digits", 1, "onnx.fp16")


def test_both_precisions_count_into_one_version(digits, service):
    service.model("digits").statistics.succeeded(2, 1, 1, 1)
    service.model("digits", precision="int8").statistics.succeeded(3, 1, 1, 1)

    counted = service.statistics("digits", 1)
    assert (counted.executions, counted.rows, sorted(counted.batches)) == (2, 5, [2, 3])


def test_a_precision_is_served_in_the_format_of_the_default_where_it_has_it(store):
    document = {
        "artifacts": [
            {"id": id, "format": format, "precision": precision, "files": [{"path": "model.onnx"}]}
            for id, format, precision in [
                ("tflite.int8", "tflite", "int8"),
                ("onnx", "onnx", "fp32"),
                ("onnx.int8", "onnx", "int8"),
                ("tflite.fp16", "tflite", "fp16"),
            ]
        ]
    }
    publish(store, "digits", "onnx", linear(), **document)
    manifest = Registry([store]).release("digits", 1).manifest

    assert manifest.artifact(precision="int8").id == "onnx.int8"
    assert manifest.artifact("tflite", "int8").id == "tflite.int8"
    assert manifest.artifact(precision="fp16").id == "tflite.fp16"
    assert manifest.precisions() == ["int8", "fp32", "fp16"]


def test_two_models_are_told_apart_by_version_too(digits, service):
    publish_onnx(digits, "digits", linear(seed=4))

    with pytest.raises(PrecisionNotFound, match="digits/2"):
        service.model("digits", precision="int8")
    assert answering(service, "1", "int8") == "model.int8.onnx"
