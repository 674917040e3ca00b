"""What all commands have in common: statuses, errors in one line, the registry they mean, and speed."""

import subprocess
import sys

import pytest
from tensorlet import cli
from tensorlet.cli.arguments import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_describes_itself(tensorlet, command):
    outcome = tensorlet(command, "--help")

    assert outcome.status == 0
    assert outcome.out.startswith(f"usage: tensorlet {command}")
    assert outcome.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="no command"),
        pytest.param(("predict",), id="a command there is not"),
        pytest.param(("publish", "model.onnx"), id="no name"),
        pytest.param(("alias", "digits", "live", "latest"), id="a version that is no number"),
        pytest.param(("alias", "digits", "live", "0"), id="a version below 1"),
        pytest.param(("serve", "--port", "65536"), id="a port there is not"),
        pytest.param(("serve", "--workers", "0"), id="no workers"),
        pytest.param(("pull", "digits@", "-o", "x"), id="an empty selector"),
        pytest.param(("pull", "digits"), id="nowhere to pull to"),
        pytest.param(("invoke", "train", "--event", "x.json"), id="a function there is not"),
        pytest.param(
            ("publish", "m.pt", "--name", "m", "--input", "image:FLOAT:-1"), id="a datatype there is not"
        ),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(tensorlet, arguments):
    outcome = tensorlet(*arguments)

    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("tensorlet: ") and outcome.err.count("\n") == 1
    assert "--help" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("models", "absent"), "`tensorlet models` lists"),
        (("alias", "digits", "live", "9"), "`tensorlet models NAME` lists"),
        (("alias", "digits", "7up", "1"), "alias: expected"),
        (("pull", "digits@canary", "-o", "x.onnx"), "`tensorlet models` lists the aliases"),
        (("pull", "digits", "--format", "tflite", "-o", "x.tflite"), "it has: onnx"),
        (("models", "--registry", "gs://bucket"), "expected s3://bucket/prefix or file:///folder"),
        (("alias", "digits", "live", "1", "--registry", "a,b"), "choose with --registry"),
        (("invoke", "predict", "--event", "absent.json"), "absent.json"),
        (("publish", "absent.onnx", "--name", "absent"), "absent.onnx"),
    ],
)
def test_what_cannot_be_done_is_status_1_and_one_line_of_advice(
    tensorlet, digits, tmp_path, monkeypatch, arguments, advice
):
    monkeypatch.chdir(tmp_path)

    outcome = tensorlet(*arguments)

    assert outcome.status == 1
    assert outcome.out == ""
    assert outcome.err.startswith("tensorlet: ") and outcome.err.count("\n") == 1
    assert advice in outcome.err


def test_an_unreachable_registry_is_one_line_of_advice(tensorlet, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")

    outcome = tensorlet("models", "--registry", "s3://bucket/models")

    assert outcome.status == 1
    assert outcome.err.count("\n") == 1
    assert "the network and the AWS credentials" in outcome.err


def test_the_registry_is_the_flag_then_the_environment_then_the_current_folder(
    tensorlet, digits, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    from_environment = tensorlet("models")
    from_flag = tensorlet("models", "--registry", tmp_path / "other")
    monkeypatch.delenv("TENSORLET_REGISTRY")
    from_folder = tensorlet("models")

    assert "digits" in from_environment.out
    assert f"no models in {tmp_path}/other" in from_flag.out
    assert f"no models in file://{tmp_path}/.tensorlet/registry" in from_folder.out


def test_ctrl_c_is_status_130_without_a_traceback(tensorlet, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupted)

    assert tensorlet("models") == (130, "", "")


def test_help_and_models_import_no_runtime(tmp_path):
    """They are what people type to look around; a runtime costs a tenth of a second and more."""
    script = (
        "import sys\n"
        "from tensorlet.cli import main\n"
        "main(['models', '--registry', sys.argv[1]])\n"
        "heavy = {'numpy', 'onnxruntime', 'ai_edge_litert', 'boto3', 'httptools', 'asyncio'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )

    run = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)

    assert (run.returncode, run.stderr) == (0, "")
