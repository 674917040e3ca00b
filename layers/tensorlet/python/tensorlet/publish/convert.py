"""Conversions, each in a process of its own: converters are heavy, talkative, and sometimes crash.

The processes run `$TENSORLET_CONVERT_PYTHON`, which has the frameworks, confined as `confine` says.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import TimeoutExpired

from tensorlet.errors import ConversionFailed
from tensorlet.publish.confine import ended, run_confined
from tensorlet.publish.converters.job import JOB_FILE, REASON_FILE, Job

DESCRIBE = "describe"  # the step that runs the source model: its signature and its golden values
TIMEOUT_S = 900
# Frameworks greet, warn and count; what matters comes back as a file.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}


def run_steps(converter: str, job: Job, steps: Iterable[str]) -> dict[str, str]:
    """Run the steps of one job at the same time, each in its folder `job.folder/STEP`.

    Returns step -> why it failed, for those that did.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        running = {step: pool.submit(_run_step, converter, job, step) for step in steps}
        failures = {step: run.exception() for step, run in running.items()}
    for failure in failures.values():
        if failure and not isinstance(failure, ConversionFailed):
            raise failure
    return {step: str(failure) for step, failure in failures.items() if failure}


def convert_python(environ: Mapping[str, str] = os.environ) -> str:
    """The Python that has the frameworks: $TENSORLET_CONVERT_PYTHON, that of `make setup`, or this one."""
    if environ.get("TENSORLET_CONVERT_PYTHON"):
        return environ["TENSORLET_CONVERT_PYTHON"]
    checkout = Path(__file__).parents[5]  # <checkout>/layers/tensorlet/python/tensorlet/publish/convert.py
    for folder in (Path.cwd(), checkout):
        python = folder / ".venv-train" / "bin" / "python"
        if python.is_file():
            return str(python)
    return sys.executable


def _run_step(converter: str, job: Job, step: str) -> None:
    """Raises ConversionFailed with the reason in one line."""
    folder = Path(job.folder) / step
    folder.mkdir()
    (folder / JOB_FILE).write_text(json.dumps(job._replace(folder=str(folder)).to_json()))
    python = convert_python()
    command = [python, "-m", f"tensorlet.publish.converters.{converter}", step, str(folder)]
    try:
        # A module that the user names is the user's own code, and may need what it finds at home.
        done = run_confined(command, folder, TIMEOUT_S, QUIET, own_home=job.module is None)
    except TimeoutExpired:
        raise ConversionFailed(f"the converter did not finish in {TIMEOUT_S} s") from None
    except OSError as error:
        raise ConversionFailed(f"TENSORLET_CONVERT_PYTHON: cannot run {python}: {error.strerror}") from None
    if done.returncode:
        reason = folder / REASON_FILE
        raise ConversionFailed(reason.read_text() if reason.is_file() else f"the converter {ended(done)}")
