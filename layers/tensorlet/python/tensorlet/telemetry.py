"""Structured log lines, by powertools. A successful request writes none: Lambda's REPORT line and the gateway's
metrics cover it. Imported where a line is really written, because powertools costs 30 ms of a cold start."""

from functools import cache
from typing import Any


@cache
def logger() -> Any:
    """The one logger; LOG_LEVEL sets its level (AWS Lambda Powertools)."""
    from aws_lambda_powertools import Logger

    return Logger(service="tensorlet")
