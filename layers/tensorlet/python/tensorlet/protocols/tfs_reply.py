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

# From 1e7 on, no float32 has a fraction. What has `digits` of them before the point when it is multiplied by
# SCALES[digits][n] lies between the decades n - 1 and n; 0 for what lies beyond.
DECADES = [10.0**power for power in range(-10, 8)]
SCALES = {digits: [0.0, *(10.0 ** (digits - 1 - power) for power in range(-10, 7)), 0.0] for digits in (6, 9)}


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
    six, nine = _rounded(exact, 6), _rounded(exact, 9)
    return [
        whole if whole % 1 == 0 else short if read_back == whole else long
        for whole, short, read_back, long in zip(exact, six, array("f", six), nine, strict=True)
    ]


def _rounded(values: list[float], digits: int) -> list[float]:
    """`float(f"{value:.{digits}g}")` of each, where powers of ten are exact by arithmetic, in half the time."""
    from bisect import bisect

    scales = SCALES[digits]
    return [
        round(value * scale) / scale
        if (scale := scales[bisect(DECADES, abs(value))])
        else float(f"{value:.{digits}g}")
        for value in values
    ]


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
