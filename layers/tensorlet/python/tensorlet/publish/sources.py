"""Which saved models can be published, how each is read, and what it becomes.

A new source is a row in `SOURCES` and, where it must be converted, a module in `converters/`.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

from tensorlet.errors import PublishError

ONNX = "onnx"
TFLITE = "tflite"


class SourceFormat(NamedTuple):
    name: str
    framework: str
    converter: str  # module in converters/; "" is served as it is
    targets: tuple[str, ...]
    is_program: bool  # can run code when it is opened, so the caller must vouch for it
    tolerance: float  # largest difference of a float32 artifact's answers, see gate.py
    impossible: dict[str, str] = {}  # target -> why it cannot be made  # noqa: RUF012  # never changed


# Tolerances: conversion reorders float32 sums. Measured on dense, convolutional and recurrent models, Keras
# exports differ by up to 7e-7 (on probabilities) and PyTorch exports by up to 1e-5 (on logits).
SOURCES = {
    source.name: source
    for source in (
        SourceFormat(
            "onnx",
            "onnx",
            "from_onnx",
            (ONNX,),
            False,
            1e-6,
            {TFLITE: "nothing here converts ONNX to TFLite; publish the framework's own file instead"},
        ),
        SourceFormat(
            "tflite",
            "tflite",
            "",
            (TFLITE,),
            False,
            1e-6,
            {ONNX: "nothing here converts TFLite to ONNX; publish the framework's own file instead"},
        ),
        SourceFormat("keras", "keras", "from_keras", (ONNX, TFLITE), False, 1e-5),
        SourceFormat("h5", "keras", "from_keras", (ONNX, TFLITE), False, 1e-5),
        SourceFormat("keras_weights", "keras", "from_keras", (ONNX, TFLITE), False, 1e-5),
        SourceFormat("saved_model", "tensorflow", "from_saved_model", (ONNX, TFLITE), True, 1e-5),
        SourceFormat("state_dict", "torch", "from_torch", (ONNX, TFLITE), False, 1e-4),
        SourceFormat("safetensors", "torch", "from_torch", (ONNX, TFLITE), False, 1e-4),
        SourceFormat("torch_export", "torch", "from_torch", (ONNX, TFLITE), True, 1e-4),
        SourceFormat(
            "torchscript",
            "torch",
            "from_torch",
            (ONNX,),
            True,
            1e-4,
            {
                TFLITE: "nothing converts TorchScript to TFLite; publish the weights (.pth) with --module instead"
            },
        ),
    )
}
KERAS_WEIGHTS = ".weights.h5"
SUFFIXES = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".keras": "keras",
    KERAS_WEIGHTS: "keras_weights",
    ".h5": "h5",
    ".hdf5": "h5",
    ".safetensors": "safetensors",
    ".pt2": "torch_export",
}
TORCH_SUFFIXES = (".pt", ".pth")  # may hold weights, TorchScript or an exported program: the content tells

# A file in the archive, under a folder of any name, tells its format; archives of weights have neither.
# Sources: PyTorch, torch/csrc/jit/docs/serialization.md, "Overview"; torch/export/pt2_archive/constants.py.
TORCH_ARCHIVES = {"constants.pkl": "torchscript", "archive_format": "torch_export"}


def detect_source(path: Path) -> SourceFormat:
    """The format of the saved model at `path`.

    Raises:
        PublishError: nothing is there, or no known format.
    """
    if not path.exists():
        raise PublishError(f"{path}: no such file or folder")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return SOURCES["saved_model"]
        raise PublishError(f"{path}: expected a SavedModel folder, with saved_model.pb directly in it")
    name = path.name.lower()
    if name.endswith(TORCH_SUFFIXES):
        return SOURCES[_torch_format(path)]
    for suffix, format in SUFFIXES.items():  # .weights.h5 before .h5
        if name.endswith(suffix):
            return SOURCES[format]
    known = ", ".join([*SUFFIXES, *TORCH_SUFFIXES])
    raise PublishError(f"{path}: expected a SavedModel folder or a file ending in {known}")


def find_architecture(source: Path, form: SourceFormat, given: Path | None) -> Path | None:
    """The file of `to_json()` that Keras weights belong to: `given`, or NAME.json beside NAME.weights.h5.

    Raises:
        PublishError: there is none, or `given` comes with a source that knows its own architecture.
    """
    if form.name != "keras_weights":
        if given:
            raise PublishError(
                f"--architecture: only files ending in {KERAS_WEIGHTS} need one, not {source.name}"
            )
        return None
    path = given or source.with_name(source.name[: -len(KERAS_WEIGHTS)] + ".json")
    if not path.is_file():
        raise PublishError(
            f"{path}: no such file; weights need their architecture, the text of model.to_json(), in it"
            " or in the file that --architecture names"
        )
    return path


def digest_source(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its files' sorted `digest  path` lines, as sha256sum prints them."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    lines = (
        f"{digest_source(file)}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _torch_format(path: Path) -> str:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                format = TORCH_ARCHIVES.get("/".join(name.split("/")[1:]))
                if format:
                    return format
    return "state_dict"
