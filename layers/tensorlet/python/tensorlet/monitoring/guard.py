"""The guard of a release: takes a new version back when it does worse than its limits allow.

An alias that versions share is a release under way: the one that had all requests before is the incumbent, the others
are challengers, whatever their weights. The guard reads what they did since the release began, the newest of it where
that is much, and when a limit is broken, rolls the alias back by compare-and-swap to what it was without that
challenger, with the reason in its history. It never moves an alias forward.

A limit is broken when it is exceeded by more than chance explains: by three standard deviations of the difference
between two samples of these sizes. So a release is not taken back for one slow request out of twenty.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from tensorlet.errors import ArtifactRefused, Conflict, InvalidRequest
from tensorlet.monitoring.limits import Limits
from tensorlet.monitoring.observations import Observation, Seen, Tally, newest, read, tensors, total
from tensorlet.registry.attestation import Signer
from tensorlet.registry.registry import Aliases, Registry
from tensorlet.registry.rollout import Weights, settled
from tensorlet.registry.store import Store
from tensorlet.registry.writer import TIME, roll_back

if TYPE_CHECKING:
    from tensorlet.monitoring.drift import Drift


CALLERS_FAULT = {"InvalidJson", "InvalidTensor"}  # errors of a body that no version could have understood
MOST_FILES = 2_000  # of each version: a release of a busy day has more than can be read in five minutes
QUANTILE = 0.95  # of the milliseconds in the runtime


class Verdict(NamedTuple):
    """What the guard found of one challenger: `reason` is the limit it broke, "" for none.

    `rolled_back` is false as well where the aliases are signed, and the guard has no key, or somebody else moved them.
    """

    model: str
    alias: str
    challenger: int
    requests: int
    reason: str
    rolled_back: bool


def watch(
    registry: Registry,
    model: str,
    writable: Store,
    observed: Store,
    until: datetime | None = None,
    signer: Signer | None = None,
) -> list[Verdict]:
    """Look at every release of `model` under way, and take back those that break their limits.

    Signed aliases need a `signer` whose key signed them.
    """
    now = until or datetime.now(UTC)
    aliases = registry.aliases(model)
    return [
        verdict
        for alias in aliases.weights
        for verdict in _look(writable, observed, model, alias, aliases, now, signer)
    ]


def _look(
    writable: Store,
    observed: Store,
    model: str,
    alias: str,
    aliases: Aliases,
    now: datetime,
    signer: Signer | None,
) -> list[Verdict]:
    """The verdicts on the challengers of one alias, after what they say has been done."""
    weights = aliases.weights[alias]
    if len(weights) < 2:
        return []
    incumbent = settled(aliases.history, alias)
    if str(incumbent) not in weights:  # a history that began with a share
        incumbent = aliases.version(alias)
    assert incumbent is not None
    limits = Limits.from_json(aliases.settings.get(alias, {}).get("limits", {}))
    since = _began(aliases, alias)
    since = max(newest(observed, model, int(version), since, now, MOST_FILES) for version in weights)
    old = total(read(observed, model, incumbent, since, now))
    verdicts = []
    for challenger in sorted(int(version) for version in weights if int(version) != incumbent):
        new = total(read(observed, model, challenger, since, now))
        reason = broken(limits, old, new)
        done = bool(reason) and _take_back(writable, model, alias, weights, challenger, reason, signer)
        verdicts.append(Verdict(model, alias, challenger, new.tally.requests, reason, done))
        if reason:
            break
    return verdicts


def _take_back(
    store: Store,
    model: str,
    alias: str,
    judged: Weights,
    challenger: int,
    reason: str,
    signer: Signer | None,
) -> bool:
    """Whether the alias was rolled back from what was judged."""
    try:
        why = f"guard: version {challenger}: {reason}"
        roll_back(store, model, alias, why, judged, signer, without=challenger)
        return True
    except (Conflict, InvalidRequest):
        return False


def broken(limits: Limits, old: Seen, new: Seen) -> str:
    """The limit that the challenger `new` breaks against the incumbent `old`, as a sentence; "" for none."""
    if new.tally.requests < limits.min_requests:
        return ""
    return (
        _fails_more(limits, old.tally, new.tally)
        or _slower(limits, old.tally, new.tally)
        or _moved(limits, old, new)
    )


def _fails_more(limits: Limits, old: Tally, new: Tally) -> str:
    (old_failed, old_asked), (failed, asked) = _failures(old), _failures(new)
    old_rate = old_failed / max(1, old_asked)
    if not _exceeds(failed, asked, old_rate + limits.error_rate, old_asked):
        return ""
    return (
        f"{failed / asked:.1%} of {asked} requests failed, {old_rate:.1%} of the incumbent's; the limit is"
        f" {limits.error_rate:.1%} more"
    )


def _failures(tally: Tally) -> tuple[int, int]:
    """How many requests failed, and how many there were, without those that no version could have answered."""
    callers = sum(count for name, count in tally.errors.items() if name in CALLERS_FAULT)
    return sum(tally.errors.values()) - callers, tally.requests - callers


def _slower(limits: Limits, old: Tally, new: Tally) -> str:
    """Were it as fast as it may be, one of twenty requests would take longer than the limit."""
    old_ms, ratio = old.latency_ms(QUANTILE), limits.latency_ratio
    slow = new.slower_than(old_ms * ratio)
    if not old_ms or not _exceeds(slow, sum(new.latency), 1 - QUANTILE, sum(old.latency)):
        return ""
    new_ms = new.latency_ms(QUANTILE)
    return (
        f"95 % answer within {new_ms:g} ms, the incumbent's within {old_ms:g}; the limit is {ratio:g} times"
    )


def _moved(limits: Limits, old: Seen, new: Seen) -> str:
    moved = prediction_drift(old.sample, new.sample)
    if not moved or moved.excess <= limits.drift:
        return ""
    return f"predictions moved: PSI of {moved.feature} is {moved.psi:.2f}; the limit is {limits.drift:g}"


def _exceeds(count: int, total: int, share: float, others: int) -> bool:
    """Whether `count` of `total` is more than `share`, which was seen among `others`, by more than chance."""
    if not total:
        return False
    share = min(1.0, share)
    deviation = sqrt(share * (1 - share) * (1 / total + 1 / max(1, others)))
    return count / total > share + 3 * deviation


def prediction_drift(old: Sequence[Observation], new: Sequence[Observation]) -> "Drift | None":
    """The output that moved most between two samples; None where there is nothing to compare."""
    from tensorlet.monitoring.drift import compare, profile  # NumPy, where there is a sample to compare

    before, after = tensors(old, "outputs"), tensors(new, "outputs")
    drifts = compare(profile(before), after) if before and after else []
    return drifts[0] if drifts else None


def _began(aliases: Aliases, alias: str) -> datetime:
    """When the alias became what it is now: observations from before tell of another release."""
    times = [
        change.get("time")
        for change in aliases.history
        if change.get("alias") == alias and "settings" not in change
    ]
    if not times:
        return datetime.fromtimestamp(0, UTC)
    try:
        return datetime.strptime(str(times[-1]), TIME).replace(tzinfo=UTC)
    except ValueError:
        raise ArtifactRefused(f"history of {alias!r}: expected a time, got {str(times[-1])[:80]!r}") from None
