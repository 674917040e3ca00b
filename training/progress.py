"""What the training scripts say while they work and when they are done.

Progress goes to standard error, and only to a terminal; the report goes to standard output.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm


def progress_bar(epoch: int, epochs: int, steps: int) -> "tqdm[Any]":
    """A bar for one epoch (counted from 0); silent in a pipe."""
    width = len(str(epochs))
    return tqdm(
        total=steps,
        desc=f"epoch {epoch + 1:{width}}/{epochs}",
        bar_format="{desc} {bar:24} {n_fmt}/{total_fmt} [{elapsed}]{postfix}",
        ascii=" ▏▎▍▌▋▊▉█",
        disable=not sys.stderr.isatty(),
    )


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def report_training(curve: Sequence[Mapping[str, float]]) -> None:
    """The training curve as a table; the kept epoch, the one of the lowest validation loss, is marked."""
    lowest = min((row["validation_loss"] for row in curve), default=0.0)
    say("", "  epoch   training loss   validation loss   accuracy")
    for epoch, row in enumerate(curve, 1):
        mark = "  <- kept" if row["validation_loss"] == lowest else ""
        say(
            f"  {epoch:5}   {row['training_loss']:13.4f}   {row['validation_loss']:15.4f}"
            f"   {row['validation_accuracy']:8.4f}{mark}"
        )


def report_evaluation(validation: Mapping[str, Any], test: Mapping[str, Any]) -> None:
    say("", "  part         rows    accuracy   loss")
    for part, metrics in (("validation", validation), ("test", test)):
        say(f"  {part:10}  {metrics['rows']:5}    {metrics['accuracy']:.4f}     {metrics['loss']:.4f}")
