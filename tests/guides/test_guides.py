"""Every block of the guides, run from top to bottom in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tensorlet.publish.convert import convert_python

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
NAMED = re.compile(r"# (\w+\.py)\n")  # a first line that says which file the block is


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_block_of_the_guide_runs(guide, tmp_path):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TENSORLET_CONVERT_PYTHON": convert_python(),
        "KERAS_BACKEND": "tensorflow",
    }
    for language, code in re.findall(r"```(\w+)\n(.*?)```", guide.read_text(), re.DOTALL):
        if language == "python" and (name := NAMED.match(code)):
            (tmp_path / name[1]).write_text(code)
            continue
        command = {"python": [convert_python(), "-c", code], "sh": ["sh", "-ec", code]}[language]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
