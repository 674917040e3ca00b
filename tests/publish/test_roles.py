"""Classify and regress roles come from flags, a signature.json, or the SavedModel, the nearest to the user first."""

import json

import pytest
from tensorlet.errors import PublishError
from tensorlet.publish.roles import find_roles
from tensorlet.signature import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("image", "FP32", (-1, 4)),),
    (TensorSpec("label", "BYTES", (-1, 2)), TensorSpec("probability", "FP32", (-1, 2))),
)


@pytest.fixture
def source(tmp_path):
    """A model's file in a folder of its own."""
    return tmp_path / "model.onnx"


def test_a_model_without_roles_has_none(source, tmp_path):
    assert find_roles(source, tmp_path / "none.json", SIGNATURE, None, None) == {}


def test_flags_name_outputs(source, tmp_path):
    roles = find_roles(source, tmp_path / "none.json", SIGNATURE, "label", "probability")

    assert roles == {"roles": {"classes": "label", "scores": "probability"}}


def test_a_signature_file_says_more_and_flags_win(source, tmp_path):
    document = {
        "roles": {"scores": "label", "features": {"pixels": "image"}},
        "signatures": {"worth": {"method": "regress", "values": "probability"}},
    }
    (tmp_path / "signature.json").write_text(json.dumps(document))

    assert find_roles(source, tmp_path / "none.json", SIGNATURE, None, "probability") == {
        "roles": {"scores": "probability", "features": {"pixels": "image"}},
        "signatures": document["signatures"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "signature.json"),
        ("[]", "expected a JSON object"),
        (
            '{"roles": {"classes": "nothing"}}',
            "classes: expected an output, one of label, probability, got 'nothing'",
        ),
        ('{"roles": {"features": {"a": "b"}}}', "expected an input, one of image, got 'b'"),
        ('{"roles": {"winner": "label"}}', "expected members"),
        ('{"signatures": {"s": {"method": "guess"}}}', "expected a method of classify, regress"),
        ('{"signatures": {"s": 1}}', "expected a method of"),
    ],
)
def test_a_signature_file_that_does_not_fit_is_refused(source, tmp_path, text, message):
    (tmp_path / "signature.json").write_text(text)

    with pytest.raises(PublishError, match=message):
        find_roles(source, tmp_path / "none.json", SIGNATURE, None, None)


def test_a_flag_that_names_no_output_is_refused(source, tmp_path):
    with pytest.raises(PublishError, match="--classes: expected an output"):
        find_roles(source, tmp_path / "none.json", SIGNATURE, "nothing", None)
