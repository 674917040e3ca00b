"""Predict replies of the TensorFlow Serving REST API, from tensors.

Sources: tensorflow/serving g3doc/api_rest.md, util/json_tensor.cc. Error texts follow json_tensor.cc.
"""

from array import array
from collections.abc import Mapping
from typing import Any

from tensorlet.errors import InvalidTensor
from tensorlet.protocols.json_body import dump_json
from tensorlet.protocols.json_tensor import nest
from tensorlet.protocols.tfs import PredictRequest
from tensorlet.signature import Signature
from tensorlet.tensors import DATATYPES, Tensor


def encode_predict(request: PredictRequest, outputs: Mapping[str, Tensor], signature: Signature) -> bytes:
    """The reply in the form of the request: bare values for one output, objects for several.

    Raises:
        InvalidTensor: outputs that cannot be rows, or that JSON cannot carry.
    """
    if request.shape is not None:
        outputs = {name: tensor._replace(shape=request.shape) for name, tensor in outputs.items()}
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
        values = json_strings(tensor.data, name)
    else:
        values = tensor.tolist()
    return nest(values, tensor.shape)


def shortest_floats(tensor: Tensor) -> list[float]:
    """FP32 elements as short decimals that read back as the same float32; whole numbers exactly.

    Six digits where they do, else nine (`max_digits10`), as TensorFlow Serving prints them.
    """
    exact = tensor.tolist()
    short = [value if value % 1 == 0 else float(f"{value:.6g}") for value in exact]
    for index, value in enumerate(array("f", short)):
        if value != exact[index]:
            short[index] = float(f"{exact[index]:.9g}")
    return short


def json_strings(elements: list[bytes], name: str) -> list[Any]:
    """The strings of an output, as base64 objects where its name ends in `_bytes`. Raises InvalidTensor."""
    if name.endswith("_bytes"):
        import pybase64

        return [{"b64": pybase64.b64encode_as_string(element)} for element in elements]
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
