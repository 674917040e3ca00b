"""Each protocol tells honestly whether a version can answer: ready, being loaded, or refused and why."""

import json
import threading

import pytest
from tensorlet.serving import service as serving

from tests import models
from tests.http.conftest import ask, error_of, make_app

BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}
INFER = "POST /v2/models/half/infer"


def index(app):
    return {
        entry["version"]: (entry["state"], entry["reason"])
        for entry in loads(app, "POST /v2/repository/index")
    }


def loads(app, request):
    response = ask(app, request)
    assert response.status == 200, bytes(response.body)
    return json.loads(response.body)


def tfs_status(app):
    [status] = loads(app, "GET /v1/models/half")["model_version_status"]
    return status["state"], status["status"]["error_code"]


@pytest.fixture
def half(store):
    """A registry with one model of one version, and an application over it."""
    models.publish_onnx(store, "half", models.half_plus_two())
    return make_app(store)


def test_a_version_is_ready_before_it_was_ever_loaded(half):
    assert index(half) == {"1": ("READY", "")}
    assert tfs_status(half) == ("AVAILABLE", "OK")
    assert ask(half, "GET /v2/models/half/ready").status == 200


def test_a_corrupted_file_is_refused_with_the_reason_and_the_server_stays_up(half, store):
    store.put("half/1/model.onnx", b"not what was published")

    assert ask(half, INFER, BODY).status == 503

    state, reason = index(half)["1"]
    assert state == "UNAVAILABLE"
    assert "half/1/model.onnx: expected sha256" in reason
    assert tfs_status(half) == ("END", "FAILED_PRECONDITION")
    assert "sha256" in error_of(ask(half, "GET /v2/models/half/ready"))
    assert ask(half, "GET /v2/health/ready").status == 200
    assert loads(half, "GET /v2/models/half")["name"] == "half"


def test_a_mended_file_is_served_again(half, store):
    good = bytes(store.get("half/1/model.onnx").data)
    store.put("half/1/model.onnx", b"not what was published")
    assert ask(half, INFER, BODY).status == 503

    store.put("half/1/model.onnx", good)

    assert ask(half, INFER, BODY).status == 200
    assert index(half) == {"1": ("READY", "")}


def test_refused_versions_are_left_out_of_the_ready_ones(half, store):
    store.put("half/1/model.onnx", b"")
    ask(half, INFER, BODY)

    assert json.loads(ask(half, "POST /v2/repository/index", {"ready": True}).body) == []


def test_a_broken_manifest_makes_only_its_version_unavailable(half, store):
    models.publish_onnx(store, "half", models.half_plus_two())
    store.put("half/1/manifest.json", b"{}")

    assert index(half)["1"][0] == "UNAVAILABLE"
    assert index(half)["2"] == ("READY", "")
    assert ask(half, INFER, BODY).status == 200


def test_a_version_is_loading_while_it_is(half, monkeypatch):
    started, go_on = threading.Event(), threading.Event()
    open_artifact = serving.open_artifact

    def slow(*arguments):
        started.set()
        assert go_on.wait(10)
        return open_artifact(*arguments)

    monkeypatch.setattr(serving, "open_artifact", slow)
    first = threading.Thread(target=ask, args=(half, INFER, BODY))
    first.start()
    assert started.wait(10)

    assert index(half) == {"1": ("LOADING", "")}
    assert tfs_status(half) == ("LOADING", "OK")

    go_on.set()
    first.join()
    assert index(half) == {"1": ("READY", "")}


def test_load_and_unload_are_hints(half):
    assert ask(half, "POST /v2/repository/models/half/load").status == 200
    assert half.service.is_loaded("half", 1)

    assert ask(half, "POST /v2/repository/models/half/unload").status == 200
    assert not half.service.is_loaded("half", 1)
    assert ask(half, INFER, BODY).status == 200


def test_statistics_outlive_the_models_memory(half):
    ask(half, INFER, BODY)
    ask(half, "POST /v2/repository/models/half/unload")

    [counted] = loads(half, "GET /v2/models/half/stats")["model_stats"]

    assert counted["inference_count"] == 1
    assert counted["memory_usage"] == []
