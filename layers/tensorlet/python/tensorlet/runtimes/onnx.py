"""ONNX Runtime behind the `InferenceSession` interface, through its C API and without NumPy.

The wheel carries the runtime as a plain C library beside the Python extension. Driving it by ctypes spares a
cold start the import of NumPy, its largest part, takes every datatype as bytes (BF16 and strings that are not
UTF-8 included), and lets a layer ship one binary instead of two. The C API is versioned and append-only: a
function keeps its place in the table for ever.

Source: onnxruntime/core/session/onnxruntime_c_api.h, `struct OrtApi`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
    create_string_buffer,
    memmove,
    string_at,
)
from functools import cache
from threading import Lock
from typing import Any

from tensorlet.errors import ArtifactRefused, InferenceFailed
from tensorlet.runtimes.buffers import pointer
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Buffer, Shape, Tensor, element_count, narrow_with

# ONNXTensorElementDataType
ELEMENT_TYPES = {
    "FP32": 1,
    "UINT8": 2,
    "INT8": 3,
    "UINT16": 4,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "BYTES": 8,
    "BOOL": 9,
    "FP16": 10,
    "FP64": 11,
    "UINT32": 12,
    "UINT64": 13,
    "BF16": 16,
}
DATATYPE_NAMES = {number: name for name, number in ELEMENT_TYPES.items()}

API_VERSION = 16
TENSOR = 1  # ONNXType
ERRORS_ONLY = 3  # OrtLoggingLevel: a warning is a log line that nobody asked for
CPU_ARENA, CPU_MEMORY = 1, 0  # OrtAllocatorType, OrtMemType

_P, _N = c_void_p, c_size_t  # pointers of all kinds; byref(...) goes for a pointer

# Name: (place in OrtApi, arguments). Each returns an OrtStatus* (null is success) but those of RETURNS.
FUNCTIONS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "GetErrorMessage": (2, (_P,)),
    "CreateEnv": (3, (c_int, c_char_p, _P)),
    "CreateSession": (7, (_P, c_char_p, _P, _P)),
    "CreateSessionFromArray": (8, (_P, _P, _N, _P, _P)),
    "Run": (9, (_P, _P, _P, _P, _N, _P, _N, _P)),
    "CreateSessionOptions": (10, (_P,)),
    "SetSessionLogSeverityLevel": (22, (_P, c_int)),
    "SetIntraOpNumThreads": (24, (_P, c_int)),
    "SessionGetInputCount": (30, (_P, _P)),
    "SessionGetOutputCount": (31, (_P, _P)),
    "SessionGetInputTypeInfo": (33, (_P, _N, _P)),
    "SessionGetOutputTypeInfo": (34, (_P, _N, _P)),
    "SessionGetInputName": (36, (_P, _N, _P, _P)),
    "SessionGetOutputName": (37, (_P, _N, _P, _P)),
    "CreateTensorAsOrtValue": (48, (_P, _P, _N, c_int, _P)),
    "CreateTensorWithDataAsOrtValue": (49, (_P, _P, _N, _P, _N, c_int, _P)),
    "GetTensorMutableData": (51, (_P, _P)),
    "GetStringTensorDataLength": (53, (_P, _P)),
    "GetStringTensorContent": (54, (_P, _P, _N, _P, _N)),
    "CastTypeInfoToTensorInfo": (55, (_P, _P)),
    "GetOnnxTypeFromTypeInfo": (56, (_P, _P)),
    "GetTensorElementType": (60, (_P, _P)),
    "GetDimensionsCount": (61, (_P, _P)),
    "GetDimensions": (62, (_P, _P, _N)),
    "GetTensorTypeAndShape": (65, (_P, _P)),
    "CreateCpuMemoryInfo": (69, (c_int, c_int, _P)),
    "AllocatorFree": (76, (_P, _P)),
    "GetAllocatorWithDefaultOptions": (78, (_P,)),
    "ReleaseStatus": (93, (_P,)),
    "ReleaseSession": (95, (_P,)),
    "ReleaseValue": (96, (_P,)),
    "ReleaseTypeInfo": (98, (_P,)),
    "ReleaseTensorTypeAndShapeInfo": (99, (_P,)),
    "ReleaseSessionOptions": (100, (_P,)),
    "AddSessionConfigEntry": (130, (_P, c_char_p, c_char_p)),
    "GetResizedStringTensorElementBuffer": (252, (_P, _N, _N, _P)),
}
RETURNS = {
    "GetErrorMessage": c_char_p,
    "ReleaseStatus": None,
    "ReleaseSession": None,
    "ReleaseValue": None,
    "ReleaseTypeInfo": None,
    "ReleaseTensorTypeAndShapeInfo": None,
    "ReleaseSessionOptions": None,
}


# A graph of one node, Cast from float64 to float32: onnx.helper.make_node("Cast", ["d"], ["f"], to=FLOAT).
NARROW = bytes.fromhex(
    "08083a400a170a01641201662204436173742a090a02746f1801a0010212016e5a100a0164120b0a09080b12050a0312016e"
    "62100a0166120b0a09080112050a0312016e42040a00100d"
)


SMALL_BYTES = 64 << 10  # tensors of a run that are copied sooner than described
REMEMBERED_KINDS = 16  # of inputs, by session: batch sizes are the callers' choice

_Kinds = tuple[tuple[Any, ...], ...]  # datatype and shape of each input


class OnnxSession:
    """An ONNX model; ONNX Runtime sessions are safe to run from several threads.

    It takes as long to describe small tensors to the runtime as to run a small model. So the second request of
    its kind finds a run prepared by the first; `_idle` has those that no thread is using.
    """

    def __init__(self, model: Any, signature: Signature | None, threads: int, prepack: bool = True):
        api = self.api = load_api()
        self._session = c_void_p()
        options = c_void_p()
        try:
            api.check(api.CreateSessionOptions(byref(options)))
            api.check(api.SetSessionLogSeverityLevel(options, ERRORS_ONLY))
            api.check(api.SetIntraOpNumThreads(options, threads))
            if not prepack:
                api.check(api.AddSessionConfigEntry(options, b"session.disable_prepacking", b"1"))
            self._open(model, options)
            self.signature = signature or self._read_signature()
        except _StatusError as error:
            raise ArtifactRefused(f"ONNX Runtime cannot open the model: {error}") from None
        finally:
            api.ReleaseSessionOptions(options)
        self._inputs, self._input_names = _names(self.signature.inputs)
        self._outputs, self._output_names = _names(self.signature.outputs)
        self._idle: dict[_Kinds, list[_PreparedRun]] = {}
        self._keeps = True

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kinds = tuple([inputs[name][:2] for name in self._inputs])  # datatypes and shapes
        idle = self._idle.get(kinds, [])
        try:
            run = idle.pop()  # atomic: no two threads get the same one
        except IndexError:
            outputs = self._run(inputs)
            self._keep(kinds, inputs, outputs)
            return outputs
        try:
            outputs = run.infer(inputs)
        except _StatusError:  # the inputs are wrong, which this raises, or a shape depends on values
            outputs = self._run(inputs)
            self._keeps = False
            return outputs
        idle.append(run)
        return outputs

    def _keep(self, kinds: _Kinds, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Prepare the next run over tensors like these, if they are small."""
        if not self._keeps:
            return
        size_bytes = 0
        for tensor in (*inputs.values(), *outputs.values()):
            if tensor.datatype == "BYTES" or not tensor.data:
                return
            size_bytes += tensor.size_bytes
            if size_bytes > SMALL_BYTES:
                return
        if len(self._idle) >= REMEMBERED_KINDS:
            self._idle.clear()
        ordered = {name: inputs[name] for name in self._inputs}
        self._idle.setdefault(kinds, []).append(_PreparedRun(self, ordered, outputs))

    def _run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A run over tensors of any kind and size."""
        api, specs = self.api, self.signature.outputs
        feeds, results = (c_void_p * len(self._inputs))(), (c_void_p * len(specs))()
        try:
            held = [api.make_tensor(inputs[name], feeds, index) for index, name in enumerate(self._inputs)]
            status = api.Run(*self.arguments(feeds, results))
            del held  # the buffers under `feeds` had to live until here
            api.check(status)
            return {spec.name: api.read_tensor(results[index], spec) for index, spec in enumerate(specs)}
        except _StatusError as error:
            raise InferenceFailed(f"ONNX Runtime: {error}") from None
        finally:
            api.release(feeds, results)

    def arguments(self, feeds: Any, results: Any) -> tuple[Any, ...]:
        """Those of `Run`, for arrays of OrtValues."""
        return (
            self._session,
            None,
            self._input_names,
            feeds,
            len(feeds),
            self._output_names,
            len(results),
            results,
        )

    def __del__(self) -> None:
        if getattr(self, "_session", None):
            self.api.ReleaseSession(self._session)

    def _open(self, model: Any, options: c_void_p) -> None:
        api, session = self.api, byref(self._session)
        if isinstance(model, str):
            api.check(api.CreateSession(api.env, os.fsencode(model), options, session))
            return
        held = pointer(model)
        api.check(api.CreateSessionFromArray(api.env, held.address, held.size_bytes, options, session))

    def _read_signature(self) -> Signature:
        api = self.api
        return Signature(
            self._read_specs(api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo),
            self._read_specs(
                api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo
            ),
        )

    def _read_specs(self, get_count: Any, get_name: Any, get_type: Any) -> tuple[TensorSpec, ...]:
        api, session, count, specs = self.api, self._session, c_size_t(), []
        api.check(get_count(session, byref(count)))
        for index in range(count.value):
            text = c_void_p()
            api.check(get_name(session, index, api.allocator, byref(text)))
            name = string_at(text.value or 0).decode()
            api.check(api.AllocatorFree(api.allocator, text))
            info = c_void_p()
            api.check(get_type(session, index, byref(info)))
            try:
                specs.append(TensorSpec(name, *api.read_type(info, name)))
            finally:
                api.ReleaseTypeInfo(info)
        return tuple(specs)


class _PreparedRun:
    """A run over tensors in memory of its own: what is left to do is to copy the inputs in and the outputs out."""

    def __init__(self, session: OnnxSession, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]):
        self._api = session.api
        self._held: list[Any] = []
        self._feeds, self._inputs = self._own(inputs)
        self._results, self._outputs = self._own(outputs)
        self._arguments = session.arguments(self._feeds, self._results)

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raises _StatusError where the runtime refuses the values, or an output is of another shape than before."""
        for name, _, _, data in self._inputs:
            data[:] = memoryview(inputs[name].data).cast("B")
        if status := self._api.Run(*self._arguments):
            self._api.check(status)
        return {name: Tensor(datatype, shape, bytes(data)) for name, datatype, shape, data in self._outputs}

    def _own(self, tensors: Mapping[str, Tensor]) -> tuple[Any, list[tuple[str, str, Shape, memoryview]]]:
        """OrtValues for tensors like these; name, datatype, shape and memory of each."""
        values, owned = (c_void_p * len(tensors))(), []
        for index, (name, tensor) in enumerate(tensors.items()):
            own = tensor._replace(data=memoryview(bytearray(tensor.data)))
            self._held.append(self._api.make_tensor(own, values, index))
            owned.append((name, *own))
        return values, owned

    def __del__(self) -> None:
        self._api.release(self._feeds, self._results)


def _names(specs: Sequence[TensorSpec]) -> tuple[list[str], Any]:
    """The names as Python and as C strings."""
    names = [spec.name for spec in specs]
    return names, (c_char_p * len(names))(*(name.encode() for name in names))


class _StatusError(Exception):
    """ONNX Runtime's own words for what went wrong."""


class _Api:
    """The functions of `OrtApi` as attributes, and the few objects that all sessions share."""

    def __init__(self, library: CDLL):
        base = library.OrtGetApiBase
        base.restype = POINTER(_ApiBase)
        api_base = base().contents
        self.version: str = api_base.GetVersionString().decode()
        table_address = api_base.GetApi(API_VERSION)
        if not table_address:
            raise OSError(f"the ONNX Runtime library is older than C API version {API_VERSION}")
        last = max(place for place, _ in FUNCTIONS.values())
        table = (c_void_p * (last + 1)).from_address(table_address)
        for name, (place, arguments) in FUNCTIONS.items():
            setattr(self, name, CFUNCTYPE(RETURNS.get(name, c_void_p), *arguments)(table[place] or 0))
        self.env, self.memory, self.allocator = c_void_p(), c_void_p(), c_void_p()
        self.check(self.CreateEnv(ERRORS_ONLY, b"tensorlet", byref(self.env)))
        self.check(self.CreateCpuMemoryInfo(CPU_ARENA, CPU_MEMORY, byref(self.memory)))
        self.check(self.GetAllocatorWithDefaultOptions(byref(self.allocator)))

    def __getattr__(self, name: str) -> Any:  # for the type checker: the functions are set in __init__
        raise AttributeError(name)

    def check(self, status: int | None) -> None:
        """Raises _StatusError with the first line of its message."""
        if status:
            message = self.GetErrorMessage(status).decode(errors="replace")
            self.ReleaseStatus(status)
            raise _StatusError(message.partition("\n")[0])

    def release(self, *arrays: Any) -> None:
        """Release all OrtValues of some arrays; null is fine."""
        for values in arrays:
            for value in values:
                self.ReleaseValue(value)

    def make_tensor(self, tensor: Tensor, values: Any, index: int) -> Any:
        """Set `values[index]` to an OrtValue over the tensor's own buffer; returns what must live as long."""
        dims = (c_int64 * len(tensor.shape))(*tensor.shape)
        slot = byref(values, index * 8)
        element_type = ELEMENT_TYPES[tensor.datatype]
        if tensor.datatype == "BYTES":
            self.check(self.CreateTensorAsOrtValue(self.allocator, dims, len(dims), element_type, slot))
            self._fill_strings(values[index], tensor.data)
            return None
        held = pointer(tensor.data, DATATYPES[tensor.datatype].size_bytes)
        self.check(
            self.CreateTensorWithDataAsOrtValue(
                self.memory, held.address, held.size_bytes, dims, len(dims), element_type, slot
            )
        )
        return held

    def read_tensor(self, value: int | None, spec: TensorSpec) -> Tensor:
        """A copy of an output. Raises _StatusError where its datatype is not the one that `spec` says."""
        info = c_void_p()
        self.check(self.GetTensorTypeAndShape(value, byref(info)))
        try:
            datatype, shape = self.read_shape(info)
        finally:
            self.ReleaseTensorTypeAndShapeInfo(info)
        if datatype != spec.datatype:
            raise _StatusError(
                f"output {spec.name!r}: the manifest says {spec.datatype}, the model gives {datatype}"
            )
        if spec.datatype == "BYTES":
            return Tensor("BYTES", shape, self._read_strings(value, element_count(shape)))
        size_bytes = element_count(shape) * DATATYPES[spec.datatype].size_bytes
        data = c_void_p()
        self.check(self.GetTensorMutableData(value, byref(data)))
        return Tensor(spec.datatype, shape, string_at(data.value or 0, size_bytes) if size_bytes else b"")

    def read_type(self, info: c_void_p, name: str) -> tuple[str, tuple[int, ...]]:
        """Datatype and shape of a graph input or output. Raises ArtifactRefused for one that is no tensor."""
        kind, tensor_info = c_int(), c_void_p()
        self.check(self.GetOnnxTypeFromTypeInfo(info, byref(kind)))
        if kind.value != TENSOR:
            raise ArtifactRefused(
                f"{name!r} is not a tensor (ONNX type {kind.value}); only tensors can be served"
            )
        self.check(self.CastTypeInfoToTensorInfo(info, byref(tensor_info)))
        return self.read_shape(tensor_info)

    def read_shape(self, info: c_void_p) -> tuple[str, tuple[int, ...]]:
        """Raises ArtifactRefused for elements that no V2 datatype stands for."""
        kind = c_int()
        self.check(self.GetTensorElementType(info, byref(kind)))
        if kind.value not in DATATYPE_NAMES:
            raise ArtifactRefused(f"elements of ONNX type {kind.value}; only V2 datatypes can be served")
        dims = self.read_dims(info)
        return DATATYPE_NAMES[kind.value], tuple(dim if dim >= 0 else DYNAMIC for dim in dims)

    def read_dims(self, info: c_void_p) -> tuple[int, ...]:
        rank = c_size_t()
        self.check(self.GetDimensionsCount(info, byref(rank)))
        dims = (c_int64 * rank.value)()
        self.check(self.GetDimensions(info, dims, rank.value))
        return tuple(dims)

    def _fill_strings(self, value: int, elements: Sequence[bytes]) -> None:
        for index, element in enumerate(elements):
            target = c_void_p()
            self.check(self.GetResizedStringTensorElementBuffer(value, index, len(element), byref(target)))
            memmove(target.value or 0, element, len(element))

    def _read_strings(self, value: int | None, count: int) -> list[bytes]:
        size = c_size_t()
        self.check(self.GetStringTensorDataLength(value, byref(size)))
        text, offsets = create_string_buffer(size.value), (c_size_t * count)()
        if count:
            self.check(self.GetStringTensorContent(value, text, size.value, offsets, count))
        ends = [*offsets[1:], size.value]
        return [text.raw[start:end] for start, end in zip(offsets, ends, strict=True)] if count else []


class _ApiBase(Structure):
    _fields_ = [("GetApi", CFUNCTYPE(c_void_p, c_uint32)), ("GetVersionString", CFUNCTYPE(c_char_p))]


_lock = Lock()
_api: _Api | None = None


def load_api() -> _Api:
    """The C API, loaded once. Raises OSError where the wheel has no library that we can drive."""
    global _api
    with _lock:
        if _api is None:
            _api = _Api(CDLL(find_library()))
            narrow_with(_narrow)
        return _api


def _narrow(doubles: memoryview) -> Buffer:
    """float64 elements as float32, all at once, without NumPy."""
    outputs = _narrow_session().infer({"d": Tensor("FP64", (doubles.nbytes // 8,), doubles)})
    return outputs["f"].data  # type: ignore[no-any-return]


@cache
def _narrow_session() -> OnnxSession:
    return OnnxSession(NARROW, None, 1)


def find_library() -> str:
    """The runtime's shared library inside the installed wheel, which need not be imported. Raises OSError."""
    for folder in sys.path:
        capi = f"{folder}/onnxruntime/capi"
        try:
            names = os.listdir(capi)  # noqa: PTH208  # no pathlib on the cold path
        except OSError:
            continue
        for name in names:
            if name.startswith("libonnxruntime.") and "providers" not in name:
                return f"{capi}/{name}"
    raise OSError("no libonnxruntime in the installed packages")
