"""The commands as a newcomer types them one after the other, each a process of its own."""

import json
import subprocess
import sys
from urllib.request import urlopen
from zipfile import ZipFile

import numpy as np
import onnxruntime
import pytest
from tensorlet.local.processes import running_server

from tests.models import linear

pytestmark = pytest.mark.slow


@pytest.fixture
def tensorlet(tmp_path, monkeypatch):
    """`tensorlet(*arguments)` in an empty folder, which is all it has; gives the finished process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TENSORLET_REGISTRY", raising=False)

    def run(*arguments):
        command = [sys.executable, "-m", "tensorlet.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


def test_from_a_file_to_answers_to_a_rollback(tensorlet, tmp_path):
    """GIVEN a model as a file."""
    (tmp_path / "model.onnx").write_bytes(linear(784, 10, seed=1))
    (tmp_path / "better.onnx").write_bytes(linear(784, 10, seed=2))
    rows = np.random.default_rng(0).random((20, 784), dtype=np.float32)
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",", fmt="%.9g")

    # WHEN it is published, twice, and the alias is moved
    first = tensorlet("publish", "model.onnx", "--name", "churn", "--alias", "live")
    second = tensorlet("publish", "better.onnx", "--name", "churn", "--alias", "live")
    rollback = tensorlet("alias", "churn", "live", 1)

    # THEN versions are numbered, and the last line of stdout is the version
    assert [run.returncode for run in (first, second, rollback)] == [0, 0, 0]
    assert [run.stdout.splitlines()[-1] for run in (first, second)] == ["1", "2"]
    [model] = json.loads(tensorlet("models", "--json").stdout)
    assert [version["version"] for version in model["versions"]] == [1, 2]
    assert model["aliases"] == {"live": {"1": 1.0}}

    # AND the server, a file and the runtime itself agree
    answers = onnxruntime.InferenceSession(linear(784, 10, seed=1)).run(None, {"image": rows})[0]
    with running_server() as server:
        body = json.dumps({"instances": rows.tolist()}).encode()
        with urlopen(f"{server.url}/v1/models/churn:predict", body, timeout=10) as reply:
            assert reply.headers["tensorlet-model"] == "churn/1"
            np.testing.assert_allclose(json.load(reply)["predictions"], answers, rtol=1e-6)
    assert tensorlet("batch", "rows.csv", "--model", "churn").returncode == 0
    predictions = np.loadtxt(tmp_path / "rows.csv.out", delimiter=",", skiprows=0)
    np.testing.assert_allclose(predictions, answers, rtol=1e-4, atol=1e-5)

    # AND what is pulled is what was published
    assert tensorlet("pull", "churn@2", "-o", "pulled.onnx").returncode == 0
    assert (tmp_path / "pulled.onnx").read_bytes() == linear(784, 10, seed=2)


def test_a_file_that_no_runtime_can_execute_is_refused_at_publish_time(tensorlet, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")

    refused = tensorlet("publish", "model.onnx", "--name", "churn")

    assert refused.returncode == 1
    assert refused.stderr.startswith("tensorlet: ") and "Traceback" not in refused.stderr
    assert json.loads(tensorlet("models", "--json").stdout) == []


@pytest.mark.parametrize("source", ["saved_model", "model.pt"])
def test_a_source_that_is_a_program_needs_trust(tensorlet, tmp_path, source):
    if source == "saved_model":
        (tmp_path / source).mkdir()
        (tmp_path / source / "saved_model.pb").write_bytes(b"")
    else:
        with ZipFile(tmp_path / source, "w") as archive:
            archive.writestr("model/constants.pkl", b"")
            archive.writestr("model/code/__torch__.py", b"")

    refused = tensorlet("publish", source, "--name", "churn")

    assert refused.returncode == 1
    assert "--trust-source" in refused.stderr and refused.stderr.count("\n") == 1


def test_the_sample_events_are_answered_without_docker(tensorlet, tmp_path):
    (tmp_path / "model.onnx").write_bytes(linear(784, 10))
    tensorlet("publish", "model.onnx", "--name", "digits")
    event = tmp_path / "event.json"
    event.write_text(
        json.dumps(
            {"version": "2.0", "rawPath": "/v2/models/digits", "requestContext": {"http": {"method": "GET"}}}
        )
    )

    invoked = tensorlet("invoke", "predict", "--event", event)

    reply = json.loads(invoked.stdout)
    assert (invoked.returncode, reply["statusCode"]) == (0, 200)
    assert json.loads(reply["body"])["name"] == "digits"


def test_an_event_that_is_no_request_is_answered_too(tensorlet, tmp_path):
    (tmp_path / "event.json").write_text("{}")

    invoked = tensorlet("invoke", "predict", "--event", "event.json")

    assert invoked.returncode == 0
    assert json.loads(invoked.stdout)["statusCode"] == 400
