"""How good a classifier is: accuracy, the same for each class, and which classes it confuses."""

from typing import Any

import numpy as np
import numpy.typing as npt


def evaluate(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Metrics of `probabilities` (N, classes) against `labels` (N,), ready for JSON.

    `confusion[i][j]` counts rows of class i answered with class j. A class without rows has recall null,
    one that was never answered has precision null.
    """
    classes = probabilities.shape[1]
    answers = probabilities.argmax(axis=1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    right = confusion.diagonal()
    return {
        "accuracy": float(right.sum() / len(labels)),
        "loss": float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean()),
        "rows": len(labels),
        "per_class": [
            {
                "precision": _share(right[i], confusion[:, i].sum()),
                "recall": _share(right[i], confusion[i].sum()),
                "rows": int(confusion[i].sum()),
            }
            for i in range(classes)
        ],
        "confusion": confusion.tolist(),
        "calibration": calibration(probabilities, labels),
    }


def calibration(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], bins: int = 10
) -> list[dict[str, float]]:
    """How sure the answers are and how often they are right, for rows of like confidence; empty bins are left out."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[number == i].mean()),
            "accuracy": float(right[number == i].mean()),
            "rows": int((number == i).sum()),
        }
        for i in range(bins)
        if (number == i).any()
    ]


def curve_point(training_loss: float, validation: dict[str, Any]) -> dict[str, float]:
    """One epoch of the training curve."""
    return {
        "training_loss": training_loss,
        "validation_loss": validation["loss"],
        "validation_accuracy": validation["accuracy"],
    }


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
