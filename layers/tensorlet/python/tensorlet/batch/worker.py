"""From messages to finished jobs: what `functions/batch` and the local queue pump call."""

from collections.abc import Callable, Iterator

from tensorlet.batch.events import ObjectName, keys_of
from tensorlet.batch.job import Job
from tensorlet.batch.keys import is_path, plain_etag
from tensorlet.batch.report import Report
from tensorlet.batch.split import Limits, StateMachine, run_or_split
from tensorlet.errors import InvalidSetting, ObjectNotFound
from tensorlet.registry.store import Store, open_store
from tensorlet.registry.upload import head_anywhere, put_anywhere
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings


class Worker:
    """Processes messages one after the other; keeps models and the connections to buckets between them."""

    def __init__(
        self, service: ModelService, results: Store, open_bucket: Callable[[str], Store] | None = None
    ):
        self.service = service
        self.results = results
        self._open_bucket = open_bucket or (lambda bucket: open_store(f"s3://{bucket}"))
        self._buckets: dict[str, Store] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Worker":
        """Raises InvalidSetting."""
        if not settings.output:
            raise InvalidSetting("TENSORLET_OUTPUT: expected the URI for the outputs, got nothing")
        return cls(ModelService.from_settings(settings), open_store(settings.output))

    def process(self, body: str, invocation_s: float | None = None) -> Iterator[Report]:
        """Bring the outputs of every object in a message up to date; their reports, as they are ready.

        A file that would take longer than `invocation_s` is handed to TENSORLET_STATE_MACHINE, if there is one.

        Raises:
            InvalidRequest: not a message of S3 or EventBridge.
            StorageUnavailable, Conflict: deliver the message again later.
        """
        for name in keys_of(body):
            report = self._run(name, invocation_s)
            if report is not None:
                yield report

    def job(self, name: ObjectName) -> Job:
        """The job of an input object."""
        if name.bucket not in self._buckets:
            self._buckets[name.bucket] = self._open_bucket(name.bucket)
        return Job(self.service, self._buckets[name.bucket], self.results, name.key)

    def _run(self, name: ObjectName, invocation_s: float | None) -> Report | None:
        job, settings = self.job(name), self.service.settings
        if not is_path(name.key):
            return refuse(job)
        if not settings.state_machine or invocation_s is None:
            return job.run()
        machine = StateMachine(settings.state_machine)
        limits = Limits(invocation_s, settings.batch_split_bytes)
        return run_or_split(job, limits, lambda job, etag: machine.start(job, etag, name.bucket))


def refuse(job: Job) -> Report | None:
    """Report on a key that only S3 itself can name; None if there is no such object."""
    try:
        info = head_anywhere(job.inputs, job.key)
    except ObjectNotFound:
        return None
    reason = f"expected a key without empty folders, `.`, `..` and control characters, got {job.key!r}"
    report = Report(job.key, plain_etag(info.etag), reason=reason)
    put_anywhere(job.results, job.names.report, report.to_json())
    return report
