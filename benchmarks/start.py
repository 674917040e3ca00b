"""A large model's start alone: from its files to the first answer, each time in a fresh process.

What comes before, imports and the way from storage, is the same for all and not counted.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import models
from benchmarks.environments import environment, layers, packages, python_version
from benchmarks.measure import Figures, Line, alternate, compare, write

# Each defines start() -> an object that answers run(); `model` is the path of the plain file, `fast` of the variant.
USUAL = """
import numpy, onnxruntime
x = numpy.full((1, 784), 0.5, numpy.float32)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
def start():
    session = onnxruntime.InferenceSession(model_bytes, options)
    return lambda: session.run(None, {"input": x})
"""
OURS = """
from array import array
from tensorlet.runtimes import load_session
from tensorlet.runtimes.onnx import load_api
from tensorlet.tensors import Tensor
load_api()
x = {"input": Tensor("FP32", (1, 784), array("f", [0.5]) * 784)}
def start():
    session = load_session("onnx", SOURCE)
    return lambda: session.infer(x)
"""
VARIANTS = {
    "InferenceSession(bytes)": "model_bytes = open(model, 'rb').read()\n" + USUAL,
    "Tensorlet, plain file": "model_bytes = open(model, 'rb').read()\n"
    + OURS.replace("SOURCE", "model_bytes"),
    "Tensorlet, fast start": OURS.replace("SOURCE", "fast, prepack=False"),
}
REFERENCE = "InferenceSession(bytes)"
MEASURE = """
import json, sys, time
model, fast = sys.argv[1:]
RSS = {{"rss_mb": "VmRSS:", "peak_mb": "VmHWM:"}}
{code}
begin = time.perf_counter()
run = start()
run()
start_ms = (time.perf_counter() - begin) * 1e3
status = open("/proc/self/status").read()
rss = {{name: int(status.split(key)[1].split()[0]) / 1024 for name, key in RSS.items()}}
times = []
for _ in range(20):
    begin = time.perf_counter()
    run()
    times.append((time.perf_counter() - begin) * 1e3)
print(json.dumps({{"start_ms": start_ms, **rss, "warm_ms": min(times)}}))
"""


def main(rounds: int) -> None:
    """Measure, and write results/start.jsonl: one line for each model and way."""
    models.make_models()
    bin_folder = environment("function")
    folders = layers()
    lines: list[Line] = []
    for model in ("mlp10m", "mlp100m"):
        fast = models.REGISTRY / model / "1/model.fast.onnx"
        variants = {
            name: partial(one_start, bin_folder / "python", folders, code, model, fast)
            for name, code in VARIANTS.items()
            if fast.exists() or "fast" not in name
        }
        summaries = compare(alternate(variants, rounds), REFERENCE)
        lines += [{"group": model, "name": name, **line} for name, line in summaries.items()]
    header = {"python": python_version(bin_folder), "packages": packages(bin_folder), "rounds": rounds}
    write("start", header, lines)


def one_start(python: Path, folders: Sequence[Path], code: str, model: str, fast: Path) -> Figures:
    command = [python, "-c", MEASURE.format(code=code), models.FOLDER / f"{model}.onnx", fast]
    environ = {"PYTHONPATH": os.pathsep.join(map(str, folders)), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))
