"""Memory under load: twenty models of 50 MB where only some of them fit."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorlet.registry.store import open_store

from tests.models import publish_onnx

MODELS = 20
MIB = 1 << 20
COLUMNS, OUTPUTS = 1024, 50 * MIB // 4 // 1024  # 50 MiB of float32 weights
REQUESTS = 30  # every second one finds its model evicted, or more

LOAD = """
import json, os, random, sys
from concurrent.futures import ThreadPoolExecutor
from tensorlet.http.app import App
from tensorlet.http.message import Request
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

columns, models, threads, requests = map(int, sys.argv[1:])
service = ModelService.from_settings(Settings.from_environ(os.environ))
app = App(service)
tensor = {"name": "image", "shape": [1, columns], "datatype": "FP32", "data": [1.0] * columns}
body = json.dumps({"inputs": [tensor]}).encode()

def ask(seed):
    name = f"model{random.Random(seed).randrange(models)}"
    return app.handle(Request("POST", f"/v2/models/{name}/infer", {}, body)).status

with ThreadPoolExecutor(threads) as pool:
    statuses = list(pool.map(ask, range(requests)))
peak_kb = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
loaded = sum(service.is_loaded(f"model{number}", 1) for number in range(models))
print(json.dumps({"statuses": sorted(set(statuses)), "peak_mib": peak_kb / 1024, "loaded": loaded}))
"""


def wide(seed):
    """`scores = image @ weights`, with weights that differ between seeds."""
    weights = np.random.default_rng(seed).random((COLUMNS, OUTPUTS), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "weights"], ["scores"])],
        "wide",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", COLUMNS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", OUTPUTS])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    uri = f"file://{tmp_path_factory.mktemp('registry')}"
    for number in range(MODELS):
        publish_onnx(open_store(uri), f"model{number}", wide(number))
    return uri


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("environ", "threads", "loaded", "limit_mib"),
    [
        # Beside the budget: the process itself, and for each load under way the weights as parsed and as packed for
        # the kernels. Evicted models live on in the requests that use them.
        pytest.param(
            {"TENSORLET_MODEL_CACHE_BYTES": str(512 * MIB)},
            3,
            10,
            512 + 150 + 3 * 2 * 50,
            id="half of them fit",
        ),
        pytest.param(
            {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}, 1, 5, 512, id="a function of 512 MB as it comes"
        ),
    ],
)
def test_twenty_models_share_a_budget_that_does_not_hold_them(registry, environ, threads, loaded, limit_mib):
    """No request fails because its model was evicted, and memory stays bounded however long it goes on."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TENSORLET_")}

    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, (COLUMNS, MODELS, threads, REQUESTS))],
        env=inherited | {"TENSORLET_REGISTRY": registry} | environ,
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(done.stdout)
    assert found["statuses"] == [200]
    assert found["loaded"] == loaded
    assert found["peak_mib"] < limit_mib
