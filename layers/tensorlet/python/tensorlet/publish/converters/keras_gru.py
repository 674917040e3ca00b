"""Keras' GRU layers as ONNX's GRU operator, which is some twenty times faster than the Loop that tf2onnx makes of them.

Keras asks its backend for a fused GRU first and takes the generic loop if there is none. On a processor TensorFlow
has none; while an ONNX file is being made, `gru` stands in its place. It puts cuDNN's operator into the graph, as a
mark that is never run, with Keras' weights in ONNX's order, and `HANDLERS` tells tf2onnx what to write for it.

Sources: ONNX operators, GRU-14; keras.src.layers.rnn.gru, GRU.inner_loop.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

MARK = "CudnnRNN"
ATTRIBUTE = "seed2"  # of the mark, unused without dropout: says where Keras applies the reset gate


@contextmanager
def gru_operators() -> Iterator[None]:
    """While it lasts, Keras' GRU layers are traced as marks. Layers that ONNX's GRU cannot express stay loops."""
    from keras.src import backend

    original = backend.gru
    backend.gru = gru
    try:
        yield
    finally:
        backend.gru = original


def gru(
    inputs: Any,  # (B, T, features)
    initial_state: Any,  # (B, units)
    mask: Any,
    kernel: Any,  # (features, 3 units), gates in the order z, r, h as in ONNX
    recurrent_kernel: Any,  # (units, 3 units)
    bias: Any,  # (2, 3 units) with reset_after, else (3 units,)
    activation: Any,
    recurrent_activation: Any,
    return_sequences: bool = False,
    go_backwards: bool = False,
    unroll: bool = False,
    reset_after: bool = True,
) -> tuple[Any, Any, list[Any]]:
    """The last output (B, units), all of them (B, T, units), and the last state, as Keras' backends return them.

    Raises:
        NotImplementedError: masks may leave out steps in the middle, which the operator cannot; other activations.
    """
    from keras.src import activations

    if mask is not None or unroll:
        raise NotImplementedError
    if activation is not activations.tanh or recurrent_activation is not activations.sigmoid:
        raise NotImplementedError
    kernel, recurrent_kernel = tf.convert_to_tensor(kernel), tf.convert_to_tensor(recurrent_kernel)
    sequence = tf.transpose(inputs, (1, 0, 2))  # (T, B, features)
    if go_backwards:
        sequence = tf.reverse(sequence, (0,))
    weights = (
        tf.transpose(kernel),
        tf.transpose(recurrent_kernel),
        _both_biases(bias, recurrent_kernel.shape[1]),
    )
    output, state, _, _ = tf.raw_ops.CudnnRNN(
        input=sequence,
        input_h=initial_state[None],
        input_c=tf.zeros(()),
        params=tf.concat([tf.reshape(weight, (-1,)) for weight in weights], 0),
        rnn_mode="gru",
        is_training=False,
        **{ATTRIBUTE: int(reset_after)},
    )
    last = tf.ensure_shape(state[0], (None, recurrent_kernel.shape[0]))
    outputs = tf.transpose(output, (1, 0, 2)) if return_sequences else last[:, None]
    return last, outputs, [last]


def write_gru(context: Any, node: Any, name: str, arguments: Any) -> None:
    """tf2onnx's call for each mark: an ONNX GRU over the same sequence, state and weights."""
    sequence, state, _, parameters = node.input
    features, units = context.get_shape(sequence)[2], context.get_shape(state)[2]
    shapes = {"W": (1, 3 * units, features), "R": (1, 3 * units, units), "B": (1, 6 * units)}
    outputs, after = node.output, node.get_attr_value(ATTRIBUTE)
    weights, start = [], 0
    for weight, shape in shapes.items():
        stop = start + int(np.prod(shape))
        ends = [
            context.make_const(f"{name}_{weight}_{end}", np.array([end])).output[0] for end in (start, stop)
        ]
        flat = context.make_node("Slice", [parameters, *ends]).output[0]
        dims = context.make_const(f"{name}_{weight}_shape", np.array(shape)).output[0]
        weights.append(context.make_node("Reshape", [flat, dims]).output[0])
        start = stop
    context.remove_node(node.name)
    operator = context.make_node(
        "GRU",
        [sequence, *weights, "", state],
        attr={"hidden_size": units, "linear_before_reset": after},
        output_count=2,
    )
    axis = context.make_const(f"{name}_axis", np.array([1])).output[0]
    context.make_node(
        "Squeeze", [operator.output[0], axis], outputs=[outputs[0]]
    )  # (T, 1, B, units): one direction
    context.make_node("Identity", [operator.output[1]], outputs=[outputs[1]])


HANDLERS: dict[str, tuple[Any, list[Any]]] = {MARK: (write_gru, [])}


def _both_biases(bias: Any, width: int) -> Any:
    """ONNX has a bias of the input and one of the state, (2, 3 units); Keras without `reset_after` only the first."""
    if bias is None:
        return tf.zeros((2, width))
    bias = tf.convert_to_tensor(bias)
    return bias if bias.shape.rank == 2 else tf.stack((bias, tf.zeros_like(bias)))
