"""publish --sign, alias --sign, sign and verify, as somebody uses them."""

import json
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from tensorlet.cli import main
from tensorlet.registry.store import open_store

from tests.keys import make_keys
from tests.models import linear

pytestmark = pytest.mark.slow  # each `verify` runs the model in a process of its own
FILES = ["model.onnx", "golden.npz", "manifest.json", "manifest.sig"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def published(tmp_path_factory, keys) -> Path:
    """A registry in a folder, with one signed version of `digits` that is `live`."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "digits.onnx").write_bytes(linear())
    uri = f"file://{folder}/registry"
    publish = ["publish", str(folder / "digits.onnx"), "--name", "digits", "--registry", uri]
    assert main([*publish, "--sign", str(keys.private), "--alias", "live"]) == 0
    return folder / "registry"


@pytest.fixture
def folder(published, registry) -> Path:
    """A copy of that registry, which is what commands mean without --registry; returns the folder of the version."""
    shutil.copytree(published, registry.path(""), dirs_exist_ok=True)
    return Path(registry.path("digits/1"))


def checks(outcome) -> dict[str, tuple[str, str]]:
    document = json.loads(outcome.out)
    return {check["name"]: (check["result"], check["detail"]) for check in document["checks"]}


def failed(outcome) -> set[str]:
    return {name for name, (result, _) in checks(outcome).items() if result == "failed"}


def test_a_signed_version_passes_every_check(tensorlet, folder, keys):
    outcome = tensorlet("verify", "digits", "--key", keys.public)

    assert outcome.status == 0
    title, header, *lines = outcome.out.splitlines()
    assert (title, header.split()) == ("digits/1", ["CHECK", "RESULT", "FOUND"])
    names = {line.split("  ")[0] for line in lines}
    assert names >= {"aliases.json", "manifest.sig", *FILES[:2], "answers of onnx", "other files"}
    assert all(" passed " in line for line in lines)


def test_without_a_key_the_signature_is_not_judged(tensorlet, folder):
    outcome = tensorlet("verify", "digits", "--json")

    assert outcome.status == 0
    assert json.loads(outcome.out)["result"] == "passed"
    assert checks(outcome)["manifest.sig"] == ("skipped", "there is one; no --key says whose it should be")


def test_the_trusted_keys_of_the_environment_are_the_default(tensorlet, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORLET_TRUSTED_KEYS", str(make_keys(tmp_path, "other").public))

    outcome = tensorlet("verify", "digits", "--json")

    assert outcome.status == 1
    assert failed(outcome) == {"aliases.json", "manifest.sig"}


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_of_a_version_is_found(tensorlet, folder, keys, name):
    data = bytearray((folder / name).read_bytes())
    data[data.index(b"digits") + 1 if b"digits" in data else len(data) // 2] ^= 1
    (folder / name).write_bytes(data)

    outcome = tensorlet("verify", "digits@1", "--key", keys.public, "--json")

    assert outcome.status == 1
    if outcome.out:  # else there is no manifest to go by, and the one line says so
        assert failed(outcome) == {"manifest.sig" if name.startswith("manifest") else name}
    else:
        assert "digits/1" in outcome.err


def test_a_file_that_no_manifest_lists_is_found(tensorlet, folder, keys):
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.index").write_bytes(b"for another engine")

    outcome = tensorlet("verify", "digits", "--key", keys.public, "--json")

    assert outcome.status == 1
    assert checks(outcome)["other files"] == ("failed", "in no manifest: variables/variables.index")


def test_what_is_not_the_published_file_is_not_opened(tensorlet, folder, keys):
    (folder / "model.onnx").write_bytes(linear(seed=1))

    outcome = tensorlet("verify", "digits", "--key", keys.public, "--json")

    assert failed(outcome) == {"model.onnx"}
    assert checks(outcome)["answers of onnx"][0] == "skipped"


def relist(folder: Path, keys, tensorlet, path: str, data: bytes) -> None:
    """Put another file into the version, and have the owner of the key sign that."""
    from hashlib import sha256

    (folder / path).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = [*manifest["files"], *manifest["artifacts"][0]["files"]]
    entry = next(entry for entry in entries if entry["path"] == path)
    entry.update(size_bytes=len(data), sha256=sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "manifest.sig").unlink()
    assert tensorlet("sign", "digits@1", "--key", keys.private).status == 0


def test_a_model_that_answers_otherwise_is_found(tensorlet, folder, keys):
    relist(folder, keys, tensorlet, "model.onnx", linear(seed=1))

    outcome = tensorlet("verify", "digits", "--key", keys.public, "--json")

    assert failed(outcome) == {"answers of onnx"}
    assert "differs from the source model by" in checks(outcome)["answers of onnx"][1]


def zip_bomb() -> bytes:
    """One array whose member says that it unpacks to two gigabytes."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("output:scores.npy", bytes(1 << 20))
    data = target.getvalue()
    return data.replace((1 << 20).to_bytes(4, "little"), (2 << 30).to_bytes(4, "little"))


def array_bomb() -> bytes:
    """A header of 10^15 elements, and none of them."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        header = BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)}
        )
        archive.writestr("output:scores.npy", header.getvalue())
    return target.getvalue()


def pickled() -> bytes:
    target = BytesIO()
    np.savez(target, **{"output:scores": np.array([{}, {}], dtype=object)})
    return target.getvalue()


@pytest.mark.parametrize(
    "golden",
    [zip_bomb(), array_bomb(), pickled(), b"no zip"],
    ids=["zip bomb", "array bomb", "pickle", "garbage"],
)
def test_golden_values_that_are_none_fail_without_being_unpacked(tensorlet, folder, keys, golden):
    relist(folder, keys, tensorlet, "golden.npz", golden)

    outcome = tensorlet("verify", "digits", "--key", keys.public, "--json")

    assert outcome.status == 1
    assert failed(outcome) == {"answers of onnx"}
    assert "golden.npz" in checks(outcome)["answers of onnx"][1]


def test_signed_aliases_are_moved_with_the_key_only(tensorlet, folder, keys, tmp_path):
    other = make_keys(tmp_path, "other")

    without = tensorlet("alias", "digits", "edge", 1)
    by_another = tensorlet("alias", "digits", "edge", 1, "--sign", other.private)
    moved = tensorlet("alias", "digits", "edge", 1, "--sign", keys.private)

    assert (without.status, by_another.status, moved.status) == (1, 1, 0)
    assert "--sign KEY" in without.err
    assert "`tensorlet sign digits --aliases`" in by_another.err
    assert tensorlet("verify", "digits", "--key", keys.public).status == 0


def test_a_change_does_not_sign_what_somebody_else_wrote(tensorlet, folder, keys):
    """Else an attacker would write an alias and wait."""
    aliases = folder.parent / "aliases.json"
    document = json.loads(aliases.read_text())
    document["aliases"]["next"] = {"1": 1.0}
    aliases.write_text(json.dumps(document))

    assert tensorlet("alias", "digits", "live", 1, "--sign", keys.private).status == 1

    looked_at = tensorlet("sign", "digits", "--aliases", "--key", keys.private)
    assert looked_at.out == "digits@live → 1\ndigits@next → 1\n"
    assert tensorlet("alias", "digits", "live", 1, "--sign", keys.private).status == 0


def test_a_second_key_signs_beside_the_first(tensorlet, folder, keys, tmp_path):
    """How a key is replaced: both are trusted, everything is signed anew, and then the first is forgotten."""
    new = make_keys(tmp_path, "new")

    assert tensorlet("sign", "digits@1", "--key", new.private) == (0, "digits/1\n", "")
    assert tensorlet("sign", "digits", "--aliases", "--key", new.private).status == 0

    assert tensorlet("verify", "digits", "--key", new.public).status == 0
    assert (
        checks(tensorlet("verify", "digits", "--key", keys.public, "--json"))["manifest.sig"][0] == "passed"
    )


def test_a_signature_of_something_else_is_not_added_to(tensorlet, folder, keys):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "labels": ["a"]}))

    outcome = tensorlet("sign", "digits@1", "--key", keys.private)

    assert outcome.status == 1
    assert "is the signature of something else" in outcome.err


def test_only_what_is_signed_is_pulled_where_keys_are_set(tensorlet, folder, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORLET_TRUSTED_KEYS", str(keys.public))
    assert tensorlet("pull", "digits", "-o", tmp_path / "model.onnx").status == 0
    (folder / "manifest.sig").unlink()

    outcome = tensorlet("pull", "digits", "-o", tmp_path / "again.onnx")

    assert outcome.status == 1
    assert "it is not signed" in outcome.err
    assert not (tmp_path / "again.onnx").exists()


def test_batch_predicts_with_signed_models_only_where_keys_are_set(
    tensorlet, folder, keys, tmp_path, monkeypatch
):
    rows = tmp_path / "rows.csv"
    rows.write_text("1,2,3,4\n")
    monkeypatch.setenv("TENSORLET_TRUSTED_KEYS", str(keys.public))
    assert tensorlet("batch", rows, "--model", "digits").status == 0
    (folder / "manifest.sig").unlink()

    outcome = tensorlet("batch", rows, "--model", "digits", "--output", tmp_path / "again.csv")

    assert outcome.status == 1
    assert "it is not signed" in outcome.err


def test_nothing_is_published_under_an_alias_that_could_not_follow(tensorlet, folder, published):
    model = published.parent / "digits.onnx"

    outcome = tensorlet("publish", model, "--name", "digits", "--alias", "live")

    assert outcome.status == 1
    assert "--sign KEY" in outcome.err
    assert not (folder.parent / "2").exists()


def test_nothing_is_converted_for_a_key_that_does_not_sign(tensorlet, registry, tmp_path):
    outcome = tensorlet("publish", tmp_path / "absent.onnx", "--name", "x", "--sign", tmp_path / "absent.pem")

    assert outcome.status == 1
    assert "signing key" in outcome.err
    assert open_store(registry.uri).folder().folders == []
