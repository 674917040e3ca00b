"""Whoever can write to the bucket but has no key changes no prediction: each try is refused by its own name.

And only what was touched is: the server stays up, other models answer, and a loaded version keeps answering.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from tensorlet import errors
from tensorlet.http.app import App
from tensorlet.registry.manifest import MANIFEST, SIGNATURE
from tensorlet.registry.registry import ALIASES, Registry
from tensorlet.registry.store import Store
from tensorlet.registry.writer import publish_version, set_alias, sign_version
from tensorlet.runtimes import load_session
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from tests.http.conftest import ask, error_of
from tests.keys import make_keys
from tests.models import half_plus

BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}]}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


def publish(store, name: str, number: float, signer=None) -> int:
    """A version that answers `x / 2 + number`, with its golden values and a card beside it."""
    model = half_plus(number)
    document = {
        "signature": load_session("onnx", model).signature.to_json(),
        "artifacts": [
            {"id": "onnx", "format": "onnx", "precision": "fp32", "files": [{"path": "model.onnx"}]}
        ],
        "default_artifact": "onnx",
    }
    with TemporaryDirectory() as folder:
        files = {path: Path(folder) / path for path in ("model.onnx", "golden.npz", "card.html")}
        for path in files.values():
            path.write_bytes(model)
        return publish_version(store, name, document, files, signer)


@pytest.fixture
def registry(store, keys):
    """`half` has two versions, of which `live` is the second; `other` has one. Everything is signed."""
    for name, number in (("half", 1), ("half", 2), ("other", 5)):
        version = publish(store, name, number, keys.signer)
        set_alias(store, name, "live", version, signer=keys.signer)
    return store


def make_app(store, keys, **environ: str) -> App:
    settings = Settings.from_environ({"TENSORLET_ALIAS_TTL_S": "0", **environ})
    return App(
        ModelService(Registry([store], keys.trust._replace(serials=dict(settings.alias_serials))), settings)
    )


def predict(app: App, model: str = "half", version: str = "") -> float:
    path = f"/v2/models/{model}/versions/{version}/infer" if version else f"/v2/models/{model}/infer"
    response = ask(app, f"POST {path}", BODY)
    assert response.status == 200, bytes(response.body)
    return float(json.loads(response.body)["outputs"][0]["data"][0])


def copy(store, source: str, target: str) -> None:
    store.put(target, bytes(store.get(source).data))


def edit(store, key: str, change) -> None:
    document = json.loads(bytes(store.get(key).data))
    change(document)
    store.put(key, json.dumps(document).encode())


def signed_by_another(store) -> None:
    with TemporaryDirectory() as folder:
        store.delete(f"half/2/{SIGNATURE}")
        sign_version(Registry([store]).release("half", 2), make_keys(Path(folder)).signer)


def key_id_of_the_trusted(store) -> None:
    """The signature of a key of the attacker's, under the name of the trusted one."""
    trusted = json.loads(bytes(store.get(f"half/2/{SIGNATURE}").data))["signatures"][0]["keyid"]
    signed_by_another(store)
    edit(store, f"half/2/{SIGNATURE}", lambda envelope: envelope["signatures"][0].update(keyid=trusted))


def swapped_model(store) -> None:
    copy(store, "half/1/model.onnx", "half/2/model.onnx")


def swapped_model_with_its_digest(store) -> None:
    """The model of version 1, and a manifest that lists it."""
    swapped_model(store)
    first = json.loads(bytes(store.get(f"half/1/{MANIFEST}").data))
    edit(store, f"half/2/{MANIFEST}", lambda document: document.update(artifacts=first["artifacts"]))


def version_of(source: str):
    """All files of another version, signature included."""

    def attack(store) -> None:
        for name in ("model.onnx", MANIFEST, SIGNATURE):
            copy(store, f"{source}/{name}", f"half/2/{name}")

    return attack


ATTACKS = {
    "a swapped file": (swapped_model, errors.DigestMismatch),
    "a missing file": (lambda store: store.delete("half/2/model.onnx"), errors.DigestMismatch),
    "an edited manifest": (
        lambda store: edit(store, f"half/2/{MANIFEST}", lambda document: document.update(labels=["x"])),
        errors.ChangedAfterSigning,
    ),
    "an old signature on a new manifest": (swapped_model_with_its_digest, errors.ChangedAfterSigning),
    "no signature": (lambda store: store.delete(f"half/2/{SIGNATURE}"), errors.Unsigned),
    "the signature of another version": (
        lambda store: copy(store, f"half/1/{SIGNATURE}", f"half/2/{SIGNATURE}"),
        errors.SignedForAnother,
    ),
    "the signature of another model": (
        lambda store: copy(store, f"other/1/{SIGNATURE}", f"half/2/{SIGNATURE}"),
        errors.SignedForAnother,
    ),
    "another version as a whole": (version_of("half/1"), errors.SignedForAnother),
    "another model as a whole": (version_of("other/1"), errors.SignedForAnother),
    "the signature of an unknown key": (signed_by_another, errors.UnknownSigner),
    "a signature under the name of a trusted key": (key_id_of_the_trusted, errors.InvalidSignature),
    "the signature of the aliases": (
        lambda store: store.put(
            f"half/2/{SIGNATURE}",
            json.dumps(json.loads(bytes(store.get(f"half/{ALIASES}").data))["signed"]).encode(),
        ),
        errors.SignedForAnother,
    ),
    "a signature that is none": (
        lambda store: store.put(f"half/2/{SIGNATURE}", b"{}"),
        errors.InvalidSignature,
    ),
}


@pytest.mark.parametrize(("attack", "error"), ATTACKS.values(), ids=ATTACKS)
def test_a_version_that_was_tampered_with_is_refused_by_name(registry, keys, attack, error):
    attack(registry)
    app = make_app(registry, keys)

    response = ask(app, "POST /v2/models/half/infer", BODY)

    assert response.status == 503
    reason = error_of(response)
    assert reason.startswith("half/2/")
    with pytest.raises(error):
        app.service.model("half")
    index = json.loads(ask(app, "POST /v2/repository/index").body)
    states = {(entry["name"], entry["version"]): (entry["state"], entry["reason"]) for entry in index}
    assert states["half", "2"] == ("UNAVAILABLE", reason)
    assert states["half", "1"] == states["other", "1"] == ("READY", "")
    assert ask(app, "GET /v2/models/half/ready").status == 503
    assert ask(app, "GET /v2/health/ready").status == 200
    assert (predict(app, "half", "1"), predict(app, "other")) == (2.0, 6.0)


def test_each_kind_of_tampering_has_an_error_of_its_own():
    kinds = {error for _, error in ATTACKS.values()} | {error for _, error in ALIAS_ATTACKS.values()}

    assert kinds == {errors.DigestMismatch, *errors.Untrusted.__subclasses__()}


@pytest.mark.parametrize("attack", [attack for attack, _ in ATTACKS.values()], ids=ATTACKS)
def test_a_loaded_version_keeps_answering(registry, keys, attack):
    app = make_app(registry, keys)
    assert predict(app) == 3.0

    attack(registry)

    assert predict(app) == 3.0
    assert ask(app, "GET /v2/models/half/ready").status == 200


@pytest.mark.parametrize("path", ["model.onnx", MANIFEST, SIGNATURE])
def test_no_byte_of_what_is_served_can_be_flipped(registry, keys, path):
    """Every byte of the model and the manifest; of the signature those that are more than JSON's spaces."""
    original = bytes(registry.get(f"half/2/{path}").data)
    step = max(1, len(original) // 11)
    for place in range(0, len(original), step):
        changed = original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :]
        if path == SIGNATURE and same_envelope(original, changed):
            continue
        registry.put(f"half/2/{path}", changed)

        with pytest.raises(errors.ArtifactRefused):
            make_app(registry, keys).service.model("half")


def same_envelope(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def point_at_the_first(document) -> None:
    document["aliases"]["live"] = {"1": 1.0}


def answer_in_another_precision(document) -> None:
    document["settings"] = {"live": {"precision": "int8"}}


def rewrite_the_history(document) -> None:
    """A rollback goes by it."""
    document["history"][0]["to"] = {"2": 1.0}


ALIAS_ATTACKS = {
    "an alias that was moved": (
        lambda store: edit(store, f"half/{ALIASES}", point_at_the_first),
        errors.ChangedAfterSigning,
    ),
    "an alias in another precision": (
        lambda store: edit(store, f"half/{ALIASES}", answer_in_another_precision),
        errors.ChangedAfterSigning,
    ),
    "another history": (
        lambda store: edit(store, f"half/{ALIASES}", rewrite_the_history),
        errors.ChangedAfterSigning,
    ),
    "aliases without a signature": (
        lambda store: edit(store, f"half/{ALIASES}", lambda document: document.pop("signed")),
        errors.Unsigned,
    ),
    "no aliases at all": (lambda store: store.delete(f"half/{ALIASES}"), errors.Unsigned),
    "the aliases of another model": (
        lambda store: copy(store, f"other/{ALIASES}", f"half/{ALIASES}"),
        errors.SignedForAnother,
    ),
    "the older aliases": (lambda store: copy(store, "older", f"half/{ALIASES}"), errors.Replayed),
}


@pytest.mark.parametrize(("attack", "error"), ALIAS_ATTACKS.values(), ids=ALIAS_ATTACKS)
def test_aliases_that_were_tampered_with_are_refused_by_name(registry, keys, attack, error):
    serial = release_once_more(registry, keys)
    attack(registry)
    app = make_app(registry, keys, TENSORLET_ALIAS_SERIALS=f"half={serial}")

    response = ask(app, "POST /v2/models/half/infer", BODY)

    assert response.status == 503
    assert error_of(response).startswith("half/aliases.json: ")
    with pytest.raises(error):
        app.service.model("half")
    assert ask(app, "GET /v2/models/half/ready").status == 503
    assert (predict(app, "half", "1"), predict(app, "other")) == (2.0, 6.0)


@pytest.mark.parametrize("attack", [attack for attack, _ in ALIAS_ATTACKS.values()], ids=ALIAS_ATTACKS)
def test_a_process_that_knows_an_alias_stays_with_it(registry, keys, attack, capsys):
    """Also without TENSORLET_ALIAS_SERIALS: it has seen the newer serial number."""
    release_once_more(registry, keys)
    app = make_app(registry, keys)
    assert predict(app) == 4.0

    attack(registry)

    assert predict(app) == 4.0
    assert "aliases not renewed" in capsys.readouterr().out


def test_a_restored_snapshot_remembers_the_serial_number(tmp_path, keys):
    """SnapStart's copies start where the snapshot was taken, not from nothing."""
    environ = {"TENSORLET_REGISTRY": f"file://{tmp_path}", "TENSORLET_TRUSTED_KEYS": str(keys.public)}
    service = ModelService.from_settings(Settings.from_environ(environ))
    [store] = service.registry.stores
    publish(store, "half", 1, keys.signer)
    publish(store, "half", 2, keys.signer)
    set_alias(store, "half", "live", 1, signer=keys.signer)
    copy(store, f"half/{ALIASES}", "older")
    set_alias(store, "half", "live", 2, signer=keys.signer)
    assert service.version("half") == 2

    copy(store, "older", f"half/{ALIASES}")
    service.reconnect()

    with pytest.raises(errors.Replayed):
        service.version("half")


def release_once_more(store, keys) -> int:
    """Version 3 is `live`, and what the aliases were is kept as `older`; returns their serial number now."""
    copy(store, f"half/{ALIASES}", "older")
    publish(store, "half", 3, keys.signer)
    set_alias(store, "half", "live", 3, signer=keys.signer)
    return Registry([store], keys.trust).aliases("half").serial


def test_without_keys_nothing_is_asked_for(store):
    publish(store, "half", 1)

    app = App(ModelService(Registry([store]), Settings.from_environ({})))

    assert predict(app) == 2.0


def test_the_setting_reaches_the_registry(registry, keys, tmp_path):
    environ = {"TENSORLET_REGISTRY": f"file://{tmp_path}", "TENSORLET_TRUSTED_KEYS": str(keys.public)}
    service = ModelService.from_settings(Settings.from_environ(environ))
    publish(service.registry.stores[0], "half", 1)

    with pytest.raises(errors.Unsigned):
        service.model("half", "1")


@pytest.mark.parametrize("text", [",", "/nowhere/key.pub", "AAAA"])
def test_a_key_that_is_none_stops_the_function_at_its_start(tmp_path, text):
    environ = {"TENSORLET_REGISTRY": f"file://{tmp_path}", "TENSORLET_TRUSTED_KEYS": text}

    with pytest.raises(errors.InvalidSetting, match=r"TENSORLET_TRUSTED_KEYS: .*expected"):
        ModelService.from_settings(Settings.from_environ(environ))


@pytest.mark.parametrize("text", ["half", "half=", "=1", "half=-1", "half=1.5", "half=1e3"])
def test_a_serial_number_that_is_none_names_the_setting(text):
    with pytest.raises(errors.InvalidSetting, match="TENSORLET_ALIAS_SERIALS: expected NAME=NUMBER"):
        Settings.from_environ({"TENSORLET_ALIAS_SERIALS": text})


@pytest.fixture(scope="module")
def past(keys):
    """Every object that was ever in the bucket of two models, as (key, content) in the order of their writing."""

    class Remembering(Store):
        def put(self, key, data):
            written.append((key, data.read_bytes() if isinstance(data, Path) else bytes(data)))
            return super().put(key, data)

        def create(self, key, data):
            written.append((key, bytes(data)))
            return super().create(key, data)

        def replace(self, key, data, etag):
            written.append((key, bytes(data)))
            return super().replace(key, data, etag)

    written: list[tuple[str, bytes]] = []
    store = Remembering(MemoryStore(), "memory://registry")
    for name, number in (("half", 1), ("other", 5), ("half", 2), ("half", 3)):
        version = publish(store, name, number, keys.signer)
        set_alias(store, name, "live", version, signer=keys.signer)
    set_alias(store, "half", "live", 2, signer=keys.signer)
    return written


@given(data=st.data())
def test_no_writing_of_old_deleting_or_mixing_changes_an_answer(past, keys, data):
    """The law of it all: whoever has all that was ever in the bucket, and no key, leaves the right answer or none."""
    store = Store(MemoryStore(), "memory://registry")
    for key, content in past:
        store.put(key, content)
    serial = Registry([store], keys.trust).aliases("half").serial
    names = sorted({key for key, _ in past})
    for _ in range(data.draw(st.integers(1, 6))):
        target = data.draw(st.sampled_from(names))
        kind = data.draw(st.sampled_from(["delete", "copy", "flip"]))
        if kind == "delete":
            store.delete(target)
            continue
        content = data.draw(st.sampled_from(past))[1]
        if kind == "flip" and content:
            place = data.draw(st.integers(0, len(content) - 1))
            content = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        store.put(target, content)
    app = make_app(store, keys, TENSORLET_ALIAS_SERIALS=f"half={serial}")

    for path, expected in (("half", 3.0), ("half/versions/1", 2.0), ("half/versions/3", 4.0), ("other", 6.0)):
        response = ask(app, f"POST /v2/models/{path}/infer", BODY)

        assert response.status in (200, 404, 503), bytes(response.body)
        if response.status == 200:
            assert json.loads(response.body)["outputs"][0]["data"] == [expected]
