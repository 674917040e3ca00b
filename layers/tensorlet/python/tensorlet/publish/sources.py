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
        SourceFormat("onnx", "onnx", "from_onnx", (ONNX,), False, 1e-6),
        SourceFormat("tflite", "tflite", "", (TFLITE,), False, 1e-6),
        SourceFormat("keras", "keras", "from_keras", (ONNX, TFLITE), False, 1e-5),
        SourceFormat("h5", "keras", "from_keras", (ONNX, TFLITE), False, 1e-5),
        SourceFormat("saved_model", "tensorflow", "from_saved_model", (ONNX, TFLITE), True, 1e-5),
        SourceFormat("state_dict", "torch", "from_torch", (ONNX, TFLITE), False, 1e-4),
        SourceFormat("safetensors", "torch", "from_torch", (ONNX, TFLITE), False, 1e-4),
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
SUFFIXES = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".keras": "keras",
    ".h5": "h5",
    ".hdf5": "h5",
    ".safetensors": "safetensors",
}
TORCH_SUFFIXES = (".pt", ".pth")  # either may hold weights or TorchScript: the content tells


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
    suffix = path.suffix.lower()
    if suffix in TORCH_SUFFIXES:
        return SOURCES["torchscript" if _is_torchscript(path) else "state_dict"]
    if suffix not in SUFFIXES:
        known = ", ".join([*SUFFIXES, *TORCH_SUFFIXES])
        raise PublishError(f"{path}: expected a SavedModel folder or a file ending in {known}")
    return SOURCES[SUFFIXES[suffix]]


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


def _is_torchscript(path: Path) -> bool:
    """TorchScript archives carry their code; archives of weights have none.

    Source: PyTorch, torch/csrc/jit/docs/serialization.md, "Overview".
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] == ["constants.pkl"] for name in archive.namelist())
