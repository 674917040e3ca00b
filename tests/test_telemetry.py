"""The log says when a function was cold, once, in a form that CloudWatch makes metrics of."""

import json

import pytest
from tensorlet.telemetry import log_cold_start


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
