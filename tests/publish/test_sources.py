"""How a source is recognised, and what its description says of shapes."""

import json
import zipfile

import numpy as np
import pytest
from tensorlet.errors import PublishError
from tensorlet.publish.converters.job import DESCRIPTION_FILE, Job, describe
from tensorlet.publish.sources import detect_source, find_architecture
from tensorlet.signature import TensorSpec


@pytest.mark.parametrize(
    ("name", "member", "format"),
    [
        ("a.pt2", "a/archive_format", "torch_export"),
        ("a.pt", "a/archive_format", "torch_export"),
        ("a.pt", "a/constants.pkl", "torchscript"),
        ("a.pth", "a/data.pkl", "state_dict"),
        ("a.weights.h5", None, "keras_weights"),
        ("a.h5", None, "h5"),
    ],
)
def test_a_source_is_known_by_its_ending_and_what_is_in_it(tmp_path, name, member, format):
    path = tmp_path / name
    path.touch()
    if member:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, b"")

    assert detect_source(path).name == format


def test_the_architecture_of_weights_lies_beside_them_or_is_named(tmp_path):
    weights = tmp_path / "churn.weights.h5"
    weights.touch()
    with pytest.raises(PublishError, match=r"churn\.json: no such file; weights need their architecture"):
        find_architecture(weights, detect_source(weights), None)

    (tmp_path / "churn.json").write_text("{}")
    (tmp_path / "other.json").write_text("{}")

    assert find_architecture(weights, detect_source(weights), None) == tmp_path / "churn.json"
    assert find_architecture(weights, detect_source(weights), tmp_path / "other.json").name == "other.json"


def test_only_weights_take_an_architecture(tmp_path):
    model = tmp_path / "churn.keras"
    model.touch()

    with pytest.raises(PublishError, match=r"only files ending in \.weights\.h5 need one"):
        find_architecture(model, detect_source(model), tmp_path / "churn.json")


def test_every_dimension_of_an_output_that_follows_an_input_is_dynamic(tmp_path):
    """The batch and the length are; the number of features is not."""
    job = Job("m", "state_dict", str(tmp_path), None, None, (), (), None)
    inputs = (TensorSpec("x", "FP32", (-1, -1, 4)),)

    describe(job, inputs, lambda arrays: {"y": arrays["x"][..., :3], "last": arrays["x"][:, -1]}, ())

    outputs = json.loads((tmp_path / DESCRIPTION_FILE).read_text())["signature"]["outputs"]
    assert {output["name"]: output["shape"] for output in outputs} == {"y": [-1, -1, 3], "last": [-1, 4]}
    assert np.load(tmp_path / "golden.npz")["output:y"].shape == (8, 8, 3)
