"""The pre-traffic hook: the real predict function is asked for golden predictions, and CodeDeploy gets a verdict."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber
from tensorlet.http.app import App
from tensorlet.http.aws import make_handler
from tensorlet.registry.registry import Registry
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from tests.models import linear, publish_golden

APP = Path(__file__).parents[1] / "functions/pretraffic/app.py"
EVENT = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook-1"}
MODEL = linear(4, 3)


@pytest.fixture
def hook(monkeypatch):
    """The function's module, as a cold start would import it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NEW_VERSION", "arn:aws:lambda:us-east-1:111122223333:function:predict:8")
    spec = spec_from_file_location("pretraffic_app", APP)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(store):
    """The predict function itself, over the same registry."""
    handler = make_handler(App(ModelService(Registry([store]), Settings.from_environ({}))))

    def call(question):
        event = {
            "version": "2.0",
            "rawPath": question.path,
            "headers": {"content-type": "application/json"},
            "requestContext": {"http": {"method": "POST", "path": question.path}},
            "body": question.body,
            "isBase64Encoded": False,
        }
        return handler(event, None)

    return call


def test_a_version_that_answers_as_published_may_have_traffic(hook, store, tmp_path, ask):
    publish_golden(store, tmp_path, "digits", MODEL)
    publish_golden(store, tmp_path, "churn", MODEL)

    assert hook.failures(Registry([store]), ask) == []


def test_a_different_answer_is_named_with_its_model_output_and_difference(hook, store, tmp_path, ask):
    publish_golden(store, tmp_path, "digits", MODEL, answers_off_by=0.5)

    (reason,) = hook.failures(Registry([store]), ask)

    assert reason == "digits/1: output 'scores' differs by 5.0e-01, allowed 1.0e-04"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"statusCode": 500, "body": '{"error":"x"}'}, "expected status 200"),
        ({"errorMessage": "timed out", "errorType": "Sandbox.Timedout"}, "timed out"),
        ({"statusCode": 200, "body": '{"outputs": []}'}, "expected output 'scores', got []"),
        (
            {"statusCode": 200, "body": '{"outputs": [{"name": "scores", "data": [1]}]}'},
            "has 1 values, expected 24",
        ),
    ],
)
def test_a_version_that_does_not_answer_is_refused(hook, store, tmp_path, reply, reason):
    publish_golden(store, tmp_path, "digits", MODEL)

    (found,) = hook.failures(Registry([store]), lambda question: reply)

    assert reason in found


def test_a_registry_without_models_stops_no_release(hook, store, ask):
    assert hook.failures(Registry([store]), ask) == []


def test_a_model_that_cannot_be_read_is_not_the_new_versions_fault(hook, store, tmp_path, ask, capsys):
    publish_golden(store, tmp_path, "digits", MODEL)
    store.put("digits/1/golden.npz", b"something else")

    assert hook.failures(Registry([store]), ask) == []
    assert json.loads(capsys.readouterr().out)["model"] == "digits"


@pytest.mark.parametrize(("off_by", "status"), [(0.0, "Succeeded"), (1.0, "Failed")])
def test_codedeploy_gets_the_verdict(hook, store, tmp_path, ask, monkeypatch, off_by, status):
    """CodeDeploy itself is the one part that nothing here stands in for: botocore checks what it would be sent."""
    publish_golden(store, tmp_path, "digits", MODEL, off_by)
    codedeploy = boto3.client("codedeploy")
    monkeypatch.setenv("TENSORLET_REGISTRY", "memory://")
    monkeypatch.setattr(hook.Registry, "open", lambda uri: Registry([store]))
    monkeypatch.setattr(hook, "ask", ask)
    monkeypatch.setattr(hook.boto3, "client", lambda service: codedeploy)

    with Stubber(codedeploy) as stub:
        stub.add_response(
            "put_lifecycle_event_hook_execution_status",
            {"lifecycleEventHookExecutionId": "hook-1"},
            {"deploymentId": "d-1", "lifecycleEventHookExecutionId": "hook-1", "status": status},
        )
        assert hook.handler(EVENT, None)["status"] == status
        stub.assert_no_pending_responses()


def test_a_check_that_fails_itself_refuses_the_release(hook, monkeypatch):
    codedeploy = boto3.client("codedeploy")
    monkeypatch.delenv("TENSORLET_REGISTRY", raising=False)
    monkeypatch.setattr(hook.boto3, "client", lambda service: codedeploy)

    with Stubber(codedeploy) as stub:
        stub.add_response(
            "put_lifecycle_event_hook_execution_status",
            {"lifecycleEventHookExecutionId": "hook-1"},
            {"deploymentId": "d-1", "lifecycleEventHookExecutionId": "hook-1", "status": "Failed"},
        )
        assert hook.handler(EVENT, None)["status"] == "Failed"
