"""Files that attack whoever opens them: none runs its code where data was promised, and programs run confined."""

import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import pytest
from tensorlet.errors import ConversionFailed, PublishError, UntrustedSource
from tensorlet.publish import publish
from tensorlet.publish.confine import network_open
from tensorlet.publish.convert import convert_python
from tensorlet.registry.registry import Registry
from tensorlet.signature import TensorSpec

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
INPUTS = [TensorSpec("x", "FP32", (-1, 4))]


class Attack:
    """Unpickled, it writes a file."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch '{self.witness}'",)


@pytest.fixture
def witness(tmp_path):
    return tmp_path / "the attack ran"


def refused(source, tmp_path, **options):
    """Publishing fails with a reason, and nothing is published."""
    registry = f"file://{tmp_path / 'registry'}"
    with pytest.raises(PublishError) as caught:
        publish(source, "attack", registry, **options)
    assert Registry.open(registry).models() == []
    return str(caught.value)


def test_a_pickle_instead_of_weights_is_not_run(tmp_path, witness):
    source = tmp_path / "weights.pth"
    source.write_bytes(pickle.dumps({"weight": Attack(witness)}, protocol=2))

    refused(source, tmp_path, module="tests.matrix.torch_models:mlp", inputs=INPUTS)

    assert not witness.exists()


def test_a_keras_file_with_code_in_a_layer_is_not_run(tmp_path, witness):
    source = tmp_path / "lambda.keras"
    code = (
        f"import keras; f = lambda x: __import__('pathlib').Path({str(witness)!r}).touch() or x;"
        f" keras.Sequential([keras.Input((4,)), keras.layers.Lambda(f)]).save({str(source)!r})"
    )
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    subprocess.run([convert_python(), "-c", code], check=True, capture_output=True, env=environment)
    witness.unlink(missing_ok=True)  # Keras calls the layer once to learn its shape

    refused(source, tmp_path)

    assert not witness.exists()


def test_a_pickle_in_an_exported_program_needs_trust(tmp_path, witness):
    """torch.export.load runs it, so the file is a program."""
    source = tmp_path / "program.pt2"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("program/archive_format", "pt2")
        archive.writestr("program/data/sample_inputs/model.pt", pickle.dumps(Attack(witness)))

    with pytest.raises(UntrustedSource, match="--trust-source"):
        publish(source, "attack", f"file://{tmp_path / 'registry'}")

    assert not witness.exists()


@pytest.mark.skipif(bool(network_open()), reason="this system cannot confine")
def test_a_trusted_program_finds_no_network_and_no_credentials(tmp_path, monkeypatch):
    """TensorFlow's own operators can read files and TorchScript's too: what they can find is what counts."""
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text("secret")
    saved = tmp_path / "saved"
    code = (
        "import tensorflow as tf; m = tf.Module();"
        f" m.f = tf.function(lambda x: {{'y': x + tf.cast(tf.strings.length(tf.io.read_file("
        f"{str(home / '.aws' / 'credentials')!r})), tf.float32)}},"
        " input_signature=[tf.TensorSpec((None, 4), tf.float32, name='x')]);"
        f" tf.saved_model.save(m, {str(saved)!r}, signatures={{'serving_default': m.f}})"
    )
    subprocess.run([convert_python(), "-c", code], check=True, capture_output=True)
    monkeypatch.setenv("HOME", str(home))

    with pytest.raises(ConversionFailed, match="NotFoundError"):
        publish(saved, "attack", f"file://{tmp_path / 'registry'}", trust_source=True)
