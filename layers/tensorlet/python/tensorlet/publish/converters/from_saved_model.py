"""A SavedModel folder to ONNX and TFLite. It is a program: the caller has vouched for it."""

import json
from typing import Any

import tensorlet.publish.converters.lean  # noqa: F401  # before TensorFlow

# isort: split
import tensorflow as tf

# Private, but nothing else reads what Keras 2 wrote: see _revive_optimizers.
from tensorflow.python.keras.optimizer_v2.optimizer_v2 import RestoredOptimizer
from tensorflow.python.saved_model import revived_types

from tensorlet.publish.converters.job import SIGNATURES_FILE, Job, Refused, datatype, renamed, run
from tensorlet.publish.converters.saved_model_roles import find_roles
from tensorlet.publish.converters.tensorflow_graph import Function, describe_function, to_onnx, to_tflite
from tensorlet.signature import DYNAMIC, TensorSpec

PACKAGES = ("tensorflow-cpu", "tensorflow", "tf2onnx")
SIGNATURES = ("serving_default", "serve")  # the first that the folder has


def describe(job: Job) -> None:
    function = load(job)
    describe_function(job, function, PACKAGES)
    model = tf.saved_model.load(job.source)
    name, signature = _predict_signature(model)
    own = [*signature.structured_input_signature[1], *sorted(signature.structured_outputs)]
    outputs = renamed(sorted(signature.structured_outputs), job.outputs, "outputs")
    names = dict(zip(own, [*(spec.name for spec in function.inputs), *outputs], strict=True))
    job.path(SIGNATURES_FILE).write_text(json.dumps(find_roles(job.source, name, names)))


def load(job: Job) -> Function:
    model = tf.saved_model.load(job.source)
    _, signature = _predict_signature(model)
    own = signature.structured_input_signature[1]  # keyword arguments: name -> TensorSpec
    names = renamed(list(own), tuple(spec.name for spec in job.inputs), "inputs")
    inputs = tuple(
        TensorSpec(name, datatype(spec.dtype.as_numpy_dtype.__name__), _shape(spec.shape))
        for name, spec in zip(names, own.values(), strict=True)
    )
    outputs = renamed(sorted(signature.structured_outputs), job.outputs, "outputs")

    def call(*tensors: Any) -> dict[str, Any]:
        result = signature(**dict(zip(own, tensors, strict=True)))
        return dict(zip(outputs, (result[name] for name in sorted(result)), strict=True))

    return Function(call, inputs, track=model)


def _revive_optimizers() -> None:
    """Let SavedModels of compiled Keras 2 models load: they refer to their optimizer's slots.

    Keras itself registered the class, until version 3; with neither, `load` ends in "'_UserObject' object has no
    attribute 'add_slot'". The slots are read and never used.
    """
    version = revived_types.VersionedTypeRegistration(
        object_factory=lambda proto: RestoredOptimizer(),
        version=1,
        min_producer_version=1,
        min_consumer_version=1,
        setter=RestoredOptimizer._set_hyper,
    )
    revived_types.register_revived_type(
        "optimizer", lambda object: isinstance(object, RestoredOptimizer), versions=[version]
    )


def _predict_signature(model: Any) -> tuple[str, Any]:
    """The signature to serve, and its name. Raises Refused."""
    found = [name for name in SIGNATURES if name in model.signatures]
    if not found:
        raise Refused(f"expected a signature {SIGNATURES[0]!r}, got {sorted(model.signatures)}")
    return found[0], model.signatures[found[0]]


def _shape(shape: Any) -> tuple[int, ...]:
    if shape.rank is None:
        raise Refused("an input of unknown rank cannot be served")
    return tuple(DYNAMIC if dim is None else dim for dim in shape.as_list())


if __name__ == "__main__":
    _revive_optimizers()
    run(
        {
            "describe": describe,
            "onnx": lambda job: to_onnx(job, load(job)),
            "tflite": lambda job: to_tflite(job, load(job)),
        }
    )
