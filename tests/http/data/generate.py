"""Makes the .tflite files of this folder, with TensorFlow: python tests/http/data/generate.py

`datatypes` has an input and an output of each datatype that TFLite knows, of any batch: `x_bool` [-1, 2] becomes
`y_bool` [-1, 2, 1], the values unchanged. `strings` does the same with text. `odd_names` is y = 2 x with tensors
named as TensorFlow's own graphs name them, with `/`, `:` and `.`, and no signature.
"""

from pathlib import Path

import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

HERE = Path(__file__).parent
NUMBERS = {
    "bool": tf.bool,
    "int8": tf.int8,
    "int16": tf.int16,
    "int32": tf.int32,
    "int64": tf.int64,
    "uint8": tf.uint8,
    "uint32": tf.uint32,
    "float16": tf.float16,
    "float32": tf.float32,
    "float64": tf.float64,
}


def convert(name: str, dtypes: dict[str, tf.DType]) -> bytes:
    @tf.function(
        input_signature=[tf.TensorSpec((None, 2), dtype, name=f"x_{key}") for key, dtype in dtypes.items()]
    )
    def reshape(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {f"y_{key}": tf.expand_dims(x, 2) for key, x in zip(dtypes, inputs, strict=True)}

    module = tf.Module()
    module.f = reshape
    converter = tf.lite.TFLiteConverter.from_concrete_functions([reshape.get_concrete_function()], module)
    content: bytes = converter.convert()
    (HERE / f"{name}.tflite").write_bytes(content)
    return content


def rename(content: bytes, names: dict[str, str]) -> bytes:
    """Give tensors other names, and drop the signatures that would hide them."""
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    model.signatureDefs = None
    graph = model.subgraphs[0]
    for indices, name in ((graph.inputs, names["input"]), (graph.outputs, names["output"])):
        graph.tensors[indices[0]].name = name.encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def doubled() -> bytes:
    @tf.function(input_signature=[tf.TensorSpec((1, 3), tf.float32, name="x")])
    def double(x: tf.Tensor) -> tf.Tensor:
        return 2.0 * x

    module = tf.Module()
    module.f = double
    converter = tf.lite.TFLiteConverter.from_concrete_functions([double.get_concrete_function()], module)
    return bytes(converter.convert())


convert("datatypes", NUMBERS)
convert("strings", {"string": tf.string})
renamed = rename(doubled(), {"input": "image/pixels:0.raw", "output": "StatefulPartitionedCall/scores:0.out"})
(HERE / "odd_names.tflite").write_bytes(renamed)
