"""From a name to an answer: selectors, freshness, and refusals that leave everything else serving."""

import numpy as np
import pytest
from tensorlet.errors import ArtifactRefused, SignatureMismatch, StorageUnavailable, VersionNotFound
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store, open_store
from tensorlet.registry.writer import set_alias
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings
from tensorlet.tensors import Tensor

from tests.models import linear, linear_weights, publish_onnx


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class CountingStore(Store):
    """Counts reads, and can be switched off."""

    def __init__(self, inner: Store):
        super().__init__(inner.backend, inner.uri)
        self.reads: list[str] = []
        self.down = False

    def get(self, key, limit_bytes=None):
        self._read(key)
        return super().get(key, limit_bytes)

    def get_if_changed(self, key, etag, limit_bytes=None):
        self._read(key)
        return super().get_if_changed(key, etag, limit_bytes)

    def _read(self, key: str) -> None:
        if self.down:
            raise StorageUnavailable("storage is down")
        self.reads.append(key)


def image(rows: int = 1) -> dict[str, Tensor]:
    return {"image": Tensor.from_numpy(np.ones((rows, 4), np.float32))}


def scores(service: ModelService, name: str, selector: str | None = None) -> np.ndarray:
    return service.model(name, selector).infer(image())["scores"].numpy()


def expected(seed: int) -> np.ndarray:
    weights, bias = linear_weights(4, 3, seed)
    return np.ones((1, 4), np.float32) @ weights + bias


def test_a_model_answers_by_alias_by_version_and_by_default(store, service):
    publish_onnx(store, "digits", linear(seed=1))
    publish_onnx(store, "digits", linear(seed=2))
    set_alias(store, "digits", "old", 1)

    np.testing.assert_allclose(scores(service, "digits"), expected(2), rtol=1e-5)
    np.testing.assert_allclose(scores(service, "digits", "1"), expected(1), rtol=1e-5)
    np.testing.assert_allclose(scores(service, "digits", "old"), expected(1), rtol=1e-5)


def test_an_alias_is_asked_for_again_only_when_its_time_is_over(store):
    publish_onnx(store, "digits", linear(seed=1))
    set_alias(store, "digits", "live", 1)
    counting, clock = CountingStore(store), FakeClock()
    service = ModelService(
        Registry([counting]), Settings.from_environ({"TENSORLET_ALIAS_TTL_S": "10"}), clock
    )
    assert service.version("digits") == 1
    publish_onnx(store, "digits", linear(seed=2))
    set_alias(store, "digits", "live", 2)

    clock.now = 9.9
    assert service.version("digits") == 1
    clock.now = 10.0
    assert service.version("digits") == 2

    assert counting.reads == ["digits/aliases.json", "digits/aliases.json"]


def test_a_cold_model_takes_three_reads(store):
    publish_onnx(store, "digits", linear())
    set_alias(store, "digits", "live", 1)
    counting = CountingStore(store)

    scores(ModelService(Registry([counting]), Settings.from_environ({})), "digits")

    assert sorted(counting.reads) == ["digits/1/manifest.json", "digits/1/model.onnx", "digits/aliases.json"]


def test_a_known_version_keeps_serving_while_storage_is_down(store):
    publish_onnx(store, "digits", linear())
    counting = CountingStore(store)
    service = ModelService(Registry([counting]), Settings.from_environ({"TENSORLET_ALIAS_TTL_S": "0"}))
    scores(service, "digits")

    counting.down = True

    np.testing.assert_allclose(scores(service, "digits"), expected(0), rtol=1e-5)
    with pytest.raises(StorageUnavailable):
        scores(service, "letters")


def test_a_corrupted_artifact_is_refused_and_the_others_serve(store, service):
    publish_onnx(store, "digits", linear(seed=1))
    publish_onnx(store, "digits", linear(seed=2))
    store.put("digits/2/model.onnx", linear(seed=3))

    with pytest.raises(ArtifactRefused, match=r"digits/2/model\.onnx: expected sha256"):
        scores(service, "digits")

    np.testing.assert_allclose(scores(service, "digits", "1"), expected(1), rtol=1e-5)


def test_a_version_that_is_not_there_is_never_remembered(store, service):
    publish_onnx(store, "digits", linear(seed=1))
    with pytest.raises(VersionNotFound):
        service.model("digits", "2")

    publish_onnx(store, "digits", linear(seed=2))

    np.testing.assert_allclose(scores(service, "digits", "2"), expected(2), rtol=1e-5)


def test_inputs_are_checked_before_the_runtime_sees_them(store, service):
    publish_onnx(store, "digits", linear())

    with pytest.raises(SignatureMismatch, match="unexpected shape"):
        service.model("digits").infer({"image": Tensor.from_numpy(np.ones((1, 5), np.float32))})


def test_the_cache_keeps_its_byte_budget(store):
    size = len(linear())
    settings = Settings.from_environ({"TENSORLET_MODEL_CACHE_BYTES": str(2 * size)})
    service = ModelService(Registry([store]), settings)
    for name in "abc":
        publish_onnx(store, name, linear())
        scores(service, name)

    assert [service.is_loaded(name, 1) for name in "abc"] == [False, True, True]


def test_a_model_in_a_layer_is_served_from_its_folder(tmp_path):
    store = open_store(str(tmp_path))
    publish_onnx(store, "digits", linear(seed=1))

    service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": f"file://{tmp_path}"}))

    np.testing.assert_allclose(scores(service, "digits"), expected(1), rtol=1e-5)
