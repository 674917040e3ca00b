"""A warm request inside the function: whole handlers side by side, and ours by its stages.

Runs in the function's environment (`warm_worker.py`), every variant for a short slice in turn.
"""

import json
import os
import subprocess

from benchmarks import models, payloads
from benchmarks.environments import CACHE, HERE, environment, layers, packages, python_version
from benchmarks.measure import compare, write
from benchmarks.storage import storage

REQUESTS = {  # name -> payload
    "1x784 JSON": payloads.v2_json(1),
    "1x784 binary": payloads.v2_binary(1),
    "32x784 JSON": payloads.v2_json(32),
    "256x784 binary": payloads.v2_binary(256),
}
REFERENCE = "bare handler"


def main(rounds: int) -> None:
    """Measure, and write results/warm.jsonl: one line for each handler and request."""
    models.make_models()
    bin_folder = environment("function")
    job = CACHE / "warm.json"
    job.write_text(json.dumps({name: payloads.event(payload) for name, payload in REQUESTS.items()}))
    with storage(models.FOLDER) as endpoint:
        found = subprocess.run(
            [bin_folder / "python", HERE / "warm_worker.py", job, str(rounds)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(map(str, [*layers()[:2], HERE / "references"])),
                "MODELS": str(models.FOLDER),
                "TENSORLET_REGISTRY": "s3://models/registry",
                "AWS_ENDPOINT_URL_S3": endpoint,
                "AWS_ACCESS_KEY_ID": "benchmark",
                "AWS_SECRET_ACCESS_KEY": "benchmark",
                "AWS_REGION": "eu-central-1",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "POWERTOOLS_SERVICE_NAME": "benchmark",
                "POWERTOOLS_METRICS_NAMESPACE": "benchmark",
                "POWERTOOLS_TRACE_DISABLED": "1",
            },
            stdout=subprocess.PIPE,
            check=True,
        )
    lines = []
    for request, runs in json.loads(found.stdout).items():
        for name, line in compare(runs["handlers"], REFERENCE).items():
            about = {"request": request, "name": name, "body_bytes": len(REQUESTS[request].body)}
            lines.append({**about, **line})
        lines.append({"request": request, "name": "Tensorlet by stage", "stages": runs["stages"]})
    header = {"python": python_version(bin_folder), "packages": packages(bin_folder), "rounds": rounds}
    write("warm", header, lines)
