"""Magnitude pruning: the weights nearest to zero are set to it for good, and the others learn to do without them.

Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks" (2015).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]

FINE_TUNING = 0.5  # of the epochs, at half the learning rate, to recover what pruning has cost


def masks(weights: Sequence[Weights], share: float) -> list[Weights]:
    """1 for each weight to keep and 0 for the `share` of all that is smallest, over all layers together."""
    magnitudes = np.concatenate([np.abs(array).ravel() for array in weights])
    count = round(share * magnitudes.size)
    threshold = np.partition(magnitudes, count - 1)[count - 1] if count else -1.0
    return [(np.abs(array) > threshold).astype(np.float32) for array in weights]


def sparsity(weights: Sequence[Weights]) -> float:
    """The share of zeros."""
    return float(sum((array == 0).sum() for array in weights) / sum(array.size for array in weights))
