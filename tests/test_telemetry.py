"""The log says when a function was cold, once, in a form that CloudWatch makes metrics of."""

import json

import pytest
from tensorlet.http.aws import make_handler
from tensorlet.registry.writer import set_alias
from tensorlet.telemetry import log_cold_start, log_metrics

from tests.http.conftest import make_app
from tests.models import half_plus, publish_onnx


class Context:
    function_name = "predict"
    aws_request_id = "id"


def test_the_first_call_of_a_handler_writes_one_line_of_metrics(capsys):
    handler = log_cold_start(lambda event, context: event["answer"])

    assert [handler({"answer": n}, Context()) for n in (1, 2)] == [1, 2]

    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert line["_aws"]["Timestamp"] > 1.7e12
    assert directive["Namespace"] == "Tensorlet"
    assert {metric["Name"] for metric in directive["Metrics"]} == {"ColdStart", "FirstAnswer"}
    assert all(name in line for dimensions in directive["Dimensions"] for name in dimensions)
    assert (line["function_name"], line["function_request_id"], line["ColdStart"]) == ("predict", "id", 1)
    assert line["FirstAnswer"] >= 0


def test_a_first_call_that_fails_is_a_cold_start_too(capsys):
    def broken(event, context):
        raise ZeroDivisionError

    handler = log_cold_start(broken)

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            handler({}, None)

    assert capsys.readouterr().out.count("cold start") == 1


def event(path, body):
    http = {"method": "POST", "path": path}
    return {"rawPath": path, "requestContext": {"http": http}, "headers": {}, "body": json.dumps(body)}


PREDICT = event("/v1/models/half:predict", {"instances": [2.0, 4.0]})
WRONG = event("/v1/models/half:predict", {"instances": ["two"]})


@pytest.fixture
def app(store):
    publish_onnx(store, "half", half_plus(2.0))
    set_alias(store, "half", "live", 1)
    return make_app(store)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_metrics_say_what_each_artifact_and_alias_has_done(app, capsys):
    handler = log_metrics(make_handler(app), app.service, 1e-9)
    handler(PREDICT, Context())
    lines(capsys)

    handler(PREDICT, Context())
    answered, asked = lines(capsys)
    handler(WRONG, Context())
    failed, _ = lines(capsys)

    assert (answered["model"], answered["version"], answered["artifact"]) == ("half", "1", "model.onnx")
    assert (answered["Requests"], answered["Rows"], answered["Errors"]) == (1, 2, 0)
    assert all(answered[part] > 0 for part in ("Decode", "Infer", "Encode"))
    assert (asked["model"], asked["alias"], asked["Requests"]) == ("half", "live", 1)
    assert (failed["Requests"], failed["Errors"], failed["errors"]) == (1, 1, {"InvalidTensor": 1})


def test_metrics_are_in_the_form_that_cloudwatch_reads(app, capsys):
    log_metrics(make_handler(app), app.service, 60)(PREDICT, Context())

    for line in lines(capsys):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Tensorlet"
        assert all(isinstance(line[metric["Name"]], int | float) for metric in directive["Metrics"])
        assert all(isinstance(line[name], str) for names in directive["Dimensions"] for name in names)


def test_a_busy_process_writes_once_in_an_interval(app, capsys):
    handler = log_metrics(make_handler(app), app.service, 3600)

    for _ in range(5):
        handler(PREDICT, Context())

    assert [line.get("Requests") for line in lines(capsys)] == [1, 1, None]  # the first call only


def test_an_interval_of_0_writes_nothing(app, capsys):
    log_metrics(make_handler(app), app.service, 0)(PREDICT, Context())

    assert lines(capsys) == []
