"""Graphs of a TFLite file through LiteRT's C library, without NumPy.

The C API is not stable between releases (in 2.3 a model is made in an environment, before it was not), so it is
used for the releases in RELEASES only; for any other, and for files it cannot take (strings, unknown ranks,
output shapes that depend on values), `open_graphs` gives none and the Python API takes over.

Sources: LiteRT, litert/c/litert_model.h, litert_compiled_model.h, litert_tensor_buffer.h, litert_layout.h.
"""

import os
import sys
from collections.abc import Mapping
from ctypes import (
    CDLL,
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
    memmove,
    string_at,
)
from threading import Lock
from typing import Any

from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.runtimes.buffers import pointer
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Shape, Tensor, element_count

RELEASES = ("2.3.",)

# LiteRtElementType, which are the numbers of TfLiteType
DATATYPE_NAMES = {
    1: "FP32",
    2: "INT32",
    3: "UINT8",
    4: "INT64",
    6: "BOOL",
    7: "INT16",
    9: "INT8",
    10: "FP16",
    11: "FP64",
    13: "UINT64",
    16: "UINT32",
    17: "UINT16",
}
CPU = 1  # LiteRtHwAccelerators
READ, WRITE = 0, 1  # LiteRtTensorBufferLockMode
MAX_RANK = 8
RANK_MASK = 0x7F  # LiteRtLayout keeps the rank in the lower seven bits

# LiteRtEnvOptionTag: look for no GPU, and log errors only
ACCELERATORS_TAG, LOG_SEVERITY_TAG = 24, 25
INTEGER, ERRORS_ONLY = 2, 3


class _Any(Structure):
    _fields_ = [("type", c_int), ("integer", c_int64)]


class _Option(Structure):
    _fields_ = [("tag", c_int), ("value", _Any)]


class _Layout(Structure):
    _fields_ = [("rank", c_uint32), ("dims", c_int32 * MAX_RANK), ("strides", c_uint32 * MAX_RANK)]

    @property
    def shape(self) -> Shape:
        return tuple(self.dims[: self.rank & RANK_MASK])


class _TensorType(Structure):
    """LiteRtRankedTensorType"""

    _fields_ = [("element_type", c_int), ("layout", _Layout)]


class _Unsupported(Exception):
    """The Python API has to take this file."""


def open_graphs(model: Any) -> list[Any]:
    """One graph for each signature of the file; none where the C library is not to be used.

    Raises:
        ArtifactRefused: a file that is no TFLite model.
    """
    library = load_library()
    if library is None:
        return []
    try:
        opened = _Model(library, model)
        return [CGraph(opened, index) for index in range(opened.signature_count())]
    except _Unsupported:
        return []


class _Library:
    """The shared library and its one environment."""

    def __init__(self, path: str):
        self.calls = CDLL(path)
        options = (_Option * 2)(
            _Option(ACCELERATORS_TAG, _Any(INTEGER, CPU)),
            _Option(LOG_SEVERITY_TAG, _Any(INTEGER, ERRORS_ONLY)),
        )
        self.environment = c_void_p()
        self.check("LiteRtCreateEnvironment", 2, options, byref(self.environment))

    def check(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a LiteRtStatus. Raises _Unsupported unless that is 0 (ok)."""
        status = getattr(self.calls, name)(*arguments)
        if status:
            raise _Unsupported(f"{name} returned status {status}")


class _Model:
    """A model and its compiled form; freed together, after the graphs that use them."""

    def __init__(self, library: _Library, model: Any):
        self.library = library
        self.handle, self.compiled, options = c_void_p(), c_void_p(), c_void_p()
        self._bytes = pointer(model)  # LiteRT reads weights in place
        try:
            library.check(
                "LiteRtCreateModelFromBuffer",
                library.environment,
                c_void_p(self._bytes.address),
                c_size_t(self._bytes.size_bytes),
                byref(self.handle),
            )
        except _Unsupported as error:
            raise ArtifactRefused(f"LiteRT cannot open the model: {error}") from None
        library.check("LiteRtCreateOptions", byref(options))
        try:
            library.check("LiteRtSetOptionsHardwareAccelerators", options, CPU)
            library.check(
                "LiteRtCreateCompiledModel", library.environment, self.handle, options, byref(self.compiled)
            )
        finally:
            library.calls.LiteRtDestroyOptions(options)

    def signature_count(self) -> int:
        count = c_size_t()
        self.library.check("LiteRtGetNumModelSignatures", self.handle, byref(count))
        return count.value

    def __del__(self) -> None:
        calls = self.library.calls
        if self.compiled:
            calls.LiteRtDestroyCompiledModel(self.compiled)
        if self.handle:
            calls.LiteRtDestroyModel(self.handle)


class CGraph:
    """One signature. Its tensor buffers are made for one set of input shapes and kept until those change."""

    def __init__(self, model: _Model, index: int):
        self._model, self._library = model, model.library
        self._index = c_size_t(index)
        self._shapes: tuple[Shape, ...] = ()
        self._inputs: Any = ()
        self._outputs: Any = ()
        self._output_shapes: list[Shape] = []
        handle = c_void_p()
        self._library.check("LiteRtGetModelSignature", model.handle, self._index, byref(handle))
        self.signature = Signature(self._specs(handle, "Input"), self._specs(handle, "Output"))
        self._check_output_shapes()
        self._prepare(self._example_shapes(1))

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tensors = [inputs[spec.name] for spec in self.signature.inputs]
        try:
            shapes = tuple(tensor.shape for tensor in tensors)
            if shapes != self._shapes:
                self._prepare(shapes)
            for tensor, buffer in zip(tensors, self._inputs, strict=True):
                self._write(buffer, tensor)
            self._library.check(
                "LiteRtRunCompiledModel",
                self._model.compiled,
                self._index,
                c_size_t(len(self._inputs)),
                self._inputs,
                c_size_t(len(self._outputs)),
                self._outputs,
            )
            return {
                spec.name: self._read(buffer, spec, shape)
                for spec, buffer, shape in zip(
                    self.signature.outputs, self._outputs, self._output_shapes, strict=True
                )
            }
        except _Unsupported as error:
            self._shapes = ()
            raise InferenceFailed(f"LiteRT: {error}") from None

    def __del__(self) -> None:
        self._drop_buffers()

    def _specs(self, signature: c_void_p, kind: str) -> tuple[TensorSpec, ...]:
        check, count, specs = self._library.check, c_size_t(), []
        check(f"LiteRtGetNumSignature{kind}s", signature, byref(count))
        for index in range(count.value):
            name, tensor, tensor_type = c_char_p(), c_void_p(), _TensorType()
            check(f"LiteRtGetSignature{kind}Name", signature, c_size_t(index), byref(name))
            check(f"LiteRtGetSignature{kind}TensorByIndex", signature, c_size_t(index), byref(tensor))
            check("LiteRtGetRankedTensorType", tensor, byref(tensor_type))
            datatype = DATATYPE_NAMES.get(tensor_type.element_type)
            if datatype is None:
                raise _Unsupported(f"element type {tensor_type.element_type}")
            specs.append(TensorSpec(_text(name.value or b""), datatype, tensor_type.layout.shape))
        return tuple(specs)

    def _prepare(self, shapes: tuple[Shape, ...]) -> None:
        """Resize the inputs and make buffers for them and for the outputs that follow."""
        self._drop_buffers()
        self._output_shapes = self._resize(shapes)
        self._inputs = self._buffers("Input", self.signature.inputs, shapes)
        self._outputs = self._buffers("Output", self.signature.outputs, self._output_shapes)
        self._shapes = shapes

    def _check_output_shapes(self) -> None:
        """Refuse a graph that computes its output shapes while it runs, as Keras' Flatten does with a dynamic batch.

        LiteRT then reports the shapes of the run before, and writes past the end of buffers made for them. It
        is seen here, and not in a request: a dynamic dimension of an output that does not follow the inputs.
        """
        if not any(DYNAMIC in spec.shape for spec in self.signature.inputs):
            return
        one, two = self._resize(self._example_shapes(1)), self._resize(self._example_shapes(2))
        for spec, first, second in zip(self.signature.outputs, one, two, strict=True):
            if not len(spec.shape) == len(first) == len(second):
                raise _Unsupported("the rank of an output is unknown")
            for dim, before, after in zip(spec.shape, first, second, strict=True):
                if dim == DYNAMIC and before == after:
                    raise _Unsupported("an output shape depends on values")

    def _example_shapes(self, length: int) -> tuple[Shape, ...]:
        """Input shapes whose dynamic dimensions are `length`."""
        return tuple(
            tuple(length if dim == DYNAMIC else dim for dim in spec.shape) for spec in self.signature.inputs
        )

    def _resize(self, shapes: tuple[Shape, ...]) -> list[Shape]:
        """Resize the inputs; returns the shapes of the outputs that follow."""
        library, compiled = self._library, self._model.compiled
        for index, (spec, shape) in enumerate(zip(self.signature.inputs, shapes, strict=True)):
            if DYNAMIC in spec.shape:
                dims = (c_int32 * len(shape))(*shape)
                library.check(
                    "LiteRtCompiledModelResizeInputTensor",
                    compiled,
                    self._index,
                    c_size_t(index),
                    dims,
                    c_size_t(len(shape)),
                )
        layouts = (_Layout * len(self.signature.outputs))()
        library.check(
            "LiteRtGetCompiledModelOutputTensorLayouts",
            compiled,
            self._index,
            c_size_t(len(layouts)),
            layouts,
            c_bool(True),
        )
        output_shapes = [layout.shape for layout in layouts]
        if any(dim < 0 for shape in output_shapes for dim in shape):
            raise _Unsupported("an output shape depends on values")
        return output_shapes

    def _buffers(self, kind: str, specs: tuple[TensorSpec, ...], shapes: Any) -> Any:
        library, buffers = self._library, (c_void_p * len(specs))()
        for index, (spec, shape) in enumerate(zip(specs, shapes, strict=True)):
            requirements, buffer = c_void_p(), c_void_p()
            library.check(
                f"LiteRtGetCompiledModel{kind}BufferRequirements",
                self._model.compiled,
                self._index,
                c_size_t(index),
                byref(requirements),
            )
            layout = _Layout(len(shape), (c_int32 * MAX_RANK)(*shape))
            library.check(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                library.environment,
                byref(_TensorType(_ELEMENT_TYPES[spec.datatype], layout)),
                requirements,
                byref(buffer),
            )
            buffers[index] = buffer.value
        return buffers

    def _write(self, buffer: int, tensor: Tensor) -> None:
        source = pointer(tensor.data)
        memmove(self._locked(buffer, WRITE), source.address or 0, source.size_bytes)
        self._library.check("LiteRtUnlockTensorBuffer", c_void_p(buffer))

    def _read(self, buffer: int, spec: TensorSpec, shape: Shape) -> Tensor:
        size_bytes = element_count(shape) * DATATYPES[spec.datatype].size_bytes
        data = string_at(self._locked(buffer, READ), size_bytes)
        self._library.check("LiteRtUnlockTensorBuffer", c_void_p(buffer))
        return Tensor(spec.datatype, shape, data)

    def _locked(self, buffer: int, mode: int) -> int:
        address = c_void_p()
        self._library.check("LiteRtLockTensorBuffer", c_void_p(buffer), byref(address), mode)
        return address.value or 0

    def _drop_buffers(self) -> None:
        for buffer in (*self._inputs, *self._outputs):
            if buffer:
                self._library.calls.LiteRtDestroyTensorBuffer(c_void_p(buffer))
        self._inputs, self._outputs, self._shapes = (), (), ()


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ArtifactRefused(f"LiteRT cannot open the model: the name {name[:80]!r} is no UTF-8") from None


_ELEMENT_TYPES = {name: number for number, name in DATATYPE_NAMES.items()}
_lock = Lock()
_library: _Library | None = None


def load_library() -> _Library | None:
    """The C library, loaded once; None where the installed wheel is not of a release that we know."""
    global _library
    with _lock:
        if _library is None and (path := find_library()):
            _library = _Library(path)
        return _library


def find_library() -> str | None:
    """libLiteRt of the installed wheel, which need not be imported."""
    for folder in sys.path:
        try:
            names = os.listdir(folder)  # noqa: PTH208  # no pathlib on the cold path
        except OSError:
            continue
        if "ai_edge_litert" in names:
            known = any(
                name.startswith(f"ai_edge_litert-{release}") for name in names for release in RELEASES
            )
            path = f"{folder}/ai_edge_litert/libLiteRt.so"
            return path if known and os.path.exists(path) else None  # noqa: PTH110
    return None
