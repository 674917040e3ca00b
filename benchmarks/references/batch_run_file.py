"""`tensorlet batch` without its command line: `python batch_run_file.py REGISTRY MODEL INPUT OUTPUT`."""

import json
import sys
import time
from pathlib import Path

from tensorlet.batch import run_file
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings


def main(registry: str, model: str, source: str, target: str) -> None:
    service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": registry}))
    service.model(model)
    started, cpu = time.perf_counter(), time.process_time()
    report = run_file(service, source, model, output=target)
    assert not report.reason and not report.rows_failed, report
    figures = {
        "rows": report.rows_in,
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "rss_mb": peak_rss_mb(),
    }
    print(json.dumps(figures))


def peak_rss_mb() -> float:
    """Of this program; `getrusage` would count the parent's memory, from before the program was started."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
