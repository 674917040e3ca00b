"""`tensorlet demo`, which newcomers run first."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.training]
COMMAND = [sys.executable, "-m", "tensorlet.cli", "demo", "--quick"]


def processes_of(folder):
    """Command lines that name the folder: the demo's outputs and temporary files are in it."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    return [line for line in listing.stdout.splitlines() if str(folder) in line]


def test_the_demo_tells_the_whole_story(tmp_path):
    run = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=600)

    assert (run.returncode, run.stderr) == (0, "")
    assert "\033" not in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 120
    assert [int(number) for number in re.findall(r"^(\d)  ", run.stdout, re.MULTILINE)] == [1, 2, 3, 4, 5]
    assert "Traceback" not in run.stdout and "WARNING" not in run.stdout
    folder = tmp_path / ".tensorlet" / "demo"
    for made in (
        "torch/model.pth",
        "keras/model.keras",
        "registry/digits/1/model.onnx",
        "registry/digits/2/model.tflite",
        "registry/digits/aliases.json",
        "request.json",
        "scans.csv.out",
        "scans.csv.err.jsonl",
        "scans.csv.report.json",
    ):
        assert (folder / made).is_file()
    assert len((folder / "scans.csv.out").read_text().splitlines()) == 1 + 359


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path, number):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(COMMAND, cwd=tmp_path, env=environ, **pipes) as demo:
        while "training.train_torch" not in demo.stdout.readline():
            assert demo.poll() is None
        while not any("training.train_torch" in line for line in processes_of(tmp_path)):
            assert demo.poll() is None
            time.sleep(0.1)
        demo.send_signal(number)
        _, err = demo.communicate(timeout=60)

    assert (demo.returncode, err) == (130, "")
    assert processes_of(tmp_path) == []
