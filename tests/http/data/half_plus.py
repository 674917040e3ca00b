"""Builds TensorFlow Serving's test model with TensorFlow: python tests/http/data/half_plus.py FOLDER NUMBER

y = 0.5 x + NUMBER, with signatures for predict, regress and classify, the latter two from serialized examples.
After tensorflow/serving, servables/tensorflow/testdata/saved_model_half_plus_two.py.
"""

import sys

import tensorflow as tf

v1 = tf.compat.v1


def build(folder: str, number: float) -> None:
    with v1.Session(graph=tf.Graph()) as session:
        half, plus = v1.Variable(0.5, name="a"), v1.Variable(number, name="b")
        examples = v1.placeholder(tf.string, [None], name="tf_example")
        features = v1.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(features["x"], name="x")
        y = tf.add(half * x, plus, name="y")
        info = v1.saved_model.build_tensor_info
        definition = v1.saved_model.build_signature_def
        regress = definition({"inputs": info(examples)}, {"outputs": info(y)}, "tensorflow/serving/regress")
        classify = definition({"inputs": info(examples)}, {"scores": info(y)}, "tensorflow/serving/classify")
        predict = definition({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            {
                "serving_default": predict,
                "regress_x_to_y": regress,
                "tensorflow/serving/regress": regress,
                "classify_x_to_y": classify,
            },
        )
        builder.save()


if __name__ == "__main__":
    build(sys.argv[1], float(sys.argv[2]))
