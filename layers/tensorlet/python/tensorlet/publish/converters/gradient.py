"""The gradient of an ONNX model as an ONNX model: reverse-mode differentiation, with a rule for each operator.

Frameworks export what a model answers, not how its answers change; this works on what they exported, whichever it was.
The new graph has the inputs of the model and `cotangent`, of the shape of `job.outputs[0]`; for each input of floats it
gives `gradient:<name>`, the derivative of the sum of `cotangent * output`. With a 1 for one class in each row that is
the gradient of this class, row by row.

Source: Griewank, Walther, "Evaluating Derivatives" (2008), chapter 3; ONNX, Operators.md, for what each operator does.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tensorlet.publish.converters.job import OPSET, Job, Refused, run

COTANGENT, GRADIENT = "cotangent", "gradient:"
# Their results are whole numbers, truth values or shapes, through which no gradient goes.
CONSTANT_OPS = {
    "ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Round",
    "Shape", "Sign", "Size",
}  # fmt: skip


class Graph:
    """The model's graph with the nodes that differentiate it, which are added one after the other."""

    def __init__(self, model: Any) -> None:
        self.nodes: list[Any] = list(model.graph.node)
        self.initializers: list[Any] = list(model.graph.initializer)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.initializers}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        graph = model.graph
        values = [*graph.value_info, *graph.input, *graph.output]
        self.types = {value.name: value.type.tensor_type for value in values}
        self.active: set[str] = set()  # values that depend on an input we differentiate by
        self.gradients: dict[str, str] = {}
        self._count = 0

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node of one output; returns its name."""
        name = self._name()
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = self._name()
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, value: str, gradient: str) -> None:
        """One more way on which a value reaches the output."""
        known = self.gradients.get(value)
        self.gradients[value] = self.op("Add", [known, gradient]) if known else gradient

    def dims(self, value: str) -> list[int | str]:
        """The shape of a value as inferred; names stand for dimensions that vary. Raises Refused."""
        if value in self.constants:
            return list(self.constants[value].shape)
        found = self.types.get(value)
        if found is None or not found.HasField("shape"):
            raise Refused(f"the shape of {value!r} cannot be inferred")
        return [
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value}?"
            for dim in found.shape.dim
        ]

    def sizes(self, value: str, axes: slice) -> list[int]:
        """Dimensions that must be known. Raises Refused."""
        dims = self.dims(value)[axes]
        if not all(isinstance(dim, int) for dim in dims):
            raise Refused(f"the size of {value!r} varies: {dims}")
        return [int(dim) for dim in dims]

    def _name(self) -> str:
        self._count += 1
        return f"gradient_{self._count}"


Rule = Callable[[Graph, Any, str], None]


def differentiate(model: Any, output: str) -> Any:
    """The gradient model of `output`. Raises Refused for an operator without a rule, or shapes that are not known."""
    if any(opset.domain in ("", "ai.onnx") and opset.version != OPSET for opset in model.opset_import):
        model = onnx.version_converter.convert_version(model, OPSET)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = Graph(model)
    initial = set(graph.constants)
    inputs = [
        value for value in model.graph.input
        if value.name not in initial and value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]  # fmt: skip
    if not inputs:
        raise Refused("no input is of 32-bit floats")
    forward = list(graph.nodes)
    graph.active = {value.name for value in inputs}
    for node in forward:
        if node.op_type not in CONSTANT_OPS and graph.active.intersection(node.input):
            graph.active.update(node.output)
    graph.gradients[output] = COTANGENT
    on_the_way = [node for node in _needed(forward, [output]) if node.output[0] in graph.active]
    if unknown := sorted({node.op_type for node in on_the_way if not _has_rule(node)}):
        raise Refused(f"there is no gradient for {', '.join(unknown)}")
    for node in reversed(on_the_way):
        if node.output[0] in graph.gradients:
            RULES[node.op_type](graph, node, graph.gradients[node.output[0]])
    return _finished(model, graph, inputs, output)


def _has_rule(node: Any) -> bool:
    return node.op_type in RULES and node.domain in ("", "ai.onnx")


def _finished(model: Any, graph: Graph, inputs: Sequence[Any], output: str) -> Any:
    reached = [value for value in inputs if value.name in graph.gradients]
    if not reached:
        raise Refused(f"no input of floats reaches the output {output!r}")
    results = []
    for value in reached:
        name = f"{GRADIENT}{value.name}"
        graph.nodes.append(helper.make_node("Identity", [graph.gradients[value.name]], [name]))
        result = onnx.ValueInfoProto()
        result.CopyFrom(value)
        result.name = name
        results.append(result)
    cotangent = onnx.ValueInfoProto()
    cotangent.CopyFrom(next(value for value in model.graph.output if value.name == output))
    cotangent.name = COTANGENT
    made = helper.make_graph(
        _needed(graph.nodes, [value.name for value in results]),
        "gradient",
        [*(value for value in model.graph.input if value.name not in graph.constants), cotangent],
        results,
        graph.initializers,
    )
    gradient = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=model.ir_version
    )
    gradient = _without_unused(gradient)
    onnx.checker.check_model(gradient, full_check=True)
    return gradient


def _needed(nodes: Sequence[Any], results: Sequence[str]) -> list[Any]:
    """The nodes that `results` depend on, in their order."""
    wanted, kept = set(results), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _without_unused(model: Any) -> Any:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


# -- rules: `node` gave y, `dy` is the gradient of y; each adds the gradients of the node's active inputs ------------


def _elementwise(slope: Callable[[Graph, str, str], str]) -> Rule:
    """y = f(x): dx = dy * slope(x, y)."""

    def rule(graph: Graph, node: Any, dy: str) -> None:
        graph.add(node.input[0], graph.op("Mul", [dy, slope(graph, node.input[0], node.output[0])]))

    return rule


def _one_minus(graph: Graph, value: str) -> str:
    return graph.op("Sub", [graph.constant(1), value])


def _positive(graph: Graph, x: str) -> str:
    return graph.op("Cast", [graph.op("Greater", [x, graph.constant(0)])], to=TensorProto.FLOAT)


def _sigmoid(graph: Graph, x: str, y: str) -> str:
    return graph.op("Mul", [y, _one_minus(graph, y)])


def _tanh(graph: Graph, x: str, y: str) -> str:
    return _one_minus(graph, graph.op("Mul", [y, y]))


def _sqrt(graph: Graph, x: str, y: str) -> str:
    return graph.op("Div", [graph.constant(0.5), y])


def _erf(graph: Graph, x: str, y: str) -> str:
    """2 / sqrt(pi) * exp(-x^2)."""
    bell = graph.op("Exp", [graph.op("Neg", [graph.op("Mul", [x, x])])])
    return graph.op("Mul", [graph.constant(2 / np.sqrt(np.pi)), bell])


def _leaky_relu(graph: Graph, node: Any, dy: str) -> None:
    slope = graph.op("Mul", [dy, graph.constant(_attribute(node, "alpha", 0.01))])
    above = graph.op("Greater", [node.input[0], graph.constant(0)])
    graph.add(node.input[0], graph.op("Where", [above, dy, slope]))


def _elu(graph: Graph, node: Any, dy: str) -> None:
    """Below 0, y = alpha (exp(x) - 1), whose slope is y + alpha."""
    below = graph.op("Add", [node.output[0], graph.constant(_attribute(node, "alpha", 1.0))])
    above = graph.op("Greater", [node.input[0], graph.constant(0)])
    graph.add(node.input[0], graph.op("Where", [above, dy, graph.op("Mul", [dy, below])]))


def _clip(graph: Graph, node: Any, dy: str) -> None:
    """Nothing passes outside of the limits: where y is not x."""
    same = graph.op("Equal", [node.input[0], node.output[0]])
    graph.add(node.input[0], graph.op("Where", [same, dy, graph.constant(0)]))


def _softmax(graph: Graph, node: Any, dy: str) -> None:
    """dx = y * (dy - sum(dy * y))."""
    y, axis = node.output[0], graph.constant([_attribute(node, "axis", -1)], np.int64)
    total = graph.op("ReduceSum", [graph.op("Mul", [dy, y]), axis], keepdims=1)
    graph.add(node.input[0], graph.op("Mul", [y, graph.op("Sub", [dy, total])]))


def _log_softmax(graph: Graph, node: Any, dy: str) -> None:
    """dx = dy - exp(y) * sum(dy)."""
    axis = graph.constant([_attribute(node, "axis", -1)], np.int64)
    total = graph.op("ReduceSum", [dy, axis], keepdims=1)
    scaled = graph.op("Mul", [graph.op("Exp", [node.output[0]]), total])
    graph.add(node.input[0], graph.op("Sub", [dy, scaled]))


def _add(graph: Graph, node: Any, dy: str) -> None:
    for name in _active(graph, node):
        graph.add(name, _summed(graph, dy, name, node.output[0]))


def _sub(graph: Graph, node: Any, dy: str) -> None:
    a, b = node.input
    if a in graph.active:
        graph.add(a, _summed(graph, dy, a, node.output[0]))
    if b in graph.active:
        graph.add(b, _summed(graph, graph.op("Neg", [dy]), b, node.output[0]))


def _mul(graph: Graph, node: Any, dy: str) -> None:
    for name, other in (tuple(node.input), tuple(node.input)[::-1]):
        if name in graph.active:
            graph.add(name, _summed(graph, graph.op("Mul", [dy, other]), name, node.output[0]))


def _div(graph: Graph, node: Any, dy: str) -> None:
    a, b = node.input
    if a in graph.active:
        graph.add(a, _summed(graph, graph.op("Div", [dy, b]), a, node.output[0]))
    if b in graph.active:  # -y / b
        slope = graph.op("Neg", [graph.op("Div", [node.output[0], b])])
        graph.add(b, _summed(graph, graph.op("Mul", [dy, slope]), b, node.output[0]))


def _pow(graph: Graph, node: Any, dy: str) -> None:
    """Of a constant exponent: p * x^(p - 1)."""
    x, exponent = node.input
    if exponent not in graph.constants:
        raise Refused("there is no gradient for Pow with an exponent that varies")
    p = graph.constants[exponent].astype(np.float32)
    slope = graph.op("Mul", [graph.constant(p), graph.op("Pow", [x, graph.constant(p - 1)])])
    graph.add(x, _summed(graph, graph.op("Mul", [dy, slope]), x, node.output[0]))


def _matmul(graph: Graph, node: Any, dy: str) -> None:
    a, b = node.input
    ranks = len(graph.dims(a)), len(graph.dims(b))
    if min(ranks) < 2:
        raise Refused("there is no gradient for MatMul with a vector")
    if a in graph.active:
        graph.add(a, graph.op("MatMul", [dy, _swapped(graph, b, ranks[1])]))
    if b in graph.active:
        if ranks[0] != ranks[1]:
            raise Refused("there is no gradient for MatMul of different ranks")
        graph.add(b, graph.op("MatMul", [_swapped(graph, a, ranks[0]), dy]))


def _gemm(graph: Graph, node: Any, dy: str) -> None:
    """y = alpha A' B' + beta C, where A' and B' may be transposed."""
    a, b = node.input[:2]
    trans_a, trans_b = _attribute(node, "transA", 0), _attribute(node, "transB", 0)
    scaled = graph.op("Mul", [dy, graph.constant(_attribute(node, "alpha", 1.0))])
    left = _swapped(graph, a, 2) if trans_a else a
    right = _swapped(graph, b, 2) if trans_b else b
    if a in graph.active:
        da = graph.op("MatMul", [scaled, _swapped(graph, right, 2)])
        graph.add(a, _swapped(graph, da, 2) if trans_a else da)
    if b in graph.active:
        db = graph.op("MatMul", [_swapped(graph, left, 2), scaled])
        graph.add(b, _swapped(graph, db, 2) if trans_b else db)
    if len(node.input) > 2 and node.input[2] in graph.active:
        dc = graph.op("Mul", [dy, graph.constant(_attribute(node, "beta", 1.0))])
        graph.add(node.input[2], _summed(graph, dc, node.input[2], node.output[0]))


def _conv(graph: Graph, node: Any, dy: str) -> None:
    """The transposed convolution with the same weights."""
    x, weights = node.input[:2]
    if weights in graph.active:
        raise Refused("there is no gradient for Conv with weights that vary")
    window = _window(graph, node, graph.sizes(weights, slice(2, None)))
    missing = [
        size - (stride * (out - 1) + (kernel - 1) * dilation + 1 - before - after)
        for size, out, kernel, stride, dilation, before, after in zip(
            graph.sizes(x, slice(2, None)), graph.sizes(node.output[0], slice(2, None)), *window, strict=True
        )
    ]
    kernel, strides, dilations, before, after = window
    graph.add(
        x,
        graph.op(
            "ConvTranspose", [dy, weights], kernel_shape=kernel, strides=strides, dilations=dilations,
            pads=[*before, *after], output_padding=missing, group=_attribute(node, "group", 1),
        ),
    )  # fmt: skip


def _max_pool(graph: Graph, node: Any, dy: str) -> None:
    """Each gradient goes where the maximum came from; windows that overlap add up."""
    if _attribute(node, "storage_order", 0):
        raise Refused("there is no gradient for MaxPool in column-major order")
    if len(node.output) < 2 or not node.output[1]:
        # The forward node must tell where its maxima were: each in the tensor as a whole.
        del node.output[1:]
        node.output.append(f"{node.output[0]}_indices")
    shape = graph.op("Shape", [node.input[0]])
    flat = graph.constant([-1], np.int64)
    zeros = graph.op("Reshape", [graph.op("Expand", [graph.constant(0), shape]), flat])
    places, values = graph.op("Reshape", [node.output[1], flat]), graph.op("Reshape", [dy, flat])
    spread = graph.op("ScatterElements", [zeros, places, values], axis=0, reduction="add")
    graph.add(node.input[0], graph.op("Reshape", [spread, shape]))


def _average_pool(graph: Graph, node: Any, dy: str) -> None:
    """Each gradient goes in equal parts to its window: a transposed convolution of each channel with a constant."""
    x = node.input[0]
    kernel, strides, dilations, before, after = _window(graph, node, _attribute(node, "kernel_shape", []))
    if any(before) or any(after) or _attribute(node, "ceil_mode", 0):
        raise Refused("there is no gradient for AveragePool with padding")
    [channels] = graph.sizes(x, slice(1, 2))
    weights = graph.constant(np.full((channels, 1, *kernel), 1 / np.prod(kernel)))
    missing = [
        size - (stride * (out - 1) + (width - 1) * dilation + 1)
        for size, out, width, stride, dilation in zip(
            graph.sizes(x, slice(2, None)), graph.sizes(node.output[0], slice(2, None)), kernel, strides, dilations,
            strict=True,
        )
    ]  # fmt: skip
    if any(pad >= max(stride, 1) for pad, stride in zip(missing, strides, strict=True)):
        raise Refused("there is no gradient for AveragePool that leaves out so much")
    graph.add(
        x,
        graph.op(
            "ConvTranspose", [dy, weights], kernel_shape=kernel, strides=strides, dilations=dilations,
            output_padding=missing, group=channels,
        ),
    )  # fmt: skip


def _global_average(graph: Graph, node: Any, dy: str) -> None:
    size = np.prod(graph.sizes(node.input[0], slice(2, None)))
    scaled = graph.op("Div", [dy, graph.constant(size)])
    graph.add(node.input[0], graph.op("Expand", [scaled, graph.op("Shape", [node.input[0]])]))


def _reduce(mean: bool) -> Rule:
    """A sum or a mean over axes: every element gets the gradient of its sum."""

    def rule(graph: Graph, node: Any, dy: str) -> None:
        x = node.input[0]
        rank = len(graph.dims(x))
        axes = (
            graph.constants.get(node.input[1]) if len(node.input) > 1 and node.input[1] else np.arange(rank)
        )
        if axes is None:
            raise Refused(f"there is no gradient for {node.op_type} over axes that vary")
        if not _attribute(node, "keepdims", 1):
            dy = graph.op("Unsqueeze", [dy, graph.constant(np.sort(axes % rank), np.int64)])
        shape = graph.op("Shape", [x])
        if mean:
            lengths = graph.op("Gather", [shape, graph.constant(axes % rank, np.int64)])
            count = graph.op("ReduceProd", [lengths], keepdims=0)
            dy = graph.op("Div", [dy, graph.op("Cast", [count], to=TensorProto.FLOAT)])
        graph.add(x, graph.op("Expand", [dy, shape]))

    return rule


def _batch_normalization(graph: Graph, node: Any, dy: str) -> None:
    x, scale, _, _, variance = node.input[:5]
    if (
        scale not in graph.constants
        or variance not in graph.constants
        or _attribute(node, "training_mode", 0)
    ):
        raise Refused("there is no gradient for BatchNormalization that trains")
    slope = graph.constants[scale] / np.sqrt(graph.constants[variance] + _attribute(node, "epsilon", 1e-5))
    graph.add(x, graph.op("Mul", [dy, graph.constant(slope.reshape(-1, *[1] * (len(graph.dims(x)) - 2)))]))


def _reshaped(graph: Graph, node: Any, dy: str) -> None:
    """The same elements in another shape."""
    graph.add(node.input[0], graph.op("Reshape", [dy, graph.op("Shape", [node.input[0]])]))


def _transpose(graph: Graph, node: Any, dy: str) -> None:
    rank = len(graph.dims(node.input[0]))
    order = _attribute(node, "perm", list(range(rank))[::-1])
    graph.add(node.input[0], graph.op("Transpose", [dy], perm=[order.index(axis) for axis in range(rank)]))


def _same(graph: Graph, node: Any, dy: str) -> None:
    graph.add(node.input[0], dy)


def _cast(graph: Graph, node: Any, dy: str) -> None:
    if _attribute(node, "to", TensorProto.FLOAT) != TensorProto.FLOAT:
        raise Refused("there is no gradient for Cast to another type than 32-bit floats")
    graph.add(node.input[0], dy)


def _concat(graph: Graph, node: Any, dy: str) -> None:
    axis = _attribute(node, "axis", 0)
    start = 0
    for name in node.input:
        [size] = graph.sizes(name, slice(axis, axis + 1 or None))
        if name in graph.active:
            bounds = [graph.constant([value], np.int64) for value in (start, start + size, axis)]
            graph.add(name, graph.op("Slice", [dy, *bounds]))
        start += size


def _where(graph: Graph, node: Any, dy: str) -> None:
    condition, a, b = node.input
    zero = graph.constant(0)
    for name, choice in ((a, [condition, dy, zero]), (b, [condition, zero, dy])):
        if name in graph.active:
            graph.add(name, _summed(graph, graph.op("Where", choice), name, node.output[0]))


RULES: dict[str, Rule] = {
    "Add": _add, "AveragePool": _average_pool, "BatchNormalization": _batch_normalization, "Cast": _cast, "Clip": _clip,
    "Concat": _concat, "Conv": _conv, "Div": _div, "Dropout": _same, "Elu": _elu, "Flatten": _reshaped, "Gemm": _gemm,
    "GlobalAveragePool": _global_average, "Identity": _same, "LeakyRelu": _leaky_relu, "LogSoftmax": _log_softmax,
    "MatMul": _matmul, "MaxPool": _max_pool, "Mul": _mul, "Pow": _pow, "ReduceMean": _reduce(True),
    "ReduceSum": _reduce(False), "Reshape": _reshaped, "Softmax": _softmax, "Squeeze": _reshaped, "Sub": _sub,
    "Transpose": _transpose, "Unsqueeze": _reshaped, "Where": _where,
    "Erf": _elementwise(_erf),
    "Exp": _elementwise(lambda graph, x, y: y),
    "Log": _elementwise(lambda graph, x, y: graph.op("Reciprocal", [x])),
    "Neg": _elementwise(lambda graph, x, y: graph.constant(-1)),
    "Abs": _elementwise(lambda graph, x, y: graph.op("Sign", [x])),
    "Relu": _elementwise(lambda graph, x, y: _positive(graph, x)),
    "Sigmoid": _elementwise(_sigmoid),
    "Softplus": _elementwise(lambda graph, x, y: graph.op("Sigmoid", [x])),
    "Sqrt": _elementwise(_sqrt),
    "Tanh": _elementwise(_tanh),
}  # fmt: skip


def _active(graph: Graph, node: Any) -> Iterator[str]:
    return (name for name in node.input if name in graph.active)


def _summed(graph: Graph, gradient: str, value: str, output: str) -> str:
    """The gradient of a value that was broadcast: summed over the axes along which it was repeated."""
    mine, full = graph.dims(value), graph.dims(output)
    if mine == full:
        return gradient
    added = len(full) - len(mine)
    repeated = [added + axis for axis, dim in enumerate(mine) if dim == 1 and full[added + axis] != 1]
    axes = [*range(added), *repeated]
    if any(dim not in (1, full[added + axis]) for axis, dim in enumerate(mine)):
        raise Refused(f"whether {value!r} {mine} is repeated to {full} is not known")
    if repeated:
        gradient = graph.op("ReduceSum", [gradient, graph.constant(repeated, np.int64)], keepdims=1)
    if added:
        gradient = graph.op("ReduceSum", [gradient, graph.constant(axes[:added], np.int64)], keepdims=0)
    return gradient


def _swapped(graph: Graph, value: str, rank: int) -> str:
    """The last two axes in the other order."""
    return graph.op("Transpose", [value], perm=[*range(rank - 2), rank - 1, rank - 2])


def _window(graph: Graph, node: Any, kernel: Sequence[int]) -> tuple[list[int], ...]:
    """Kernel, strides, dilations, padding before and after of a convolution or a pooling, in numbers."""
    count = len(kernel)
    strides = _attribute(node, "strides", [1] * count)
    dilations = _attribute(node, "dilations", [1] * count)
    pads = _attribute(node, "pads", [0] * 2 * count)
    auto = _attribute(node, "auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        sizes = graph.sizes(node.input[0], slice(2, None))
        outs = graph.sizes(node.output[0], slice(2, None))
        total = [
            max(0, stride * (out - 1) + (width - 1) * dilation + 1 - size)
            for size, out, width, stride, dilation in zip(
                sizes, outs, kernel, strides, dilations, strict=True
            )
        ]
        less, more = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
        pads = [*less, *more] if auto == b"SAME_UPPER" else [*more, *less]
    elif auto == b"VALID":
        pads = [0] * 2 * count
    return list(kernel), list(strides), list(dilations), list(pads[:count]), list(pads[count:])


def _attribute(node: Any, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            found = helper.get_attribute_value(attribute)
            return list(found) if isinstance(default, list) else found
    return default


def to_gradient(job: Job) -> None:
    """Write `explain.onnx`, and the names of the inputs whose gradients it gives to `reached.json`."""
    gradient = differentiate(onnx.load(job.source), job.outputs[0])
    onnx.save(gradient, job.path("explain.onnx"))
    reached = [value.name.removeprefix(GRADIENT) for value in gradient.graph.output]
    job.path("reached.json").write_text(json.dumps(reached))


if __name__ == "__main__":
    run({"explain": to_gradient})
