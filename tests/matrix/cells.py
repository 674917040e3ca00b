"""The cells: which source files there are, how each is published, and what came of it."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tensorlet.cli.arguments import parse_tensor_spec
from tensorlet.errors import TensorletError
from tensorlet.publish import publish
from tensorlet.publish.convert import convert_python
from tensorlet.registry.registry import Registry

from tests.matrix import torch_inputs

ROOT = Path(__file__).parents[2]
TARGETS = ("onnx", "tflite")
ARCHITECTURES = tuple(torch_inputs.INPUTS)
SOURCES = {  # column -> file, framework that made it
    ".keras": ("model.keras", "keras"),
    ".h5": ("model.h5", "keras"),
    ".weights.h5": ("model.weights.h5", "keras"),
    "SavedModel": ("saved_model", "keras"),
    ".pth": ("model.pth", "torch"),
    ".safetensors": ("model.safetensors", "torch"),
    ".pt2": ("model.pt2", "torch"),
    "TorchScript": ("model.pt", "torch"),
    "ONNX": ("model.onnx", "keras"),  # as published from .keras
    "TFLite": ("model.tflite", "keras"),
}


class Cell(NamedTuple):
    """What became of one target: the largest difference from the source, or the reason why there is none."""

    max_abs_diff: float | None
    reason: str


def make_models(folder, frameworks=("keras", "torch"), architectures=ARCHITECTURES):
    """Save every architecture in every form of its framework, in the environment that has the frameworks."""
    for framework in frameworks:
        subprocess.run(
            [convert_python(), "-W", "ignore", "-m", f"tests.matrix.{framework}_models",
             str(folder / framework), *architectures],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip


def run_cell(folder, source, architecture):
    """Publish one source; returns target -> Cell."""
    file, framework = SOURCES[source]
    path = folder / framework / architecture / file
    says_inputs = not file.endswith((".pth", ".safetensors", ".pt"))
    texts = [] if says_inputs else torch_inputs.INPUTS[architecture]
    weights = file.endswith((".pth", ".safetensors"))
    lines = []
    name = f"{architecture}{source.lower()}".replace(".", "-")
    try:
        publish(
            path,
            name,
            f"file://{folder / 'registry'}",
            trust_source=True,
            module=f"tests.matrix.torch_models:{architecture}" if weights else None,
            inputs=[parse_tensor_spec(text) for text in texts],
            keep=path.parent if file == "model.keras" else None,
            report=lines.append,
        )
    except TensorletError as error:
        return {target: Cell(None, str(error).removeprefix(f"{path}: ")) for target in TARGETS}
    document = Registry.open(f"file://{folder / 'registry'}").resolve(name).manifest.document
    made = {artifact["format"]: artifact["parity"]["max_abs_diff"] for artifact in document["artifacts"]}
    return {target: Cell(made.get(target), _reason(target, lines)) for target in TARGETS}


def _reason(target, lines):
    """Why a target was skipped, as `publish` tells people."""
    for text in "\n".join(lines).splitlines():
        if text.split()[:2] == [target, "skipped:"]:
            return text.partition("skipped: ")[2]
    return "" if target in "".join(lines) else f"a source that is served as it is makes no {target}"


if __name__ == "__main__":
    print(run_cell(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
