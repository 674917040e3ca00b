"""Both functions in the Lambda image with the built layers, against models in an S3 stand-in."""

import base64
import csv
import io
import json
from urllib.parse import quote_plus

import numpy as np
import onnxruntime
import pytest
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import publish_version
from tensorlet.runtimes import load_session

from events import generate
from tests.models import from_parquet, linear, publish_onnx, to_parquet
from tests.sam import invoke, lambda_local
from tests.sam.conftest import load_event
from tests.sam.lambda_local import ROOT

MODEL = linear(784, 10)


def scores(*images):
    """What ONNX Runtime answers here."""
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"image": np.array(images, np.float32)})[0]


@pytest.fixture(scope="module")
def registry(stack):
    """A registry in the stand-in with `digits` (ONNX) and `doubler` (TFLite), each in version 1."""
    store = open_store(f"s3://{stack.registry}", stack.environ())
    assert publish_onnx(store, "digits", MODEL) == 1
    assert publish_tflite(store, "doubler", ROOT / "tests/data/dynamic.tflite") == 1
    return store


def publish_tflite(store, name, path):
    manifest = {
        "signature": load_session("tflite", path.read_bytes()).signature.to_json(),
        "artifacts": [
            {"id": "tflite", "format": "tflite", "precision": "fp32", "files": [{"path": "model.tflite"}]}
        ],
        "default_artifact": "tflite",
    }
    return publish_version(store, name, manifest, {"model.tflite": path})


@pytest.fixture
def dropped_file(stack, request):
    """The sample batch event for a file of its own, which is really there. Gives the event and the file's key."""
    event = load_event("batch-sqs-s3.json")
    notification = json.loads(event["Records"][0]["body"])
    s3 = notification["Records"][0]["s3"]
    s3["bucket"]["name"] = stack.input
    key = f"digits/{request.node.name}/new digits.csv"
    s3["object"]["key"] = quote_plus(key, safe="/")
    event["Records"][0]["body"] = json.dumps(notification)
    stack.client().put_object(Bucket=stack.input, Key=key, Body=generate.batch_csv())
    return event, key


def test_sam_finds_nothing_wrong_with_the_template(lambda_tools):
    done = lambda_local.sam("validate", "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_sam_local_invoke_answers_a_prediction(build, stack, registry):
    reply = lambda_local.invoke("PredictFunction", ROOT / "events/predict-v2.json", stack.env_file)

    assert reply["statusCode"] == 200
    assert reply["headers"]["tensorlet-model"] == "digits/1"
    (output,) = json.loads(reply["body"])["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("scores", "FP32", [1, 10])
    np.testing.assert_allclose([output["data"]], scores(generate.one()), rtol=1e-5)


def test_make_invoke_turns_the_sample_file_into_predictions(build, stack, tmp_path):
    """GIVEN a local registry, WHEN `make invoke` runs the sample batch event, THEN its outputs are in the bucket."""
    publish_onnx(open_store(str(tmp_path)), "digits", MODEL)

    done = invoke.run(ROOT / "events/batch-sqs-s3.json", tmp_path, stack)

    assert done == {"batchItemFailures": []}
    assert_predictions_are_right(stack, generate.BATCH_KEY)


class TestWarm:
    """Several events into the same containers."""

    @pytest.mark.parametrize("name", ["predict-v2.json", "predict-rest-v1.json"])
    def test_v2_json(self, warm_lambda, registry, name):
        reply = warm_lambda("PredictFunction", load_event(name))

        assert reply["statusCode"] == 200, reply
        (output,) = json.loads(reply["body"])["outputs"]
        np.testing.assert_allclose([output["data"]], scores(generate.one()), rtol=1e-5)

    def test_tensorflow_serving(self, warm_lambda, registry):
        reply = warm_lambda("PredictFunction", load_event("predict-tfs.json"))

        assert reply["statusCode"] == 200, reply
        np.testing.assert_allclose(
            json.loads(reply["body"])["predictions"], scores(generate.one()), rtol=1e-5
        )

    def test_v2_binary_through_a_function_url(self, warm_lambda, registry):
        reply = warm_lambda("PredictFunction", load_event("predict-url.json"))

        assert reply["statusCode"] == 200, reply
        assert reply["isBase64Encoded"] is True
        body = base64.b64decode(reply["body"])
        answer = np.frombuffer(body[int(reply["headers"]["inference-header-content-length"]) :], "<f4")
        np.testing.assert_allclose(answer.reshape(2, 10), scores(generate.zero(), generate.one()), rtol=1e-5)

    def test_tflite(self, warm_lambda, registry):
        """GIVEN a model that is only TFLite, WHEN it is asked, THEN LiteRT in the layer answers."""
        body = generate.json_body({"instances": [[1, 2, 3], [4, 5, 6]]})

        reply = warm_lambda("PredictFunction", generate.http_event("/v1/models/doubler:predict", body))

        assert reply["statusCode"] == 200, reply
        assert json.loads(reply["body"]) == {"predictions": [[3, 5, 7], [9, 11, 13]]}

    def test_an_unknown_model_is_not_found(self, warm_lambda, registry):
        body = generate.json_body({"instances": [[1]]})

        reply = warm_lambda("PredictFunction", generate.http_event("/v1/models/nobody:predict", body))

        assert reply["statusCode"] == 404
        assert "nobody" in json.loads(reply["body"])["error"]

    def test_batch_gives_the_same_result_for_a_repeated_event(
        self, warm_lambda, stack, registry, dropped_file
    ):
        event, key = dropped_file

        assert warm_lambda("BatchFunction", event) == {"batchItemFailures": []}
        assert warm_lambda("BatchFunction", event) == {"batchItemFailures": []}

        assert_predictions_are_right(stack, key)

    def test_batch_reads_parquet_by_the_layer_of_its_own(self, warm_lambda, stack, registry, dropped_file):
        event, key = dropped_file
        rows = np.array([generate.zero(), generate.one(), generate.seven()], np.float32)
        parquet_key, parquet_event = key.replace(".csv", ".parquet"), json.loads(json.dumps(event))
        body = json.loads(parquet_event["Records"][0]["body"])
        body["Records"][0]["s3"]["object"]["key"] = quote_plus(parquet_key, safe="/")
        parquet_event["Records"][0]["body"] = json.dumps(body)
        stack.client().put_object(Bucket=stack.input, Key=parquet_key, Body=to_parquet(rows))

        assert warm_lambda("BatchFunction", parquet_event) == {"batchItemFailures": []}

        out = stack.client().get_object(Bucket=stack.output, Key=f"{parquet_key}.out")["Body"].read()
        np.testing.assert_allclose(from_parquet(out), scores(*rows), rtol=1e-5)

    def test_batch_ignores_the_test_event_that_s3_sends_at_set_up(self, warm_lambda, registry):
        test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "input"}

        assert warm_lambda("BatchFunction", generate.sqs_event(test_event)) == {"batchItemFailures": []}


def assert_predictions_are_right(stack, key):
    """`<key>.out` has a row of ten scores for each of the three drawings, and the report counts them."""
    read = {
        ending: stack.client().get_object(Bucket=stack.output, Key=f"{key}.{ending}")["Body"].read().decode()
        for ending in ("out", "report.json")
    }
    rows = np.array([[float(cell) for cell in row] for row in csv.reader(io.StringIO(read["out"]))])
    expected = scores(generate.zero(), generate.one(), generate.seven())
    np.testing.assert_allclose(rows, expected, rtol=1e-5)
    report = json.loads(read["report.json"])
    assert (report["rows_in"], report["rows_out"], report["rows_failed"]) == (3, 3, 0)
    assert (report["model"], report["model_version"]) == ("digits", 1)
