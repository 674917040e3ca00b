"""The drift report of a version: what it saw and answered in a time, against the profile saved at its training."""

from datetime import datetime
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest
from tensorlet.monitoring.drift import Drift, compare
from tensorlet.monitoring.observations import read, tensors, total
from tensorlet.registry.manifest import Manifest
from tensorlet.registry.store import Store

SOME, MUCH = 0.1, 0.25  # population stability index from which a change is some, and a shift worth a look
MOST_FEATURES = 20  # in the plot
LONGEST = 1.0  # index of the longest bar; the number beside it tells of more


class DriftReport(NamedTuple):
    """`drifts` of inputs and outputs together, the greatest first."""

    model: str
    version: int
    since: str
    until: str
    requests: int
    captured: int
    error_rate: float
    latency_p95_ms: float
    drifts: list[Drift]

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "drifts": [drift._asdict() for drift in self.drifts]}


def drift_report(manifest: Manifest, observed: Store, since: datetime, until: datetime) -> DriftReport:
    """Raises InvalidRequest for a version that was published without a profile."""
    profile = manifest.document.get("profile")
    if not profile:
        raise InvalidRequest(
            f"{manifest.name} has no profile to compare with; the training scripts save one, and so does"
            " `tensorlet publish --profile FILE.npz`"
        )
    seen = total(read(observed, manifest.model, manifest.version, since, until))
    drifts = compare(profile, {**tensors(seen.sample, "inputs"), **tensors(seen.sample, "outputs")})
    return DriftReport(
        manifest.model,
        manifest.version,
        since.isoformat(timespec="seconds"),
        until.isoformat(timespec="seconds"),
        seen.tally.requests,
        len(seen.sample),
        seen.tally.error_rate,
        seen.tally.latency_ms(0.95),
        drifts,
    )


def plot(report: DriftReport) -> str:
    """The features that moved most as an SVG: a bar each, with the two lines of common practice."""
    from xml.sax.saxutils import escape

    drifts = report.drifts[:MOST_FEATURES]
    left, width, row = 180, 440, 24
    height = 76 + row * max(1, len(drifts))
    lengths = [max(1.0, width * min(drift.psi, LONGEST) / LONGEST) for drift in drifts]
    lines = [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="48" y2="{height - 20}" class="limit"/>'
        f'<text x="{x:.1f}" y="{height - 6}" class="axis">{at:g}</text>'
        for at in (SOME, MUCH, LONGEST)
        for x in [left + width * at / LONGEST]
    ]
    bars = [
        f'<text x="{left - 8}" y="{52 + row * index + 15}" class="name">{escape(drift.feature[:26])}</text>'
        f'<rect x="{left}" y="{52 + row * index + 3}" width="{length:.1f}" height="16" rx="3"'
        f' class="{level(drift)}"/>'
        f'<text x="{left + length + 6:.1f}" y="{52 + row * index + 15}">{drift.psi:.3f}</text>'
        for index, (drift, length) in enumerate(zip(drifts, lengths, strict=True))
    ]
    title = escape(f"{report.model}/{report.version}: drift of {report.captured} captured requests")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 80}" height="{height}" role="img">'
        f"<title>{title}</title><style>{_STYLE}</style>"
        f'<rect width="100%" height="100%" class="page"/><text x="16" y="26" class="title">{title}</text>'
        f'<text x="16" y="43" class="axis start">{escape(report.since)} to {escape(report.until)}; population'
        f" stability index, {SOME} is some and {MUCH} a shift</text>{''.join(lines)}{''.join(bars)}</svg>"
    )


def level(drift: Drift) -> str:
    """What common practice calls a population stability index; none where chance explains it."""
    return "much" if drift.excess >= MUCH else "some" if drift.excess >= SOME else "none"


_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2933}.page{fill:#fff}.title{font-size:15px;font-weight:600}"
    ".name{text-anchor:end}.axis{fill:#6b7680;font-size:11px;text-anchor:middle}.start{text-anchor:start}"
    ".limit{stroke:#9aa5b1;stroke-dasharray:3 3}.none{fill:#4c9f70}.some{fill:#e0a100}.much{fill:#d64545}"
)
