"""Rounds, medians, ratios, and the JSON lines they are kept in."""

import hashlib
import json
import os
import platform
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

RESULTS = Path(__file__).parent / "results"
CHECKOUT = Path(__file__).parents[1]
MEASURED = ("layers/tensorlet/python/tensorlet", "layers/runtime", "functions/predict", "benchmarks")

Figures = dict[str, float]  # of one run: name -> value, its unit in the name
Line = dict[str, Any]
Name = TypeVar("Name")


class Skipped(Exception):
    """A variant that cannot be measured here; the message says why."""


def alternate(variants: Mapping[Name, Callable[[], Figures]], rounds: int) -> dict[Name, list[Figures]]:
    """Run every variant once in each round, in shuffled order. One uncounted round warms the page cache.

    A variant that raises Skipped is left out from there, with its message.
    """
    order = list(variants)
    runs: dict[Name, list[Figures]] = {name: [] for name in variants}
    shuffle = random.Random(0).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        for name in list(order):
            progress(f"round {number} of {rounds}: {name}")
            try:
                figures = variants[name]()
            except Skipped as reason:
                say(f"skipped: {name}: {reason}")
                order.remove(name)
                del runs[name]
                continue
            if number:
                runs[name].append(figures)
    progress("")
    return runs


def summary(values: Sequence[float], digits: int = 3) -> Line:
    """Median, minimum and the middle half of `values`."""
    quarters = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    found = {"median": median(values), "min": min(values), "p25": quarters[0], "p75": quarters[2]}
    return {name: round(value, digits) for name, value in found.items()} | {"n": len(values)}


def compare(runs: Mapping[str, Sequence[Figures]], reference: str) -> dict[str, Line]:
    """For each variant the summary of each figure, and of its ratio to `reference` in the same round.

    Raises:
        Skipped: the reference itself was left out.
    """
    if reference not in runs:
        raise Skipped(f"{reference}, which the others are compared with, could not be measured")
    return {name: compared(own, runs[reference]) for name, own in runs.items()}


def compared(own: Sequence[Figures], reference: Sequence[Figures]) -> Line:
    names = own[0].keys()
    ratios = {
        name: summary([mine[name] / theirs[name] for mine, theirs in zip(own, reference, strict=True)])
        for name in names & reference[0].keys()
        if all(theirs[name] for theirs in reference)
    }
    return {**{name: summary([run[name] for run in own]) for name in names}, "ratio": ratios}


def write(name: str, header: Line, lines: Sequence[Line]) -> None:
    """results/NAME.jsonl: a first line that says how and where, then one line for each variant."""
    about = {"command": f"python -m benchmarks {name} --rounds {header['rounds']}", **machine(), **header}
    text = "".join(json.dumps(line) + "\n" for line in [about, *lines])
    part = RESULTS / f"{name}.jsonl.part"
    part.write_text(text)
    part.replace(RESULTS / f"{name}.jsonl")


def read(name: str) -> tuple[Line, list[Line]]:
    """The header and the lines of results/NAME.jsonl; empty where it was never measured."""
    path = RESULTS / f"{name}.jsonl"
    if not path.exists():
        return {}, []
    header, *lines = (json.loads(line) for line in path.read_text().splitlines())
    return header, lines


def machine() -> Line:
    """When and where: the first words of every result."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpus[0].partition(": ")[2] if cpus else platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": platform.system() + " " + platform.release().partition("-")[0],
        "code": code_digest(),
    }


def code_digest() -> str:
    """What was measured: the first digits of a SHA-256 over the package, the function, the layer and the benchmarks."""
    digest = hashlib.sha256()
    for folder in MEASURED:
        for path in sorted((CHECKOUT / folder).rglob("*")):
            if path.suffix in (".py", ".txt") and "build" not in path.parts:
                digest.update(path.relative_to(CHECKOUT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def progress(text: str) -> None:
    """A line that the next one replaces, on a terminal; nothing in a pipe."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def say(text: str) -> None:
    progress("")
    print(text, file=sys.stderr, flush=True)
