"""Checkpoints that an interrupt cannot spoil."""

from collections.abc import Callable
from pathlib import Path


def write_whole(save: Callable[[Path], object], path: Path) -> None:
    """Save beside `path`, then rename: an interrupt leaves the file that was there, never half of a new one."""
    beside = path.with_name(f"new-{path.name}")  # the suffix stays: Keras wants its own
    try:
        save(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
