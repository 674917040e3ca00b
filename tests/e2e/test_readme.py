"""What README.md tells a newcomer to type works as it stands: its blocks are run in its order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

README = (Path(__file__).parents[2] / "README.md").read_text()
SERVE = "tensorlet serve --port 8080"

pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def shell(script: str, folder: Path, environ: dict[str, str]) -> str:
    """What a block of the README prints; any failing line fails it."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environ, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    """`tensorlet` on PATH, and a model of one's own in the folder: y = 2 x, over rows of four."""
    names = {"x": ["batch", 4], "y": ["batch", 4]}
    info = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in names.items()
    }
    two = numpy_helper.from_array(np.float32(2), "two")
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    graph = helper.make_graph([node], "mine", [info["x"]], [info["y"]], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "my_model.onnx")
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TENSORLET_REGISTRY": f"file://{tmp_path}/registry",
    }


def test_a_model_of_ones_own_is_published_asked_and_run_over_a_file(tmp_path, environ):
    publish, ask, batch = blocks("sh")
    (python,) = blocks("python")

    printed = shell(publish.replace(SERVE, ""), tmp_path, environ)
    assert "onnx" in printed

    server = subprocess.Popen(
        [*SERVE.split()[:2], "--port", "0"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split("//")[1].strip()
        answers = shell(ask.replace("127.0.0.1:8080", address), tmp_path, environ)
        assert '"shape":[-1,4]' in answers
        assert '"data":[2.0,4.0,6.0,8.0]' in answers
        assert '{"predictions":[[2.0,4.0,6.0,8.0]]}' in answers

        client = subprocess.run(
            [sys.executable, "-c", python.replace("127.0.0.1:8080", address)], capture_output=True, text=True
        )
        assert client.stdout.split() == ["[[2.", "2.", "2.", "2.]", "[2.", "2.", "2.", "2.]]"], client.stderr
    finally:
        server.terminate()
        assert server.wait(30) == 0

    files = shell(batch, tmp_path, environ)
    assert "2.0,4.0,6.0,8.0" in files and "10.0,12.0,14.0,16.0" in files
    assert '"row":2' in files and "oops" in files
    assert '"rows_in": 3' in files and '"rows_failed": 1' in files
