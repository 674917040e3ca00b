"""TensorFlow functions to ONNX (tf2onnx) and TFLite (TFLiteConverter), with names chosen by us."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorlet.publish.converters.job import OPSET, Job, describe
from tensorlet.signature import DYNAMIC, TensorSpec
from tensorlet.tensors import DATATYPES

SIGNATURE = "serving_default"


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
        content = _converted(job, function, single, "single")
    job.path("model.tflite").write_bytes(content)


def _converted(job: Job, function: Function, inputs: tuple[TensorSpec, ...], name: str) -> bytes:
    # Through a SavedModel: converting the function itself loses its variables without a word.
    folder = job.path(name)
    function.save(folder, inputs)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[SIGNATURE])
    content: bytes = converter.convert()
    return content


def _tensor_spec(spec: TensorSpec) -> Any:
    shape = tuple(None if dim == DYNAMIC else dim for dim in spec.shape)
    return tf.TensorSpec(shape, DATATYPES[spec.datatype].numpy, name=spec.name)
