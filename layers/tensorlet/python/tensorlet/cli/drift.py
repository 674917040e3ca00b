"""`tensorlet drift`: how far what a version sees and answers has moved from its training."""

import json
from argparse import Namespace
from pathlib import Path

from tensorlet.cli.observations import window_of
from tensorlet.cli.registries import open_registry
from tensorlet.cli.text import table
from tensorlet.monitoring.report import DriftReport, drift_report, level, plot


def run(arguments: Namespace) -> int:
    name, selector = arguments.model
    manifest = open_registry(arguments).resolve(name, selector).manifest
    report = drift_report(manifest, *window_of(arguments))
    if arguments.plot:
        Path(arguments.plot).write_text(plot(report))
    print(json.dumps(report.to_json(), indent=2) if arguments.json else describe(report))
    return 0


def describe(report: DriftReport) -> str:
    """A line about the time, and one for each feature that was compared, the greatest drift first."""
    told = (
        f"{report.model}/{report.version}: {report.requests} requests, {report.captured} captured,"
        f" {report.error_rate:.1%} failed, 95 % within {report.latency_p95_ms:g} ms"
    )
    rows = [
        (drift.feature, f"{drift.psi:.3f}", f"{drift.chance:.3f}", f"{drift.ks:.3f}", level(drift))
        for drift in report.drifts
    ]
    return f"{told}\n{table(('feature', 'psi', 'by chance', 'ks', 'drift'), rows)}" if rows else told
