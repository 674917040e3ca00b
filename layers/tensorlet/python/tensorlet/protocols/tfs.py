"""Predict requests of the TensorFlow Serving REST API, to tensors.

Sources: tensorflow/serving g3doc/api_rest.md, util/json_tensor.cc. Error texts follow json_tensor.cc.
"""

from math import prod
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest, InvalidTensor
from tensorlet.protocols.json_body import (
    ArrayReader,
    Declined,
    Numbers,
    decode_repeated,
    number_arrays,
    parse_json,
)
from tensorlet.protocols.json_tensor import nested_values, shorten, tensor_from_json
from tensorlet.settings import Settings
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES, Shape, Tensor

DEFAULT_SIGNATURE = "serving_default"
SINGLE_NUMBERS = ((DYNAMIC,), (DYNAMIC, 1))


class PredictRequest(NamedTuple):
    """`row` tells which reply to give: `predictions` for `instances`, `outputs` for `inputs`.

    `shape` is that of the request and of the reply where the model was given plain rows instead, else None.
    """

    inputs: dict[str, Tensor]
    row: bool
    shape: Shape | None = None


def decode_predict(body: bytes, signature: Signature, limits: Settings) -> PredictRequest:
    """A predict request in row (`instances`) or columnar (`inputs`) form.

    Raises:
        InvalidJson, InvalidRequest, InvalidTensor, PayloadTooLarge.
    """
    return decode_repeated(body, signature, limits, _decode_predict, _data_of, b"[")


def _decode_predict(body: bytes, signature: Signature, limits: Settings) -> PredictRequest:
    document = None
    if len(signature.inputs) == 1:
        spec = signature.inputs[0]
        document = number_arrays(
            body, limits, lambda document, reader: _fast_document(document, reader, spec)
        )
    if document is None:
        document = parse_object(body, limits)
    name = signature_name(document)
    if name != DEFAULT_SIGNATURE:
        raise unknown_signature(name)
    row, columnar = "instances" in document, "inputs" in document
    if row and columnar:
        raise InvalidRequest(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if not row and not columnar:
        raise InvalidRequest("Missing 'inputs' or 'instances' key")
    decode = _decode_instances if row else _decode_inputs
    inputs = decode(document["instances" if row else "inputs"], signature)
    if _takes_single_numbers(signature):
        spec = signature.inputs[0]
        tensor = inputs[spec.name]
        if not spec.accepts(tensor.shape):
            rows = (prod(tensor.shape), *spec.shape[1:])
            return PredictRequest({spec.name: tensor._replace(shape=rows)}, row, tensor.shape)
    return PredictRequest(inputs, row)


def _data_of(document: Any) -> Any:
    return document["instances" if "instances" in document else "inputs"]


def _takes_single_numbers(signature: Signature) -> bool:
    """Whether each row is one number, in and out.

    TensorFlow Serving does not hold a tensor against the signature's shape, so that its clients ask such a model
    for [2], [2, 1] and [2, 2] numbers alike. Here each number is a row, and the reply has the request's shape.
    """
    return len(signature.inputs) == 1 and all(
        spec.shape in SINGLE_NUMBERS for spec in (*signature.inputs, *signature.outputs)
    )


def parse_object(body: bytes, limits: Settings) -> dict[str, Any]:
    """The request's JSON object; bytes after it are ignored. Raises InvalidJson, InvalidRequest, PayloadTooLarge."""
    document = parse_json(body, limits, first=True)
    if not isinstance(document, dict):
        raise InvalidRequest(f"JSON Value: {shorten(document)} Is not object")
    return document


def signature_name(document: dict[str, Any]) -> str:
    """The signature a request names, `serving_default` where it names none. Raises InvalidRequest."""
    name = document.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise InvalidRequest("'signature_name' key must be a string value.")
    return name or DEFAULT_SIGNATURE


def unknown_signature(name: str) -> InvalidRequest:
    return InvalidRequest(f'Serving signature name: "{name[:256]}" not found in signature def')


def decode_values(data: Any, spec: TensorSpec) -> Tensor:
    """Nested JSON values for one input, {"b64": ...} for a string anywhere. Raises InvalidTensor."""
    where = f"input {spec.name!r}"
    kind = DATATYPES[spec.datatype].kind
    if isinstance(data, Numbers):
        return tensor_from_json(data, spec.datatype, None, where)
    if spec.datatype in ("FP16", "BF16"):
        raise InvalidTensor(
            f"{where}: JSON values for {DATATYPES[spec.datatype].tensorflow} are not supported"
        )
    if kind == "bytes":
        data = decode_base64(data)
    elif isinstance(data, list):
        _, values = nested_values(data)
        wrong = [value for value in values if isinstance(value, str | dict | type(None))]
        if wrong:
            expected = DATATYPES[spec.datatype].numpy.removesuffix("32")
            raise InvalidTensor(f"JSON Value: {shorten(wrong[0])} not of expected type: {expected}")
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
        found["signature_name"] = reader.text(document["signature_name"])
    return found


def _decode_instances(instances: Any, signature: Signature) -> dict[str, Tensor]:
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
    if len(signature.inputs) != 1:
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
        if len(signature.inputs) != 1:
            raise InvalidRequest(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        return {signature.inputs[0].name: decode_values(inputs, signature.inputs[0])}
    for spec in signature.inputs:
        if spec.name not in inputs:
            raise InvalidRequest(f"Missing named input: {spec.name} in 'inputs' object.")
    return {spec.name: decode_values(inputs[spec.name], spec) for spec in signature.inputs}


def decode_base64(data: Any) -> Any:
    """`data` with each {"b64": ...} in it as bytes, padded or not. Raises InvalidTensor."""
    if isinstance(data, list):
        return [decode_base64(item) for item in data]
    if not isinstance(data, dict):
        return data
    if data.keys() != {"b64"} or not isinstance(data["b64"], str):
        raise InvalidTensor(f'JSON Value: expected a string or {{"b64": string}}, got {shorten(data)}')
    import pybase64

    text = data["b64"].rstrip("=")
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise InvalidTensor("Unable to base64 decode") from None
