"""What every batch job is measured by: the model is loaded before the clock starts, the figures are one JSON line."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"


def measured(job: Callable[[], int]) -> None:
    """Run a job that returns its number of rows."""
    started, cpu = time.perf_counter(), time.process_time()
    rows = job()
    figures = {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "rss_mb": peak_rss_mb(),
    }
    print(json.dumps(figures))


def peak_rss_mb() -> float:
    """Of this program; `getrusage` would count the parent's memory, from before the program was started."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Model:
    """onnxruntime with one thread, warm."""

    def __init__(self, path: str) -> None:
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.input, self.width = self.session.get_inputs()[0].name, self.session.get_inputs()[0].shape[1]
        self(np.zeros((1, self.width), np.float32))

    def __call__(self, rows):
        return self.session.run(None, {self.input: rows})[0]
