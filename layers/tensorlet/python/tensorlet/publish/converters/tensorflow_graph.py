"""TensorFlow functions to ONNX (tf2onnx) and TFLite (TFLiteConverter), with names chosen by us."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tensorlet.publish.converters.job import OPSET, Job, describe
from tensorlet.signature import DYNAMIC, TensorSpec
from tensorlet.tensors import DATATYPES

SIGNATURE = "serving_default"
GRAPH_FILE = "saved_model.pb"
# Operators on lists of tensors, and which of their inputs is the shape of an element.
LISTS = {"TensorListReserve": 0, "TensorListFromTensor": 1, "TensorListStack": 1, "TensorListGetItem": 2}


class Function(NamedTuple):
    """A model as a function of positional tensors that returns outputs by name; `track` holds its variables."""

    call: Callable[..., dict[str, Any]]
    inputs: tuple[TensorSpec, ...]
    track: Any

    def traced(self, inputs: tuple[TensorSpec, ...]) -> Any:
        """As a `tf.function` for exactly these inputs."""
        # TensorFlow names what it exports after the TensorSpecs.
        return tf.function(self.call, input_signature=[_tensor_spec(spec) for spec in inputs])

    def save(self, folder: Path, inputs: tuple[TensorSpec, ...]) -> None:
        """As a SavedModel with one signature, `serving_default`."""
        module = tf.Module()
        module.model = self.track
        module.serve = self.traced(inputs)
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve.get_concrete_function()})


def describe_function(job: Job, function: Function, packages: tuple[str, ...]) -> None:
    run = function.traced(function.inputs)

    def call(arrays: Any) -> dict[str, Any]:
        outputs = run(*[tf.constant(arrays[spec.name]) for spec in function.inputs])
        return {name: np.asarray(tensor) for name, tensor in outputs.items()}

    describe(job, function.inputs, call, packages)


def to_onnx(job: Job, function: Function, handlers: Mapping[str, Any] | None = None) -> None:
    """`handlers` write TensorFlow operators that tf2onnx does not know, or knows less well."""
    import tf2onnx

    from tensorlet.publish.converters.onnx_file import finish

    traced = function.traced(function.inputs)
    model, _ = tf2onnx.convert.from_function(
        traced, input_signature=traced.input_signature, opset=OPSET, custom_op_handlers=dict(handlers or {})
    )
    finish(model, job.path("model.onnx"), function.inputs)


def to_tflite(job: Job, function: Function) -> None:
    """With a dynamic batch if it can be; a recurrent model cannot, and gets a batch of 1 that the runtime repeats.

    TensorFlow's error is then "'tf.TensorListReserve' op requires element_shape to be static".
    """
    try:
        content = _converted(job, function, function.inputs, "dynamic")
    except Exception:  # ConverterError is no public name; the second attempt tells what is wrong
        single = tuple(
            spec._replace(shape=(1, *spec.shape[1:])) if spec.shape[:1] == (DYNAMIC,) else spec
            for spec in function.inputs
        )
        if single == function.inputs:
            raise
        content = _converted(job, function, single, "single", edit=_say_single_rows)
    job.path("model.tflite").write_bytes(content)


def _converted(
    job: Job,
    function: Function,
    inputs: tuple[TensorSpec, ...],
    name: str,
    edit: Callable[[Any], None] = lambda graph: None,
) -> bytes:
    """A TFLite file of the function for exactly these inputs; `edit` changes its graph before it is converted."""
    # Through a SavedModel: converting the function itself loses its variables without a word.
    folder = job.path(name)
    function.save(folder, inputs)
    saved = saved_model_pb2.SavedModel.FromString((folder / GRAPH_FILE).read_bytes())
    edit(saved.meta_graphs[0].graph_def)
    (folder / GRAPH_FILE).write_bytes(saved.SerializeToString())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[SIGNATURE])
    content: bytes = converter.convert()
    return content


def _say_single_rows(graph: Any) -> None:
    """Say that the lists of a recurrent layer hold single rows, also where it was traced for any batch.

    A SavedModel keeps what it was traced with: lists of tensors [-1, units], which TFLite cannot take.
    """
    for function in graph.library.function:
        nodes = {node.name: node for node in function.node_def}
        for node in function.node_def:
            shape = nodes.get(node.input[LISTS[node.op]].partition(":")[0]) if node.op in LISTS else None
            if shape is not None and shape.op == "Const":
                tensor = shape.attr["value"].tensor
                dims = tf.make_ndarray(tensor)
                if dims.ndim == 1 and len(dims) and dims[0] == DYNAMIC:
                    tensor.CopyFrom(tf.make_tensor_proto([1, *dims[1:]], dims.dtype))


def _tensor_spec(spec: TensorSpec) -> Any:
    shape = tuple(None if dim == DYNAMIC else dim for dim in spec.shape)
    return tf.TensorSpec(shape, DATATYPES[spec.datatype].numpy, name=spec.name)
