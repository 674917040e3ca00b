"""The TensorFlow Serving REST API: predict requests to tensors, tensors to replies.

Sources: tensorflow/serving g3doc/api_rest.md, util/json_tensor.cc. Error texts follow json_tensor.cc.
"""

import re
from array import array
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest, InvalidTensor
from tensorlet.protocols.json_body import ArrayReader, Declined, dump_json, number_arrays, parse_json
from tensorlet.protocols.json_tensor import nest, nested_values, shorten, tensor_from_json
from tensorlet.settings import Settings
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Tensor

DEFAULT_SIGNATURE = "serving_default"


class PredictRequest(NamedTuple):
    """`row` tells which reply to give: `predictions` for `instances`, `outputs` for `inputs`."""

    inputs: dict[str, Tensor]
    row: bool


def decode_predict(body: bytes, signature: Signature, limits: Settings) -> PredictRequest:
    """A predict request in row (`instances`) or columnar (`inputs`) form.

    Raises:
        InvalidJson, InvalidRequest, InvalidTensor.
    """
    document = None
    if len(signature.inputs) == 1:
        spec = signature.inputs[0]
        document = number_arrays(body, lambda document, reader: _fast_document(document, reader, spec))
    if document is None:
        document = parse_json(body, limits.max_json_depth)
    if not isinstance(document, dict):
        raise InvalidRequest("JSON Value: Is not object")
    _check_signature_name(document)
    row, columnar = "instances" in document, "inputs" in document
    if row and columnar:
        raise InvalidRequest(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if not row and not columnar:
        raise InvalidRequest("Missing 'inputs' or 'instances' key")
    decode = _decode_instances if row else _decode_inputs
    return PredictRequest(decode(document["instances" if row else "inputs"], signature), row)


def encode_predict(request: PredictRequest, outputs: Mapping[str, Tensor], signature: Signature) -> bytes:
    """The reply in the form of the request: bare values for one output, objects for several.

    Raises:
        InvalidTensor: outputs that cannot be rows, or that JSON cannot carry.
    """
    values = {spec.name: json_value(outputs[spec.name], spec.name) for spec in signature.outputs}
    if not request.row:
        return dump_json({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    _check_rows(outputs, signature)
    if len(values) == 1:
        return dump_json({"predictions": next(iter(values.values()))})
    rows = zip(*values.values(), strict=True)
    return dump_json({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})


def json_value(tensor: Tensor, name: str) -> Any:
    """A tensor as nested JSON values; strings of an output named `..._bytes` as {"b64": ...}. Raises InvalidTensor."""
    if tensor.datatype in ("FP16", "BF16"):
        raise InvalidTensor(
            f"Failed to write JSON value for tensor type: {DATATYPES[tensor.datatype].tensorflow}"
        )
    if tensor.datatype == "FP32":
        values: list[Any] = shortest_floats(tensor)
    elif tensor.datatype == "BYTES":
        values = _json_strings(tensor.data, name)
    else:
        values = tensor.tolist()
    return nest(values, tensor.shape)


def shortest_floats(tensor: Tensor) -> list[float]:
    """FP32 elements as the shortest decimals that read back as the same float32.

    Six digits where they do, as TensorFlow Serving prints them; a float64 of the same bits would be 17.
    """
    exact = tensor.tolist()
    short = [float(f"{value:.6g}") for value in exact]
    for index, value in enumerate(array("f", short)):
        if value != exact[index]:
            short[index] = next(
                candidate
                for digits in (7, 8, 9)
                if array("f", [candidate := float(f"{exact[index]:.{digits}g}")])[0] == exact[index]
                or digits == 9
            )
    return short


def decode_values(data: Any, spec: TensorSpec) -> Tensor:
    """Nested JSON values for one input, {"b64": ...} for a string anywhere. Raises InvalidTensor."""
    where = f"input {spec.name!r}"
    kind = DATATYPES[spec.datatype].kind
    if spec.datatype in ("FP16", "BF16"):
        raise InvalidTensor(
            f"{where}: JSON values for {DATATYPES[spec.datatype].tensorflow} are not supported"
        )
    if kind == "bytes":
        data = _decode_base64(data)
    elif isinstance(data, list):
        _, values = nested_values(data)
        wrong = [value for value in values if isinstance(value, str | dict | type(None))]
        if wrong:
            expected = DATATYPES[spec.datatype].numpy.removesuffix("32")
            raise InvalidTensor(f"JSON Value: {shorten(wrong[0])[:256]} not of expected type: {expected}")
    return tensor_from_json(data, spec.datatype, None, where)


def _fast_document(document: Any, reader: ArrayReader, spec: TensorSpec) -> dict[str, Any]:
    """A request with one array of numbers, as `parse_json` would give it. Raises Declined."""
    members = list(document.keys())
    key = next((name for name in members if name != "signature_name"), "")
    kind = DATATYPES[spec.datatype].kind
    if len(members) > 2 or len(set(members)) != len(members) or key not in ("instances", "inputs"):
        raise Declined
    if kind not in ("int", "float") or spec.datatype in ("UINT64", "FP16", "BF16"):
        raise Declined
    found: dict[str, Any] = {key: reader.numbers(document[key], "d" if kind == "float" else "q")}
    if found[key].shape[0] == 0 or (len(members) == 2 and "signature_name" not in members):
        raise Declined
    if "signature_name" in members:
        found["signature_name"] = document["signature_name"]
    return found


def _check_signature_name(document: dict[str, Any]) -> None:
    name = document.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise InvalidRequest("'signature_name' key must be a string value.")
    if name not in ("", DEFAULT_SIGNATURE):
        raise InvalidRequest(f'Serving signature name: "{name}" not found in signature def')


def _decode_instances(instances: Any, signature: Signature) -> dict[str, Tensor]:
    from tensorlet.protocols.json_body import Numbers

    if isinstance(instances, Numbers):
        return {signature.inputs[0].name: decode_values(instances, signature.inputs[0])}
    if not isinstance(instances, list):
        raise InvalidRequest("Expecting 'instances' to be an list/array")
    if not instances:
        raise InvalidRequest("No values in 'instances' array")
    objects = [isinstance(item, dict) and set(item) != {"b64"} for item in instances]
    if objects[0]:
        return _decode_objects(instances, objects, signature)
    if any(objects):
        raise InvalidRequest(
            f"Expecting value/list but got object at item {objects.index(True)} of input list"
        )
    if len(signature.inputs) > 1:
        raise InvalidRequest(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    return {signature.inputs[0].name: decode_values(instances, signature.inputs[0])}


def _decode_objects(instances: list[Any], objects: list[bool], signature: Signature) -> dict[str, Tensor]:
    names = [spec.name for spec in signature.inputs]
    for index, item in enumerate(instances):
        if not objects[index]:
            got = "list" if isinstance(item, list) else "value"
            raise InvalidRequest(f"Expecting object but got {got} at item {index} of input list")
        if set(item) != set(names):
            raise InvalidRequest(
                f"Failed to process element: {index} of 'instances' list. JSON object:"
                f" {shorten(sorted(item))} keys must be equal to: {','.join(sorted(names))}"
            )
    return {
        spec.name: decode_values([item[spec.name] for item in instances], spec) for spec in signature.inputs
    }


def _decode_inputs(inputs: Any, signature: Signature) -> dict[str, Tensor]:
    if not isinstance(inputs, dict) or set(inputs) == {"b64"}:
        if len(signature.inputs) > 1:
            raise InvalidRequest(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        return {signature.inputs[0].name: decode_values(inputs, signature.inputs[0])}
    for spec in signature.inputs:
        if spec.name not in inputs:
            raise InvalidRequest(f"Missing named input: {spec.name} in 'inputs' object.")
    return {spec.name: decode_values(inputs[spec.name], spec) for spec in signature.inputs}


def _decode_base64(data: Any) -> Any:
    """`data` with each {"b64": ...} in it as bytes. Raises InvalidTensor."""
    if isinstance(data, list):
        return [_decode_base64(item) for item in data]
    if not isinstance(data, dict):
        return data
    if set(data) != {"b64"} or not isinstance(data["b64"], str):
        raise InvalidTensor(f'JSON Value: expected a string or {{"b64": string}}, got {shorten(data)}')
    text = re.sub(r"=+$", "", data["b64"])
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise InvalidTensor("Unable to base64 decode") from None


def _json_strings(elements: list[bytes], name: str) -> list[Any]:
    if name.endswith("_bytes"):
        from base64 import b64encode

        return [{"b64": b64encode(element).decode()} for element in elements]
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise InvalidTensor(
            f"Tensor name: {name} holds bytes that are not UTF-8; an output named ..._bytes is sent as base64"
        ) from None


def _check_rows(outputs: Mapping[str, Tensor], signature: Signature) -> None:
    rows = None
    for spec in signature.outputs:
        shape = outputs[spec.name].shape
        if not shape:
            raise InvalidTensor(f"Tensor name: {spec.name} has no shape information")
        if rows is not None and shape[0] != rows:
            raise InvalidTensor(
                f"Tensor name: {spec.name} has inconsistent batch size: {shape[0]} expecting: {rows}"
            )
        rows = shape[0]
