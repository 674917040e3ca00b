"""What the functions write to their logs: structured lines, and metrics in CloudWatch's embedded metric format.

A successful request writes nothing of its own: what was counted is written now and then. Failures are written by
powertools, imported where a line is really written, because that costs 30 ms. The one line about a cold start
is written by hand in powertools' format: a logger would take part in the very time it reports.
"""

import json
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorlet.metrics import Metrics
    from tensorlet.serving.service import ModelService

NAMESPACE = "Tensorlet"

Handler = Callable[[dict[str, Any], Any], Any]


@cache
def logger() -> Any:
    """The one logger; LOG_LEVEL sets its level (AWS Lambda Powertools)."""
    from aws_lambda_powertools import Logger

    return Logger(service="tensorlet")


def log_cold_start(handler: Handler) -> Handler:
    """A handler whose first call writes the metrics `ColdStart` (count) and `FirstAnswer` (milliseconds).

    Source: Amazon CloudWatch user guide, "Specification: Embedded metric format".
    """
    is_cold = True

    def first_logged(event: dict[str, Any], context: Any) -> Any:
        nonlocal is_cold
        if not is_cold:
            return handler(event, context)
        is_cold, start = False, time.perf_counter()
        try:
            return handler(event, context)
        finally:
            print(_cold_start(context, (time.perf_counter() - start) * 1e3), flush=True)

    return first_logged


def _cold_start(context: Any, first_answer_ms: float) -> str:
    metrics = [{"Name": "ColdStart", "Unit": "Count"}, {"Name": "FirstAnswer", "Unit": "Milliseconds"}]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["function_name"]], "Metrics": metrics}
    return json.dumps(
        {
            "_aws": {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]},
            "message": "cold start",
            "function_name": getattr(context, "function_name", ""),
            "function_request_id": getattr(context, "aws_request_id", ""),
            "ColdStart": 1,
            "FirstAnswer": round(first_answer_ms, 3),
        }
    )


def log_metrics(handler: Handler, service: "ModelService", interval_s: float) -> Handler:
    """A handler that writes what the service has counted after its first call, and the first in each `interval_s`.

    The lines are those of `metrics.Metrics`; an interval of 0 writes none.
    """
    if not interval_s:
        return handler
    metrics: Metrics | None = None
    due = 0.0

    def counted(event: dict[str, Any], context: Any) -> Any:
        nonlocal metrics, due
        try:
            return handler(event, context)
        finally:
            if time.monotonic() >= due:
                if metrics is None:
                    from tensorlet.metrics import Metrics  # while nobody waits for the runtime to start

                    metrics = Metrics(service)
                due = time.monotonic() + interval_s
                for line in metrics.lines():
                    print(line, flush=True)

    return counted
