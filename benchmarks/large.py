"""Memory stays level: files ten times larger than their like, up to 1 GB of wide rows and ten million narrow ones."""

from functools import partial
from pathlib import Path

import numpy as np
from tensorlet.publish import publish

from benchmarks import batch, models
from benchmarks.environments import environment, packages, python_version
from benchmarks.measure import alternate, summary, write

NARROW = 8  # values in a row of the model `narrow`; `mlp` takes 784
FILES = {  # name -> (model, rows)
    "rows of 784, small": ("mlp", 15_000),
    "rows of 784, large": ("mlp", 150_000),
    "rows of 8, small": ("narrow", 1_000_000),
    "rows of 8, large": ("narrow", 10_000_000),
}
DISTINCT_ROWS = {"mlp": 1_000, "narrow": 100_000}


def main(rounds: int) -> None:
    """Measure, and write results/large.jsonl: one line for each file."""
    models.make_models()
    publish_narrow()
    batch.FOLDER.mkdir(parents=True, exist_ok=True)
    files = {name: make_file(model, rows) for name, (model, rows) in FILES.items()}
    ours, out = batch.WAYS["csv"][batch.OURS], batch.FOLDER / "large.out"
    jobs = {name: partial(batch.run, ours, FILES[name][0], path, out) for name, path in files.items()}
    lines = [
        {
            "name": name,
            "rows": FILES[name][1],
            "input_bytes": files[name].stat().st_size,
            **{figure: summary([run[figure] for run in runs]) for figure in runs[0]},
        }
        for name, runs in alternate(jobs, rounds).items()
    ]
    for path in batch.FOLDER.glob("large.*"):
        path.unlink()
    bin_folder = environment("batch")
    header = {"python": python_version(bin_folder), "packages": packages(bin_folder), "rounds": rounds}
    write("large", header, lines)


def publish_narrow() -> None:
    """A model of 8 inputs and 2 outputs, published as `narrow`."""
    path = models.FOLDER / "narrow.onnx"
    if not path.exists():
        models.save_mlp([NARROW, 2], path)
    if not (models.REGISTRY / "narrow").exists():
        publish(path, "narrow", f"file://{models.REGISTRY}", aliases=["live"])


def make_file(model: str, rows: int) -> Path:
    path, distinct = batch.FOLDER / f"{model}-{rows}.csv", DISTINCT_ROWS[model]
    if not path.exists():
        width = NARROW if model == "narrow" else models.row_shape(model)[0]
        values = np.random.default_rng(7).random((distinct, width), np.float32).tolist()
        batch.write_lines(path, [",".join(f"{v:.6g}" for v in row) for row in values], rows // distinct)
    return path
