"""Each role can do what its function does, and nothing else.

The real handlers run in the environment the template gives them, against stand-ins of AWS's services; every call they
make is replayed against the policies of their role, and every permission must have been used. The calls of the state
machine are those that its definition makes.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from tensorlet.http.api_keys import dump_keys, make_key
from tensorlet.http.app import App
from tensorlet.http.aws import make_handler
from tensorlet.monitoring.drift import profile
from tensorlet.monitoring.recorder import Recorder as RequestRecorder
from tensorlet.monitoring.recorder import Rules
from tensorlet.registry.registry import Registry
from tensorlet.registry.signing import open_signer
from tensorlet.registry.store import Store, open_store
from tensorlet.registry.writer import configure_alias, set_alias
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from events import generate
from tests.models import half_plus, linear, publish_golden, publish_onnx
from tests.monitoring.conftest import had_traffic
from tests.template.policies import Answer, Call, Recorder, allows, calls_of_machine, statements
from tests.template.source import ROOT
from tests.template.synthesis import ACCOUNT, REGION, synthesize

pytestmark = [pytest.mark.slow, pytest.mark.stack]

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
ROWS = b"".join(b"%d,2,3,4\n" % number for number in range(2000))

# Calls that Lambda makes in the name of the role, and not the function itself.
BY_LAMBDA = {
    *("logs:CreateLogStream", "logs:PutLogEvents"),
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"),
}

# Without it, what is missing is answered by 403 and not by 404: S3 API reference, GetObject, "Permissions".
FOR_404 = {"s3:ListBucket"}

# Runs a handler on a list of events from stdin; its results are the last line.
RUN = """
import json, os, sys
from tensorlet.local.functions import LambdaContext, load_handler
name, events = sys.argv[1], json.load(sys.stdin)
handler = load_handler(name, os.environ["TENSORLET_REGISTRY"], os.environ.get("TENSORLET_OUTPUT", ""))
print("\\n" + json.dumps([handler(event, LambdaContext(name, 300)) for event in events]))
"""


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    """HOST:PORT of a moto server in the account that the template was synthesized for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [Path(sys.executable).with_name("moto_server"), "-p", str(port)],
        env={**os.environ, "MOTO_ACCOUNT_ID": ACCOUNT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def resources(stand_in: str) -> dict[str, Any]:
    """The stack with everything that has a role of its own, and a key that signs aliases."""
    key = client("kms", f"http://{stand_in}").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return synthesize(
        ApiAuth="API_KEY",
        CaptureRate="1",
        CodeRelease="Canary10Percent5Minutes",
        SigningKeyArn=key["KeyMetadata"]["Arn"],
    )


def client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture(scope="module")
def account(stand_in: str, resources: dict[str, Any]) -> str:
    """The stand-in's URL, with the buckets, the queue and the state machine of the stack, a model and a file."""
    url = f"http://{stand_in}"
    s3 = client("s3", url)
    for found in resources.values():
        if found["Type"] == "AWS::S3::Bucket":
            s3.create_bucket(
                Bucket=found["Properties"]["BucketName"],
                CreateBucketConfiguration={"LocationConstraint": REGION},
            )
    for name in ("InputQueue", "DeadLetterQueue"):
        client("sqs", url).create_queue(QueueName=name)
    machine = resources["SplitStateMachine"]["Properties"]
    client("stepfunctions", url).create_state_machine(
        name=machine["StateMachineName"],
        definition=json.dumps({"StartAt": "x", "States": {"x": {"Type": "Succeed"}}}),
        roleArn=machine["RoleArn"],
    )
    publish_onnx(store_of(url, resources, "RegistryBucket"), "digits", linear(4, 3))
    return url


def store_of(account: str, resources: dict[str, Any], name: str) -> Store:
    return open_store(f"s3://{bucket(resources, name)}", {"AWS_ENDPOINT_URL": account, **CREDENTIALS})


def variables(resources: dict[str, Any], function: str) -> dict[str, str]:
    return dict(resources[function]["Properties"]["Environment"]["Variables"])


class Ran:
    """What a function was seen to do."""

    def __init__(self, calls: list[Call], bodies: list[tuple[str, bytes]], results: list[Any]):
        self.calls = list(dict.fromkeys(calls))
        self.bodies = bodies
        self.results = results


@pytest.fixture(scope="module")
def run(account: str, resources: dict[str, Any]) -> Callable[..., Ran]:
    """`run(function, folder, *events, **variables)`: the real handler, in the environment of the template."""

    def call(function: str, folder: str, *events: Any, answer: Answer = nothing, **more: str) -> Ran:
        with Recorder(account.removeprefix("http://"), answer).running() as recorder:
            done = subprocess.run(
                [sys.executable, "-c", RUN, folder],
                input=json.dumps(events),
                text=True,
                capture_output=True,
                env={
                    **os.environ,
                    **variables(resources, function),
                    "AWS_ENDPOINT_URL": recorder.url,
                    **CREDENTIALS,
                    **more,
                },
            )
        assert done.returncode == 0, done.stderr
        return Ran(recorder.calls, recorder.bodies, json.loads(done.stdout.splitlines()[-1]))

    return call


def nothing(call: Call, body: bytes) -> bytes | None:
    """What the stand-in itself has not: nothing."""
    return None


def bucket(resources: dict[str, Any], name: str) -> str:
    return str(resources[name]["Properties"]["BucketName"])


def drop(account: str, resources: dict[str, Any], key: str, body: bytes) -> dict[str, Any]:
    """Put a file into the input bucket; gives the event of it."""
    name = bucket(resources, "InputBucket")
    client("s3", account).put_object(Bucket=name, Key=key, Body=body)
    event = generate.s3_event(key, body)
    event["Records"][0]["s3"]["bucket"]["name"] = name
    return generate.sqs_event(event)


def request(method: str, path: str, body: Any = None) -> dict[str, Any]:
    event = generate.http_event(path, generate.json_body(body or {}))
    event["requestContext"]["http"]["method"] = method
    return event


@pytest.fixture(scope="module")
def predicted(run, account, resources) -> Ran:
    """A prediction, a model that is not there, and a job: uploaded to, waited for and asked about."""
    v2 = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    ran = run(
        "PredictFunction",
        "predict",
        request("POST", "/v2/models/digits/infer", v2),
        request("POST", "/v2/models/nobody/infer", v2),
        request("GET", "/v1/models/digits"),
        request("POST", "/v2/models/digits/jobs", {"format": "csv"}),
    )
    assert [reply["statusCode"] for reply in ran.results] == [200, 404, 200, 202]
    job = json.loads(ran.results[3]["body"])["id"]
    asked = run("PredictFunction", "predict", request("GET", f"/v2/models/digits/jobs/{job}"))
    assert asked.results[0]["statusCode"] == 200, asked.results
    ran.calls = list(dict.fromkeys([*ran.calls, *asked.calls]))
    return ran


@pytest.fixture(scope="module")
def batched(run, account, resources) -> Ran:
    """A file, the same event again, a newer file of the same name, one that is long enough to be split."""
    first = drop(account, resources, "digits/a.csv", b"1,2,3,4\n")
    ran = run("BatchFunction", "batch", first, first)
    newer = drop(account, resources, "digits/a.csv", b"5,6,7,8\n")
    large = drop(account, resources, "digits/large.csv", ROWS)
    again = run("BatchFunction", "batch", newer, large, TENSORLET_BATCH_SPLIT_BYTES="4096")
    assert {json.dumps(result) for result in [*ran.results, *again.results]} == {'{"batchItemFailures": []}'}
    ran.calls = list(dict.fromkeys([*ran.calls, *again.calls]))
    ran.bodies += again.bodies
    return ran


@pytest.fixture(scope="module")
def chunked(run, batched, account) -> Ran:
    """All steps of the split that batch has started."""
    (started,) = [body for target, body in batched.bodies if target.endswith(".StartExecution")]
    job = json.loads(json.loads(started)["input"])
    planned = run("ChunkFunction", "chunks", {"step": "plan", "job": job})
    (plan,) = planned.results
    assert plan["state"] == "planned"
    listed = client("s3", account).get_object(Bucket=plan["bucket"], Key=plan["key"])["Body"].read()
    steps = [{"step": "predict", "job": job, "chunk": chunk} for chunk in json.loads(listed)]
    done = run("ChunkFunction", "chunks", *steps, {"step": "merge", "job": job})
    assert done.results[-1] == {"state": "done"}
    planned.calls = list(dict.fromkeys([*planned.calls, *done.calls]))
    return planned


@pytest.fixture(scope="module")
def reconciled(run, batched, account, resources) -> Ran:
    """A file whose event was lost."""
    drop(account, resources, "digits/lost.csv", b"1,2,3,4\n")
    url = f"{account}/{ACCOUNT}/InputQueue"
    return run("ReconcileFunction", "reconcile", {}, TENSORLET_QUEUE=url)


@pytest.fixture(scope="module")
def monitored(run, account, resources, monkeypatch_module) -> Ran:
    """A release that fails and whose aliases are signed, a version in the shadow, and a drift report."""
    for name, value in {"AWS_ENDPOINT_URL": account, **CREDENTIALS}.items():
        monkeypatch_module.setenv(name, value)
    registry = store_of(account, resources, "RegistryBucket")
    seen = profile({"x": np.zeros((4, 1), np.float32)})
    for added in (2.0, 3.0, 4.0):
        publish_onnx(registry, "half", half_plus(added), profile=seen)
    signer = open_signer(variables(resources, "MonitorFunction")["TENSORLET_SIGNING_KEY"])
    set_alias(registry, "half", "live", 1, signer=signer)
    set_alias(registry, "half", "live", 2, weight=0.1, signer=signer)
    configure_alias(registry, "half", "live", {"shadow": 3}, signer)
    captures = store_of(account, resources, "CaptureBucket")
    recorder = RequestRecorder(captures, Rules(1.0, frozenset(), float("inf")))
    had_traffic(recorder, 1, answered=200)
    had_traffic(recorder, 2, failed=200)
    recorder.flush()

    ran = run("MonitorFunction", "monitor", {"tasks": ["guard", "shadow", "drift"]})

    (found,) = ran.results
    assert [verdict["rolled_back"] for verdict in found["guard"]] == [True]
    assert [shadow["version"] for shadow in found["shadow"]] == [3]
    assert {report["model"]: report.get("version") for report in found["drift"]}["half"] == 1
    return ran


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def authorized(run, account, resources) -> Ran:
    """A request with a key, and one with a wrong one."""
    key, key_id, kept = make_key("app")
    secret = client("secretsmanager", account).create_secret(
        Name=resources["ApiKeys"]["Properties"]["Name"], SecretString=dump_keys({key_id: kept})
    )
    events = [{"headers": {"x-api-key": presented}} for presented in (key, "wrong")]

    # AWS adds six characters to a secret's ARN, which the synthesized template does not know.
    ran = run("AuthorizeFunction", "authorize", *events, API_KEYS_SECRET=secret["ARN"])

    assert [result["isAuthorized"] for result in ran.results] == [True, False]
    known = resources["AuthorizeFunction"]["Properties"]["Environment"]["Variables"]["API_KEYS_SECRET"]
    ran.calls = [
        Call(action, known if resource == secret["ARN"] else resource) for action, resource in ran.calls
    ]
    return ran


@pytest.fixture(scope="module")
def checked(run, account, resources, tmp_path_factory) -> Ran:
    """A code release, of which the new version answers golden predictions as it should."""
    registry = store_of(account, resources, "RegistryBucket")
    publish_golden(registry, tmp_path_factory.mktemp("golden"), "golden", linear(4, 3))
    new_version = make_handler(App(ModelService(Registry([registry]), Settings.from_environ({}))))

    def answer(call: Call, body: bytes) -> bytes | None:
        """The stand-in runs no function, and knows no hooks."""
        if call.action == "lambda:InvokeFunction":
            return json.dumps(new_version(json.loads(body), None)).encode()
        if call.action.startswith("codedeploy:"):
            return json.dumps({"lifecycleEventHookExecutionId": "hook-1"}).encode()
        return None

    event = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook-1"}
    ran = run("PretrafficFunction", "pretraffic", event, answer=answer)
    assert ran.results == [{"status": "Succeeded", "reasons": []}]
    return ran


@pytest.fixture(scope="module")
def split(chunked, resources) -> Ran:
    """The state machine, with the list of chunks that its first step has made."""
    machine = resources["SplitStateMachine"]["Properties"]
    (plan, *_) = chunked.results
    definition = (ROOT / "functions/chunks/split.asl.json").read_text()
    chunked_list = f"arn:aws:s3:::{plan['bucket']}/{plan['key']}"
    calls = calls_of_machine(
        definition, machine["DefinitionSubstitutions"], machine["StateMachineName"], [chunked_list]
    )
    return Ran(calls, [], [])


ROLES = {
    "AuthorizeRole": "authorized",
    "MonitorRole": "monitored",
    "PretrafficRole": "checked",
    "SplitRole": "split",
    "PredictRole": "predicted",
    "BatchRole": "batched",
    "ChunkRole": "chunked",
    "ReconcileRole": "reconciled",
}


@pytest.fixture(params=ROLES)
def role_and_calls(request: pytest.FixtureRequest) -> tuple[str, list[Call]]:
    return request.param, request.getfixturevalue(ROLES[request.param]).calls


def test_every_role_of_ours_is_tried(resources):
    roles = {name for name, found in resources.items() if found["Type"] == "AWS::IAM::Role"}
    assert roles - {"CodeDeployServiceRole"} == set(ROLES)  # that one is SAM's, with AWS's managed policy


def test_a_role_may_do_what_its_function_does(role_and_calls, resources):
    role, calls = role_and_calls
    rows = statements(resources, role)

    assert calls
    assert [call for call in calls if not allows(rows, call)] == []


# What the flows above do not need, each with the reason why its role has it.
UNUSED = {
    # Presigned by PredictFunction, used by the client.
    ("PredictRole", "SignUploadsOfJobs", "s3:PutObject"),
    ("PredictRole", "ReadResultsOfJobs", "s3:GetObject"),
    # What a crash left half done is taken away by the next worker.
    ("BatchRole", "WriteOutput", "s3:AbortMultipartUpload"),
    ("ChunkRole", "WriteOutput", "s3:AbortMultipartUpload"),
    ("BatchRole", "WriteOutput", "s3:DeleteObject"),
    ("ChunkRole", "WriteOutput", "s3:DeleteObject"),
    # An execution of that name is there already: the event came twice while the first one runs.
    ("BatchRole", "SeeWhetherOneRuns", "states:DescribeExecution"),
    # Files that are missing for a quarter of an hour: tests/batch/test_jobs.py has a clock.
    ("ReconcileRole", "SendEvents", "sqs:SendMessage"),
    ("ReconcileRole", "ReadReports", "s3:GetObject"),
    # Reads of the version that the event names, where the bucket has versions; the stand-in's has none.
    ("BatchRole", "ReadInput", "s3:GetObjectVersion"),
    ("ChunkRole", "ReadInput", "s3:GetObjectVersion"),
}


def test_a_role_may_do_nothing_else(role_and_calls, resources):
    role, calls = role_and_calls

    unused = {
        (role, row.sid, row.action)
        for row in statements(resources, role)
        if row.action not in BY_LAMBDA | FOR_404 and not any(row.covers(call) for call in calls)
    }

    assert unused <= UNUSED


@pytest.mark.parametrize(
    ("role", "action", "place"),
    [
        ("PredictRole", "s3:PutObject", "RegistryBucket"),
        ("PredictRole", "s3:DeleteObject", "RegistryBucket"),
        ("PredictRole", "s3:PutObject", "OutputBucket"),
        ("PredictRole", "s3:GetObject", "InputBucket"),
        ("BatchRole", "s3:PutObject", "InputBucket"),
        ("BatchRole", "s3:DeleteObject", "InputBucket"),
        ("BatchRole", "s3:PutObject", "RegistryBucket"),
        ("ChunkRole", "s3:PutObject", "InputBucket"),
        ("ChunkRole", "s3:PutObject", "RegistryBucket"),
        ("ReconcileRole", "s3:GetObject", "InputBucket"),
        ("ReconcileRole", "s3:PutObject", "OutputBucket"),
        ("ReconcileRole", "s3:GetObject", "RegistryBucket"),
        ("PredictRole", "s3:GetObject", "CaptureBucket"),
        ("BatchRole", "s3:GetObject", "CaptureBucket"),
        ("MonitorRole", "s3:PutObject", "RegistryBucket"),
        ("MonitorRole", "s3:GetObject", "InputBucket"),
        ("MonitorRole", "s3:GetObject", "OutputBucket"),
        ("AuthorizeRole", "s3:GetObject", "RegistryBucket"),
        ("PretrafficRole", "s3:PutObject", "RegistryBucket"),
        ("PretrafficRole", "s3:GetObject", "CaptureBucket"),
        ("SplitRole", "s3:PutObject", "OutputBucket"),
        ("SplitRole", "s3:GetObject", "InputBucket"),
    ],
)
def test_what_an_intruder_would_want_is_not_allowed(role, action, place, resources):
    wanted = Call(action, f"arn:aws:s3:::{bucket(resources, place)}/digits/1/model.onnx")

    assert not allows(statements(resources, role), wanted)
