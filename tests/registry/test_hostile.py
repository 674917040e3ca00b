"""Files in a registry that nobody published: whatever they hold, one version is refused and everything else serves."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from tensorlet.errors import ArtifactRefused, DigestMismatch, InvalidSignature, TensorletError
from tensorlet.registry.manifest import MANIFEST, SIGNATURE, Manifest
from tensorlet.registry.registry import ALIASES, DOCUMENT_BYTES, Registry
from tensorlet.registry.store import Store
from tensorlet.registry.writer import set_alias
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings
from tensorlet.tensors import Tensor

from tests.keys import make_keys
from tests.models import linear, publish_onnx

DEEP = b'{"a":' * 100_000
DOCUMENTS = {
    "nested without end": DEEP,
    "nested, and closed": b"[" * 100_000 + b"]" * 100_000,
    "not UTF-8": b"\xff\xfe\x00",
    "a number of a million digits": b"1" * 1_000_000,
    "an infinite version": b'{"schema_version": 1, "model": "digits", "version": 1e999}',
    "null": b"null",
    "larger than any can be": b" " * (DOCUMENT_BYTES + 1),
}


@pytest.fixture
def digits(store):
    publish_onnx(store, "digits", linear())
    set_alias(store, "digits", "live", 1)
    return store


def manifest_of(store) -> dict:
    return json.loads(bytes(store.get(f"digits/1/{MANIFEST}").data))


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("name", [f"1/{MANIFEST}", ALIASES])
def test_a_document_that_is_none_is_refused(digits, name, content):
    digits.put(f"digits/{name}", content)

    with pytest.raises(ArtifactRefused) as refusal:
        Registry([digits]).resolve("digits")

    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_signature_that_is_none_is_refused(digits, tmp_path, content):
    digits.put(f"digits/1/{SIGNATURE}", content)

    with pytest.raises(ArtifactRefused) as refusal:
        Registry([digits], make_keys(tmp_path).trust).resolve("digits", "1")

    assert len(str(refusal.value)) < 500


def test_a_signature_of_many_signers_is_not_tried_for_each(digits, tmp_path):
    many = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": "",
        "signatures": [{"sig": ""}] * 17,
    }
    digits.put(f"digits/1/{SIGNATURE}", json.dumps(many).encode())

    with pytest.raises(InvalidSignature, match="17 signatures are more than 16"):
        Registry([digits], make_keys(tmp_path).trust).resolve("digits", "1")


def change(store, **members):
    store.put(f"digits/1/{MANIFEST}", json.dumps({**manifest_of(store), **members}).encode())


def artifact(**file) -> list[dict]:
    entry = {"path": "model.onnx", "size_bytes": 1, "sha256": "0" * 64, **file}
    return [{"id": "onnx", "format": "onnx", "precision": "fp32", "files": [entry]}]


def tensor(**members) -> dict:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], **members}], "outputs": []}


MEMBERS = {
    "a size below nothing": {"artifacts": artifact(size_bytes=-1)},
    "a size of infinity": {"artifacts": artifact(size_bytes=float("inf"))},
    "a size of 10^30": {"artifacts": artifact(size_bytes=10**30)},
    "a size that is no number": {"artifacts": artifact(size_bytes="1")},
    "a path with a null byte": {"artifacts": artifact(path="model\0.onnx")},
    "a path of a megabyte": {"artifacts": artifact(path="x" * 1_000_000)},
    "artifacts that are no list": {"artifacts": 7},
    "no artifact": {"artifacts": []},
    "a rank of ten thousand": {"signature": tensor(shape=[1] * 10_000)},
    "a dimension of 10^30": {"signature": tensor(shape=[10**30])},
    "a dimension of infinity": {"signature": tensor(shape=[float("inf")])},
    "a datatype that is a list": {"signature": tensor(datatype=["FP32"])},
    "labels that are a number": {"labels": 7},
    "labels that are numbers": {"labels": [7]},
    "a role of no output": {"roles": {"scores": "absent"}},
    "a role that is a list": {"roles": {"scores": ["scores"]}},
    "roles that are a list": {"roles": [1]},
    "signatures that are a list": {"signatures": [1]},
    "a method that is none": {"signatures": {"s": {"method": "execute"}}},
    "features that are numbers": {"roles": {"features": {"image": 7}}},
}


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS)
def test_a_manifest_with_an_absurd_member_is_refused(digits, members):
    change(digits, **members)
    service = ModelService(Registry([digits]), Settings.from_environ({}))

    with pytest.raises(ArtifactRefused):
        service.model("digits")
    assert service.state("digits", 1).name == "UNAVAILABLE"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)
PLACES = [
    (), ("schema_version",), ("model",), ("version",), ("signature",), ("signature", "inputs"),
    ("signature", "inputs", 0), ("signature", "inputs", 0, "shape"), ("artifacts",), ("artifacts", 0),
    ("artifacts", 0, "id"), ("artifacts", 0, "files"), ("artifacts", 0, "files", 0),
    ("artifacts", 0, "files", 0, "path"), ("artifacts", 0, "files", 0, "size_bytes"),
    ("artifacts", 0, "fast_start"), ("default_artifact",), ("labels",), ("roles",), ("signatures",),
]  # fmt: skip


@given(place=st.sampled_from(PLACES), value=json_values)
def test_any_value_anywhere_in_a_manifest_is_taken_or_refused(place, value):
    document = json.loads(json.dumps(EXAMPLE))
    with suppress(ArtifactRefused):
        manifest = Manifest.from_json(put(document, place, value))
        manifest.artifact("onnx")
        manifest.precisions()


EXAMPLE = {
    "schema_version": 1,
    "model": "digits",
    "version": 1,
    "signature": tensor(),
    "artifacts": artifact(),
    "default_artifact": "onnx",
}


def put(document, place, value):
    if not place:
        return value
    document[place[0]] = put(document[place[0]] if len(place) > 1 else None, place[1:], value)
    return document


@given(value=json_values, place=st.sampled_from(["aliases", "live", "weight", "history", "settings"]))
def test_any_value_anywhere_in_the_aliases_is_taken_or_refused(place, value):
    store = Store(MemoryStore(), "memory://registry")
    document = {"aliases": {"live": {"1": 1.0}}, "history": [], "settings": {}}
    if place == "live":
        document["aliases"]["live"] = value
    elif place == "weight":
        document["aliases"]["live"]["1"] = value
    else:
        document[place] = value
    store.put("digits/aliases.json", json.dumps(document).encode())

    with suppress(TensorletError):
        aliases = Registry([store]).aliases("digits")
        aliases.version("live")
        aliases.precision("live")


@pytest.mark.parametrize("size_bytes", [0, 1, 10**12], ids=["nothing", "a byte", "a terabyte"])
def test_a_file_of_another_size_than_its_manifest_says_is_not_read(digits, size_bytes):
    """The first two are memory that was not asked for; the last one must not push out what is loaded and stay."""
    publish_onnx(digits, "other", linear())
    service = ModelService(Registry([digits]), Settings.from_environ({}))
    document = manifest_of(digits)
    document["artifacts"][0]["files"][0].update(size_bytes=size_bytes, sha256="0" * 64)
    digits.put(f"digits/1/{MANIFEST}", json.dumps(document).encode())

    with pytest.raises(DigestMismatch):
        service.model("digits")
    service.model("other")
    with pytest.raises(DigestMismatch):
        service.model("digits")

    assert service.is_loaded("other", 1)


@pytest.mark.parametrize("shape", [[-1, 2**31 - 1], [2**31 - 1] * 4, []], ids=str)
def test_a_signature_that_lies_about_the_answers_takes_no_memory(digits, shape):
    document = manifest_of(digits)
    document["signature"]["outputs"][0]["shape"] = shape
    digits.put(f"digits/1/{MANIFEST}", json.dumps(document).encode())
    service = ModelService(Registry([digits]), Settings.from_environ({}))

    with suppress(TensorletError):
        answer = service.model("digits").infer({"image": Tensor.from_numpy(np.ones((2, 4), np.float32))})
        assert answer["scores"].shape == (2, 3)
