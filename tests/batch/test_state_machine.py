"""The state machine as it is deployed: moto's Step Functions executes its definition, and calls our handlers."""

import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import boto3
import pytest
from tensorlet.batch import chunks, split
from tensorlet.batch.events import notification
from tensorlet.batch.source import Source
from tensorlet.local.functions import LambdaContext
from tensorlet.registry.store import open_store

from tests.batch.bench import Bench, memory_store
from tests.models import linear, publish_onnx

pytestmark = [pytest.mark.stack, pytest.mark.slow]

FUNCTIONS = Path(__file__).parents[2] / "functions"
DEFINITION = FUNCTIONS / "chunks/split.asl.json"
CHUNK_FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:chunks"
ROLE = "arn:aws:iam::123456789012:role/split"
TEXT = b"".join(b"x,2,3,4\n" if n % 1000 == 7 else b"%d,2,3,-4\n" % (n % 97) for n in range(20_000))


def load_app(name: str) -> ModuleType:
    """A function's module as a cold start sees it."""
    spec = importlib.util.spec_from_file_location(f"{name}_app", FUNCTIONS / name / "app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app


class Stack(NamedTuple):
    """What the template makes of it."""

    s3: Any
    sqs: Any
    sfn: Any
    bucket: str
    dead_letters: str
    batch: ModuleType
    steps: list[str]  # those that were taken, in order
    fail: dict[str, int]  # how often a step fails before it is taken

    def drop(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def deliver(self, key: str, seconds: float = 900) -> Any:
        record = {"messageId": "1", "body": notification(self.bucket, key), "eventSource": "aws:sqs"}
        return self.batch.handler({"Records": [record]}, LambdaContext("batch", seconds))

    def executions(self) -> list[dict[str, Any]]:
        return self.sfn.list_executions(stateMachineArn=self.batch.worker.service.settings.state_machine)[
            "executions"
        ]

    def finished(self) -> list[str]:
        """How the executions have ended, the latest first."""
        deadline = time.monotonic() + 60
        while any(execution["status"] == "RUNNING" for execution in self.executions()):
            assert time.monotonic() < deadline, self.steps
            time.sleep(0.1)
        return [execution["status"] for execution in self.executions()]

    def read(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=f"results/{key}")["Body"].read()


@pytest.fixture
def stack(s3, s3_server, bucket, monkeypatch) -> Iterator[Stack]:
    """Splits every file over 50 kB. Lambda is our handlers in this process; everything else is moto's."""
    from moto.awslambda_simple.models import LambdaSimpleBackend

    monkeypatch.setattr(chunks, "LEAD_BYTES", 5000)
    monkeypatch.setattr(Source.__init__, "__defaults__", (False, 2 << 20, 5000))
    monkeypatch.setenv("MOTO_PORT", str(urlsplit(s3_server).port))  # moto's own clients go there
    configure(s3_server, execute=True)
    sqs, sfn = (boto3.client(name, region_name="us-east-1") for name in ("sqs", "stepfunctions"))
    dead_letters = sqs.create_queue(QueueName=f"dead-{bucket}")["QueueUrl"]
    definition = definition_for(CHUNK_FUNCTION, dead_letters)
    machine = sfn.create_state_machine(name=f"split-{bucket[-20:]}", definition=definition, roleArn=ROLE)
    publish_onnx(open_store(f"s3://{bucket}/registry"), "linear", linear())
    for key, value in {
        "TENSORLET_REGISTRY": f"s3://{bucket}/registry",
        "TENSORLET_OUTPUT": f"s3://{bucket}/results",
        "TENSORLET_STATE_MACHINE": machine["stateMachineArn"],
        "TENSORLET_BATCH_SPLIT_BYTES": "50000",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    app = load_app("chunks")
    steps: list[str] = []
    fail: dict[str, int] = {}

    def invoke(backend, function_name, qualifier, body, headers, response_headers) -> bytes:
        event = json.loads(body)
        step = event["step"]
        if fail.get(step, 0) > 0:
            fail[step] -= 1
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps({"errorType": "StorageUnavailable", "errorMessage": "s3 is down"}).encode()
        steps.append(step)
        return json.dumps(app.handler(event, LambdaContext("chunks"))).encode()

    monkeypatch.setattr(LambdaSimpleBackend, "invoke", invoke)
    yield Stack(s3, sqs, sfn, bucket, dead_letters, load_app("batch"), steps, fail)
    configure(s3_server, execute=False)


def configure(server: str, execute: bool) -> None:
    config = {"stepfunctions": {"execute_state_machine": execute}, "lambda": {"use_docker": False}}
    request = Request(f"{server}/moto-api/config", json.dumps(config).encode(), method="POST")
    urlopen(request, timeout=10).close()


def definition_for(function: str, dead_letters: str) -> str:
    """The definition with its substitutions made, as CloudFormation makes them."""
    text = DEFINITION.read_text()
    for name, value in {"ChunkFunctionArn": function, "DeadLetterQueueUrl": dead_letters}.items():
        assert f"${{{name}}}" in text
        text = text.replace(f"${{{name}}}", value)
    document = json.loads(text)
    for state in document["States"].values():
        for retry in state.get("Retry", []):  # at once, and only once: a test need not wait
            retry.update(IntervalSeconds=1, BackoffRate=1, MaxAttempts=1)
    return json.dumps(document)


def test_a_file_too_large_is_predicted_by_the_state_machine(stack: Stack):
    key = "linear/a b+c.csv"
    stack.drop(key, TEXT)

    assert stack.deliver(key) == {"batchItemFailures": []}
    assert stack.deliver(key) == {"batchItemFailures": []}  # once more: it is running, or done

    assert stack.finished() == ["SUCCEEDED"]
    whole = Bench(stack.batch.worker.service, memory_store("in"), memory_store("out"))
    expected = whole.run(key, TEXT)
    report = json.loads(stack.read(f"{key}.report.json"))
    assert stack.read(f"{key}.out") == whole.out(key)
    assert stack.read(f"{key}.err.jsonl") == whole.read(f"{key}.err.jsonl")
    assert (report["rows_in"], report["rows_failed"]) == (expected.rows_in, expected.rows_failed)
    assert report["chunks"] == stack.steps.count("predict") > 3
    assert (stack.steps[0], stack.steps[-1]) == ("plan", "merge")


def test_a_step_that_fails_is_taken_again(stack: Stack):
    stack.drop("linear/a.csv", TEXT)
    stack.fail.update(plan=1, predict=1, merge=1)

    stack.deliver("linear/a.csv")

    assert stack.finished() == ["SUCCEEDED"]
    assert json.loads(stack.read("linear/a.csv.report.json"))["rows_in"] == 20_000


def test_a_file_that_fails_again_and_again_waits_in_the_dead_letter_queue(stack: Stack):
    """GIVEN a failure that lasts longer than all retries
    THEN the event of the file is put where a redrive finds it, and delivering it begins anew.
    """
    key = "linear/a.csv"
    stack.drop(key, TEXT)
    stack.fail.update(merge=2)
    stack.deliver(key)
    assert stack.finished() == ["FAILED"]
    [letter] = stack.sqs.receive_message(QueueUrl=stack.dead_letters)["Messages"]
    assert letter["Body"] == notification(stack.bucket, key)

    stack.deliver(key)

    assert stack.finished() == ["SUCCEEDED", "FAILED"]
    assert stack.steps.count("predict") == 2 * json.loads(stack.read(f"{key}.report.json"))["chunks"]


def test_an_input_that_is_gone_for_a_moment_is_finished_when_it_is_back(stack: Stack, monkeypatch):
    """GIVEN a worker that finds the input changed, and so does nothing
    WHEN the input is what it was by the time of the merge
    THEN the chunks are gone through again, and the file is whole.
    """
    predict, skipped = split.predict_chunk, []

    def overtaken_once(job, etag, chunk):
        if chunk.number == 2 and not skipped:
            skipped.append(chunk)
            return {"state": split.OVERTAKEN}
        return predict(job, etag, chunk)

    monkeypatch.setattr(split, "predict_chunk", overtaken_once)
    stack.drop("linear/a.csv", TEXT)
    stack.deliver("linear/a.csv")

    assert stack.finished() == ["SUCCEEDED"]
    assert len(skipped) == 1
    assert stack.steps.count("merge") == 2
    assert json.loads(stack.read("linear/a.csv.report.json"))["rows_in"] == 20_000


def test_a_wrong_file_is_reported_by_the_state_machine(stack: Stack):
    stack.drop("linear/a.csv", TEXT + b'"never closed')
    stack.deliver("linear/a.csv")
    assert stack.finished() == ["SUCCEEDED"]
    assert "a quote is never closed" in json.loads(stack.read("linear/a.csv.report.json"))["reason"]
    assert stack.steps == ["plan"]


def test_a_small_file_never_pays_for_it(stack: Stack):
    stack.drop("linear/a.csv", b"1,2,3,4\n")
    stack.deliver("linear/a.csv")
    assert stack.executions() == []
    assert json.loads(stack.read("linear/a.csv.report.json"))["rows_in"] == 1


def test_every_state_catches_what_fails():
    """Whatever goes wrong ends in the dead-letter queue: no file is lost in an execution that nobody looks at."""
    states = json.loads(DEFINITION.read_text())["States"]
    working = {name: state for name, state in states.items() if state["Type"] in ("Task", "Map")}
    working.pop("Give up")
    for state in working.values():
        assert state["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Give up"}]
    child = states["Predict"]["ItemProcessor"]["States"]["Predict a chunk"]
    retries = [state["Retry"] for state in (*working.values(), child) if state["Type"] == "Task"]
    assert len(retries) == 3
    assert all(retry == retries[0] and retry[0]["ErrorEquals"] == ["States.ALL"] for retry in retries)
