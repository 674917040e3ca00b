"""Each role can do what its function does, and nothing else.

The real handlers run in the environment the template gives them, against stand-ins of S3, SQS and Step Functions;
every call they make is replayed against the policies of their role, and every permission must have been used.
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
import pytest
from tensorlet.registry.store import open_store

from events import generate
from tests.models import linear, publish_onnx
from tests.template.policies import Call, Recorder, allows, statements
from tests.template.synthesis import ACCOUNT, REGION, synthesize

pytestmark = [pytest.mark.slow, pytest.mark.stack]

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
def resources() -> dict[str, Any]:
    return synthesize()


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
    environ = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
    }
    store = open_store(variables(resources, "PredictFunction")["TENSORLET_REGISTRY"], environ)
    publish_onnx(store, "digits", linear(4, 3))
    return url


def variables(resources: dict[str, Any], function: str) -> dict[str, str]:
    return dict(resources[function]["Properties"]["Environment"]["Variables"])


class Ran:
    """What a function was seen to do."""

    def __init__(self, recorder: Recorder, results: list[Any]):
        self.calls = list(dict.fromkeys(recorder.calls))
        self.bodies = recorder.bodies
        self.results = results


@pytest.fixture(scope="module")
def run(account: str, resources: dict[str, Any]) -> Callable[..., Ran]:
    """`run(function, folder, *events, **variables)`: the real handler, in the environment of the template."""

    def call(function: str, folder: str, *events: Any, **more: str) -> Ran:
        with Recorder(account.removeprefix("http://")).running() as recorder:
            done = subprocess.run(
                [sys.executable, "-c", RUN, folder],
                input=json.dumps(events),
                text=True,
                capture_output=True,
                env={
                    **os.environ,
                    **variables(resources, function),
                    "AWS_ENDPOINT_URL": recorder.url,
                    "AWS_ACCESS_KEY_ID": "test",
                    "AWS_SECRET_ACCESS_KEY": "test",
                    "AWS_REGION": REGION,
                    "AWS_DEFAULT_REGION": REGION,
                    **more,
                },
            )
        assert done.returncode == 0, done.stderr
        return Ran(recorder, json.loads(done.stdout.splitlines()[-1]))

    return call


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


ROLES = {
    "PredictRole": "predicted",
    "BatchRole": "batched",
    "ChunkRole": "chunked",
    "ReconcileRole": "reconciled",
}


@pytest.fixture(params=ROLES)
def role_and_calls(request: pytest.FixtureRequest) -> tuple[str, list[Call]]:
    return request.param, request.getfixturevalue(ROLES[request.param]).calls


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
    ],
)
def test_what_an_intruder_would_want_is_not_allowed(role, action, place, resources):
    wanted = Call(action, f"arn:aws:s3:::{bucket(resources, place)}/digits/1/model.onnx")

    assert not allows(statements(resources, role), wanted)
