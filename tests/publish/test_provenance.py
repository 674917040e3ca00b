"""Provenance: enough to make a version again, and nothing about whose machine it was."""

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
from tensorlet.publish import publish
from tensorlet.publish.provenance import code_state
from tensorlet.registry.registry import Registry
from tensorlet.signature import TensorSpec

ME = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=os.environ | ME, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "train.py").write_text("lr = 0.1\n")
    git(folder, "add", "train.py")
    git(folder, "commit", "--quiet", "--message", "train")
    return folder


def test_the_code_is_a_commit_and_whether_it_was_changed(checkout):
    revision = git(checkout, "rev-parse", "HEAD")
    assert code_state(checkout) == {"revision": revision, "dirty": False}

    (checkout / "train.py").write_text("lr = 0.2\n")
    assert code_state(checkout) == {"revision": revision, "dirty": True}


def test_outside_of_a_checkout_there_is_no_code(tmp_path):
    assert code_state(tmp_path) is None
    assert code_state(tmp_path / "absent") is None


def test_a_checkout_does_not_choose_a_program_to_run(checkout):
    git(checkout, "config", "core.fsmonitor", f"touch {checkout}/ran; false")

    code_state(checkout)

    assert not (checkout / "ran").exists()


@pytest.mark.slow
def test_a_manifest_says_what_made_it_and_not_where(keras_model, registry, checkout):
    publish(
        keras_model, "doubler", registry, inputs=[TensorSpec("x", "FP32", (-1, 3))], scores="y", code=checkout
    )

    document = Registry.open(registry).resolve("doubler").manifest.document
    provenance = document["provenance"]
    assert provenance["code"] == {"revision": git(checkout, "rev-parse", "HEAD"), "dirty": False}
    assert provenance["environment"]["packages"].keys() >= {"numpy", "onnxruntime", "tensorlet"}
    assert provenance["knobs"] == {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "scores": "y",
        "fast_start": "auto",
    }
    text = json.dumps(document)
    for private in (str(Path.home()), str(keras_model.parent), platform.node()):
        assert private not in text
