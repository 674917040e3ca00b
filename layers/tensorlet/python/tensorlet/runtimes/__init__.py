"""The two inference runtimes behind one small interface.

A session is made by `load_session` from a format and a file (bytes in memory or a path), has a `signature`
and answers `infer(inputs) -> outputs`, both by name. Inputs were checked against the signature before.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from tensorlet.errors import ArtifactRefused
from tensorlet.settings import RUNTIMES
from tensorlet.signature import Signature
from tensorlet.tensors import Tensor


class InferenceSession(Protocol):
    """A loaded model, ready to run; safe to call from several threads."""

    signature: Signature

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs for these inputs. Raises InferenceFailed when the runtime refuses the values."""
        ...


def load_session(
    format: str, model: Any, signature: Signature | None = None, threads: int = 1, *, prepack: bool = True
) -> InferenceSession:
    """Open `model`, a buffer of the file's bytes or its path as `str`, in the runtime of its format.

    `signature` is the caller's view, from the manifest: a TFLite file with a fixed batch takes any batch if
    that says so. None reads it from the file. Without `prepack`, ONNX Runtime uses weights as they lie in the
    file instead of copying them into its own order: a large model starts at once and runs somewhat slower.

    Raises:
        ArtifactRefused: the runtime cannot open the file, or there is no such format.
    """
    if format == "onnx":
        return _onnx_session(model, signature, threads, prepack)
    if format == "tflite":
        from tensorlet.runtimes.tflite import TFLiteSession

        return TFLiteSession(model, signature, threads)
    raise ArtifactRefused(f"format: expected one of {', '.join(RUNTIMES)}, got {format!r}")


def load_runtime(format: str) -> None:
    """Load the runtime of a format ahead of its first model; where its C library is not to be had, do nothing.

    Most of it happens outside of the interpreter's lock, so that a thread can do it beside the other imports.
    """
    if format == "tflite":
        from tensorlet.runtimes.tflite_c import load_library

        load_library()
        return
    from tensorlet.runtimes.onnx import load_api

    with suppress(OSError):
        load_api()


def onnx_runtime_version() -> str:
    """The release of ONNX Runtime that serves here."""
    from tensorlet.runtimes.onnx import load_api

    try:
        return load_api().version
    except OSError:
        import onnxruntime

        return str(onnxruntime.__version__)


def _onnx_session(model: Any, signature: Signature | None, threads: int, prepack: bool) -> InferenceSession:
    from tensorlet.runtimes.onnx import OnnxSession, load_api

    try:
        load_api()
    except OSError:
        from tensorlet.runtimes.onnx_python import OnnxPythonSession

        return OnnxPythonSession(model, signature, threads, prepack)
    return OnnxSession(model, signature, threads, prepack)
