"""The gradient graph of a version: made of its ONNX artifact, run once, and stored beside it for explanations."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tensorlet.errors import ArtifactRefused
from tensorlet.publish.convert import run_steps
from tensorlet.publish.converters.job import Job
from tensorlet.publish.golden import Golden
from tensorlet.publish.measure import Subject, answers
from tensorlet.signature import Signature, TensorSpec

FILE, REACHED_FILE = "explain.onnx", "reached.json"
STEP = "explain"
COTANGENT, GRADIENT = "cotangent", "gradient:"


class GradientGraph(NamedTuple):
    """The manifest's `explain` entry and the file, or the reason why there is none."""

    entry: Mapping[str, Any] | None
    path: Path
    reason: str = ""


def make_gradient(
    model: Path, folder: Path, signature: Signature, golden: Golden, roles: Mapping[str, Any]
) -> GradientGraph:
    """Differentiate the ONNX file `model` in the new folder `folder`: its scores, else its first output of floats."""
    floats = [spec for spec in signature.outputs if spec.datatype == "FP32"]
    wanted = roles.get("roles", {}).get("scores")
    outputs = [spec for spec in floats if spec.name == wanted] or floats
    if not outputs or not signature.batched:
        return GradientGraph(None, folder, "it takes no batches of floats")
    [output, *_] = outputs
    folder.mkdir()
    job = Job(source=str(model), format="onnx", folder=str(folder), outputs=(output.name,))
    failures = run_steps("gradient", job, (STEP,))
    path = folder / STEP / FILE
    if failures:
        return GradientGraph(None, path, failures[STEP])
    try:
        reached = _try(path, signature, golden, output, folder / "trial")
    except ArtifactRefused as error:
        return GradientGraph(None, path, str(error))
    entry = {"format": "onnx", "file": FILE, "inputs": reached, "output": output.name}
    return GradientGraph(entry, path)


def _try(path: Path, signature: Signature, golden: Golden, output: TensorSpec, folder: Path) -> list[str]:
    """Run the graph on the golden inputs; returns the inputs whose gradients it gives. Raises ArtifactRefused."""
    reached: list[str] = json.loads(path.with_name(REACHED_FILE).read_text())
    specs = {spec.name: spec for spec in signature.inputs}
    own = Signature(
        (*signature.inputs, output._replace(name=COTANGENT)),
        tuple(specs[name]._replace(name=f"{GRADIENT}{name}") for name in reached),
    )
    rows = len(next(iter(golden.inputs.values())))
    cotangent = np.ones((rows, *np.shape(golden.outputs[output.name])[1:]), np.float32)
    answers(Subject(STEP, "onnx", path), own, {**golden.inputs, COTANGENT: cotangent}, folder)
    return reached
