"""`tensorlet batch`: predict every row of one file, without a queue."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from shutil import get_terminal_size
from time import monotonic
from typing import TYPE_CHECKING

from tensorlet.cli.arguments import BATCH_OPTIONS
from tensorlet.cli.registries import registry_uri
from tensorlet.cli.text import status_line, style
from tensorlet.errors import InvalidRequest, ObjectNotFound
from tensorlet.settings import Settings

if TYPE_CHECKING:
    from tensorlet.batch import Progress

REDRAW_S = 0.1  # between two updates of the progress line
BAR_COLUMNS = 30


def run(arguments: Namespace) -> int:
    check_input(arguments.file)
    from tensorlet.batch import run_file
    from tensorlet.serving.service import ModelService

    settings = Settings.from_environ({**os.environ, "TENSORLET_REGISTRY": registry_uri(arguments)})
    name, selector = arguments.model
    try:
        report = run_file(
            ModelService.from_settings(settings),
            arguments.file,
            name,
            selector,
            arguments.output,
            ProgressLine() if sys.stderr.isatty() else None,
            chosen_options(arguments),
        )
    finally:
        status_line("")
    if report.reason:
        raise InvalidRequest(f"{arguments.file}: {report.reason}")
    target = arguments.output or f"{arguments.file}.out"
    failed = f", {report.rows_failed:,} failed (see .err.jsonl beside it)" if report.rows_failed else ""
    print(
        f"{report.rows_in:,} rows{failed}, {report.model}/{report.model_version}, {report.seconds:.1f} s → {target}",
        file=sys.stderr,
    )
    return 0


def chosen_options(arguments: Namespace) -> dict[str, str]:
    """The options given as flags, by name."""
    return {name: text for name in BATCH_OPTIONS if (text := getattr(arguments, name)) is not None}


def check_input(file: str) -> None:
    """Raises ObjectNotFound for a local path that is no file."""
    if "://" not in file and not Path(file).is_file():
        raise ObjectNotFound(f"{file}: expected a file or an s3:// URI, and there is none")


class ProgressLine:
    """The line on the terminal that says how far a run has come."""

    def __init__(self) -> None:
        self._started = monotonic()
        self._drawn = 0.0

    def __call__(self, progress: "Progress") -> None:
        now = monotonic()
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            status_line(progress_text(progress, now - self._started, get_terminal_size().columns))


def progress_text(progress: "Progress", elapsed_s: float, columns: int) -> str:
    """A bar, the rows so far, how fast they go, and when the rest will be done at that speed."""
    share = min(1.0, progress.bytes_done / max(1, progress.bytes_total))
    words = [f"{share:4.0%}", f"{progress.rows:,} rows"]
    if progress.rows_failed:
        words.append(f"{progress.rows_failed:,} failed")
    words.append(f"{progress.rows / max(elapsed_s, 1e-3):,.0f} rows/s")
    if share:
        minutes, seconds = divmod(round(elapsed_s * (1 - share) / share), 60)
        words.append(f"{minutes}:{seconds:02} left")
    text = "  ".join(words)
    room = min(BAR_COLUMNS, columns - len(text) - 2)
    done = round(share * room)
    return (
        f"{'━' * done}{style('━' * (room - done), 'dim', stream=sys.stderr)} {text}"
        if room > 4
        else text[:columns]
    )
