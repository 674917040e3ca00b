"""The last touch on an ONNX file: named axes, no traces of the machine that made it, and a check."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx

from tensorlet.publish.converters.job import Refused
from tensorlet.signature import DYNAMIC, TensorSpec


def finish(model: Any, path: Path, inputs: Iterable[TensorSpec]) -> None:
    """Name dynamic axes, strip metadata, infer shapes, check and write in one file.

    Exporters leave source paths and lines of code in `metadata_props` and `doc_string`.

    Raises:
        Refused: an axis that should be dynamic is not.
    """
    strip(model)
    specs = {spec.name: spec for spec in inputs}
    for value in model.graph.input:
        for axis, (dim, wanted) in enumerate(
            zip(value.type.tensor_type.shape.dim, specs[value.name].shape, strict=True)
        ):
            if wanted == DYNAMIC:
                if dim.HasField("dim_value"):
                    raise Refused(
                        f"the exporter froze axis {axis} of input {value.name!r} to {dim.dim_value}"
                    )
                dim.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"
    if all(spec.shape[:1] == (DYNAMIC,) for spec in specs.values()):
        for value in model.graph.output:
            dims = value.type.tensor_type.shape.dim
            if dims and not dims[0].HasField("dim_value"):
                dims[0].dim_param = "batch"
    model.graph.ClearField("value_info")  # shapes by the old names of the axes
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def strip(model: Any) -> None:
    """Remove everything that is for people and tells of the machine: documentation and metadata."""
    for message in messages(model):
        for field in ("metadata_props", "doc_string"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)


def messages(message: Any) -> Iterator[Any]:
    """`message` and every message inside it: graphs, nodes, their subgraphs, values, functions."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        # Protocol buffers give one message, or a list of them.
        for child in [value] if hasattr(value, "DESCRIPTOR") else value:
            yield from messages(child)
