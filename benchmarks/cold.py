"""Cold start: from a fresh process to the first right answer, through AWS's own runtime client.

Every life fetches its model from the stand-in for S3 (Tensorlet: aliases, manifest, artifact and its digest too),
except the one whose model lies in a layer.
"""

import json
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import models, payloads
from benchmarks.environments import HERE, environment, layers, packages, python_version
from benchmarks.lambda_runtime import Function, live
from benchmarks.measure import Figures, Line, Skipped, alternate, compare, write
from benchmarks.storage import storage

WARM_EVENTS = 10
REFERENCE = "tutorial"  # of each group
REFERENCES = HERE / "references"


class Variant(NamedTuple):
    group: str  # variants of a group answer the same question
    name: str
    handler: str
    model: str
    environ: dict[str, str]
    disk_cold: bool = False

    @property
    def is_ours(self) -> bool:
        return self.handler == "app.handler"


S3, LAYER = (
    {"TENSORLET_REGISTRY": "s3://models/registry"},
    {"TENSORLET_REGISTRY": f"file://{models.REGISTRY}"},
)
LITERT = {"ENGINE": "litert"}

VARIANTS = [
    Variant("mlp", "runtime client alone", "empty.handler", "mlp", {}),
    Variant("mlp", "tutorial", "tutorial.handler", "mlp", {}),
    Variant("mlp", "FastAPI + Mangum", "mangum_app.handler", "mlp", {}),
    Variant("mlp", "no framework, boto3", "plain.handler", "mlp", {}),
    Variant("mlp", "tuned by hand", "tuned.handler", "mlp", {"MODEL": "mlp"}),
    Variant("mlp", "Tensorlet", "app.handler", "mlp", S3),
    Variant("mlp", "Tensorlet, model in a layer", "app.handler", "mlp", LAYER),
    Variant("mlp, LiteRT", "tutorial", "tutorial.handler", "mlp", LITERT),
    Variant("mlp, LiteRT", "Tensorlet", "app.handler", "mlp-lite", S3 | {"TENSORLET_RUNTIME": "tflite"}),
    *(
        variant
        for model in ("cnn", "mlp10m", "mlp100m")
        for variant in (
            Variant(model, "tutorial", "tutorial.handler", model, {}),
            Variant(model, "Tensorlet", "app.handler", model, S3),
        )
    ),
    Variant("mlp, disk-cold", "runtime client alone", "empty.handler", "mlp", {}, disk_cold=True),
    Variant("mlp, disk-cold", "tutorial", "tutorial.handler", "mlp", {}, disk_cold=True),
    Variant("mlp, disk-cold", "Tensorlet", "app.handler", "mlp", S3, disk_cold=True),
]


def main(rounds: int) -> None:
    """Measure all variants that run here, in turn, and write results/cold.jsonl."""
    models.make_models()
    bin_folder = environment("function")
    # A deployed function has its .pyc, too.
    subprocess.run([bin_folder / "python", "-m", "compileall", "-q", REFERENCES], check=True)
    with storage(models.FOLDER) as endpoint:
        python = bin_folder / "python"
        runs = alternate(
            {(v.group, v.name): partial(one_life, v, python, endpoint) for v in VARIANTS}, rounds
        )
    lines: list[Line] = []
    for group in dict.fromkeys(group for group, _ in runs):
        summaries = compare({name: own for (of, name), own in runs.items() if of == group}, REFERENCE)
        lines += [{"group": group, "name": name, **line} for name, line in summaries.items()]
    header = {"python": python_version(bin_folder), "packages": packages(bin_folder), "rounds": rounds}
    write("cold", header, lines)


def one_life(variant: Variant, python: Path, endpoint: str) -> Figures:
    """Raises Skipped when the function does not start, or does not answer rightly."""
    folders = layers() if variant.is_ours else [REFERENCES]
    if variant.disk_cold:
        for folder in [*folders, python.parents[1] / "lib"]:
            forget(folder)
    environ = variant.environ | {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "POWERTOOLS_SERVICE_NAME": "benchmark",
        "POWERTOOLS_METRICS_NAMESPACE": "benchmark",
        "POWERTOOLS_TRACE_DISABLED": "1",
        # As in template.yaml; only what uses NumPy notices.
        **({"OPENBLAS_NUM_THREADS": "1"} if variant.is_ours else {}),
    }
    model = variant.model
    event = payloads.event(payloads.v2_json(1, model.removesuffix("-lite")), model)
    function = Function(python, variant.handler, folders, environ)
    figures, replies = live(function, [event] * (1 + WARM_EVENTS))
    check(variant, replies[0])
    return figures


def check(variant: Variant, reply: dict[str, Any]) -> None:
    """Raises Skipped for a reply that is not the model's answer."""
    if reply["statusCode"] != 200:
        raise Skipped(f"{variant.handler}: {json.dumps(reply)[:500]}")
    if variant.model == "mlp" and variant.handler != "empty.handler":
        answer = payloads.values(reply["body"].encode(), None)
        if not np.allclose(answer, models.answers(1).ravel(), atol=1e-4):
            raise Skipped(f"{variant.handler}: a wrong answer: {reply['body'][:500]}")


def forget(folder: Path) -> None:
    """Drop a folder's files from the page cache, as in an environment that has never read them."""
    for root, _, names in os.walk(folder):
        for name in names:
            file = os.open(f"{root}/{name}", os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
