"""Both functions of the checkout with the events of events/, against stand-ins of S3 and SQS: publish, ask, drop."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from tensorlet.cli import main
from tensorlet.local.functions import LambdaContext, load_handler
from tensorlet.local.pump import Pumped, drain, receive
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import set_alias

from tests.e2e.conftest import expected
from tests.models import linear

pytestmark = pytest.mark.stack
EVENTS = Path(__file__).parents[2] / "events"
KEY = "digits/2026/new digits.csv"


@pytest.fixture
def ask(stack):
    """`ask(event name)` is the reply of the predict function."""
    handler = load_handler("predict", stack.registry, stack.output)
    return lambda name: handler(json.loads((EVENTS / name).read_text()), LambdaContext("predict"))


@pytest.fixture
def predict_files(stack):
    """`predict_files()` delivers what is in the queue to the batch function."""
    handler = load_handler("batch", stack.registry, stack.output)
    return lambda: drain(stack.queue, handler)


@pytest.mark.parametrize("name", ["predict-v2.json", "predict-rest-v1.json"])
def test_a_v2_event_is_answered_with_the_numbers_of_the_model(ask, name):
    reply = ask(name)

    body = json.loads(reply["body"])
    [image] = json.loads(json.loads((EVENTS / name).read_text())["body"])["inputs"]
    [scores] = body["outputs"]
    assert reply["statusCode"] == 200
    assert (body["model_name"], body["model_version"], body["id"]) == ("digits", "2", "sample")
    np.testing.assert_allclose([scores["data"]], expected(np.float32([image["data"]]), seed=2), rtol=1e-4)


def test_a_tensorflow_serving_event_is_answered_with_the_same_numbers(ask):
    by_v2 = json.loads(ask("predict-v2.json")["body"])["outputs"][0]["data"]

    by_tensorflow_serving = json.loads(ask("predict-tfs.json")["body"])["predictions"]

    np.testing.assert_allclose(by_tensorflow_serving, [by_v2], rtol=1e-6)


def test_a_binary_event_of_a_function_url_is_answered_in_binary(ask):
    reply = ask("predict-url.json")

    assert (reply["statusCode"], reply["isBase64Encoded"]) == (200, True)
    body = base64.b64decode(reply["body"])
    length = int(reply["headers"]["inference-header-content-length"])
    [scores] = json.loads(body[:length])["outputs"]
    assert len(body) - length == scores["parameters"]["binary_data_size"] == 4 * np.prod(scores["shape"])


def test_every_reply_says_which_version_answered(stack, ask):
    set_alias(open_store(stack.registry), "digits", "live", 1)

    assert ask("predict-v2.json")["headers"]["tensorlet-model"] == "digits/1"


def test_a_file_in_the_input_bucket_becomes_a_file_of_predictions(stack, predict_files, rows):
    drop(stack, "digits@1/rows.npy", npy(rows))

    assert predict_files() == [Pumped(1, 1, 0)]

    answers = np.load(io.BytesIO(output(stack, "digits@1/rows.npy.out")))
    np.testing.assert_allclose(answers, expected(rows, seed=1), rtol=1e-4, atol=1e-5)
    report = json.loads(output(stack, "digits@1/rows.npy.report.json"))
    assert (report["model_version"], report["rows_in"], report["rows_failed"]) == (1, 50, 0)


def test_a_key_with_a_space_and_a_row_that_does_not_fit(stack, predict_files, rows):
    lines = [",".join(map(str, row)) for row in rows]
    lines[7] = lines[7].replace(",", ",coffee,", 1).rpartition(",")[0]
    drop(stack, KEY, "\n".join(lines).encode())

    predict_files()

    [failed] = [json.loads(line) for line in output(stack, f"{KEY}.err.jsonl").splitlines()]
    report = json.loads(output(stack, f"{KEY}.report.json"))
    assert failed["row"] == 7 and "coffee" in failed["error"]
    assert (report["rows_in"], report["rows_out"], report["rows_failed"]) == (50, 49, 1)
    assert len(output(stack, f"{KEY}.out").splitlines()) == 50


def test_the_same_event_again_changes_nothing(stack, rows):
    handler = load_handler("batch", stack.registry, stack.output)
    drop(stack, "digits/rows.npy", npy(rows))
    event = receive(stack.queue)

    replies = [handler(event, LambdaContext("batch"))]
    before = outputs(stack)
    replies += [handler(event, LambdaContext("batch")) for _ in range(2)]

    assert replies == [{"batchItemFailures": []}] * 3
    assert outputs(stack) == before


def test_a_file_for_a_model_there_is_not_is_reported_and_not_tried_again(stack, predict_files):
    drop(stack, "absent/rows.csv", b"1,2\n")

    assert predict_files() == [Pumped(1, 1, 0)]

    assert "absent" in json.loads(output(stack, "absent/rows.csv.report.json"))["reason"]


def test_a_message_that_cannot_be_understood_ends_as_dead_letter_and_the_others_are_done(
    stack, predict_files, rows
):
    stack.queue.sqs.send_message(QueueUrl=stack.queue.url, MessageBody="a shopping list")
    drop(stack, "digits/rows.npy", npy(rows))

    deliveries = predict_files()

    assert [(delivery.succeeded, delivery.failed) for delivery in deliveries] == [(1, 1), (0, 1)]
    assert json.loads(output(stack, "digits/rows.npy.report.json"))["rows_out"] == 50
    [dead] = receive(stack.dead_letters)["Records"]
    assert dead["body"] == "a shopping list"


def test_a_corrupted_artifact_is_refused_and_other_versions_are_served(stack, ask):
    store = open_store(stack.registry)
    store.put("digits/2/model.onnx", linear(784, 10, seed=3))

    refused = ask("predict-v2.json")
    set_alias(store, "digits", "live", 1)
    load_again = load_handler("predict", stack.registry, stack.output)
    answered = load_again(json.loads((EVENTS / "predict-v2.json").read_text()), LambdaContext("predict"))

    assert refused["statusCode"] == 503
    assert "digits/2/model.onnx: expected sha256" in json.loads(refused["body"])["error"]
    assert answered["headers"]["tensorlet-model"] == "digits/1"


@pytest.mark.parametrize("name", ["predict-v2.json", "predict-tfs.json"])
def test_invoke_prints_the_reply_of_the_function_alone(stack, capsys, name):
    status = main(["invoke", "predict", "--event", str(EVENTS / name), "--registry", stack.registry])

    assert status == 0
    assert json.loads(capsys.readouterr().out)["statusCode"] == 200


def test_invoke_batch_reads_and_writes_buckets(stack, capsys, tmp_path, rows, monkeypatch):
    event = json.loads((EVENTS / "batch-sqs-s3.json").read_text())
    notification = json.loads(event["Records"][0]["body"])
    notification["Records"][0]["s3"]["bucket"]["name"] = "input"
    event["Records"][0]["body"] = json.dumps(notification)
    (tmp_path / "event.json").write_text(json.dumps(event))
    drop(stack, KEY, "\n".join(",".join(map(str, row)) for row in rows).encode())
    monkeypatch.setenv("TENSORLET_OUTPUT", stack.output)

    status = main(["invoke", "batch", "--event", str(tmp_path / "event.json"), "--registry", stack.registry])

    assert (status, json.loads(capsys.readouterr().out)) == (0, {"batchItemFailures": []})
    assert json.loads(output(stack, f"{KEY}.report.json"))["rows_out"] == 50


def drop(stack, key, content):
    stack.queue.s3.put_object(Bucket=stack.input_bucket, Key=key, Body=content)


def npy(rows):
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


def output(stack, key):
    return stack.queue.s3.get_object(Bucket="output", Key=key)["Body"].read()


def outputs(stack):
    """Every output object with its ETag and the time of its last change."""
    listing = stack.queue.s3.list_objects_v2(Bucket="output")["Contents"]
    return [(item["Key"], item["ETag"], item["LastModified"]) for item in listing]
