"""Gradient graphs against differences of the model's own answers, one case for each operator with a rule."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorlet.publish.converters.gradient import RULES, differentiate
from tensorlet.publish.converters.job import Refused
from tensorlet.runtimes import load_session
from tensorlet.tensors import Tensor

STEP = 1e-2
RANDOM = np.random.default_rng(0)


def weights(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def model(nodes, inputs, constants=None, outputs=("y",)):
    """`nodes` from inputs (name -> shape) and constants to the float outputs, whose shapes are inferred."""
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def node(kind, inputs, output="y", **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def smooth(kind, **attributes):
    return model([node(kind, "x", **attributes)], {"x": ["batch", 6]})


def with_constant(kind, constant, shape=("batch", 6), names="x c", **attributes):
    return model([node(kind, names, **attributes)], {"x": list(shape)}, {"c": constant})


def image(kind, channels=2, size=7, constants=None, names="x", **attributes):
    return model([node(kind, names, **attributes)], {"x": ["batch", channels, size, size]}, constants)


LAST = np.array([-1], np.int64)
CASES = {
    **{kind: smooth(kind) for kind in ("Abs", "Erf", "Exp", "Identity", "Log", "Neg", "Relu", "Sigmoid", "Softplus",
                                       "Sqrt", "Tanh", "Softmax", "LogSoftmax", "Elu", "LeakyRelu", "Dropout")},
    "Cast": smooth("Cast", to=TensorProto.FLOAT),
    "Clip": model([node("Clip", "x low high")], {"x": ["batch", 6]}, {"low": np.float32(0.3), "high": np.float32(0.9)}),
    "Add": with_constant("Add", weights(6)),
    "Add, broadcast input": with_constant("Add", weights(4, 6), shape=("batch", 1, 6)),
    "Sub": with_constant("Sub", weights(6), names="c x"),
    "Mul": with_constant("Mul", weights(6)),
    "Mul of two": model([node("Mul", "x z")], {"x": ["batch", 6], "z": ["batch", 1]}),
    "Div": with_constant("Div", weights(6), names="c x"),
    "Div of two": model([node("Div", "x z")], {"x": ["batch", 6], "z": ["batch", 6]}),
    "Pow": with_constant("Pow", np.float32(3)),
    "MatMul": with_constant("MatMul", weights(6, 4)),
    "MatMul of two": model([node("MatMul", "x z")], {"x": ["batch", 3, 4], "z": ["batch", 4, 2]}),
    "Gemm": model([node("Gemm", "x w c", transB=1, alpha=0.5, beta=2.0)], {"x": ["batch", 6]},
                  {"w": weights(4, 6), "c": weights(4)}),
    "Conv": image("Conv", constants={"w": weights(4, 2, 3, 3)}, names="x w", pads=[1, 1, 1, 1]),
    "Conv, strides and groups": image("Conv", 4, constants={"w": weights(6, 2, 3, 3)}, names="x w",
                                      strides=[2, 2], group=2),
    "Conv, dilated": image("Conv", constants={"w": weights(3, 2, 3, 3)}, names="x w", dilations=[2, 2]),
    "Conv, as TensorFlow pads": image("Conv", constants={"w": weights(3, 2, 2, 2)}, names="x w",
                                      auto_pad="SAME_UPPER", strides=[2, 2]),
    "MaxPool": image("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "MaxPool, overlapping": image("MaxPool", kernel_shape=[3, 3], strides=[1, 1]),
    "AveragePool": image("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "GlobalAveragePool": image("GlobalAveragePool"),
    "BatchNormalization": image("BatchNormalization", names="x s b m v", constants={
        "s": weights(2), "b": weights(2), "m": weights(2), "v": np.array([0.5, 2], np.float32)}),
    "ReduceSum": with_constant("ReduceSum", LAST, keepdims=0),
    "ReduceMean": with_constant("ReduceMean", LAST, keepdims=1),
    "Reshape": with_constant("Reshape", np.array([-1, 2, 3], np.int64)),
    "Flatten": image("Flatten"),
    "Squeeze": with_constant("Squeeze", LAST, shape=("batch", 6, 1)),
    "Unsqueeze": with_constant("Unsqueeze", LAST),
    "Transpose": image("Transpose", perm=[0, 2, 3, 1]),
    "Concat": model([node("Concat", "x z c", axis=1)], {"x": [2, 3], "z": [2, 2]}, {"c": weights(2, 2)}),
    "Where": model([node("Greater", "x c", "above"), node("Mul", "x x", "square"), node("Where", "above square x")],
                   {"x": ["batch", 6]}, {"c": np.float32(1)}),
    "a value used twice": model([node("Mul", "x x", "square"), node("Add", "square x")], {"x": ["batch", 6]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_the_slope_of_the_answers(case):
    source = CASES[case]
    random = np.random.default_rng(1)
    inputs = {}
    for value in source.graph.input:
        shape = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
        # Far from kinks, and no two alike, so that a maximum stays where it is.
        spread = random.permutation(int(np.prod(shape))) / np.prod(shape) + 0.26
        inputs[value.name] = spread.reshape(shape).astype(np.float32)
    plain = load_session("onnx", source.SerializeToString())
    gradient = load_session("onnx", differentiate(source, "y").SerializeToString())
    answer = run(plain, inputs)["y"]
    cotangent = random.standard_normal(answer.shape).astype(np.float32)

    slopes = run(gradient, {**wanted(gradient, inputs), "cotangent": cotangent})

    for name, array in inputs.items():
        step = 1e-3 if case.startswith("MaxPool") else STEP
        direction = random.standard_normal(array.shape)
        ahead, behind = (
            run(plain, {**inputs, name: (array + sign * step * direction).astype(np.float32)})["y"]
            for sign in (1, -1)
        )
        difference = ((ahead.astype(np.float64) - behind) * cotangent).sum() / (2 * step)
        found = (slopes[f"gradient:{name}"] * direction).sum()
        assert found == pytest.approx(difference, rel=0.02, abs=0.02), name


def test_every_rule_has_a_case():
    assert {case.partition(",")[0].removesuffix(" of two") for case in CASES} >= set(RULES)


def run(session, inputs):
    tensors = {name: Tensor.from_numpy(array) for name, array in inputs.items()}
    return {name: tensor.numpy() for name, tensor in session.infer(tensors).items()}


def wanted(session, inputs):
    return {spec.name: inputs[spec.name] for spec in session.signature.inputs if spec.name in inputs}


def test_an_operator_without_a_rule_is_refused_by_name():
    with pytest.raises(Refused, match="no gradient for Sin"):
        differentiate(smooth("Sin"), "y")


def test_a_graph_of_which_the_output_ignores_the_inputs_is_refused():
    constant = model([node("Identity", "c")], {"x": ["batch", 2]}, {"c": weights(2, 2)})

    with pytest.raises(Refused, match="no input of floats reaches"):
        differentiate(constant, "y")
