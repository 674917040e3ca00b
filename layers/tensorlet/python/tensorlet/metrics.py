"""Metrics of the predict function in CloudWatch's embedded metric format (EMF): a line now and then, none a request.

A line says what one process has counted since its last one, for each artifact that answered and each alias that was
asked for. The sums are exact; an average is a sum of milliseconds divided by the sum of requests. What a process has
counted when Lambda ends it is lost, at most one interval's worth.

Source: Amazon CloudWatch user guide, "Specification: Embedded metric format".
"""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tensorlet.serving.service import Counts, ModelService
from tensorlet.serving.statistics import Statistics
from tensorlet.telemetry import NAMESPACE

UNITS = {"Decode": "Milliseconds", "Infer": "Milliseconds", "Encode": "Milliseconds"}  # all others count
Line = dict[str, Any]


class Metrics:
    """What a service has counted, as lines that each tell of the time since the last ones."""

    def __init__(self, service: ModelService):
        self._service = service
        self._told: dict[tuple[str, ...], dict[str, float]] = {}

    def lines(self) -> list[str]:
        """A line for each thing that has been busy since this was last asked."""
        found = []
        for dimensions, totals, properties in self._totals(self._service.counts()):
            key = tuple(dimensions.values())
            before = self._told.get(key, {})
            metrics = {name: value - before.get(name, 0) for name, value in totals.items()}
            self._told[key] = totals
            if any(metrics.values()):
                found.append(_line(dimensions, metrics, properties))
        return found

    def _totals(self, counts: Counts) -> Iterator[tuple[dict[str, str], dict[str, float], Line]]:
        for (model, version, file), counted in counts.statistics.items():
            dimensions = {"model": model, "version": str(version), "artifact": file}
            yield dimensions, _of(counted), {"errors": dict(counted.errors)} if counted.errors else {}
        for (model, alias), requests in counts.selected.items():
            yield {"model": model, "alias": alias}, {"Requests": requests}, {}
        yield {"service": "predict"}, {"ModelLoads": counts.loads, "ModelEvictions": counts.evictions}, {}


def _of(counted: Statistics) -> dict[str, float]:
    return {
        "Requests": counted.executions + counted.failures,
        "Errors": counted.failures,
        "Rows": counted.rows,
        "Decode": counted.input_ns / 1e6,
        "Infer": counted.infer_ns / 1e6,
        "Encode": counted.output_ns / 1e6,
    }


def _line(dimensions: Mapping[str, str], metrics: Mapping[str, float], properties: Line) -> str:
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": UNITS.get(name, "Count")} for name in metrics],
    }
    stamp = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
    values = {name: round(value, 3) for name, value in metrics.items()}
    return json.dumps({"_aws": stamp, **dimensions, **values, **properties})
