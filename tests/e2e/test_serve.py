"""`tensorlet serve` as a process, asked by the client that people have: tritonclient."""

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton
from tensorlet.local.processes import running_server
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import set_alias

from tests.models import linear, publish_onnx

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    store = open_store(f"file://{tmp_path_factory.mktemp('registry')}")
    for seed in (1, 2):
        publish_onnx(store, "digits", linear(784, 10, seed))
    set_alias(store, "digits", "live", 1)
    return store


@pytest.fixture(scope="module")
def url(registry):
    with running_server("--registry", registry.uri) as server:
        yield server.url


@pytest.fixture(scope="module")
def client(url):
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


@pytest.mark.parametrize("binary", [True, False], ids=["binary tensors", "JSON"])
@pytest.mark.parametrize("count", [1, 32])
@pytest.mark.parametrize("version", ["", "1", "2"])
def test_tritonclient_gets_the_numbers_of_onnxruntime(client, binary, count, version):
    rows = np.random.default_rng(count).standard_normal((count, 784)).astype(np.float32)
    session = onnxruntime.InferenceSession(linear(784, 10, seed=int(version or 1)))
    image = triton.InferInput("image", rows.shape, "FP32")
    image.set_data_from_numpy(rows, binary_data=binary)

    result = client.infer(
        "digits",
        [image],
        model_version=version,
        outputs=[triton.InferRequestedOutput("scores", binary_data=binary)],
    )

    [direct] = session.run(None, {"image": rows})
    np.testing.assert_array_equal(result.as_numpy("scores"), direct)
    assert result.get_response()["model_version"] == (version or "1")


def test_tritonclient_sees_a_live_ready_server_with_its_model(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits") and client.is_model_ready("digits", "2")
    metadata = client.get_model_metadata("digits")
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 784]}]
    assert {"1", "2"} >= set(metadata["versions"])


def test_compressed_requests_and_replies(client):
    rows = np.ones((4, 784), np.float32)
    image = triton.InferInput("image", rows.shape, "FP32")
    image.set_data_from_numpy(rows)

    plain = client.infer("digits", [image]).as_numpy("scores")
    packed = client.infer(
        "digits", [image], request_compression_algorithm="gzip", response_compression_algorithm="gzip"
    ).as_numpy("scores")

    np.testing.assert_array_equal(plain, packed)


def test_a_corrupted_artifact_is_refused_and_the_server_stays_up(registry):
    store = registry
    broken = publish_onnx(store, "broken", linear(784, 10))
    store.put(f"broken/{broken}/model.onnx", b"not what was published")
    rows = b'{"instances": [' + json.dumps([0.0] * 784).encode() + b"]}"

    with running_server("--registry", store.uri) as server:
        for _ in range(2):
            with pytest.raises(HTTPError) as refusal:
                urlopen(f"{server.url}/v1/models/broken:predict", rows, timeout=10)
            assert refusal.value.code == 503
            assert "broken/1/model.onnx: expected sha256" in json.load(refusal.value)["error"]
        with urlopen(f"{server.url}/v1/models/digits:predict", rows, timeout=10) as reply:
            assert len(json.load(reply)["predictions"]) == 1
