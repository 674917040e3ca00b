"""Keras (.keras, .h5, weights with an architecture) to ONNX and TFLite, through TensorFlow.

Files are opened in Keras' safe mode.
"""

from pathlib import Path
from typing import Any

import tensorlet.publish.converters.lean  # noqa: F401  # before TensorFlow

# isort: split
import keras

from tensorlet.publish.converters.job import Job, Refused, datatype, renamed, run
from tensorlet.publish.converters.keras_gru import HANDLERS, gru_operators
from tensorlet.publish.converters.tensorflow_graph import Function, describe_function, to_onnx, to_tflite
from tensorlet.signature import DYNAMIC, TensorSpec

PACKAGES = ("keras", "tensorflow-cpu", "tensorflow", "tf2onnx")


def describe(job: Job) -> None:
    function = load(job)
    describe_function(job, function, PACKAGES)
    function.save(job.path("saved_model"), function.inputs)


def convert_to_onnx(job: Job) -> None:
    with gru_operators():
        to_onnx(job, load(job), HANDLERS)


def load(job: Job) -> Function:
    model = _model(job)
    inputs = _inputs(model, job)

    def call(*tensors: Any) -> dict[str, Any]:
        return _named_outputs(model, _run(model, tensors), job)

    # Without the variables themselves TensorFlow saves the model and forgets its weights, without a word.
    return Function(call, inputs, track=[variable.value for variable in model.variables])


def _model(job: Job) -> Any:
    """The model, or Refused where its weights do not fit its architecture."""
    if job.architecture is None:
        try:
            return keras.models.load_model(job.source, compile=False, safe_mode=True)
        except TypeError as error:  # of the legacy format: layers with several inputs that are operators
            raise Refused(f"Keras cannot load this file ({error}); save the model as .keras") from error
    # In safe mode, like everything that Keras reads back unless it is told otherwise.
    model = keras.models.model_from_json(Path(job.architecture).read_text(encoding="utf-8"))
    if not model.built:
        raise Refused(
            "the architecture does not say its input; save it from a model that was built or called"
        )
    try:
        model.load_weights(job.source)
    except ValueError as error:
        raise Refused(
            f"the weights do not fit {Path(job.architecture).name}: {str(error).splitlines()[0]}"
        ) from error
    return model


def _run(model: Any, tensors: tuple[Any, ...]) -> Any:
    """Call a model with its inputs in their order, whatever structure it wants them in."""
    structure = getattr(model, "input", None)
    values = tensors[0] if len(tensors) == 1 else list(tensors)
    if isinstance(structure, dict | list | tuple):
        values = keras.tree.pack_sequence_as(structure, list(tensors))
    return model(values, training=False)


def _inputs(model: Any, job: Job) -> tuple[TensorSpec, ...]:
    """The model's own inputs under the user's names; those of a model that does not know its inputs are the user's."""
    own = getattr(model, "inputs", None)
    if not own:
        if not job.inputs:
            raise Refused("the model does not say its input: add --input NAME:DATATYPE:SHAPE")
        return job.inputs
    names = renamed([tensor.name for tensor in own], tuple(spec.name for spec in job.inputs), "inputs")
    return tuple(
        TensorSpec(
            name, datatype(tensor.dtype), tuple(DYNAMIC if dim is None else dim for dim in tensor.shape)
        )
        for name, tensor in zip(names, own, strict=True)
    )


def _named_outputs(model: Any, result: Any, job: Job) -> dict[str, Any]:
    tensors = keras.tree.flatten(result)
    names = sorted(result) if isinstance(result, dict) else _output_names(model, len(tensors))
    return dict(zip(renamed(names, job.outputs, "outputs"), tensors, strict=True))


def _output_names(model: Any, count: int) -> list[str]:
    """The names of the layers that give the outputs, where they are told apart by them."""
    layers = [getattr(tensor, "_keras_history", None) for tensor in getattr(model, "outputs", None) or []]
    names = [history[0].name for history in layers if history]
    if len(set(names)) == count:
        return names
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]


if __name__ == "__main__":
    run(
        {
            "describe": describe,
            "onnx": convert_to_onnx,
            "tflite": lambda job: to_tflite(job, load(job)),
        }
    )
