"""models, alias and pull: looking into a registry, moving an alias, taking an artifact out."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from tensorlet.cli.text import size, table
from tensorlet.registry.writer import publish_version

from tests.models import linear, publish_onnx


def test_models_for_scripts_is_the_documented_document(tensorlet, digits):
    tensorlet("alias", "digits", "live", 1)

    outcome = tensorlet("models", "--json")

    [model] = json.loads(outcome.out)
    assert model["name"] == "digits"
    assert model["aliases"] == {"live": {"1": 1.0}}
    assert [set(version) for version in model["versions"]] == [{"version", "created", "formats"}] * 2
    assert [(version["version"], version["formats"]) for version in model["versions"]] == [
        (1, ["onnx"]),
        (2, ["onnx"]),
    ]


def test_models_for_people_is_a_line_for_each_model(tensorlet, digits):
    publish_onnx(digits, "a-longer-name", linear())
    tensorlet("alias", "digits", "live", 1)

    lines = tensorlet("models").out.splitlines()

    assert lines[0].split() == ["NAME", "VERSIONS", "NEWEST", "CREATED", "FORMATS", "ALIASES"]
    assert lines[1].startswith("a-longer-name")
    assert lines[2].startswith("digits  ") and lines[2].endswith("live → 1")


def test_models_of_one_name_is_a_line_for_each_version_newest_first(tensorlet, digits):
    tensorlet("alias", "digits", "live", 1)

    header, second, first = tensorlet("models", "digits").out.splitlines()

    assert header.split() == ["VERSION", "CREATED", "SIZE", "ALIASES", "FORMATS"]
    assert second.split()[0] == "2" and "live" not in second
    assert first.split()[0] == "1" and "live" in first


def test_an_empty_registry_says_how_to_fill_it(tensorlet, registry):
    assert "tensorlet publish" in tensorlet("models").out
    assert json.loads(tensorlet("models", "--json").out) == []


def test_a_version_with_a_broken_manifest_is_listed_as_broken(tensorlet, digits):
    digits.put("digits/2/manifest.json", b"{")

    [model] = json.loads(tensorlet("models", "--json").out)

    assert model["versions"][0]["formats"] == ["onnx"]
    assert "manifest.json is not valid" in model["versions"][1]["error"]
    assert "broken" in tensorlet("models").out


def test_an_alias_moves_and_is_pulled_by(tensorlet, digits, tmp_path):
    target = tmp_path / "live.onnx"
    tensorlet("alias", "digits", "live", 1)
    moved = tensorlet("alias", "digits", "live", 2)

    assert tensorlet("pull", "digits@live", "-o", target).status == 0

    assert moved == (0, "digits@live → 2\n", "")
    assert target.read_bytes() == linear(seed=2)


def test_what_is_pulled_has_the_digest_of_the_manifest(tensorlet, digits, tmp_path):
    target = tmp_path / "new" / "folder" / "model.onnx"

    outcome = tensorlet("pull", "digits@1", "--format", "onnx", "-o", target)

    assert outcome.status == 0
    assert sha256(target.read_bytes()).hexdigest() in outcome.err


def test_a_changed_artifact_is_not_pulled(tensorlet, digits, tmp_path):
    digits.put("digits/1/model.onnx", linear(seed=3))
    target = tmp_path / "out" / "model.onnx"
    target.parent.mkdir()

    outcome = tensorlet("pull", "digits@1", "-o", target)

    assert outcome.status == 1
    assert "expected sha256" in outcome.err
    assert list(target.parent.iterdir()) == []


def test_the_weights_beside_a_model_file_are_pulled_with_it(tensorlet, registry, tmp_path):
    publish_files(registry, tmp_path, {"model.onnx": b"graph", "model.onnx.data": b"weights"})

    assert tensorlet("pull", "large", "-o", tmp_path / "out" / "mine.onnx").status == 0

    assert (tmp_path / "out" / "mine.onnx").read_bytes() == b"graph"
    assert (tmp_path / "out" / "model.onnx.data").read_bytes() == b"weights"


def test_a_manifest_cannot_write_outside_the_target_folder(tensorlet, registry, tmp_path):
    publish_files(registry, tmp_path, {"model.onnx": b"graph", "model.onnx.data": b"weights"})
    manifest = json.loads(bytes(registry.get("large/1/manifest.json").data))
    manifest["artifacts"][0]["files"][1]["path"] = "../../escaped"
    registry.put("large/1/manifest.json", json.dumps(manifest).encode())

    outcome = tensorlet("pull", "large", "-o", tmp_path / "out" / "mine.onnx")

    assert outcome.status == 1
    assert "leaves the version's folder" in outcome.err
    assert not (tmp_path / "out").exists()


def test_numbers_are_aligned_to_the_right_and_text_to_the_left():
    assert table(("name", "rows"), [("a", "5"), ("long", "1,000")]) == (
        "NAME   ROWS\n"
        "a         5\n"
        "long  1,000"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (31557, "31.6 kB"),
        (407_355, "407 kB"),
        (10**12, "1000 GB"),
    ],
)
def test_sizes_are_short(size_bytes, text):
    assert size(size_bytes) == text


def publish_files(registry, folder: Path, files: dict[str, bytes]) -> None:
    """A version of `large` whose one artifact has these files; nothing loads it."""
    for path, data in files.items():
        (folder / path).write_bytes(data)
    artifact = {
        "id": "onnx",
        "format": "onnx",
        "precision": "fp32",
        "files": [{"path": path} for path in files],
    }
    document = {
        "signature": {"inputs": [], "outputs": []},
        "artifacts": [artifact],
        "default_artifact": "onnx",
    }
    publish_version(registry, "large", document, {path: folder / path for path in files})


def test_a_part_of_an_alias_can_be_moved_and_moved_back(tensorlet, digits):
    tensorlet("alias", "digits", "live", 1)

    assert tensorlet("alias", "digits", "live", 2, "--weight", "0.1").out == "digits@live → 1 90% + 2 10%\n"
    assert "live → 1 90% + 2 10%" in tensorlet("models").out
    assert tensorlet("alias", "digits", "live", "--rollback").out == "digits@live → 1\n"

    header, back, canary, first = tensorlet("alias", "digits", "live", "--history").out.splitlines()
    assert header.split() == ["TIME", "FROM", "TO", "WHY"]
    assert back.split("  ")[-1].strip() == "rollback"
    assert "1 90% + 2 10%" in canary
    assert first.split()[1:3] == ["-", "1"]


@pytest.mark.parametrize("weight", ["1.1", "-1", "much"])
def test_a_share_that_cannot_be_is_wrong_usage(tensorlet, digits, weight):
    outcome = tensorlet("alias", "digits", "live", 2, "--weight", weight)

    assert outcome.status == 2 and "weight" in outcome.err
