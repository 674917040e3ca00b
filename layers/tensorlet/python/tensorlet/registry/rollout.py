"""Releases by degrees: an alias that points at several versions, who gets which, and the way back.

All functions are pure; `writer` stores what they give by compare-and-swap.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from tensorlet.errors import InvalidRequest

Change = Mapping[str, Any]  # an entry of the history of aliases.json
Weights = Mapping[str, float]  # version -> share of the requests; all together 1
PLACES = 6  # of a weight, so that shares of shares stay readable


def picker(weights: Weights) -> Callable[[str], int]:
    """The version for a caller: the same one for the same key, any by chance for "".

    Each version has a part of [0, 1) as long as its weight, in the order of the versions. So while the weight of a
    newer one grows, whoever has it keeps it.
    """
    versions = sorted(map(int, weights))
    ends = list(accumulate(weights[str(version)] for version in versions))

    def pick(key: str) -> int:
        point = (place(key) if key else int.from_bytes(os.urandom(6)) / (1 << 48)) * ends[-1]
        return versions[min(bisect_right(ends, point), len(versions) - 1)]

    return pick


def place(key: str) -> float:
    """Where in [0, 1) a key lies: its SHA-256, so that every process and every release says the same."""
    from hashlib import sha256

    return int.from_bytes(sha256(key.encode("utf-8", "surrogatepass")).digest()[:6]) / (1 << 48)


def with_weight(weights: Weights, version: int, weight: float) -> dict[str, float]:
    """`weights` with `weight` for `version`; the others share the rest in their old proportions.

    Raises:
        InvalidRequest: a weight outside 0 to 1, or nobody left to take the rest.
    """
    if not 0 <= weight <= 1:
        raise InvalidRequest(f"weight: expected a number from 0 to 1, got {weight}")
    others = {other: share for other, share in weights.items() if other != str(version)}
    if weight < 1 and not others:
        raise InvalidRequest(f"weight: expected 1 while no other version shares the requests, got {weight}")
    total = sum(others.values())
    rest = {other: round(share * (1 - weight) / total, PLACES) for other, share in others.items()}
    changed = {**rest, str(version): round(weight, PLACES)}
    return {name: share for name, share in changed.items() if share}


def earlier(history: Sequence[Change], alias: str, without: int | None = None) -> Change:
    """The change that made what `alias` was before its last one; what was rolled back counts as never done.

    With a version to be `without`, the last change before which gave it no requests.

    Raises:
        InvalidRequest: the alias has had one target only.
    """
    for change in reversed(_states(history, alias)[:-1]):
        if without is None or str(without) not in change["to"]:
            return change
    raise InvalidRequest(f"alias {alias!r}: there is nothing earlier to roll back to")


def settled(history: Sequence[Change], alias: str) -> int | None:
    """The version that had all requests for `alias` before others got a share of them."""
    for change in reversed(_states(history, alias)):
        if len(change["to"]) == 1:
            return int(next(iter(change["to"])))
    return None


def _states(history: Sequence[Change], alias: str) -> list[Change]:
    """The changes that made what `alias` was, one after the other, each unlike the one before."""
    made: list[Change] = []
    for change in history:
        if change.get("alias") != alias or "settings" in change:
            continue
        if change.get("rollback"):
            while made and not _alike(made[-1], change):
                made.pop()
        if not made or not _alike(made[-1], change):
            made.append(change)
    return made


def _alike(one: Change, other: Change) -> bool:
    return all(one.get(member) == other.get(member) for member in ("to", "precision"))


def describe(weights: Weights) -> str:
    """`7`, or `7 90% + 8 10%` while versions share the requests."""
    if len(weights) == 1:
        return next(iter(weights))
    return " + ".join(f"{version} {weight:.4g}%" for version, weight in _percent(weights))


def _percent(weights: Weights) -> list[tuple[str, float]]:
    return [
        (version, weight * 100) for version, weight in sorted(weights.items(), key=lambda item: int(item[0]))
    ]
