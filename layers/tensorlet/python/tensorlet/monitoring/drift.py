"""Drift: how far the values a model sees, and those it answers, have moved from those of its training.

A profile is a histogram for each element of a row, or one for all of them where a row has many (an image). Two are
compared by the population stability index (PSI) and the Kolmogorov-Smirnov distance. Common practice reads a PSI
below 0.1 as no change, below 0.25 as some, and above as a shift worth a look, if it is more than small samples give
by chance.

Sources: Siddiqi, "Credit Risk Scorecards" (PSI); Yurdakul 2018, "Statistical Properties of Population Stability
Index" (its distribution); Massey 1951, "The Kolmogorov-Smirnov Test for Goodness of Fit".
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

BINS = 10  # of equal shares at training
MOST_ELEMENTS = 64  # a row of more is profiled as one
HALF = 0.5  # a value added to each bin: an empty one has no logarithm

Profile = dict[str, Any]


class Drift(NamedTuple):
    """The distance between two histograms of one value; by chance alone `psi` is hardly ever above `chance`."""

    feature: str
    psi: float
    ks: float
    values: int  # compared
    chance: float

    @property
    def excess(self) -> float:
        """The part of the index that chance does not explain."""
        return max(0.0, self.psi - self.chance)


def profile(tensors: Mapping[str, "np.ndarray[Any, Any]"]) -> Profile:
    """Histograms of tensors of shape (rows, ...): `{feature: {"edges": [...], "shares": [...], "values": n}}`.

    `shares` has one more member than `edges`: bin i holds what is above edge i-1 and not above edge i. Values that
    are no numbers are left out: text has no order.
    """
    return {
        feature: _histogram(values)
        for name, array in tensors.items()
        for feature, values in columns(name, array)
    }


def columns(name: str, array: "np.ndarray[Any, Any]") -> Iterable[tuple[str, "np.ndarray[Any, Any]"]]:
    """The values of a tensor by feature: `name`, or `name[i]` where a row has several elements."""
    if array.dtype.kind not in "biuf" or not array.size:
        return
    rows = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    if rows.shape[1] == 1 or rows.shape[1] > MOST_ELEMENTS:
        yield name, rows.ravel()
        return
    for index in range(rows.shape[1]):
        yield f"{name}[{index}]", rows[:, index]


def compare(expected: Profile, tensors: Mapping[str, "np.ndarray[Any, Any]"]) -> list[Drift]:
    """The drift of every feature that a profile knows and `tensors` have, the greatest PSI first."""
    found = []
    for name, array in tensors.items():
        for feature, values in columns(name, array):
            if feature in expected:
                found.append(_distance(feature, expected[feature], values))
    return sorted(found, key=lambda drift: (-drift.excess, -drift.psi))


def _histogram(values: "np.ndarray[Any, Any]") -> dict[str, Any]:
    finite = values[np.isfinite(values)].astype(np.float64)
    edges = np.unique(np.quantile(finite, np.arange(1, BINS) / BINS)) if len(finite) else np.empty(0)
    return {"edges": edges.tolist(), "shares": _shares(values, edges.tolist()), "values": len(values)}


def _shares(values: "np.ndarray[Any, Any]", edges: Sequence[float]) -> list[float]:
    """What part of `values` lies in each bin; NaN counts as above all."""
    counts = np.bincount(np.searchsorted(edges, values.astype(np.float64)), minlength=len(edges) + 1)
    return [float(share) for share in counts / max(1, len(values))]


def _distance(feature: str, known: Mapping[str, Any], values: "np.ndarray[Any, Any]") -> Drift:
    expected, found = known["shares"], _shares(values, known["edges"])
    old, new = _smoothed(expected, known["values"]), _smoothed(found, len(values))
    psi = float(np.sum((new - old) * np.log(new / old)))
    ks = float(np.max(np.abs(np.cumsum(expected) - np.cumsum(found))))
    # Between samples of one distribution the index is (1/n + 1/m) times a chi-squared of bins - 1: mean + 3 deviations.
    freedom = len(expected) - 1
    chance = (freedom + 3 * (2 * freedom) ** 0.5) * (1 / max(1, known["values"]) + 1 / max(1, len(values)))
    return Drift(feature, psi, ks, len(values), float(chance))


def _smoothed(shares: Sequence[float], values: int) -> "np.ndarray[Any, Any]":
    return (np.asarray(shares) * values + HALF) / (values + HALF * len(shares))
