"""TensorFlow Serving's own test models, built by TensorFlow, published from SavedModel, served from both formats."""

import json
import subprocess
from pathlib import Path

import pytest
from tensorlet.publish import publish
from tensorlet.publish.convert import convert_python
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import set_alias

from tests.conformance import test_conformance as conformance
from tests.servers import serve_in_thread

BUILD = Path(__file__).parent / "data" / "half_plus.py"
MODELS = {"half_plus_two": 2.0, "half_plus_three": 3.0}
VECTORS = [case for case in conformance.CASES if case["clause"].startswith("TFS B6")]

pytestmark = [pytest.mark.slow, pytest.mark.training]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A registry with both models, from SavedModels."""
    folder = tmp_path_factory.mktemp("half_plus")
    for name, number in MODELS.items():
        subprocess.run([convert_python(), BUILD, folder / name, str(number)], check=True, capture_output=True)
        publish(folder / name, name, f"file://{folder}/registry", trust_source=True)
        set_alias(open_store(f"file://{folder}/registry"), name, "stable", 1)
    return folder / "registry"


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def base_url(published, request):
    with serve_in_thread(lambda store: None, published, TENSORLET_RUNTIME=request.param) as url:
        yield url


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_tensorflow_servings_vectors_hold(case, base_url, request):
    conformance.test_the_server_conforms(case, base_url, "1", request)


def test_the_roles_are_those_of_the_saved_model(published):
    manifest = json.loads((published / "half_plus_two/1/manifest.json").read_text())

    assert manifest["signatures"]["classify_x_to_y"] == {"method": "classify", "scores": "y"}
    assert manifest["signatures"]["regress_x_to_y"] == {"method": "regress", "values": "y"}
