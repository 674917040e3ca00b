"""On a schedule: takes back releases that do worse than they may, runs shadow versions, reports drift.

The event says what to do: `{"tasks": ["guard", "shadow", "drift"]}`; each looks back `hours`, 24 by default.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from tensorlet.errors import ModelUnavailable
from tensorlet.monitoring.tasks import TASKS, Monitor
from tensorlet.settings import Settings
from tensorlet.telemetry import NAMESPACE, log_cold_start, logger

monitor = Monitor.from_settings(Settings.from_environ(os.environ))
metrics = Metrics(namespace=NAMESPACE, service="monitor")


@log_cold_start
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """What each task found, by its name.

    Raises:
        ModelUnavailable: a model's releases or shadows could not be looked at; all others have been.
    """
    until = datetime.now(UTC)
    since = until - timedelta(hours=float(event.get("hours", 24)))
    found = {name: TASKS[name](monitor, since, until) for name in event.get("tasks", TASKS)}
    watched = [finding for name in ("guard", "shadow") for finding in found.get(name, [])]
    broken = [finding for finding in watched if finding.get("reason")]
    for finding in broken:
        logger().warning("release breaks its limits", extra=finding)
    metrics.add_metric("ReleasesBreakingLimits", MetricUnit.Count, len(broken))
    metrics.flush_metrics()
    if skipped := [
        f"{finding['model']}: {finding['skipped']}" for finding in watched if "skipped" in finding
    ]:
        raise ModelUnavailable("; ".join(dict.fromkeys(skipped)))  # rings MonitorErrorsAlarm
    return found
