"""The Lambda handler over S3: SQS events in, partial batch responses out."""

import importlib.util
import json
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from tensorlet.batch.jobs import missed
from tensorlet.errors import InvalidSetting, StorageUnavailable
from tensorlet.registry.store import open_store

from tests.models import linear, publish_onnx

pytestmark = pytest.mark.stack

APP = Path(__file__).parents[2] / "functions/batch/app.py"
ROWS = b"1,2,3,4\n5,6,7,8\n"


def load_app():
    """The function's module as a cold start sees it."""
    spec = importlib.util.spec_from_file_location("batch_app", APP)
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app


@pytest.fixture
def app(s3, bucket, monkeypatch):
    publish_onnx(open_store(f"s3://{bucket}/registry"), "linear", linear())
    monkeypatch.setenv("TENSORLET_REGISTRY", f"s3://{bucket}/registry")
    monkeypatch.setenv("TENSORLET_OUTPUT", f"s3://{bucket}/results")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Tensorlet")
    return load_app()


def sqs_event(*bodies: str) -> dict:
    return {
        "Records": [
            {"messageId": f"message-{n}", "body": body, "eventSource": "aws:sqs", "attributes": {}}
            for n, body in enumerate(bodies)
        ]
    }


def s3_body(bucket: str, *keys: str) -> str:
    """As S3 sends it: keys are URL-encoded, a space is `+`."""
    records = [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/"), "eTag": "stale"}},
        }
        for key in keys
    ]
    return json.dumps({"Records": records})


def get(s3, bucket: str, key: str) -> bytes:
    return s3.get_object(Bucket=bucket, Key=f"results/{key}")["Body"].read()


@pytest.mark.parametrize("name", ["a.csv", "a b+c%20&é#[1].csv", "2026/11/ü.csv"])
def test_a_file_becomes_a_predictions_file_whatever_its_name(app, s3, bucket, name):
    key = f"linear/{name}"
    s3.put_object(Bucket=bucket, Key=key, Body=ROWS)

    assert app.handler(sqs_event(s3_body(bucket, key)), None) == {"batchItemFailures": []}

    assert len(get(s3, bucket, f"{key}.out").splitlines()) == 2
    report = json.loads(get(s3, bucket, f"{key}.report.json"))
    etag = s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
    assert (report["input_etag"], report["rows_in"]) == (etag, 2)
    assert report["outputs"][0]["etag"] == s3.head_object(Bucket=bucket, Key=f"results/{key}.out")[
        "ETag"
    ].strip('"')
    s3.head_object(Bucket=bucket, Key=f"results/.tensorlet/{key}/{etag}.plan.json")


def test_one_bad_message_does_not_hold_up_the_others(app, s3, bucket, caplog):
    s3.put_object(Bucket=bucket, Key="linear/a.csv", Body=ROWS)
    test_event = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bucket})
    gone = s3_body("no-such-bucket-at-all", "linear/b.csv")
    event = sqs_event(test_event, "no json", s3_body(bucket, "linear/a.csv"), gone)

    reply = app.handler(event, None)

    assert reply == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert get(s3, bucket, "linear/a.csv.out")
    assert "message failed" in caplog.messages


def test_a_file_that_cannot_be_predicted_is_not_delivered_again(app, s3, bucket, caplog):
    s3.put_object(Bucket=bucket, Key="linear/a.csv", Body=b"\xff")
    s3.put_object(Bucket=bucket, Key="unknown/a.csv", Body=ROWS)
    event = sqs_event(s3_body(bucket, "linear/a.csv", "unknown/a.csv"))

    assert app.handler(event, None) == {"batchItemFailures": []}

    assert "not UTF-8" in json.loads(get(s3, bucket, "linear/a.csv.report.json"))["reason"]
    assert "unknown" in json.loads(get(s3, bucket, "unknown/a.csv.report.json"))["reason"]
    assert caplog.messages == ["file failed", "file failed"]


def test_storage_that_fails_brings_the_message_back(app, s3, bucket, monkeypatch):
    def fail(*arguments):
        raise StorageUnavailable("s3 is down")

    s3.put_object(Bucket=bucket, Key="linear/a.csv", Body=ROWS)
    monkeypatch.setattr(app.worker.results, "get", fail)
    event = sqs_event(s3_body(bucket, "linear/a.csv"))
    assert app.handler(event, None) == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}


def test_a_success_is_counted_and_not_logged(app, s3, bucket, capsys):
    app.handler(sqs_event('{"Event": "s3:TestEvent"}'), None)  # the cold start has a line of its own
    capsys.readouterr()
    s3.put_object(Bucket=bucket, Key="linear/a.csv", Body=ROWS + b"x\n")

    app.handler(sqs_event(s3_body(bucket, "linear/a.csv")), None)

    [line] = capsys.readouterr().out.splitlines()
    metrics = json.loads(line)
    assert (metrics["Rows"], metrics["RowsFailed"]) == ([3.0], [1.0])


def test_the_output_is_a_setting_that_must_be_there(s3, monkeypatch):
    monkeypatch.setenv("TENSORLET_REGISTRY", "s3://registry")
    monkeypatch.delenv("TENSORLET_OUTPUT", raising=False)
    with pytest.raises(InvalidSetting, match="TENSORLET_OUTPUT"):
        load_app()


def test_a_large_output_is_the_same_as_a_local_one(app, s3, bucket, tmp_path):
    """Over one part it is a multipart upload; the bytes are those of the command line's run."""
    from tensorlet.batch import run_file

    text = b"".join(b"%d,2,3,%d\n" % (n % 97, n % 89) for n in range(250_000))
    s3.put_object(Bucket=bucket, Key="linear/large.csv", Body=text)
    app.handler(sqs_event(s3_body(bucket, "linear/large.csv")), None)

    (tmp_path / "large.csv").write_bytes(text)
    run_file(app.worker.service, str(tmp_path / "large.csv"), "linear")

    out = get(s3, bucket, "linear/large.csv.out")
    assert len(out) > 5 << 20
    assert out == (tmp_path / "large.csv.out").read_bytes()
    assert "-" in s3.head_object(Bucket=bucket, Key="results/linear/large.csv.out")["ETag"]


@pytest.mark.parametrize(
    "key", ["linear//a.csv", "linear/./a.csv", "linear/../a.csv", "/linear/a.csv", "linear/\t.csv"]
)
def test_a_key_that_is_no_path_is_reported(app, s3, bucket, key):
    """S3 takes such keys; they must neither end in the dead-letter queue nor hide other files from a reconciler."""
    s3.put_object(Bucket=bucket, Key=key, Body=ROWS)
    s3.put_object(Bucket=bucket, Key="linear/b.csv", Body=ROWS)

    assert app.handler(sqs_event(s3_body(bucket, key)), None) == {"batchItemFailures": []}

    report = json.loads(get(s3, bucket, f"{key}.report.json"))
    assert "expected a key without empty folders" in report["reason"]
    inputs, results = open_store(f"s3://{bucket}"), app.worker.results
    assert list(missed(inputs, results, "linear")) == ["linear/b.csv"]
