"""Now and then: send again the events of input files that have no report, because S3's can be late or get lost.

A file that is younger than a quarter of an hour is left to its own event, and while the queue holds work none are
sent: they may be there already.
"""

import os
from typing import Any

import boto3
from tensorlet.batch.jobs import Queue, reconcile, waiting
from tensorlet.errors import InvalidSetting
from tensorlet.registry.store import open_store
from tensorlet.settings import Settings
from tensorlet.telemetry import log_cold_start, logger

LATE_S = 900.0

settings = Settings.from_environ(os.environ)
for setting in ("input", "output", "queue"):
    if not getattr(settings, setting):
        raise InvalidSetting(f"TENSORLET_{setting.upper()}: expected what the function works on, got nothing")
inputs, results = open_store(settings.input), open_store(settings.output)
queue = Queue(boto3.client("sqs"), settings.queue)


@log_cold_start
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """How many events were sent."""
    if waiting(queue):
        return {"sent": 0}
    keys = reconcile(inputs, results, queue, older_than_s=LATE_S)
    if keys:
        logger().warning("files without a report", extra={"count": len(keys), "first": keys[:10]})
    return {"sent": len(keys)}
