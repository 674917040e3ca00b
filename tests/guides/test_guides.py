"""Every block of the guides, run from top to bottom in a folder of its own."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tensorlet.publish.convert import convert_python

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
NAMED = re.compile(r"# (\w+\.py)\n")  # a first line that says which file the block is
UNREACHABLE = re.compile(
    "No matching distribution|Failed to establish a new connection|Name or service not known"
)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """Guide -> its run: two go at a time, since each mostly waits for a framework to be imported by one thread."""
    chosen = [
        item.callspec.params["guide"] for item in request.session.items if item.module is request.module
    ]
    with ThreadPoolExecutor(2) as pool:
        yield {guide: pool.submit(run_blocks, guide, tmp_path_factory.mktemp(guide.stem)) for guide in chosen}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_block_of_the_guide_runs(guide, runs):
    code, done = runs[guide].result()

    if "pip install" in code and UNREACHABLE.search(done.stderr):
        pytest.skip(f"no package index answers with what the guide installs: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, f"{code}\n{done.stderr}"


def run_blocks(guide, folder):
    """Run the blocks up to the first that fails; returns the last one's code, and how it ended."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TENSORLET_CONVERT_PYTHON": convert_python(),
        "KERAS_BACKEND": "tensorflow",
    }
    for language, code in re.findall(r"```(\w+)\n(.*?)```", guide.read_text(), re.DOTALL):
        if language == "python" and (name := NAMED.match(code)):
            (folder / name[1]).write_text(code)
            continue
        command = {"python": [convert_python(), "-c", code], "sh": ["sh", "-ec", code]}[language]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            break
    return code, done
