"""The training scripts as a user runs them, with tiny data, and every saved model they leave behind."""

import json
import os
import pickle
import signal
import subprocess
import time
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from tensorlet.errors import ConversionFailed
from tensorlet.publish import publish
from tensorlet.publish.convert import convert_python
from tensorlet.registry.registry import Registry
from tensorlet.runtimes import load_session
from tensorlet.serving.explain import Options, explain
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings
from tensorlet.signature import TensorSpec
from tensorlet.tensors import Tensor

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "manifest.schema.json"
SIDE, CLASSES = 12, 4  # small images keep the unrolled graphs of recurrent models small
FRAMEWORKS = ("torch", "keras")
SHAPES = {"mlp": (SIDE * SIDE,), "cnn": (SIDE, SIDE, 1), "lstm": (SIDE, SIDE)}
NATIVE_SAVES = {
    "torch": ("model.pth", "model.torchscript.pt"),
    "keras": ("model.keras", "model.h5", "saved_model/1/saved_model.pb"),
}


class Workplace:
    """A folder with data and a registry, in which runs are made once and looked at by many tests."""

    def __init__(self, folder):
        self.folder = folder
        self.registry = f"file://{folder / 'registry'}"
        self.data = folder / "stripes.npz"
        random = np.random.default_rng(0)
        labels = np.arange(240) % CLASSES
        images = random.random((240, SIDE, SIDE), np.float32) * 0.3
        images[np.arange(240), labels * 3] += 0.7  # one bright line, whose place is the class
        np.savez(
            self.data, x_train=images[:200], y_train=labels[:200], x_test=images[200:], y_test=labels[200:]
        )
        self.runs = {}

    def run(self, framework, arch):
        """The one run of this model; if it failed, it fails every test that looks at it."""
        if (framework, arch) not in self.runs:
            command = self.command(framework, f"{framework}-{arch}", "--arch", arch)
            self.runs[framework, arch] = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        run = self.runs[framework, arch]
        assert run.returncode == 0, run.stderr
        return run

    def command(self, framework, name, *arguments):
        return [
            convert_python(), "-m", f"training.train_{framework}", "--dataset", str(self.data), "--epochs", "2",
            "--name", name, "--registry", self.registry, "--output", str(self.folder / name), "--lr", "0.01",
            *arguments,
        ]  # fmt: skip

    def train(self, framework, name, *arguments):
        command = self.command(framework, name, *arguments)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    def release(self, name):
        return Registry.open(self.registry).resolve(name)

    def sessions(self, name):
        release = self.release(name)
        return {
            artifact.format: load_session(
                artifact.format, release.read(artifact.files[0]), release.manifest.signature
            )
            for artifact in release.manifest.artifacts
        }


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("training"))


every_model = pytest.mark.parametrize("arch", SHAPES)
every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


@every_framework
@every_model
def test_a_run_ends_in_a_checked_version_of_both_formats(workplace, framework, arch):
    run = workplace.run(framework, arch)

    manifest = workplace.release(f"{framework}-{arch}").manifest
    assert run.stdout.splitlines()[-1] == str(manifest.version) == "1"
    assert [artifact.format for artifact in manifest.artifacts] == ["onnx", "tflite"]
    jsonschema.validate(manifest.document, json.loads(SCHEMA.read_text()))
    for file in (*NATIVE_SAVES[framework], "model.onnx", "model.tflite"):
        assert (workplace.folder / f"{framework}-{arch}" / file).stat().st_size > 0


@every_model
def test_both_frameworks_publish_the_same_signature(workplace, arch):
    signatures = []
    for framework in FRAMEWORKS:
        workplace.run(framework, arch)
        signatures.append(workplace.release(f"{framework}-{arch}").manifest.signature)

    assert signatures[0] == signatures[1]
    assert signatures[0].inputs == (TensorSpec("image", "FP32", (-1, *SHAPES[arch])),)
    assert signatures[0].outputs == (TensorSpec("probabilities", "FP32", (-1, CLASSES)),)


@every_framework
@every_model
@pytest.mark.parametrize("rows", [1, 3, 8, 45])
def test_both_formats_take_any_batch_and_agree(workplace, framework, arch, rows):
    workplace.run(framework, arch)
    images = np.random.default_rng(rows).random((rows, *SHAPES[arch]), np.float32)

    answers = {
        format: session.infer({"image": Tensor.from_numpy(images)})["probabilities"].numpy()
        for format, session in workplace.sessions(f"{framework}-{arch}").items()
    }

    assert answers["onnx"].shape == (rows, CLASSES)
    np.testing.assert_allclose(answers["onnx"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(answers["onnx"], answers["tflite"], atol=1e-5)


@every_framework
@every_model
def test_no_published_file_tells_of_the_machine_that_made_it(workplace, framework, arch):
    workplace.run(framework, arch)
    version = workplace.folder / "registry" / f"{framework}-{arch}" / "1"
    telling = (str(ROOT), str(workplace.folder), str(Path(convert_python()).parents[1]), "stack_trace")

    for file in (path for path in version.rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert [text for text in telling if text.encode() in content] == [], file.name


@every_framework
def test_the_report_is_quiet_and_says_what_was_reached(workplace, framework):
    run = workplace.run(framework, "mlp")

    for word in ("mlp in", "validation", "test", "model.onnx", "model.tflite", "largest difference"):
        assert word in run.stdout
    noise = [line for line in run.stderr.splitlines() if "XNNPACK" not in line]
    assert noise == []


@every_framework
def test_the_same_seed_gives_the_same_model(workplace, framework):
    """TFLite files hold the weights and nothing of the moment: equal models are equal files."""
    workplace.run(framework, "mlp")
    workplace.train(framework, f"{framework}-again", "--arch", "mlp")

    first, second = (
        workplace.release(name).manifest.artifact("tflite").files[0].sha256
        for name in (f"{framework}-mlp", f"{framework}-again")
    )
    assert first == second


@every_framework
def test_ctrl_c_stops_training_and_goes_on_to_publish(workplace, framework):
    name = f"{framework}-stopped"
    checkpoints = ("checkpoint.pth", "checkpoint.weights.h5")
    command = workplace.command(framework, name, "--epochs", "100000", "--lr", "0.0001", "--alias", "live")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_second_save(workplace.folder / name, checkpoints)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=600)
    finally:
        process.kill()

    assert process.returncode == 0, errors
    assert "stopped in epoch" in output
    assert Registry.open(workplace.registry).aliases(name).version("live") == int(output.splitlines()[-1])


def wait_for_second_save(folder, names, timeout_s=300):
    """The first save is before the first epoch, the second after it."""
    times = set()
    deadline = time.monotonic() + timeout_s
    while len(times) < 2:
        assert time.monotonic() < deadline, f"no checkpoint in {timeout_s} s"
        times |= {(folder / name).stat().st_mtime_ns for name in names if (folder / name).exists()}
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("framework", "arch", "file", "formats"),
    [
        pytest.param("keras", "cnn", "model.h5", ["onnx", "tflite"], id="h5"),
        pytest.param("keras", "cnn", "saved_model/1", ["onnx", "tflite"], id="SavedModel"),
        pytest.param("keras", "lstm", "saved_model/1", ["onnx", "tflite"], id="recurrent SavedModel"),
        pytest.param("torch", "cnn", "model.torchscript.pt", ["onnx"], id="TorchScript"),
    ],
)
def test_the_other_native_saves_can_be_published_too(workplace, framework, arch, file, formats):
    workplace.run(framework, arch)
    name = f"{framework}-{arch}-other"
    lines = []
    publish(
        workplace.folder / f"{framework}-{arch}" / file,
        name,
        workplace.registry,
        trust_source=True,
        inputs=[TensorSpec("image", "FP32", (-1, *SHAPES[arch]))],
        outputs=["probabilities"],
        report=lines.append,
    )

    assert list(workplace.sessions(name)) == formats, lines
    images = np.random.default_rng(0).random((5, *SHAPES[arch]), np.float32)
    original, other = (
        workplace.sessions(model)["onnx"].infer({"image": Tensor.from_numpy(images)})["probabilities"].numpy()
        for model in (f"{framework}-{arch}", name)
    )
    np.testing.assert_allclose(original, other, atol=1e-6)


def test_a_pickle_that_runs_code_is_refused_unopened(tmp_path):
    """A `.pth` is read with weights_only=True."""
    opened = tmp_path / "opened"

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(opened),))

    source = tmp_path / "model.pth"
    source.write_bytes(pickle.dumps({"weight": Payload()}, protocol=2))

    with pytest.raises(ConversionFailed, match="UnpicklingError"):
        publish(
            source,
            "evil",
            f"file://{tmp_path / 'registry'}",
            module="training.torch_models:mlp",
            inputs=[TensorSpec("image", "FP32", (-1, 784))],
        )
    assert not opened.exists()


@pytest.fixture(scope="module", params=FRAMEWORKS)
def small(request, workplace):
    """One run of each framework with everything that makes models small: its output and the manifest."""
    workplace.run("torch", "cnn")
    name = f"{request.param}-small"
    run = workplace.train(
        request.param, name, "--arch", "mlp", "--prune", "0.5", "--distill-from", "torch-cnn@1",
        "--variants", "fp16,int8-static", "--alias", "live",
    )  # fmt: skip
    return run.stdout, workplace.release(name).manifest


def test_variants_come_as_a_second_version_that_the_alias_means(small):
    output, manifest = small

    assert output.splitlines()[-1] == str(manifest.version) == "2"
    assert manifest.document["derived_from"]["version"] == 1
    jsonschema.validate(manifest.document, json.loads(SCHEMA.read_text()))
    found = {(artifact.format, artifact.precision) for artifact in manifest.artifacts}
    assert {("onnx", "fp32"), ("tflite", "fp32"), ("onnx", "fp16"), ("tflite", "fp16")} <= found
    for format in ("onnx", "tflite"):
        plain, half = (manifest.artifact(format, precision).size_bytes for precision in ("fp32", "fp16"))
        assert half < 0.75 * plain


def test_pruned_weights_are_gone_from_what_is_published(small, workplace):
    output, manifest = small
    model = onnx.load_from_string(
        bytes(workplace.release(manifest.model).read(manifest.artifact("onnx").files[0]))
    )
    matrices = [
        onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if len(tensor.dims) == 2
    ]

    zeros = sum((matrix == 0).sum() for matrix in matrices) / sum(matrix.size for matrix in matrices)
    assert zeros == pytest.approx(0.5, abs=0.01)
    assert manifest.document["training"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert "pruning 50%" in output


def test_a_manifest_names_the_teacher(small):
    output, manifest = small

    assert manifest.document["training"]["knobs"]["distill_from"] == "torch-cnn@1"
    assert "learning from torch-cnn/1 too" in output


def test_the_card_of_a_run_shows_curve_classes_variants_and_examples(small, workplace):
    _, manifest = small
    page = (workplace.folder / "registry" / manifest.name / "card.html").read_text()

    for heading in ("Examples", "Quality", "Classes", "Variants", "How it was made"):
        assert f"<h2>{heading}</h2>" in page


CAPTUM = """
import sys, numpy as np, torch
from captum.attr import IntegratedGradients
from training import torch_models
weights, given, result = sys.argv[1:]
model = torch_models.cnn(height=12, width=12, classes=4)
model.load_state_dict(torch.load(weights, weights_only=True))
given = np.load(given)
found = IntegratedGradients(model.eval()).attribute(
    torch.from_numpy(given["x"]), target=torch.from_numpy(given["target"]), n_steps=50, method="gausslegendre"
)
np.save(result, found.detach().numpy())
"""


def test_integrated_gradients_are_those_of_captum_on_the_source(workplace, tmp_path):
    """The gradient graph is made from the ONNX file; Captum differentiates the PyTorch module itself."""
    workplace.run("torch", "cnn")
    service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": workplace.registry}))
    loaded = service.model("torch-cnn")
    x = np.random.default_rng(0).random((3, *SHAPES["cnn"]), np.float32)
    options = Options(method="integrated_gradients", steps=50)

    found = explain(loaded, service.gradient, {"image": Tensor.from_numpy(x)}, options, 1 << 20)

    np.savez(tmp_path / "given.npz", x=x, target=found.target)
    weights = workplace.folder / "torch-cnn" / "model.pth"
    arguments = [str(weights), str(tmp_path / "given.npz"), str(tmp_path / "captum.npy")]
    done = subprocess.run(
        [convert_python(), "-c", CAPTUM, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(found.attributions["image"], np.load(tmp_path / "captum.npy"), atol=1e-5)
    assert np.abs(found.attributions["image"]).max() > 1e-3
