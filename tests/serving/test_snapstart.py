"""Preloading and the SnapStart hooks, called as Lambda's runtime calls them."""

import random
import sys
from types import ModuleType

import pytest
from tensorlet.errors import InvalidSetting
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import set_alias
from tensorlet.serving.service import ModelService
from tensorlet.serving.snapstart import prepare
from tensorlet.settings import Settings

from tests.models import linear, publish_onnx

SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


class Hooks(ModuleType):
    """Stands in for `snapshot_restore_py`: keeps what is registered, and runs it as the runtime would."""

    def __init__(self):
        super().__init__("snapshot_restore_py")
        self.before, self.after = [], []

    def register_before_snapshot(self, function, *arguments):
        self.before.append((function, arguments))

    def register_after_restore(self, function, *arguments):
        self.after.append((function, arguments))

    def snapshot(self):
        for function, arguments in reversed(self.before):  # the last registered first
            function(*arguments)

    def restore(self):
        for function, arguments in self.after:
            function(*arguments)


@pytest.fixture
def hooks(monkeypatch):
    module = Hooks()
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", module)
    return module


@pytest.fixture
def registry(tmp_path):
    """Versions 1 and 2 of a model, the older one live."""
    uri = f"file://{tmp_path}/registry"
    store = open_store(uri)
    for seed in (1, 2):
        publish_onnx(store, "linear", linear(seed=seed))
    set_alias(store, "linear", "live", 1)
    return uri


def service_for(registry, preload="linear"):
    return ModelService.from_settings(
        Settings.from_environ({"TENSORLET_REGISTRY": registry, "TENSORLET_PRELOAD": preload})
    )


def test_without_snapstart_models_are_loaded_at_once(registry, hooks):
    service = service_for(registry, "linear, linear@2")

    prepare(service, {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"})

    assert service.is_loaded("linear", 1) and service.is_loaded("linear", 2)
    assert not hooks.before and not hooks.after


def test_with_snapstart_models_are_loaded_before_the_snapshot(registry, hooks):
    service = service_for(registry)
    prepare(service, SNAP_START)
    assert not service.is_loaded("linear", 1)

    hooks.snapshot()

    assert service.is_loaded("linear", 1)


def test_a_restored_copy_asks_for_aliases_again_and_keeps_its_models(registry, hooks):
    """A snapshot may be days old: what `live` meant then is no answer."""
    service = service_for(registry)
    prepare(service, SNAP_START)
    hooks.snapshot()
    loaded = service.model("linear", "1")
    set_alias(open_store(registry), "linear", "live", 2)
    assert service.version("linear") == 1  # trusted for alias_ttl_s

    hooks.restore()

    assert service.version("linear") == 2
    assert service.model("linear", "1") is loaded


def test_a_restored_copy_opens_its_stores_anew(registry, hooks):
    """Sockets of the snapshot lead nowhere, and its credentials have expired."""
    service = service_for(registry)
    prepare(service, SNAP_START)
    hooks.snapshot()
    old = service.registry.stores[0]

    hooks.restore()

    assert service.registry.stores[0].backend is not old.backend
    assert service.release("linear", "1").store is service.registry.stores[0]


def test_restored_copies_draw_different_random_numbers(registry, hooks):
    numpy_random = pytest.importorskip("numpy").random
    service = service_for(registry, "")
    prepare(service, SNAP_START)
    snapshot = random.getstate(), numpy_random.get_state()

    def restored_copy():
        random.setstate(snapshot[0])
        numpy_random.set_state(snapshot[1])
        hooks.restore()
        return random.random(), float(numpy_random.random())

    first, second = restored_copy(), restored_copy()

    assert first[0] != second[0] and first[1] != second[1]


def test_a_model_that_is_not_there_yet_does_not_keep_the_function_from_starting(registry, capsys):
    """The stack is created before anything is published."""
    service = service_for(registry, "missing,linear")

    prepare(service, {})

    assert service.is_loaded("linear", 1)
    assert "missing" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["@live", "linear@", "a,@1"])
def test_a_preload_setting_that_names_no_model_is_refused(text):
    with pytest.raises(InvalidSetting, match="TENSORLET_PRELOAD: expected NAME or NAME@VERSION"):
        Settings.from_environ({"TENSORLET_PRELOAD": text})
