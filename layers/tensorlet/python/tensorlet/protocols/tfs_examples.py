"""Classify and regress of the TensorFlow Serving REST API: examples of features in, labels and scores out.

Which outputs play which part is told by the model's manifest:

    "roles": {"classes": OUTPUT, "scores": OUTPUT, "values": OUTPUT, "features": {FEATURE: INPUT}}
    "signatures": {NAME: {"method": "classify" or "regress", ... the members of roles}}

`roles` is what `serving_default` means here. Every member may be missing: without `scores` a score is 0, without
`classes` a label is the model's class label, else empty; a feature goes by the name of its input.

Sources: tensorflow/serving g3doc/api_rest.md, util/json_tensor.cc, servables/tensorflow/classifier.cc, regressor.cc.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest, InvalidTensor
from tensorlet.protocols.json_body import dump_json
from tensorlet.protocols.json_tensor import json_type, nest
from tensorlet.protocols.tfs import (
    DEFAULT_SIGNATURE,
    decode_base64,
    parse_object,
    signature_name,
    unknown_signature,
)
from tensorlet.protocols.tfs_reply import json_strings, shortest_floats
from tensorlet.settings import Settings
from tensorlet.signature import DYNAMIC, Signature, TensorSpec, quote
from tensorlet.tensors import DATATYPES, Tensor, from_values

CLASSIFY, REGRESS = "classify", "regress"
TITLES = {CLASSIFY: "Classification", REGRESS: "Regression"}
# What TensorFlow calls the types of a feature's JSON values, and the kinds of datatypes that take them.
FEATURE_TYPES: dict[type, tuple[str, tuple[str, ...]]] = {
    int: ("int64", ("int", "float")),
    float: ("float", ("float",)),
    str: ("string", ("bytes",)),
    bytes: ("string", ("bytes",)),
    bool: ("bool", ("bool",)),
}


class Role(NamedTuple):
    """The parts that inputs and outputs play in one signature; names of outputs are None where there is no such."""

    method: str
    classes: str | None
    scores: str | None
    values: str | None
    features: Mapping[str, str]  # input -> feature


class ExamplesRequest(NamedTuple):
    inputs: dict[str, Tensor]
    role: Role
    rows: int


def find_roles(manifest: Mapping[str, Any]) -> dict[str, Role]:
    """The classify and regress signatures of a manifest, by name."""
    found = {name: _role(entry["method"], entry) for name, entry in manifest.get("signatures", {}).items()}
    roles = manifest.get("roles") or {}
    if "classes" in roles or "scores" in roles:
        found[DEFAULT_SIGNATURE] = _role(CLASSIFY, roles)
    elif "values" in roles:
        found[DEFAULT_SIGNATURE] = _role(REGRESS, roles)
    return found


def decode_examples(
    body: bytes, method: str, manifest: Mapping[str, Any], signature: Signature, limits: Settings
) -> ExamplesRequest:
    """A classify or regress request; `context` features count for every example.

    Raises:
        InvalidJson, InvalidRequest, InvalidTensor, PayloadTooLarge.
    """
    document = parse_object(body, limits)
    role = _choose_role(manifest, signature_name(document), method)
    if "examples" not in document:
        raise InvalidRequest(f"When method is {method}, key 'examples' is expected and was not found")
    examples, context = document["examples"], document.get("context", {})
    if not isinstance(examples, list):
        raise InvalidRequest("Expecting 'examples' value to be an list/array")
    if not examples:
        raise InvalidRequest("'examples' value is an empty array")
    if not isinstance(context, dict):
        raise InvalidRequest("Expecting 'context' value to be an object")
    for index, example in enumerate(examples):
        if not isinstance(example, dict):
            raise InvalidRequest(
                f"Example: {index} of 'examples' list: expected an object, got {json_type(example)}"
            )
        if repeated := context.keys() & example.keys():
            raise InvalidRequest(
                f"Context has a feature: {quote(min(repeated))} that also exists in example: {index}"
            )
    rows = [{**context, **example} for example in examples]
    inputs = {
        spec.name: _feature_tensor(rows, role.features.get(spec.name, spec.name), spec)
        for spec in signature.inputs
    }
    return ExamplesRequest(inputs, role, len(rows))


def encode_results(request: ExamplesRequest, outputs: Mapping[str, Tensor], labels: Sequence[str]) -> bytes:
    """`{"results": ...}`: for each example its [label, score] pairs, or its value.

    Raises:
        InvalidTensor: outputs that are not one row, or one value, for each example.
    """
    role = request.role
    if role.method == REGRESS:
        rows = _matrix(outputs, role.values, request.rows)
        if any(len(row) != 1 for row in rows):
            raise InvalidTensor(f"output {role.values!r}: expected one value for each example")
        return dump_json({"results": [row[0] for row in rows]})
    scores = _matrix(outputs, role.scores, request.rows) if role.scores else None
    classes = _matrix(outputs, role.classes, request.rows) if role.classes else None
    if scores is None:
        assert classes is not None  # find_roles saw one of them
        scores = [[0] * len(row) for row in classes]
    if classes is None:
        classes = [[labels[i] if i < len(labels) else "" for i in range(len(row))] for row in scores]
    results = []
    for names, row in zip(classes, scores, strict=True):
        if len(names) != len(row):
            raise InvalidTensor(f"expected as many classes as scores, got {len(names)} and {len(row)}")
        results.append(list(zip(map(str, names), row, strict=True)))
    return dump_json({"results": results})


def _role(method: str, entry: Mapping[str, Any]) -> Role:
    features = {name: feature for feature, name in (entry.get("features") or {}).items()}
    return Role(method, entry.get("classes"), entry.get("scores"), entry.get("values"), features)


def _choose_role(manifest: Mapping[str, Any], name: str, method: str) -> Role:
    role = find_roles(manifest).get(name)
    if role is None and name != DEFAULT_SIGNATURE:
        raise unknown_signature(name)
    if role is None or role.method != method:
        was = role.method if role else "predict"
        raise InvalidRequest(
            f"Expected {TITLES[method]} signature method_name to be tensorflow/serving/{method}. Was:"
            f" tensorflow/serving/{was}"
        )
    return role


def _feature_tensor(rows: list[dict[str, Any]], feature: str, spec: TensorSpec) -> Tensor:
    """One feature of all examples: a flat list each, which is given the shape of a row of the input."""
    if not spec.shape or spec.shape[0] not in (DYNAMIC, len(rows)):
        raise InvalidTensor(f"input {spec.name!r}: expected {spec.shape[:1]} examples, got {len(rows)}")
    kind = DATATYPES[spec.datatype].kind
    elements: list[Any] = []
    for index, row in enumerate(rows):
        if feature not in row:
            raise InvalidRequest(
                f"Name: <unknown>, Feature: {feature} (data type: {DATATYPES[spec.datatype].numpy}) is required"
                f" but could not be found in example {index}"
            )
        values = _feature_values(row[feature], feature, kind)
        elements += values
        if len(elements) != (index + 1) * len(values):
            raise InvalidTensor(f"feature: {feature} of example {index} is not as long as those before it")
    length = len(elements) // len(rows)
    shape = list(spec.shape[1:])
    if shape.count(DYNAMIC) == 1:
        known = -1
        for dim in shape:
            known *= dim
        shape[shape.index(DYNAMIC)] = length // known if known else 0
    try:
        return from_values(spec.datatype, (len(rows), *shape), elements)
    except InvalidTensor as error:
        raise InvalidTensor(f"feature: {feature}: {error}") from None


def _feature_values(value: Any, feature: str, kind: str) -> list[Any]:
    """The values of one feature, all of one JSON type that the input takes."""
    values = [decode_base64(item) for item in value] if isinstance(value, list) else [decode_base64(value)]
    types = {FEATURE_TYPES.get(type(item), ("", ()))[0] for item in values}
    if "" in types:
        wrong = next(item for item in values if type(item) not in FEATURE_TYPES)
        raise InvalidRequest(f"{feature} has element with unexpected JSON type: {json_type(wrong).title()}")
    if len(types) > 1:
        raise InvalidRequest(f"feature: {feature} expecting type: {FEATURE_TYPES[type(values[0])][0]}")
    if values and kind not in FEATURE_TYPES[type(values[0])][1]:
        raise InvalidTensor(
            f"Key: {feature}. Data types don't match. Expected type: {kind}, Actual: {types.pop()}"
        )
    return values


def _matrix(outputs: Mapping[str, Tensor], name: str | None, rows: int) -> list[list[Any]]:
    """An output as a list of values for each example; an output of one dimension has one value each."""
    tensor = outputs[name or ""]
    shape = tensor.shape if len(tensor.shape) != 1 else (*tensor.shape, 1)
    if len(shape) != 2 or shape[0] != rows:
        raise InvalidTensor(
            f"output {name!r}: expected shape [{rows}] or [{rows}, n], got {list(tensor.shape)}"
        )
    if tensor.datatype == "BYTES":
        values = json_strings(tensor.data, "")
    else:
        values = shortest_floats(tensor) if tensor.datatype == "FP32" else tensor.tolist()
    return nest(values, shape)  # type: ignore[no-any-return]
