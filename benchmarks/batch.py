"""Batch throughput: files of rows in, files of predictions out, beside a script by hand and the usual ways.

mlp, rows of 784 values, one thread, files in the page cache; the model is loaded before the clock starts. The script
streams as fast as Python can and believes whatever it reads; `model alone` runs as many rows from memory, so it is
what no job can be faster than.
"""

import json
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import models
from benchmarks.environments import CACHE, HERE, environment, packages, python_version
from benchmarks.measure import Figures, Line, Skipped, alternate, compare, write

FOLDER = CACHE / "batch"
REFERENCES = HERE / "references"
OURS, REFERENCE, MODEL = "Tensorlet", "script by hand", "model alone"
ROWS = {"csv": 20_000, "jsonl": 20_000, "npy": 100_000}
FEW_ROWS = 4_000  # for the ways that are ten times slower; rows a second do not depend on it
DISTINCT_ROWS = 1_000


class Way(NamedTuple):
    """`python SCRIPT CONFIG MODEL INPUT OUTPUT` in an environment."""

    script: str
    config: str
    environment: str = "batch"
    few: bool = False


WAYS = {
    "csv": {
        OURS: Way("batch_ours.py", models.REGISTRY.as_uri()),
        REFERENCE: Way("batch_script.py", "csv"),
        "polars, whole file": Way("batch_usual.py", "polars_frame", "dataframes"),
        "pyarrow, streamed": Way("batch_usual.py", "pyarrow_stream", "dataframes"),
        "numpy.loadtxt": Way("batch_usual.py", "numpy_text", few=True),
        "csv module, row by row": Way("batch_usual.py", "row_by_row", few=True),
    },
    "jsonl": {
        OURS: Way("batch_ours.py", models.REGISTRY.as_uri()),
        REFERENCE: Way("batch_script.py", "jsonl"),
        "json module, row by row": Way("batch_usual.py", "json_lines", few=True),
    },
    "npy": {
        OURS: Way("batch_ours.py", models.REGISTRY.as_uri()),
        REFERENCE: Way("batch_script.py", "npy"),
        MODEL: Way("batch_script.py", "model"),
    },
}


def main(rounds: int) -> None:
    """Measure, and write results/batch.jsonl: one line for each format and way."""
    models.make_models()
    make_files()
    lines: list[Line] = []
    for format, ways in WAYS.items():
        variants = {name: partial(one_job, format, name, way) for name, way in ways.items()}
        for name, line in compare(alternate(variants, rounds), REFERENCE).items():
            sizes = {
                "rows": FEW_ROWS if ways[name].few else ROWS[format],
                "input_bytes": source(format, ways[name]).stat().st_size,
                "output_bytes": target(format, name).stat().st_size if name != MODEL else 0,
            }
            lines.append({"format": format, "name": name, **sizes, **line})
    bin_folder = environment("batch")
    header = {"python": python_version(bin_folder), "packages": packages(bin_folder), "rounds": rounds}
    write("batch", header, lines)


def one_job(format: str, name: str, way: Way) -> Figures:
    """One process. Raises Skipped where it fails, or answers wrongly."""
    model = "mlp" if name == OURS else str(models.FOLDER / "mlp.onnx")
    input, output = source(format, way), target(format, name)
    found = run(way, model, input, output)
    if name != MODEL:
        check(format, output)
    return found


def run(way: Way, model: str, source: Path, target: Path) -> Figures:
    """The figures of one job in a process of its own, with one thread. Raises Skipped with its last words."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
    command = [
        environment(way.environment) / "python",
        REFERENCES / way.script,
        way.config,
        model,
        source,
        target,
    ]
    done = subprocess.run(
        list(map(str, command)),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REFERENCES), **dict.fromkeys(threads, "1")},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Skipped(done.stderr.strip().rpartition("\n")[2])
    figures = json.loads(done.stdout)
    rows, seconds = figures["rows"], figures["seconds"]
    return {
        "rows_s": rows / seconds,
        "mb_s": source.stat().st_size / seconds / 1e6,
        "cpu_us_row": figures["cpu_s"] / rows * 1e6,
        "rss_mb": figures["rss_mb"],
    }


def source(format: str, way: Way) -> Path:
    return FOLDER / f"{'few' if way.few else 'rows'}.{format}"


def target(format: str, name: str) -> Path:
    return FOLDER / f"{name.replace(' ', '-')}.out.{format}"


def make_files() -> None:
    """The rows of `models.images`, over and over: six digits a value in text, float32 in NPY."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = models.images(DISTINCT_ROWS)
    lines = [",".join(f"{value:.6g}" for value in row) for row in rows.tolist()]
    for format, texts in (("csv", lines), ("jsonl", [f"[{line}]" for line in lines])):
        write_lines(FOLDER / f"rows.{format}", texts, ROWS[format] // len(texts))
        write_lines(FOLDER / f"few.{format}", texts, FEW_ROWS // len(texts))
    if not (FOLDER / "rows.npy").exists():
        np.save(FOLDER / "rows.part.npy", np.tile(rows, (ROWS["npy"] // len(rows), 1)))
        (FOLDER / "rows.part.npy").rename(FOLDER / "rows.npy")


def write_lines(path: Path, lines: list[str], times: int) -> None:
    """A file that is there already stays."""
    if path.exists():
        return
    text = "\n".join(lines) + "\n"
    part = path.with_suffix(".part")
    with part.open("w") as file:
        for _ in range(times):
            file.write(text)
    part.rename(path)


def check(format: str, path: Path) -> None:
    """Raises Skipped for a file whose first rows are not the model's answers."""
    if format == "npy":
        found = np.load(path, mmap_mode="r")[:DISTINCT_ROWS]
    else:
        with path.open() as file:
            lines = [next(file).strip("[]\n") for _ in range(DISTINCT_ROWS)]
        found = np.array([line.split(",") for line in lines], np.float32)
    if not np.allclose(found, models.answers(DISTINCT_ROWS), atol=1e-4):
        raise Skipped(f"wrong answers in {path.name}")
