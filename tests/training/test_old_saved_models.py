"""SavedModels that Keras 2 wrote."""

import subprocess

import pytest
from tensorlet.publish.convert import DESCRIBE, convert_python, run_steps
from tensorlet.publish.converters.job import DESCRIPTION_FILE, Job

pytestmark = pytest.mark.training

# A variable with Adam's slots, under the name that Keras gave to its optimizers until version 2.10.
COMPILED = """
import sys
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.keras.optimizer_v2.adam import Adam

root = tf.Module()
root.weight, root.optimizer = tf.Variable([[1.0], [2.0]]), Adam()
root.optimizer.apply_gradients([(tf.ones((2, 1)), root.weight)])
call = tf.function(lambda x: {"y": x @ root.weight}, input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
tf.saved_model.save(root, sys.argv[1], signatures=call)

path = sys.argv[1] + "/saved_model.pb"
document = SavedModel.FromString(open(path, "rb").read())
found = [node.user_object for node in document.meta_graphs[0].object_graph_def.nodes if node.slot_variables]
assert len(found) == 1
found[0].identifier = "optimizer"
open(path, "wb").write(document.SerializeToString())
"""


def test_a_saved_model_of_a_compiled_keras_2_model_opens(tmp_path):
    source = tmp_path / "saved"
    subprocess.run([convert_python(), "-c", COMPILED, str(source)], check=True, capture_output=True)

    failures = run_steps("from_saved_model", Job(str(source), "saved_model", str(tmp_path)), [DESCRIBE])

    assert failures == {}
    assert (tmp_path / DESCRIBE / DESCRIPTION_FILE).is_file()
