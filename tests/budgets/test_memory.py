"""Memory under load: twenty models of 50 MB where some ten of them fit, asked for by several threads at once."""

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
BUDGET_MIB = 512

# Beside the budget: the process itself, and for each load under way the weights as parsed and as packed for the
# kernels. Evicted models live on in the requests that use them.
THREADS = 3
REQUESTS = 100  # each second one finds its model evicted
LIMIT_MIB = BUDGET_MIB + 150 + THREADS * 2 * 50

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


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_twenty_models_share_a_budget_that_holds_ten(tmp_path):
    """No request fails because its model was evicted, and memory stays bounded however long it goes on."""
    registry = f"file://{tmp_path}"
    for number in range(MODELS):
        publish_onnx(open_store(registry), f"model{number}", wide(number))

    done = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, (COLUMNS, MODELS, THREADS, REQUESTS))],
        env=os.environ
        | {"TENSORLET_REGISTRY": registry, "TENSORLET_MODEL_CACHE_BYTES": str(BUDGET_MIB * MIB)},
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(done.stdout)
    assert found["statuses"] == [200]
    assert found["loaded"] == BUDGET_MIB // 50
    assert found["peak_mib"] < LIMIT_MIB
