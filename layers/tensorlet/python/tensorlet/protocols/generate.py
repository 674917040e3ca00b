"""Generate: one JSON object of values in, one out, for models of text. Source: Triton, extension_generate.md.

Each member of the request named like an input is that input, a value or a flat list; others are ignored. Each
output becomes a member of the reply, a value where it has one element.
"""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest
from tensorlet.protocols.json_body import dump_json, parse_json
from tensorlet.protocols.json_tensor import shorten, tensor_from_json
from tensorlet.protocols.v2_reply import json_values
from tensorlet.settings import Settings
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import Shape, Tensor


class GenerateRequest(NamedTuple):
    id: str
    inputs: dict[str, Tensor]


def decode_generate(body: bytes, signature: Signature, limits: Settings) -> GenerateRequest:
    """Raises InvalidJson, InvalidRequest, InvalidTensor, PayloadTooLarge."""
    document = parse_json(body, limits)
    if not isinstance(document, dict):
        raise InvalidRequest(f"generate request: expected a JSON object, got {shorten(document)}")
    id = document.get("id", "")
    if not isinstance(id, str):
        raise InvalidRequest(f"expected 'id' to be a string, got {shorten(id)}")
    return GenerateRequest(id, {spec.name: _tensor(document, spec) for spec in signature.inputs})


def encode_generate(
    model: str, version: int, request: GenerateRequest, outputs: Mapping[str, Tensor]
) -> bytes:
    """Raises InvalidTensor for an output that JSON cannot carry."""
    document: dict[str, Any] = {"id": request.id} if request.id else {}
    document |= {"model_name": model, "model_version": str(version)}
    for name, tensor in outputs.items():
        values = json_values(tensor, name)
        document[name] = values[0] if len(values) == 1 else values
    return dump_json(document)


def encode_event(document: bytes) -> bytes:
    """A reply as the one server-sent event of its stream."""
    return b"data: " + document + b"\n\n"


def _tensor(document: dict[str, Any], spec: TensorSpec) -> Tensor:
    where = f"input {spec.name!r}"
    if spec.name not in document:
        raise InvalidRequest(f"{where}: expected a member of this name, got none")
    value = document[spec.name]
    values = value if isinstance(value, list) else [value]
    return tensor_from_json(values, spec.datatype, _shape(spec.shape, len(values)), where)


def _shape(spec: Shape, count: int) -> Shape:
    """The shape of `count` values: the last dynamic dimension takes them, others are 1."""
    shape = [1 if dim == DYNAMIC else dim for dim in spec]
    dynamic = [axis for axis, dim in enumerate(spec) if dim == DYNAMIC]
    if dynamic:
        known = prod(shape)
        shape[dynamic[-1]] = count // known if known else 0
    return tuple(shape)
