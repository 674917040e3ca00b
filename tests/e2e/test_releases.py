"""What docs/releases.md tells an operator to type works as it stands: a worse model is released, and taken back."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import times

GUIDE = (Path(__file__).parents[2] / "docs" / "releases.md").read_text()
ADDRESS = "127.0.0.1:8080"

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path):
    """Run a script in a folder with two models; gives what it prints."""
    (tmp_path / "better.onnx").write_bytes(times(2))
    (tmp_path / "worse.onnx").write_bytes(times(3))
    (tmp_path / "monitor.json").write_text(json.dumps({"tasks": ["guard", "shadow"]}))
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TENSORLET_REGISTRY": f"file://{tmp_path}/registry",
        "TENSORLET_CAPTURE": f"file://{tmp_path}/captures",
        "TENSORLET_CAPTURE_RATE": "1",
        "TENSORLET_CAPTURE_INTERVAL_S": "0",
    }

    def run(script):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.environ = environ
    return run


def test_a_worse_model_behind_a_canary_is_taken_back_and_the_history_says_why(shell, tmp_path):
    release, limits, watch, shadow = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    assert "live 10%" in shell(release)
    assert "min_requests=20" in shell(limits)
    server = subprocess.Popen(
        ["tensorlet", "serve", "--port", "0"],
        cwd=tmp_path,
        env=shell.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = server.stdout.readline().split("//")[1].strip()
        told = shell(watch.replace(ADDRESS, address))
    finally:
        server.terminate()
        assert server.wait(30) == 0

    findings, _, *history = told.splitlines()
    (verdict,) = json.loads(findings)["guard"]
    assert verdict["requests"] >= 20 and verdict["reason"].startswith("predictions moved: PSI of y")
    assert re.search(r"1 90% \+ 2 10% +1 +guard: version 2: predictions moved", history[0])

    told = shell(shadow)
    assert json.loads(told.splitlines()[1])["shadow"][0]["version"] == 2
    assert "0 failed, greatest difference 4" in told
