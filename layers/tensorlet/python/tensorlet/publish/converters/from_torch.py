"""PyTorch to ONNX and TFLite: weights (with the module they belong to), torch.export programs, TorchScript.

Pickles are read with `weights_only=True`. The two others are programs: the caller has vouched for them.
"""

import ast
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_unflatten

from tensorlet.publish.converters.job import (
    OPSET,
    Job,
    Refused,
    datatype,
    describe,
    renamed,
    run,
    takes_batches,
)
from tensorlet.signature import DYNAMIC, TensorSpec
from tensorlet.tensors import DATATYPES

PACKAGES = ("torch", "onnxscript", "litert-torch")
# litert-torch writes fixed batches only. The runtime pads up to the next, so a row costs at most 8 times
# itself; weights are stored once, the graph of a recurrent model three times.
TFLITE_BATCHES = (1, 8, 32)
EXAMPLE_ROWS = 2  # with 1 the exporter takes the batch for a constant
EXAMPLE_LENGTH = 8  # of every other dynamic dimension
WRAPPED_WEIGHTS = ("state_dict", "model_state_dict")  # where training frameworks keep them in a checkpoint


class Named(nn.Module):
    """A model that takes and returns tensors by name."""

    def __init__(self, model: nn.Module, job: Job) -> None:
        super().__init__()
        self.model = model
        self.outputs = job.outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return _named_outputs(self.model(*inputs.values()), self.outputs)


class Positional(nn.Module):
    """A model that takes and returns tensors in order."""

    def __init__(self, model: nn.Module, job: Job) -> None:
        super().__init__()
        self.model = model
        self.outputs = job.outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(_named_outputs(self.model(*inputs), self.outputs).values())


class Exported(nn.Module):
    """An exported program as a module of positional tensors, whatever structure its inputs had."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        # Its guards are the lengths that its author named; what it computes does not depend on them.
        self.program = program.module(check_guards=False)
        self.structure = program.call_spec.in_spec

    def forward(self, *inputs: Tensor) -> Any:
        arguments, named = tree_unflatten(inputs, self.structure)
        return self.program(*arguments, **named)


class Loaded(NamedTuple):
    """A model, ready to infer, and its inputs in the order in which it takes them."""

    model: nn.Module
    inputs: tuple[TensorSpec, ...]


def describe_model(job: Job) -> None:
    loaded = load(job)
    model = Named(loaded.model, job)

    @torch.no_grad()
    def call(arrays: Any) -> dict[str, Any]:
        tensors = {spec.name: torch.from_numpy(arrays[spec.name]) for spec in loaded.inputs}
        return {name: tensor.numpy() for name, tensor in model(**tensors).items()}

    describe(job, loaded.inputs, call, PACKAGES)


def to_onnx(job: Job) -> None:
    import onnx

    from tensorlet.publish.converters.onnx_file import finish

    model, inputs = load(job)
    example = _example(inputs, EXAMPLE_ROWS)
    path = job.path("model.onnx")
    names = {
        "input_names": list(example),
        "output_names": list(Named(model, job)(**example)),
        "opset_version": OPSET,
        "verbose": False,
    }
    if isinstance(model, torch.jit.ScriptModule):
        # The newer exporter does not read TorchScript.
        axes = {spec.name: _dynamic_axes(spec) for spec in inputs}
        torch.onnx.export(model, tuple(example.values()), path, dynamo=False, dynamic_axes=axes, **names)
    else:
        shapes = {"inputs": tuple(_dynamic_axes(spec) for spec in inputs)}
        torch.onnx.export(
            Positional(model, job), tuple(example.values()), path, dynamic_shapes=shapes, external_data=False, **names
        )  # fmt: skip
    finish(onnx.load(path), path, inputs)


def to_tflite(job: Job) -> None:
    import litert_torch

    loaded = load(job)
    if any(DYNAMIC in spec.shape[1:] for spec in loaded.inputs):
        raise Refused("litert-torch takes no dynamic dimension but the batch")
    model = Named(loaded.model, job)
    batches = TFLITE_BATCHES if takes_batches(loaded.inputs) else (1,)
    exporter = litert_torch
    for rows in batches:
        exporter = exporter.signature(f"b{rows}", model, sample_kwargs=_example(loaded.inputs, rows))
    # Otherwise 64-bit inputs and outputs become 32-bit ones, and the version's formats differ in what they take.
    wide = any(DATATYPES[spec.datatype].size_bytes == 8 for spec in loaded.inputs)
    exporter.convert(enable_x64=wide).export(str(job.path("model.tflite")))


def load(job: Job) -> Loaded:
    """Raises Refused for weights without a module, and for files that do not say their inputs and nobody else does."""
    if job.format == "torch_export":
        return _load_program(job)
    if not job.inputs:
        raise Refused("PyTorch files do not say their inputs: add --input NAME:DATATYPE:SHAPE, batch as -1")
    if job.format == "torchscript":
        script: nn.Module = torch.jit.load(job.source, map_location="cpu")
        return Loaded(script.eval(), job.inputs)
    return Loaded(_load_weights(job), job.inputs)


def _load_program(job: Job) -> Loaded:
    """An exported program knows its inputs; the user may name them otherwise."""
    program = torch.export.load(job.source)
    own = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.name in own}
    if not all(isinstance(value, Tensor) for value in values.values()):
        raise Refused("expected a program whose inputs are tensors")
    names = renamed(list(own), tuple(spec.name for spec in job.inputs), "inputs")
    inputs = tuple(
        TensorSpec(name, datatype(str(value.dtype).removeprefix("torch.")), _dims(value.shape))
        for name, value in zip(names, values.values(), strict=True)
    )
    return Loaded(Exported(program), inputs)


def _dims(shape: Any) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else DYNAMIC for dim in shape)


def _load_weights(job: Job) -> nn.Module:
    if not job.module:
        raise Refused("weights need the module they belong to: add --module PACKAGE.MODULE:FACTORY")
    model = factory(job.module)()
    weights = read_weights(job)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise Refused(f"the weights do not fit {job.module}: {' '.join(lines[1:2]) or lines[0]}") from error
    return model.eval()


def read_weights(job: Job) -> dict[str, Tensor]:
    if job.format == "safetensors":
        from safetensors.torch import load_file

        weights: dict[str, Tensor] = load_file(job.source)
        return weights
    content: Any = torch.load(job.source, map_location="cpu", weights_only=True)
    for key in WRAPPED_WEIGHTS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise Refused(f"expected a state_dict, got a {type(content).__name__}")
    return content


def factory(text: str) -> Callable[[], nn.Module]:
    """`package.module:Factory`, or `package.module:Factory(hidden=64)` with literal keyword arguments.

    Raises:
        Refused: text of another form, or no such module or function.
    """
    module, _, call = text.partition(":")
    try:
        expression = ast.parse(call, mode="eval").body
        arguments = {}
        if isinstance(expression, ast.Call) and not expression.args:
            arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in expression.keywords}
            expression = expression.func
        if not isinstance(expression, ast.Name):
            raise ValueError("expected a name")
    except (SyntaxError, ValueError):
        raise Refused(
            f"--module: expected PACKAGE.MODULE:FACTORY or FACTORY(name=value), got {text!r}"
        ) from None
    try:
        make = getattr(importlib.import_module(module), expression.id)
    except (ImportError, AttributeError) as error:
        raise Refused(f"--module {text}: {error}") from error
    return lambda: make(**arguments)


def _named_outputs(result: Any, names: tuple[str, ...]) -> dict[str, Tensor]:
    """One tensor, several, or several by name; `names` are the user's, in order."""
    if isinstance(result, dict):
        own, tensors = list(result), list(result.values())
    elif isinstance(result, tuple | list):
        own, tensors = [f"output_{i}" for i in range(len(result))], list(result)
    else:
        own, tensors = ["output"], [result]
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise Refused("expected a model that returns a tensor, or a tuple or dict of tensors")
    return dict(zip(renamed(own, names, "outputs"), tensors, strict=True))


def _example(inputs: tuple[TensorSpec, ...], rows: int) -> dict[str, Tensor]:
    """Zeros: an example from real data would be stored in some formats."""

    def shape(spec: TensorSpec) -> list[int]:
        return [
            rows if axis == 0 and dim == DYNAMIC else EXAMPLE_LENGTH if dim == DYNAMIC else dim
            for axis, dim in enumerate(spec.shape)
        ]

    return {
        spec.name: torch.zeros(shape(spec), dtype=getattr(torch, DATATYPES[spec.datatype].numpy))
        for spec in inputs
    }


def _dynamic_axes(spec: TensorSpec) -> dict[int, str]:
    return {
        axis: "batch" if axis == 0 else f"{spec.name}_{axis}"
        for axis, dim in enumerate(spec.shape)
        if dim == DYNAMIC
    }


if __name__ == "__main__":
    run({"describe": describe_model, "onnx": to_onnx, "tflite": to_tflite})
