"""The deployed template does what the README says: a file becomes predictions, a request an answer."""

import json

import numpy as np
import onnxruntime
import pytest
from tensorlet.registry.store import open_store

from tests.deploy.cloud import Stack, wait_until
from tests.models import from_parquet, linear, publish_golden, publish_onnx, to_parquet

MODEL = linear(4, 3)
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
BODY = json.dumps({"instances": ROWS.tolist()}).encode()
PREDICT = "/v1/models/digits:predict"
POISON = "not a message of S3"


def expected() -> np.ndarray:
    """What ONNX Runtime answers here."""
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"image": ROWS})[0]


@pytest.fixture(scope="module")
def published(stack: Stack) -> Stack:
    """The stack with `digits` in its registry, open to everybody."""
    stack = stack.configure(ApiAuth="NONE")
    store = open_store(f"s3://{stack.outputs['RegistryBucketName']}", stack.cloud.environ())
    assert publish_onnx(store, "digits", MODEL) == 1
    return stack


def drop(stack: Stack, key: str, content: bytes) -> None:
    bucket = stack.outputs["InputBucketName"]
    stack.cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=content)


def output(stack: Stack, key: str) -> bytes | None:
    s3 = stack.cloud.client("s3")
    try:
        body = s3.get_object(Bucket=stack.outputs["OutputBucketName"], Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    return bytes(body)


def report(stack: Stack, key: str) -> dict[str, object]:
    """The report of a file, once it is there."""
    found = wait_until(lambda: output(stack, f"{key}.report.json"), f"the report of {key}", 60)
    return dict(json.loads(found))


class TestApi:
    def test_a_prediction_is_answered(self, published):
        answer = published.ask(PREDICT, BODY)

        assert answer.status == 200, answer.body
        assert answer.headers["tensorlet-model"] == "digits/1"
        np.testing.assert_allclose(answer.json()["predictions"], expected(), rtol=1e-5)

    def test_a_binary_body_arrives_and_returns_intact(self, published):
        """V2's binary extension: API Gateway carries both bodies in base64."""
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": "image",
                        "datatype": "FP32",
                        "shape": [2, 4],
                        "parameters": {"binary_data_size": ROWS.nbytes},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()

        answer = published.ask(
            "/v2/models/digits/infer",
            head + ROWS.tobytes(),
            Content_Type="application/octet-stream",
            Inference_Header_Content_Length=str(len(head)),
        )

        assert answer.status == 200, answer.body
        start = int(answer.headers["inference-header-content-length"])
        np.testing.assert_allclose(
            np.frombuffer(answer.body[start:], "<f4").reshape(2, 3), expected(), rtol=1e-5
        )

    def test_an_unknown_model_is_not_found(self, published):
        assert published.ask("/v1/models/nobody:predict", BODY).status == 404


class TestBatch:
    def test_a_dropped_file_becomes_a_file_of_predictions(self, published):
        """S3 -> SQS -> function -> S3, with a name that has to be encoded on its way."""
        key = "digits/2026/two rows + ü.csv"

        drop(published, key, b"\n".join(b",".join(b"%g" % x for x in row) for row in ROWS) + b"\n")

        found = report(published, key)
        assert (found["rows_in"], found["rows_out"], found["rows_failed"]) == (2, 2, 0)
        rows = [line.split(b",") for line in output(published, f"{key}.out").splitlines()]
        np.testing.assert_allclose(np.array(rows, float), expected(), rtol=1e-5)

    def test_a_parquet_file_is_read_by_the_layer_of_its_own(self, published):
        key = "digits/rows.parquet"

        drop(published, key, to_parquet(ROWS))

        assert report(published, key)["rows_out"] == 2
        np.testing.assert_allclose(from_parquet(output(published, f"{key}.out")), expected(), rtol=1e-5)

    def test_a_long_file_is_split_predicted_side_by_side_and_joined(self, published):
        """Step Functions' Distributed Map over the chunks; the bytes are those of an unsplit run."""
        rows = b"".join(b"%d,%d,3,4\n" % (number, number % 7) for number in range(2000))
        drop(published, "digits/whole.csv", rows)
        assert report(published, "digits/whole.csv")["rows_out"] == 2000
        splitting = published.configure(ApiAuth="NONE", BatchSplitBytes="4096")

        drop(splitting, "digits/split.csv", rows)

        assert report(splitting, "digits/split.csv")["rows_out"] == 2000
        assert output(splitting, "digits/split.csv.out") == output(splitting, "digits/whole.csv.out")
        machine = splitting.resource("SplitStateMachine")
        (execution,) = splitting.cloud.client("stepfunctions").list_executions(stateMachineArn=machine)[
            "executions"
        ]
        wait_until(lambda: execution_status(splitting, execution["executionArn"]) == "SUCCEEDED", "the end")

    def test_a_message_that_can_never_be_processed_ends_in_the_dead_letter_queue(self, published):
        """After five failed deliveries; here they come at once and not after 90 minutes each."""
        sqs = published.cloud.client("sqs")
        queue = published.resource("InputQueue")
        hidden = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "0"})
        try:
            sqs.send_message(QueueUrl=queue, MessageBody=POISON)

            poison = wait_until(
                lambda: sqs.receive_message(
                    QueueUrl=published.outputs["DeadLetterQueueUrl"], WaitTimeSeconds=1
                ).get("Messages"),
                "the message in the dead-letter queue",
                90,
            )
        finally:
            sqs.set_queue_attributes(QueueUrl=queue, Attributes=hidden)

        assert poison[0]["Body"] == POISON


def execution_status(stack: Stack, arn: str) -> str:
    return str(stack.cloud.client("stepfunctions").describe_execution(executionArn=arn)["status"])


class TestReleases:
    """A changed parameter is a version, and the API answers with it at once."""

    def test_a_changed_parameter_reaches_the_api(self, published):
        before = live_version(published)

        changed = published.configure(ApiAuth="NONE", PredictMemory="1024")

        assert live_version(changed) == before + 1
        assert changed.ask(PREDICT, BODY).status == 200

    def test_snapstart_answers_from_a_version_that_was_initialised_when_it_was_published(self, published):
        """The stand-in runs the hooks too: models are preloaded before the snapshot, connections made anew after."""
        changed = published.configure(ApiAuth="NONE", SnapStart="on", PreloadModels="digits")

        function = changed.cloud.client("lambda").get_function(
            FunctionName=changed.outputs["PredictFunctionName"], Qualifier="live"
        )["Configuration"]

        assert function["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
        assert function["Environment"]["Variables"]["TENSORLET_PRELOAD"] == "digits"
        assert changed.ask(PREDICT, BODY).status == 200

    def test_the_hook_of_a_release_asks_the_new_version_for_golden_predictions(self, published, tmp_path):
        """GIVEN a gradual release, WHEN a golden value is wrong, THEN the verdict is Failed and names it."""
        released = published.configure(ApiAuth="NONE", CodeRelease="Canary10Percent5Minutes")
        store = open_store(f"s3://{released.outputs['RegistryBucketName']}", released.cloud.environ())

        publish_golden(store, tmp_path, "right", MODEL)
        assert verdict(released) == {"status": "Succeeded", "reasons": []}

        publish_golden(store, tmp_path, "wrong", MODEL, answers_off_by=0.5)
        assert verdict(released) == {
            "status": "Failed",
            "reasons": ["wrong/1: output 'scores' differs by 5.0e-01, allowed 1.0e-04"],
        }


def verdict(stack: Stack) -> dict[str, object]:
    """What the pre-traffic hook returns, called as CodeDeploy does."""
    event = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook-1"}
    reply = stack.cloud.client("lambda").invoke(
        FunctionName=stack.resource("PretrafficFunction"), Payload=json.dumps(event)
    )
    return dict(json.loads(reply["Payload"].read()))


def live_version(stack: Stack) -> int:
    """The number of the version behind the alias that the API calls."""
    alias = stack.cloud.client("lambda").get_alias(
        FunctionName=stack.outputs["PredictFunctionName"], Name="live"
    )
    return int(alias["FunctionVersion"])
