"""Inference replies of the Open Inference Protocol (V2), from tensors.

Sources: open-inference-protocol inference_rest.md; Triton's extension_binary_data.md and
extension_classification.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tensorlet.errors import InvalidTensor
from tensorlet.protocols.binary_tensor import encode_binary
from tensorlet.protocols.json_body import dump_json
from tensorlet.protocols.v2 import BINARY_ONLY, InferRequest
from tensorlet.tensors import Buffer, Tensor

# Class labels: one list for whatever output is classified, or a list for each output by name.
Labels = Sequence[str] | Mapping[str, Sequence[str]]


class InferReply(NamedTuple):
    """`json_size` is the length of the JSON before the binary tensors, or None when there are none."""

    body: Buffer
    json_size: int | None


def encode_infer(
    model: str,
    version: int,
    request: InferRequest,
    outputs: Mapping[str, Tensor],
    labels: Labels = (),
) -> InferReply:
    """The reply to `request`; outputs asked for as binary follow the JSON in their order.

    Raises:
        InvalidTensor: an output that JSON cannot carry and that was not asked for as binary.
    """
    document: dict[str, Any] = {"id": request.id} if request.id else {}
    document["model_name"], document["model_version"] = model, str(version)
    if request.precision:
        document["parameters"] = {"precision": request.precision}
    entries: list[dict[str, Any]] = []
    raws: list[Buffer] = []
    for wanted in request.outputs:
        tensor = outputs[wanted.name]
        if wanted.classification:
            names = labels.get(wanted.name, ()) if isinstance(labels, Mapping) else labels
            tensor = classify(tensor, wanted.classification, names, wanted.name)
        entry: dict[str, Any] = {
            "name": wanted.name,
            "shape": tensor.shape,
            "datatype": tensor.datatype,
        }
        if wanted.binary:
            raw = encode_binary(tensor)
            raws.append(raw)
            entry["parameters"] = {"binary_data_size": memoryview(raw).nbytes}
        else:
            entry["data"] = json_values(tensor, wanted.name)
        entries.append(entry)
    document["outputs"] = entries
    text = dump_json(document)
    return InferReply(b"".join((text, *raws)), len(text)) if raws else InferReply(text, None)


def classify(tensor: Tensor, count: int, labels: Sequence[str], name: str) -> Tensor:
    """The `count` greatest elements of each row as BYTES `value:index[:label]`, greatest first.

    Raises:
        InvalidTensor: a datatype that cannot be ranked.
    """
    if tensor.datatype in (*BINARY_ONLY, "BYTES", "BOOL"):
        raise InvalidTensor(f"output {name!r}: classification is not supported for {tensor.datatype}")
    classes = tensor.shape[-1] if tensor.shape else 1
    values = tensor.tolist()
    kept = min(count, classes)
    elements: list[bytes] = []
    for start in range(0, len(values), classes or 1):
        row = values[start : start + classes]
        for index in sorted(range(len(row)), key=row.__getitem__, reverse=True)[:kept]:
            label = f":{labels[index]}" if index < len(labels) else ""
            value = f"{row[index]:f}" if isinstance(row[index], float) else row[index]
            elements.append(f"{value}:{index}{label}".encode())
    return Tensor("BYTES", (*tensor.shape[:-1], kept), elements)


def json_values(tensor: Tensor, name: str) -> list[Any]:
    """The flat values of an output, as Triton answers. Raises InvalidTensor."""
    if tensor.datatype in BINARY_ONLY:
        raise InvalidTensor(
            f"sending {tensor.datatype} data via JSON is not supported. Please use the binary data format for"
            f" output {name!r}"
        )
    if tensor.datatype != "BYTES":
        return tensor.tolist()
    try:
        return [element.decode() for element in tensor.data]
    except UnicodeDecodeError:
        raise InvalidTensor(
            f"output {name!r} holds bytes that are not UTF-8. Please use the binary data format for it"
        ) from None
