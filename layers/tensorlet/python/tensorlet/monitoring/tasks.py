"""What the monitor does on a schedule. Each task gives plain documents: they are logged, and answered to a caller."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from tensorlet.errors import InvalidSetting, TensorletError
from tensorlet.monitoring.guard import watch
from tensorlet.monitoring.report import drift_report, plot
from tensorlet.monitoring.shadow import run_shadows
from tensorlet.registry.signing import open_signer
from tensorlet.registry.store import Store, open_store
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

Findings = list[dict[str, Any]]


class Monitor(NamedTuple):
    """A registry's models, the store to move their aliases in, where observations are, and the key of the aliases."""

    service: ModelService
    writable: Store
    observed: Store
    signing_key: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Monitor":
        """Raises InvalidSetting where there are no observations."""
        if not settings.capture:
            raise InvalidSetting("TENSORLET_CAPTURE: expected the URI of the observations, got nothing")
        writable = open_store(settings.registry.split(",")[-1].strip())
        service, observed = ModelService.from_settings(settings), open_store(settings.capture)
        return cls(service, writable, observed, settings.signing_key)


def guard(monitor: Monitor, since: datetime, until: datetime) -> Findings:
    """A verdict on every release under way; those that broke a limit have been rolled back."""
    signer = open_signer(monitor.signing_key) if monitor.signing_key else None

    def look(model: str) -> Findings:
        verdicts = watch(monitor.service.registry, model, monitor.writable, monitor.observed, until, signer)
        return [verdict._asdict() for verdict in verdicts]

    return _of_each_model(monitor, look)


def shadow(monitor: Monitor, since: datetime, until: datetime) -> Findings:
    """What the shadows of the aliases answered to what has been captured since they last ran."""

    def look(model: str) -> Findings:
        return [
            {**found._asdict(), "summary": found.summary._asdict()}
            for found in run_shadows(monitor.service, model, monitor.observed, since, until)
        ]

    return _of_each_model(monitor, look)


def drift(monitor: Monitor, since: datetime, until: datetime) -> Findings:
    """Reports of the versions that answer unversioned requests, stored beside the observations with their plots."""

    def look(model: str) -> Findings:
        manifest = monitor.service.release(model).manifest
        report = drift_report(manifest, monitor.observed, since, until)
        folder = f"drift/{model}/{report.version}/{until:%Y-%m-%d}"
        monitor.observed.put(f"{folder}.json", json.dumps(report.to_json(), indent=2).encode())
        monitor.observed.put(f"{folder}.svg", plot(report).encode())
        worst = report.drifts[0]._asdict() if report.drifts else None
        return [{"model": model, "version": report.version, "requests": report.requests, "worst": worst}]

    return _of_each_model(monitor, look)


def _of_each_model(monitor: Monitor, look: Callable[[str], Findings]) -> Findings:
    """What is found of every model; of one that cannot be looked at, why it is `skipped`."""
    findings: Findings = []
    for model in monitor.service.registry.models():
        try:
            findings += look(model)
        except TensorletError as error:
            findings.append({"model": model, "skipped": str(error)})
    return findings


TASKS: dict[str, Callable[[Monitor, datetime, datetime], Findings]] = {
    "guard": guard,
    "shadow": shadow,
    "drift": drift,
}
