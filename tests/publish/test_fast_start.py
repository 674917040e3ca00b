"""Fast-start variants: when one is made, what its entry says, and when it is loaded."""

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from tensorlet.errors import ArtifactRefused, PublishError, StorageUnavailable
from tensorlet.publish import fast_start, publish
from tensorlet.publish.fast_start import make_variant
from tensorlet.publish.golden import Golden
from tensorlet.registry.registry import Registry
from tensorlet.runtimes import onnx_runtime_version
from tensorlet.serving.service import ModelService, fastest, open_artifact, temporary_folder
from tensorlet.settings import Settings
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import Tensor

from tests.models import linear, linear_weights

SCHEMA = Path(__file__).parents[2] / "docs" / "manifest.schema.json"
COLUMNS, OUTPUTS = 64, 32
SIGNATURE = Signature(
    (TensorSpec("image", "FP32", (-1, COLUMNS)),), (TensorSpec("scores", "FP32", (-1, OUTPUTS)),)
)
IMAGES = np.random.default_rng(1).standard_normal((3, COLUMNS)).astype(np.float32)
WEIGHTS, BIAS = linear_weights(COLUMNS, OUTPUTS)
GOLDEN = Golden({"image": IMAGES}, {"scores": IMAGES @ WEIGHTS + BIAS})


pytestmark = pytest.mark.slow  # each publishes, in processes of their own


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "linear.onnx"
    path.write_bytes(linear(COLUMNS, OUTPUTS))
    return path


@pytest.fixture(scope="module")
def original(model, tmp_path_factory):
    """A registry with a variant, which is not worth it for so small a model but was asked for."""
    folder = tmp_path_factory.mktemp("original")
    publish(model, "linear", f"file://{folder}", fast_start="always")
    return folder


@pytest.fixture
def registry(original, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(original, tmp_path / "registry")
    return f"file://{tmp_path}/registry"


@pytest.fixture
def published(registry):
    return Registry.open(registry).resolve("linear")


def answers(model):
    return model.infer({"image": Tensor.from_numpy(IMAGES)})["scores"].numpy()


def test_the_variant_stands_in_the_manifest_with_its_runtime_and_its_price(published):
    """It comes after the artifact it is made of, and is never the default."""
    plain, variant = published.manifest.artifacts

    assert (plain.id, variant.id) == ("onnx", "onnx.fast")
    assert published.manifest.artifact("onnx") == plain
    assert [file.path for file in variant.files] == ["model.fast.onnx", "model.fast.weights"]
    entry = published.manifest.document["artifacts"][1]["fast_start"]
    assert entry["runtime_version"] == onnx_runtime_version()
    assert entry["start_ratio"] > 0 and entry["warm_slowdown"] > 0
    jsonschema.validate(published.manifest.document, json.loads(SCHEMA.read_text()))


def test_the_variant_is_loaded_and_answers_like_the_plain_file(published, registry):
    service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": registry}))
    plain = open_artifact(published, published.manifest.artifacts[0], 1)

    loaded = service.model("linear")

    assert loaded.artifact.id == "onnx.fast"
    np.testing.assert_allclose(answers(loaded), answers(plain), rtol=1e-5)


def test_the_plain_file_is_loaded_by_another_release_of_the_runtime(published, monkeypatch):
    plain, variant = published.manifest.artifacts
    assert fastest(published.manifest, plain) == variant

    monkeypatch.setattr("tensorlet.serving.service.onnx_runtime_version", lambda: "1.0.0")

    assert fastest(published.manifest, plain) == plain


@pytest.mark.parametrize("name", ["model.fast.onnx", "model.fast.weights"])
def test_a_damaged_file_of_the_variant_is_refused(published, tmp_path, name):
    path = tmp_path / "registry/linear/1" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(ArtifactRefused, match=f"linear/1/{name}: expected sha256"):
        open_artifact(published, published.manifest.artifacts[1], 1)


def test_a_store_that_is_elsewhere_leaves_no_file_behind(published, tmp_path, monkeypatch, store):
    """The runtime keeps the mapped weights; their names are gone as soon as the session is open."""
    for path in (tmp_path / "registry").rglob("*"):
        if path.is_file():
            store.put(path.relative_to(tmp_path / "registry").as_posix(), path.read_bytes())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    release = Registry([store]).resolve("linear")

    session = open_artifact(release, release.manifest.artifacts[1], 1)

    assert list(scratch.iterdir()) == []
    np.testing.assert_allclose(answers(session), GOLDEN.outputs["scores"], rtol=1e-4, atol=1e-5)


def test_files_of_a_layer_are_opened_where_they_lie(published, tmp_path, monkeypatch):
    """What nobody can overwrite need not be copied before it is mapped."""
    monkeypatch.setattr("tensorlet.registry.registry.os.access", lambda folder, mode: False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))

    session = open_artifact(published, published.manifest.artifacts[1], 1)

    np.testing.assert_allclose(answers(session), GOLDEN.outputs["scores"], rtol=1e-4, atol=1e-5)


def test_files_that_may_change_are_copied_before_they_are_mapped(published, tmp_path):
    """Overwriting the weights does not change the answers of a model that was checked and loaded."""
    session = open_artifact(published, published.manifest.artifacts[1], 1)
    weights = tmp_path / "registry/linear/1/model.fast.weights"

    weights.write_bytes(bytes(weights.stat().st_size))

    np.testing.assert_allclose(answers(session), GOLDEN.outputs["scores"], rtol=1e-4, atol=1e-5)


def test_a_missing_place_for_the_files_is_storage_that_is_unavailable(published, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "registry" / "linear" / "1" / "manifest.json"))

    with pytest.raises(StorageUnavailable, match="the model needs its size in"):
        open_artifact(published, published.manifest.artifacts[1], 1)


@pytest.mark.parametrize(
    "size_bytes", [0, 1 << 60], ids=["reads a large file by path", "into memory without room"]
)
def test_a_large_file_is_read_by_the_runtime_itself_where_there_is_room(published, monkeypatch, size_bytes):
    monkeypatch.setattr("tensorlet.serving.service.LARGE_BYTES", 1)
    plain = published.manifest.artifacts[0]
    file = plain.files[0]._replace(size_bytes=size_bytes or plain.size_bytes)

    session = open_artifact(published, plain._replace(files=(file,)), 1)

    np.testing.assert_allclose(answers(session), GOLDEN.outputs["scores"], rtol=1e-4, atol=1e-5)


def test_a_temporary_folder_is_private_and_goes_away_after_a_failure(published, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    files = [file._replace(path=f"variables/{file.path}") for file in published.manifest.artifacts[1].files]

    with pytest.raises(ZeroDivisionError), temporary_folder(files) as folder:
        assert Path(folder).stat().st_mode & 0o077 == 0
        (Path(folder) / files[0].path).write_bytes(b"half")
        raise ZeroDivisionError

    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("mode", "size_bytes"),
    [
        pytest.param("auto", fast_start.MIN_BYTES - 1, id="small models start quickly as they are"),
        pytest.param("never", fast_start.MIN_BYTES + 1, id="never means never"),
    ],
)
def test_no_variant_is_made_where_none_is_wanted(tmp_path, mode, size_bytes):
    model = tmp_path / "model.onnx"
    model.write_bytes(bytes(size_bytes))  # not even a model: nobody looks inside

    assert make_variant(model, tmp_path, SIGNATURE, GOLDEN, 1e-5, mode) == (None, "")


@pytest.mark.parametrize(
    ("start_ratio", "warm_slowdown", "kept"),
    [
        pytest.param(0.1, 1.6, True, id="wins much and costs little"),
        pytest.param(0.1, 1.61, False, id="costs too much when warm"),
        pytest.param(0.51, 1.0, False, id="wins too little"),
    ],
)
def test_auto_keeps_a_variant_where_it_pays(model, tmp_path, monkeypatch, start_ratio, warm_slowdown, kept):
    monkeypatch.setattr(fast_start, "measure", lambda *_: fast_start.Measured(start_ratio, warm_slowdown))
    monkeypatch.setattr(fast_start, "MIN_BYTES", 1)

    variant, line = make_variant(model, tmp_path, SIGNATURE, GOLDEN, 1e-5, "auto")

    assert (variant is not None) == kept
    assert f"{start_ratio:.2f}x the start, {warm_slowdown:.2f}x when warm" in line


def test_a_variant_that_answers_differently_is_not_kept(model, tmp_path, monkeypatch):
    monkeypatch.setattr(fast_start, "MIN_BYTES", 1)
    wrong = GOLDEN._replace(outputs={"scores": GOLDEN.outputs["scores"] + 1})

    variant, line = make_variant(model, tmp_path, SIGNATURE, wrong, 1e-5, "auto")

    assert variant is None
    assert "differs from the source model" in line
    with pytest.raises(PublishError, match=r"--fast-start always: model\.fast\.onnx"):
        make_variant(model, tmp_path, SIGNATURE, wrong, 1e-5, "always")


def test_always_says_so_where_there_is_no_onnx_artifact(tmp_path):
    tflite = Path(__file__).parents[1] / "data" / "dynamic.tflite"

    with pytest.raises(PublishError, match="only an ONNX artifact has a fast-start variant"):
        publish(tflite, "doubler", f"file://{tmp_path}", fast_start="always")
