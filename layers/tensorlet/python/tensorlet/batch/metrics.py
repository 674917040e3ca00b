"""What a finished file adds to the metrics, and a line in the log if it failed."""

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from tensorlet.batch.report import Report
from tensorlet.telemetry import NAMESPACE, logger

metrics = Metrics(namespace=NAMESPACE, service="batch")


def count(report: Report) -> None:
    metrics.add_metric("Rows", MetricUnit.Count, report.rows_in)
    metrics.add_metric("RowsFailed", MetricUnit.Count, report.rows_failed)
    metrics.add_metric("Seconds", MetricUnit.Seconds, report.seconds)
    if report.reason:
        metrics.add_metric("FilesFailed", MetricUnit.Count, 1)
        logger().warning("file failed", extra={"key": report.input_key, "reason": report.reason})


def flush() -> None:
    """Write what was counted, if anything was."""
    if metrics.metric_set:
        metrics.flush_metrics()
