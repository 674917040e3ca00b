"""SQS messages with S3 events in, predictions files out; a message that could not be processed comes again.

Settings are read during the cold start; models are loaded with the first file that needs them.
"""

import os
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from tensorlet.batch import Report, Worker
from tensorlet.settings import Settings
from tensorlet.telemetry import NAMESPACE, log_cold_start, logger

worker = Worker.from_settings(Settings.from_environ(os.environ))
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
metrics = Metrics(namespace=NAMESPACE, service="batch")


@log_cold_start
def handler(event: dict[str, Any], context: Any) -> Any:
    """Partial batch response: `{"batchItemFailures": [...]}` with the messages to deliver again."""
    try:
        return process_partial_response(event, _process, processor, context)
    finally:
        if metrics.metric_set:
            metrics.flush_metrics()


def _process(record: Any) -> None:
    try:
        for report in worker.process(record.body):
            _count(report)
    except Exception:
        logger().exception("message failed", extra={"message_id": record.message_id})
        raise


def _count(report: Report) -> None:
    metrics.add_metric("Rows", MetricUnit.Count, report.rows_in)
    metrics.add_metric("RowsFailed", MetricUnit.Count, report.rows_failed)
    metrics.add_metric("Seconds", MetricUnit.Seconds, report.seconds)
    if report.reason:
        metrics.add_metric("FilesFailed", MetricUnit.Count, 1)
        logger().warning("file failed", extra={"key": report.input_key, "reason": report.reason})
