"""Batch throughput: files of rows in, files of predictions out, beside a hand-written script and the model alone.

mlp, rows of 784 values, one core, files in the page cache; the model is loaded before the clock starts. `model`
runs the rows of the NPY file from memory, so it is what no job can be faster than.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import models
from benchmarks.environments import CACHE, HERE
from benchmarks.measure import Figures, Line, alternate, compare, say, write

ROWS = {"csv": 20_000, "jsonl": 20_000, "npy": 100_000}
WIDE, NARROW = 784, 8
LARGE_BYTES = 1 << 30
FOLDER = CACHE / "batch"
REFERENCES = HERE / "references"


def main(rounds: int = 7) -> None:
    models.make_models()
    _make_files()
    lines: list[Line] = []
    for format in ROWS:
        runs = alternate(_variants(format), rounds)
        _assert_same_answers(format)
        for name, line in compare(runs, "script").items():
            lines.append({"format": format, "variant": name, **line})
            speed, ratio = line["rows_s"]["median"], line["ratio"]["rows_s"]["median"]
            say(f"{format:6} {name:10} {speed:>9.0f} rows/s, {ratio:.2f}x the script")
    for name, source in (("1 GiB of CSV", _large_csv()), ("10 M rows of 8 columns", _narrow_csv())):
        figures = _run(
            "batch_run_file.py", models.REGISTRY.as_uri(), _model(source), source, FOLDER / "large.out"
        )
        lines.append({"file": name, "bytes": source.stat().st_size, **figures})
        say(f"{name}: {figures['rows_s']:.0f} rows/s, peak {figures['rss_mb']:.0f} MB")
    write("batch", {"about": "batch files, mlp 784-128-10", "rounds": rounds}, lines)


def _variants(format: str) -> dict[str, Callable[[], Figures]]:
    source = FOLDER / f"rows.{format}"
    model, registry = str(models.FOLDER / "mlp.onnx"), models.REGISTRY.as_uri()
    variants: dict[str, Callable[[], Figures]] = {
        "script": lambda: _run("batch_script.py", format, model, source, FOLDER / f"script.{format}.out"),
        "tensorlet": lambda: _run(
            "batch_run_file.py", registry, "mlp", source, FOLDER / f"tensorlet.{format}.out"
        ),
    }
    if format == "npy":
        variants["model"] = lambda: _run("batch_script.py", "model", model, source, os.devnull)
    return variants


def _run(script: str, config: object, model: object, source: Path, target: object) -> Figures:
    """One process, one thread."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(REFERENCES / script), *map(str, (config, model, source, target))]
    figures: Figures = json.loads(
        subprocess.run(command, env=environ, check=True, capture_output=True).stdout
    )
    rows, seconds, cpu_s = figures["rows"], figures["seconds"], figures["cpu_s"]
    mb_s = source.stat().st_size / seconds / 1e6
    return {
        "rows_s": rows / seconds,
        "mb_s": mb_s,
        "cpu_us_row": cpu_s / rows * 1e6,
        "rss_mb": figures["rss_mb"],
    }


def _make_files() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = models.images(1000)
    if not (FOLDER / "rows.npy").exists():
        lines = [",".join(f"{value:.6g}" for value in row) for row in rows.tolist()]
        _write_lines("rows.csv", lines, ROWS["csv"] // len(lines))
        _write_lines("rows.jsonl", [f"[{line}]" for line in lines], ROWS["jsonl"] // len(lines))
        np.save(FOLDER / "rows.npy", np.tile(rows, (ROWS["npy"] // len(rows), 1)))


def _large_csv() -> Path:
    path = FOLDER / "large.csv"
    if not path.exists():
        lines = (FOLDER / "rows.csv").read_text().splitlines()
        _write_lines(path.name, lines, LARGE_BYTES // (FOLDER / "rows.csv").stat().st_size + 1)
    return path


def _narrow_csv() -> Path:
    path = FOLDER / "narrow.csv"
    if not path.exists():
        rows = np.random.default_rng(7).random((100_000, NARROW)).tolist()
        _write_lines(path.name, [",".join(f"{value:.6g}" for value in row) for row in rows], 100)
    return path


def _model(source: Path) -> str:
    """mlp, or for narrow rows a linear model that is published for them."""
    if source.name != "narrow.csv":
        return "mlp"
    if not (models.REGISTRY / "narrow").exists():
        from tensorlet.registry.store import open_store

        from tests.models import linear, publish_onnx

        publish_onnx(open_store(models.REGISTRY.as_uri()), "narrow", linear(NARROW, 2))
    return "narrow"


def _write_lines(name: str, lines: list[str], times: int) -> None:
    text = "\n".join(lines) + "\n"
    with (FOLDER / f"{name}.part").open("w") as file:
        for _ in range(times):
            file.write(text)
    (FOLDER / f"{name}.part").rename(FOLDER / name)


def _assert_same_answers(format: str) -> None:
    """The script's answers to within rounding: it predicts in groups of other sizes."""
    found = [_load(FOLDER / f"{name}.{format}.out", format) for name in ("script", "tensorlet")]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def _load(path: Path, format: str) -> np.ndarray:
    if format == "npy":
        return np.load(path)  # type: ignore[no-any-return]
    text = path.read_text().replace("[", "").replace("]", "")
    return np.array([line.split(",") for line in text.splitlines()], np.float32)


if __name__ == "__main__":
    main()
