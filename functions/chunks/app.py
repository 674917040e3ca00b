"""One step of a file that is too long for one invocation: plan its chunks, predict one of them, or merge them.

The state machine beside this file calls it, and tries again what fails: a step that was done before finds what it
has written, so no harm is done by repeating one.
"""

import os
from typing import Any

from tensorlet.batch import Worker, metrics, split
from tensorlet.batch.chunks import Chunk
from tensorlet.batch.events import ObjectName
from tensorlet.settings import Settings
from tensorlet.telemetry import log_cold_start

worker = Worker.from_settings(Settings.from_environ(os.environ))


@log_cold_start
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`{"step": "plan"|"predict"|"merge", "job": {"bucket", "key", "etag", ...}, "chunk": {...}}` to how it ended."""
    job, etag = worker.job(ObjectName(event["job"]["bucket"], event["job"]["key"])), event["job"]["etag"]
    try:
        if event["step"] == "plan":
            return split.plan_chunks(job, etag, context.get_remaining_time_in_millis() / 2e3)
        if event["step"] == "predict":
            return split.predict_chunk(job, etag, Chunk(**event["chunk"]))
        report = split.merge(job, etag)
        if report is None:
            return {"state": split.OVERTAKEN}
        metrics.count(report)
        return {"state": split.DONE}
    except split.Unfinished:
        return {"state": split.UNFINISHED}
    finally:
        metrics.flush()
