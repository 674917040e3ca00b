"""What the functions write to their logs: structured lines, and metrics in CloudWatch's embedded metric format.

A successful request writes nothing: Lambda's REPORT line and the gateway's metrics cover it. Failures are written
by powertools, imported where a line is really written, because that costs 30 ms. The one line about a cold start
is written by hand in powertools' format: a logger would take part in the very time it reports.
"""

import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

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
