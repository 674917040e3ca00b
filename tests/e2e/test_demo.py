"""`tensorlet demo`, which newcomers run first."""

import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.training]
COMMAND = [sys.executable, "-m", "tensorlet.cli", "demo", "--quick"]


def group_of(session):
    """The processes whose environment says that they belong to this run."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    return [line for line in listing.stdout.splitlines() if session in line]


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
@pytest.mark.parametrize("when", ["python -m training.train_torch", "2  The registry"])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path, number, when):
    with subprocess.Popen(
        COMMAND, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        for line in demo.stdout:
            if when in line:
                break
        time.sleep(3)
        demo.send_signal(number)
        _, err = demo.communicate(timeout=60)

    assert (demo.returncode, err) == (130, "")
    assert group_of(str(tmp_path)) == []
