"""What a converter is asked to do, read from its folder, and how it says that it could not."""

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from tensorlet.publish.golden import FILE, Arrays, Golden, golden_inputs, load_arrays, save_golden
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import FROM_NUMPY

JOB_FILE = "job.json"
REASON_FILE = "reason.txt"
DESCRIPTION_FILE = "description.json"
SIGNATURES_FILE = "signatures.json"  # classify and regress signatures, as in the manifest
GIVEN_INPUTS = "given.npz"
OPSET = 18  # the newest that tf2onnx writes; every ONNX Runtime since 1.14 reads it


class Refused(Exception):
    """This model cannot be converted this way; the message is for the user."""


class Job(NamedTuple):
    """`folder` is where results go. `inputs` and `outputs` are what the user said, perhaps nothing.

    `module` makes the module that PyTorch weights belong to; `architecture` is the file of Keras' to_json().
    """

    source: str
    format: str
    folder: str
    module: str | None = None
    architecture: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    golden_inputs: str | None = None  # .npz by input name

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "inputs": [spec.to_json() for spec in self.inputs]}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Job":
        inputs = tuple(map(TensorSpec.from_json, document["inputs"]))
        return cls(**{**document, "inputs": inputs, "outputs": tuple(document["outputs"])})

    def path(self, name: str) -> Path:
        return Path(self.folder) / name


Step = Callable[[Job], None]


def run(steps: Mapping[str, Step]) -> None:
    """The main program of a converter: `STEP FOLDER`. What goes wrong is left in one line in `reason.txt`."""
    step, folder = sys.argv[1:]
    job = Job.from_json(json.loads((Path(folder) / JOB_FILE).read_text()))
    try:
        steps[step](job)
    except Exception as error:  # of whatever library: this process has no other way to tell
        traceback.print_exc()
        job.path(REASON_FILE).write_text(_reason(error))
        sys.exit(1)


def describe(
    job: Job,
    inputs: tuple[TensorSpec, ...],
    call: Callable[[Arrays], Arrays],
    packages: tuple[str, ...],
) -> None:
    """Run the source model on golden inputs; its answers tell the outputs' datatypes and shapes.

    A dimension of an output is dynamic where it follows a dynamic one of the inputs: found by running twice.
    """
    given = load_arrays(Path(job.golden_inputs)) if job.golden_inputs else None
    values = golden_inputs(inputs, given)
    answers = call(values)
    fewer = call({spec.name: _fewer(spec, values[spec.name]) for spec in inputs})
    outputs = tuple(_output_spec(name, answers[name].shape, fewer[name].shape, answers[name].dtype.name)
                    for name in answers)  # fmt: skip
    save_golden(job.path(FILE), Golden(values, answers))
    description = {"signature": Signature(inputs, outputs).to_json(), "versions": _versions(packages)}
    job.path(DESCRIPTION_FILE).write_text(json.dumps(description))


def takes_batches(inputs: tuple[TensorSpec, ...]) -> bool:
    return all(spec.shape[:1] == (DYNAMIC,) for spec in inputs)


def renamed(names: list[str], wanted: tuple[str, ...], what: str) -> list[str]:
    """The names the user chose, else the model's own."""
    if wanted and len(wanted) != len(names):
        raise Refused(f"the model has {len(names)} {what} ({', '.join(names)}), {len(wanted)} were named")
    return list(wanted) or names


def datatype(dtype: str) -> str:
    """The V2 datatype of a NumPy dtype's name. Raises Refused."""
    if dtype not in FROM_NUMPY:
        raise Refused(f"no V2 datatype stands for {dtype}")
    return FROM_NUMPY[dtype]


def _fewer(spec: TensorSpec, array: Any) -> Any:
    """`array` with one row if it is a batch, and about half of every other dynamic dimension."""
    lengths = [
        length if dim != DYNAMIC else (length + 1) // 2 if axis else 1
        for axis, (dim, length) in enumerate(zip(spec.shape, array.shape, strict=True))
    ]
    return array[tuple(map(slice, lengths))]


def _output_spec(name: str, full: tuple[int, ...], fewer: tuple[int, ...], dtype: str) -> TensorSpec:
    shape = tuple(a if a == b else DYNAMIC for a, b in zip(full, fewer, strict=True))
    return TensorSpec(name, datatype(dtype), shape)


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return (
            f"no module named {error.name!r} in {sys.executable}: install tensorlet[train] there,"
            " or name a Python that has it in TENSORLET_CONVERT_PYTHON"
        )
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, Refused) else f"{type(error).__name__}: {lines[0]}"
