"""Versions are create-only, aliases compare-and-swap, digests checked; on every kind of store."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tensorlet.errors import (
    AliasNotFound,
    ArtifactRefused,
    Conflict,
    InvalidRequest,
    InvalidSetting,
    ModelNotFound,
    ObjectNotFound,
    VersionNotFound,
)
from tensorlet.registry.manifest import MANIFEST, Manifest
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store, open_store
from tensorlet.registry.writer import CLAIM, publish_version, set_alias

from tests.models import linear, publish_onnx


@pytest.fixture(params=["memory", "file"])
def any_store(request, store, tmp_path) -> Store:
    return store if request.param == "memory" else open_store(f"file://{tmp_path}/registry")


def test_what_is_published_resolves(any_store):
    assert publish_onnx(any_store, "digits", linear()) == 1
    assert publish_onnx(any_store, "digits", linear(seed=1)) == 2
    registry = Registry([any_store])

    assert registry.models() == ["digits"]
    assert registry.versions("digits") == [1, 2]
    assert registry.resolve("digits").manifest.version == 2
    assert registry.resolve("digits", "1").manifest.version == 1
    release = registry.resolve("digits", "1")
    assert bytes(release.read(release.manifest.artifact().files[0])) == linear()


def test_an_alias_wins_over_the_highest_version(any_store):
    publish_onnx(any_store, "digits", linear())
    publish_onnx(any_store, "digits", linear())
    registry = Registry([any_store])

    set_alias(any_store, "digits", "live", 1)
    set_alias(any_store, "digits", "next", 2)

    assert registry.resolve("digits").manifest.version == 1
    assert registry.resolve("digits", "next").manifest.version == 2


def test_an_alias_keeps_its_history(any_store):
    publish_onnx(any_store, "digits", linear())
    publish_onnx(any_store, "digits", linear())

    set_alias(any_store, "digits", "live", 1)
    set_alias(any_store, "digits", "live", 2)

    history = Registry([any_store]).aliases("digits").history
    assert [(entry["from"], entry["to"]) for entry in history] == [
        (None, {"1": 1.0}),
        ({"1": 1.0}, {"2": 1.0}),
    ]


def test_what_is_not_there_says_so(any_store):
    publish_onnx(any_store, "digits", linear())
    registry = Registry([any_store])

    with pytest.raises(ModelNotFound):
        registry.resolve("letters")
    with pytest.raises(VersionNotFound):
        registry.resolve("digits", "7")
    with pytest.raises(AliasNotFound):
        registry.resolve("digits", "canary")
    with pytest.raises(VersionNotFound):
        set_alias(any_store, "digits", "live", 7)


@pytest.mark.parametrize("name", ["", "../digits", "a/b", "a" * 129, ".hidden", "ü", "a\n", "digits\0"])
def test_a_name_outside_the_grammar_is_no_model(store, name):
    with pytest.raises(ModelNotFound):
        Registry([store]).resolve(name)
    with pytest.raises(InvalidRequest, match="model name"):
        publish_onnx(store, name, linear())


@pytest.mark.parametrize("alias", ["", "7", "7up", "a/b", "a" * 65])
def test_an_alias_outside_the_grammar_is_refused(store, alias):
    publish_onnx(store, "digits", linear())

    with pytest.raises(InvalidRequest, match="alias"):
        set_alias(store, "digits", alias, 1)


def test_stores_are_looked_up_in_order(store, tmp_path):
    layer = open_store(str(tmp_path))
    publish_onnx(layer, "digits", linear())
    publish_onnx(store, "digits", linear(seed=1))
    publish_onnx(store, "letters", linear())
    registry = Registry([layer, store])

    assert registry.resolve("digits").store is layer
    assert registry.resolve("letters").store is store
    assert registry.models() == ["digits", "letters"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="one bit"),
        pytest.param(lambda data: data[:100], id="cut short"),
        pytest.param(lambda data: linear(seed=9), id="another model"),
    ],
)
def test_bytes_that_were_not_published_are_refused(any_store, damage):
    publish_onnx(any_store, "digits", linear())
    any_store.put("digits/1/model.onnx", damage(linear()))
    release = Registry([any_store]).resolve("digits")

    with pytest.raises(ArtifactRefused, match=r"digits/1/model.onnx: expected sha256 [0-9a-f]{64}, got"):
        release.read(release.manifest.artifact().files[0])


def test_a_missing_file_is_refused(any_store):
    publish_onnx(any_store, "digits", linear())
    any_store.delete("digits/1/model.onnx")
    release = Registry([any_store]).resolve("digits")

    with pytest.raises(ArtifactRefused, match=r"digits/1/model.onnx: the file is missing"):
        release.read(release.manifest.artifact().files[0])


def test_the_manifest_of_another_version_is_refused(any_store):
    publish_onnx(any_store, "digits", linear())
    publish_onnx(any_store, "digits", linear(seed=1))
    any_store.put("digits/2/manifest.json", bytes(any_store.get("digits/1/manifest.json").data))

    with pytest.raises(ArtifactRefused, match="its manifest is that of digits/1"):
        Registry([any_store]).resolve("digits", "2")


@pytest.mark.parametrize(
    "path", ["../2/model.onnx", "/etc/passwd", "a/../../b", "", "a//b", "./model.onnx", "a\\b"]
)
def test_a_manifest_cannot_point_outside_its_version(path):
    document = {
        "schema_version": 1,
        "model": "digits",
        "version": 1,
        "signature": {"inputs": [], "outputs": []},
        "artifacts": [
            {
                "id": "onnx",
                "format": "onnx",
                "precision": "fp32",
                "files": [{"path": path, "size_bytes": 1, "sha256": "0"}],
            }
        ],
        "default_artifact": "onnx",
    }
    with pytest.raises(ArtifactRefused, match="manifest is not valid"):
        Manifest.from_json(document)


def test_concurrent_publishers_never_share_a_version(any_store):
    models = [linear(seed=seed) for seed in range(12)]

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda model: publish_onnx(any_store, "digits", model), models))

    assert sorted(versions) == list(range(1, 13))
    registry = Registry([any_store])
    for version, model in zip(versions, models, strict=True):
        release = registry.release("digits", version)
        assert bytes(release.read(release.manifest.artifact().files[0])) == model


def test_concurrent_alias_changes_are_all_in_the_history(any_store):
    for _ in range(8):
        publish_onnx(any_store, "digits", linear())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: set_alias(any_store, "digits", "live", version), range(1, 9)))

    aliases = Registry([any_store]).aliases("digits")
    assert {tuple(entry["to"]) for entry in aliases.history} == {(str(version),) for version in range(1, 9)}
    assert aliases.history[-1]["to"] == aliases.weights["live"]
    links = [entry["from"] for entry in aliases.history[1:]]
    assert links == [entry["to"] for entry in aliases.history[:-1]]


class Crash(Exception):
    """The publisher's process is gone."""


class CrashingStore(Store):
    """A store whose process dies at the `step`-th write."""

    def __init__(self, inner: Store, step: int):
        super().__init__(inner.backend, inner.uri)
        self.left = step

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def put(self, key, data):
        self._step()
        return super().put(key, data)

    def create(self, key, data):
        self._step()
        return super().create(key, data)


@pytest.mark.parametrize("step", range(3))
def test_a_crash_leaves_no_half_version(any_store, step):
    publish_onnx(any_store, "digits", linear())

    with pytest.raises(Crash):
        publish_onnx(CrashingStore(any_store, step), "digits", linear(seed=1))

    registry = Registry([any_store])
    assert registry.versions("digits") == [1]
    assert registry.resolve("digits").manifest.version == 1
    later = publish_onnx(any_store, "digits", linear(seed=2))
    assert registry.versions("digits") == [1, later]


def test_a_published_version_leaves_no_claim(any_store):
    publish_onnx(any_store, "digits", linear())

    with pytest.raises(ObjectNotFound):
        any_store.get(f"digits/1/{CLAIM}")


def test_a_version_cannot_be_overwritten(any_store):
    publish_onnx(any_store, "digits", linear())

    with pytest.raises(Conflict):
        any_store.create(f"digits/1/{MANIFEST}", b"{}")


def test_a_stale_swap_is_refused(any_store):
    etag = any_store.create("key", b"one")
    any_store.replace("key", b"two", etag)

    with pytest.raises(Conflict):
        any_store.replace("key", b"three", etag)
    assert bytes(any_store.get("key").data) == b"two"


def test_an_unchanged_object_is_not_read_again(any_store):
    etag = any_store.put("key", b"one")

    assert any_store.get_if_changed("key", etag) is None
    any_store.put("key", b"other")
    assert bytes(any_store.get_if_changed("key", etag).data) == b"other"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"aliases": {"live": {"x": 1}}, "history": []}', b"\xff"]
)
def test_a_broken_alias_file_is_refused_not_ignored(store, content):
    publish_onnx(store, "digits", linear())
    store.put("digits/aliases.json", content)

    with pytest.raises(ArtifactRefused, match=r"aliases.json is not valid"):
        Registry([store]).resolve("digits")


@pytest.mark.parametrize("uri", ["http://host/x", "s3://", "gs://bucket/x"])
def test_a_uri_of_another_kind_is_refused(uri):
    with pytest.raises(InvalidSetting, match="expected s3://bucket/prefix or file:///folder"):
        open_store(uri)


def test_the_manifest_fills_in_sizes_and_digests(store, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"abc")
    document = {
        "signature": {"inputs": [], "outputs": []},
        "artifacts": [
            {"id": "onnx", "format": "onnx", "precision": "fp32", "files": [{"path": "model.onnx"}]}
        ],
        "default_artifact": "onnx",
    }

    publish_version(store, "abc", document, {"model.onnx": file})

    manifest = json.loads(bytes(store.get("abc/1/manifest.json").data))
    assert manifest["artifacts"][0]["files"] == [
        {
            "path": "model.onnx",
            "size_bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    ]
