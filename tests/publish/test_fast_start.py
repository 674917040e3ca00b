"""Fast-start variants: when one is made, what its entry says, and when it is loaded."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from tensorlet.errors import ArtifactRefused, PublishError
from tensorlet.publish import fast_start, publish
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import open_store
from tensorlet.runtimes import onnx_runtime_version
from tensorlet.serving.service import ModelService, fastest, open_artifact, temporary_folder
from tensorlet.settings import Settings
from tensorlet.tensors import Tensor

from tests.models import linear

SCHEMA = Path(__file__).parents[2] / "docs" / "manifest.schema.json"
COLUMNS, OUTPUTS = 64, 32


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear(COLUMNS, OUTPUTS))
    return path


@pytest.fixture
def registry(tmp_path):
    return f"file://{tmp_path}/registry"


@pytest.fixture
def published(model, registry):
    """A release with a variant, which is not worth it for so small a model but was asked for."""
    publish(model, "linear", registry, fast_start="always")
    return Registry.open(registry).resolve("linear")


def rows(count=3):
    values = np.random.default_rng(1).standard_normal((count, COLUMNS)).astype(np.float32)
    return {"image": Tensor.from_numpy(values)}


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
    np.testing.assert_allclose(
        loaded.infer(rows())["scores"].numpy(), plain.infer(rows())["scores"].numpy(), rtol=1e-6
    )


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
    assert session.infer(rows())["scores"].shape == (3, OUTPUTS)


def test_a_temporary_folder_is_private_and_goes_away_after_a_failure(published, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    files = [file._replace(path=f"variables/{file.path}") for file in published.manifest.artifacts[1].files]

    with pytest.raises(ZeroDivisionError), temporary_folder(files) as folder:
        assert Path(folder).stat().st_mode & 0o077 == 0
        (Path(folder) / files[0].path).write_bytes(b"half")
        raise ZeroDivisionError

    assert not Path(folder).exists()


def test_a_small_model_gets_no_variant_unless_it_is_asked_for(model, registry):
    publish(model, "linear", registry)

    assert [artifact.id for artifact in Registry.open(registry).resolve("linear").manifest.artifacts] == [
        "onnx"
    ]


@pytest.mark.parametrize(
    ("start_ratio", "warm_slowdown", "ids"),
    [
        pytest.param(0.1, 1.6, ["onnx", "onnx.fast"], id="wins much and costs little"),
        pytest.param(0.1, 1.61, ["onnx"], id="costs too much when warm"),
        pytest.param(0.51, 1.0, ["onnx"], id="wins too little"),
    ],
)
def test_auto_publishes_a_variant_where_it_pays(
    model, registry, monkeypatch, start_ratio, warm_slowdown, ids
):
    measured = fast_start.Measured(start_ratio, warm_slowdown)
    monkeypatch.setattr(fast_start, "measure", lambda *_: measured)
    monkeypatch.setattr(fast_start, "MIN_BYTES", 1)
    lines = []

    publish(model, "linear", registry, report=lines.append)

    assert [artifact.id for artifact in Registry.open(registry).resolve("linear").manifest.artifacts] == ids
    assert any(f"{start_ratio:.2f}x the start, {warm_slowdown:.2f}x when warm" in line for line in lines)


def test_never_means_never(model, registry, monkeypatch):
    monkeypatch.setattr(fast_start, "MIN_BYTES", 1)
    publish(model, "linear", registry, fast_start="never")

    assert open_store(registry).folder("linear/1").objects
    assert [artifact.id for artifact in Registry.open(registry).resolve("linear").manifest.artifacts] == [
        "onnx"
    ]


def test_always_says_so_where_there_is_no_onnx_artifact(registry):
    tflite = Path(__file__).parents[1] / "data" / "dynamic.tflite"

    with pytest.raises(PublishError, match="only an ONNX artifact has a fast-start variant"):
        publish(tflite, "doubler", registry, fast_start="always")
