"""`tensorlet batch` without its command line: `python batch_ours.py REGISTRY MODEL INPUT OUTPUT`."""

import sys

from batch_job import measured
from tensorlet.batch import run_file
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings


def main(registry: str, model: str, source: str, target: str) -> None:
    service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": registry}))
    service.model(model)

    def job() -> int:
        report = run_file(service, source, model, output=target)
        assert not report.reason and not report.rows_failed, report
        return report.rows_in

    measured(job)


if __name__ == "__main__":
    main(*sys.argv[1:])
