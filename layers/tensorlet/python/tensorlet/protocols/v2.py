"""Inference requests of the Open Inference Protocol (V2), to tensors.

Sources: open-inference-protocol inference_rest.md; Triton's extension_binary_data.md, extension_classification.md
and extension_parameters.md. Error texts follow Triton's.
"""

from math import prod
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest, InvalidTensor, SignatureMismatch
from tensorlet.protocols.binary_tensor import decode_binary
from tensorlet.protocols.json_body import ArrayReader, Declined, decode_repeated, number_arrays, parse_json
from tensorlet.protocols.json_tensor import shorten, tensor_from_json
from tensorlet.settings import Settings
from tensorlet.signature import Signature, quote
from tensorlet.tensors import DATATYPES, Shape, Tensor

BINARY_ONLY = ("FP16", "BF16")  # datatypes that JSON cannot carry, both ways
MAX_DIM = 2**31 - 1
MAX_DIMENSIONS = 32
RESERVED_PARAMETERS = "triton_"  # a prefix, extension_parameters.md


class RequestedOutput(NamedTuple):
    name: str
    binary: bool
    classification: int  # 0: the tensor itself; N: its N greatest elements as `value:index[:label]`


class InferRequest(NamedTuple):
    inputs: dict[str, Tensor]
    id: str
    outputs: tuple[RequestedOutput, ...]
    precision: str = ""  # of the artifact that shall answer; "" leaves it to the server


def decode_infer(
    body: bytes | memoryview, json_size: int | None, signature: Signature, limits: Settings
) -> InferRequest:
    """An inference request: JSON, JSON and binary tensors, or (`json_size` 0) one raw tensor.

    Binary tensors are views of `body`, not copies.

    Raises:
        InvalidJson, InvalidTensor, InvalidRequest, SignatureMismatch, PayloadTooLarge.
    """
    if json_size == 0:
        return _raw_request(memoryview(body), signature)
    if json_size is None:
        return decode_repeated(bytes(body), signature, limits, _decode_json, _data_of, b'"data":')
    if not 0 < json_size <= len(body):
        raise InvalidRequest(f"inference header size should be in range (0, {len(body)}], got: {json_size}")
    view = memoryview(body)
    document = parse_json(bytes(view[:json_size]), limits)
    return _decode_document(document, view[json_size:], signature, limits)


def _decode_json(body: bytes, signature: Signature, limits: Settings) -> InferRequest:
    """A request that is JSON to its end."""
    document = number_arrays(body, limits, _fast_document) or parse_json(body, limits)
    return _decode_document(document, memoryview(b""), signature, limits)


def _data_of(document: Any) -> Any:
    return document["inputs"][0]["data"]


def _fast_document(document: Any, reader: ArrayReader) -> dict[str, Any]:
    """The request as `parse_json` would give it, but number arrays as Numbers. Raises Declined."""
    members = _unique(document)
    if not members <= {"id", "inputs", "outputs", "parameters"}:
        raise Declined
    found: dict[str, Any] = {"inputs": []}
    for item in reader.list(document["inputs"]):
        if not _unique(item) <= {"name", "shape", "datatype", "data"}:
            raise Declined
        datatype = item["datatype"]
        kind = DATATYPES[datatype].kind
        if kind not in ("int", "float") or datatype in ("UINT64", *BINARY_ONLY):
            raise Declined
        shape = reader.list(item["shape"]).as_list()
        data = reader.numbers(item["data"], "d" if kind == "float" else "q")
        found["inputs"].append(
            {"name": reader.text(item["name"]), "datatype": datatype, "shape": shape, "data": data}
        )
    if "outputs" in members:
        found["outputs"] = reader.list(document["outputs"]).as_list()
    if "parameters" in members:
        found["parameters"] = document["parameters"].as_dict()
    if "id" in members:
        found["id"] = reader.text(document["id"])
    return found


def _unique(item: Any) -> set[str]:
    """The members of an object; the lanes would disagree on one that stands twice. Raises Declined."""
    names = list(item.keys())
    members = set(names)
    if len(members) != len(names):
        raise Declined
    return members


def _decode_document(
    document: Any, binary: memoryview, signature: Signature, limits: Settings
) -> InferRequest:
    if not isinstance(document, dict):
        raise InvalidRequest(f"inference request: expected a JSON object, got {shorten(document)}")
    id = _member(document, "id", str, "")
    inputs: dict[str, Tensor] = {}
    offset = 0
    for index, item in enumerate(_member(document, "inputs", list)):
        where = f"inputs[{index}]"
        if not isinstance(item, dict):
            raise InvalidRequest(f"{where}: expected an object, got {shorten(item)}")
        name = _member(item, "name", str, where=where)
        if name in inputs:
            raise InvalidRequest(f"input {quote(name)} already exists in request")
        tensor, offset = _decode_input(item, name, binary, offset, limits)
        inputs[name] = tensor
    if offset != binary.nbytes:
        raise InvalidRequest(
            f"unexpected additional input data: expected {offset} bytes after the JSON, got {binary.nbytes}"
        )
    parameters = _member(document, "parameters", dict, {})
    if parameters:
        _check_parameters(parameters)
    default = _member(parameters, "binary_data_output", bool, False, "parameters")
    precision = _member(parameters, "precision", str, "", "parameters")
    return InferRequest(inputs, id, _decode_outputs(document, default, signature), precision)


def _decode_input(
    item: dict[str, Any], name: str, binary: memoryview, offset: int, limits: Settings
) -> tuple[Tensor, int]:
    """One input, and the offset in `binary` behind it."""
    where = f"input {quote(name)}"
    datatype = _member(item, "datatype", str, where=where)
    if datatype not in DATATYPES:
        raise InvalidTensor(
            f"{where}: expected a datatype of {', '.join(DATATYPES)}, got {shorten(datatype)}"
        )
    shape = _decode_shape(_member(item, "shape", list, where=where), datatype, where, limits)
    parameters = _member(item, "parameters", dict, {}, where)
    size = _member(parameters, "binary_data_size", int, None, f"{where} parameters")
    if "shared_memory_region" in parameters:
        raise InvalidRequest(f"{where}: shared memory is not supported")
    if ("data" in item) == (size is not None):
        found = "both are set" if "data" in item else "no field is set"
        raise InvalidRequest(
            f"{where}: Input must set only one of the following fields: 'data', 'binary_data_size' in"
            f" 'parameters'. But {found}"
        )
    if size is not None:
        if not 0 <= size <= binary.nbytes - offset:
            raise InvalidTensor(
                f"{where}: binary_data_size is {size}, but {binary.nbytes - offset} bytes are left in the body"
            )
        return decode_binary(binary[offset : offset + size], datatype, shape, where), offset + size
    if datatype in BINARY_ONLY:
        raise InvalidTensor(
            f"receiving {datatype} data via JSON is not supported. Please use the binary data format for {where}"
        )
    return tensor_from_json(item["data"], datatype, shape, where), offset


def _decode_shape(dims: list[Any], datatype: str, where: str, limits: Settings) -> Shape:
    if len(dims) > MAX_DIMENSIONS:
        raise InvalidTensor(f"{where}: expected at most {MAX_DIMENSIONS} dimensions, got {len(dims)}")
    for dim in dims:
        if type(dim) is not int or not 0 <= dim <= MAX_DIM:
            raise InvalidTensor(f"{where}: expected dimensions from 0 to {MAX_DIM}, got {shorten(dims)}")
    # Zero-size tensors too: NumPy multiplies the other dimensions.
    size = prod(dim for dim in dims if dim) * max(1, DATATYPES[datatype].size_bytes)
    if size > limits.max_tensor_bytes:
        raise InvalidTensor(
            f"{where}: shape {shorten(dims)} declares {size} bytes, over the limit of {limits.max_tensor_bytes}"
        )
    return tuple(dims)


def _decode_outputs(
    document: dict[str, Any], default: bool, signature: Signature
) -> tuple[RequestedOutput, ...]:
    """The outputs asked for; none asked for means all. A per-output `binary_data` wins over the request's."""
    items = _member(document, "outputs", list, None)
    if not items:
        return tuple(RequestedOutput(spec.name, default, 0) for spec in signature.outputs)
    outputs: dict[str, RequestedOutput] = {}
    for index, item in enumerate(items):
        where = f"outputs[{index}]"
        if not isinstance(item, dict):
            raise InvalidRequest(f"{where}: expected an object, got {shorten(item)}")
        name = _member(item, "name", str, where=where)
        if name not in [spec.name for spec in signature.outputs]:
            raise SignatureMismatch(f"unexpected inference output {quote(name)}")
        if name in outputs:
            raise InvalidRequest(f"output {name!r} already exists in request")
        parameters = _member(item, "parameters", dict, {}, where)
        if "shared_memory_region" in parameters:
            raise InvalidRequest(f"output {name!r}: shared memory is not supported")
        binary = _member(parameters, "binary_data", bool, default, f"output {name!r} parameters")
        classification = _member(parameters, "classification", int, 0, f"output {name!r} parameters")
        if classification < 0:
            raise InvalidRequest(
                f"output {name!r}: expected a classification of 0 or more, got {classification}"
            )
        outputs[name] = RequestedOutput(name, binary, classification)
    return tuple(outputs.values())


def _raw_request(body: memoryview, signature: Signature) -> InferRequest:
    """The whole body is the one input, and all outputs are binary."""
    from tensorlet.protocols.v2_raw import decode_raw

    outputs = tuple(RequestedOutput(output.name, True, 0) for output in signature.outputs)
    return InferRequest(decode_raw(body, signature), "", outputs)


def _check_parameters(parameters: dict[str, Any]) -> None:
    """The request's own parameters: plain values, and none that a server keeps for itself."""
    for name, value in parameters.items():
        if type(value) not in (str, int, float, bool):
            raise InvalidRequest(
                f"parameter {quote(name)}: expected a string, a number or a boolean, got {shorten(value)}"
            )
        if name.startswith(RESERVED_PARAMETERS):
            raise InvalidRequest(f"parameter {quote(name)}: names that begin with 'triton_' are reserved")


_MISSING = object()


def _member(document: dict[str, Any], name: str, kind: type, default: Any = _MISSING, where: str = "") -> Any:
    """A member of its JSON type, or the default where it is absent. Raises InvalidRequest."""
    value = document.get(name, default)
    if value is default and default is not _MISSING:
        return default
    # `type(...) is` and not isinstance: True is no integer here.
    if type(value) is not kind:
        at = f"{where}: " if where else ""
        got = "nothing" if value is _MISSING else shorten(value)
        raise InvalidRequest(f"{at}expected {name!r} to be {_JSON_NAMES[kind]}, got {got}")
    return value


_JSON_NAMES = {str: "a string", int: "an integer", bool: "true or false", list: "an array", dict: "an object"}
