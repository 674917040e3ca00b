"""Makes the .tflite files of this folder, with TensorFlow: python tests/data/generate_tflite.py

Each computes y = 2 x + 1 on rows of three. `dynamic` takes any batch, `batch1` one row at a time, `signatures`
has the batches 1 and 8 as two signatures of one file, `computed_shape` computes its output's shape as it runs.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow as tf

HERE = Path(__file__).parent


class Doubler(tf.Module):
    @tf.function
    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2.0 * x + 1.0}


class Reshaper(tf.Module):
    """Reshapes by a shape computed from the batch, as Keras' Flatten does."""

    @tf.function
    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        wide = tf.reshape(x, tf.stack([tf.shape(x)[0], 3, 1]))
        doubled = 2.0 * tf.transpose(wide, [0, 2, 1]) + 1.0
        return {"y": tf.reshape(doubled, tf.stack([tf.shape(wide)[0], 3]))}


def convert(name: str, batches: dict[str, int | None], module: tf.Module) -> None:
    """One signature for each entry of `batches`."""
    signatures = {
        key: module.__call__.get_concrete_function(tf.TensorSpec((batch, 3), tf.float32, name="x"))
        for key, batch in batches.items()
    }
    with TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(batches))
        (HERE / f"{name}.tflite").write_bytes(converter.convert())


convert("dynamic", {"serving_default": None}, Doubler())
convert("batch1", {"serving_default": 1}, Doubler())
convert("signatures", {"b1": 1, "b8": 8}, Doubler())
convert("computed_shape", {"serving_default": None}, Reshaper())
