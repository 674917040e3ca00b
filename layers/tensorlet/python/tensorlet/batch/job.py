"""Exactly-once effect: from an event that may be repeated, late or stale to outputs that are right.

An event only says that something happened to a key. What counts is the object under it now:

    look       report, .out and .err.jsonl as they are; then the input's ETag
    done?      the report is that ETag's, and lists just these outputs: finished
    pin        create-only plan: model version, artifact, options; whoever comes second obeys it
    predict    read the input under If-Match; all bytes depend on input and plan alone
    commit     .out, .err.jsonl, report, in this order, each only over what `look` has seen
    again      from the start, until `done?` says yes

A lost condition (412) anywhere leads back to `look`. So whoever wrote last has since seen outputs which belong to
the input as it then was, or has crashed; then the queue delivers its message again. docs/batch.md has the argument.
"""

from collections.abc import Callable
from functools import partial
from platform import machine
from time import monotonic
from typing import NamedTuple

import orjson

from tensorlet.batch.keys import file_type, outputs, parse_model, plain_etag, plan_key
from tensorlet.batch.options import Options, read_options
from tensorlet.batch.report import Output, Report
from tensorlet.batch.rows import UnreadableFile
from tensorlet.batch.run import Counts, ProgressCallback, predict_file
from tensorlet.batch.source import Source
from tensorlet.cost import X86_64, cost_of_file, price
from tensorlet.errors import (
    AliasNotFound,
    Conflict,
    ModelNotFound,
    ModelUnavailable,
    ObjectNotFound,
    PrecisionNotFound,
    VersionNotFound,
)
from tensorlet.registry.store import ObjectInfo, Store
from tensorlet.registry.upload import Upload
from tensorlet.serving.service import LoadedModel, ModelService

ARCHITECTURE = "arm64" if machine() in ("arm64", "aarch64") else X86_64
CHUNK_STEPS = 3  # state transitions of Step Functions: an item, its state, and one to spare for a retry
ATTEMPTS = 10  # each lost one means that the input, or somebody else's output, has changed meanwhile

# No retry helps: the reason goes into the report.
REFUSALS = (
    UnreadableFile,
    ModelNotFound,
    VersionNotFound,
    AliasNotFound,
    PrecisionNotFound,
    ModelUnavailable,
)


class Plan(NamedTuple):
    """What a run is, pinned by whoever begins it."""

    model: str
    model_version: int
    artifact: str
    artifact_sha256: str
    format: str
    gzipped: bool
    options: Options

    @classmethod
    def from_json(cls, data: bytes) -> "Plan":
        document = orjson.loads(memoryview(data))  # orjson takes no other buffer
        return cls(**{**document, "options": Options(**document["options"])})

    def to_json(self) -> bytes:
        return orjson.dumps({**self._asdict(), "options": self.options._asdict()}, option=orjson.OPT_INDENT_2)


class Seen(NamedTuple):
    """The output objects of a key as they were found; "" where there is none."""

    report: Report | None
    report_etag: str
    out: ObjectInfo | None
    err: ObjectInfo | None

    def done(self, input_etag: str) -> bool:
        if self.report is None or self.report.input_etag != plain_etag(input_etag):
            return False
        found = {(info.key, plain_etag(info.etag)) for info in (self.out, self.err) if info}
        return found == {(output.key, output.etag) for output in self.report.outputs}


class Produced(NamedTuple):
    """What was written into the uploads of `.out` and `.err.jsonl`, but for `head`, which replaces the first bytes.

    `seconds` is time that was spent before, by the workers of `chunks`.
    """

    counts: Counts
    head: bytes = b""
    seconds: float = 0.0
    chunks: int = 0


# Writes the outputs of the input as it is under an ETag into two uploads, or raises one of `REFUSALS`.
Produce = Callable[[Plan, ObjectInfo, Upload, Upload], Produced]


class Job:
    """One input key, its stores, and the models."""

    def __init__(self, service: ModelService, inputs: Store, results: Store, key: str):
        self.service = service
        self.inputs = inputs
        self.results = results
        self.key = key
        self.names = outputs(key)

    def run(self, progress: ProgressCallback | None = None) -> Report | None:
        """Bring the outputs up to the input as it is now; its report, or None if there is no input (any more).

        Raises:
            StorageUnavailable: try again later.
            Conflict: the input or the outputs kept changing; try again later.
        """
        return self.settle(partial(self.predict, progress=progress))

    def settle(self, produce: Produce, etag: str | None = None) -> Report | None:
        """The same for outputs that are made in another way; with `etag`, None also if the input is another one."""
        for _ in range(ATTEMPTS):
            seen = self.look()
            try:
                info = self.inputs.head(self.key)
                if etag is not None and plain_etag(info.etag) != etag:
                    return None
                if seen.done(info.etag):
                    return seen.report
                self._attempt(seen, info, produce)
            except Conflict:
                continue
            except ObjectNotFound:
                return None
        raise Conflict(
            f"{self.key}: the input or its outputs changed {ATTEMPTS} times while they were processed"
        )

    def predict(
        self,
        plan: Plan,
        info: ObjectInfo,
        out: Upload,
        err: Upload,
        progress: ProgressCallback | None = None,
    ) -> Produced:
        """Predict the input from its first row to its last one."""
        source = Source(self.inputs, info, plan.gzipped)
        model = load(self.service, plan)
        return Produced(*predict_file(model, source, plan.format, plan.options, out, err, progress))

    def look(self) -> Seen:
        try:
            stored = self.results.get(self.names.report)
            report, report_etag = Report.from_json(stored.data), stored.etag
        except ObjectNotFound:
            report, report_etag = None, ""
        return Seen(report, report_etag, self._find(self.names.out), self._find(self.names.err))

    def _find(self, key: str) -> ObjectInfo | None:
        try:
            return self.results.head(key)
        except ObjectNotFound:
            return None

    def _attempt(self, seen: Seen, info: ObjectInfo, produce: Produce) -> None:
        """Produce the outputs of the input as it is under `info.etag`, and commit them over what was seen."""
        started = monotonic()
        report = Report(self.key, plain_etag(info.etag))
        out, err = self.results.upload(self.names.out), self.results.upload(self.names.err)
        seconds = 0.0
        try:
            try:
                plan = self.pin(info)
                report = report._replace(
                    model=plan.model,
                    model_version=plan.model_version,
                    artifact=plan.artifact,
                    artifact_sha256=plan.artifact_sha256,
                )
                counts, head, seconds, chunks = produce(plan, info, out, err)
                written = [self._put(out, seen.out, head)]
                written += [self._put(err, seen.err)] if counts.rows_failed else self._drop(seen.err)
                report = report._replace(
                    rows_in=counts.rows_in,
                    rows_out=counts.rows_in - counts.rows_failed,
                    rows_failed=counts.rows_failed,
                    outputs=tuple(written),
                    chunks=chunks,
                )
            except REFUSALS as error:
                self._drop(seen.out)
                self._drop(seen.err)
                report = report._replace(reason=str(error))
            report = report._replace(seconds=round(seconds + monotonic() - started, 3))
            report = report._replace(estimated_usd=self._cost(report, info))
            self._write_report(report, seen.report_etag)
        finally:
            out.abort()
            err.abort()

    def _cost(self, report: Report, info: ObjectInfo) -> float:
        """What AWS bills for it, about."""
        written_bytes = sum(output.size_bytes for output in report.outputs)
        cost = cost_of_file(
            info.size_bytes, written_bytes, self.service.settings.memory_mb, report.seconds, ARCHITECTURE
        ).total
        steps = CHUNK_STEPS * report.chunks * price("step_functions_thousand_transitions") / 1e3
        return round(cost + steps + report.chunks * price("lambda_million_requests") / 1e6, 9)

    def pin(self, info: ObjectInfo) -> Plan:
        """The plan of this input: the one that is there, else the one we make, if nobody is quicker."""
        key = plan_key(self.key, info.etag)
        try:
            return Plan.from_json(self.results.get(key).data)
        except ObjectNotFound:
            plan = make_plan(self.service, self.inputs, info)
        try:
            self.results.create(key, plan.to_json())
            return plan
        except Conflict:
            return Plan.from_json(self.results.get(key).data)

    def _put(self, upload: Upload, seen: ObjectInfo | None, head: bytes = b"") -> Output:
        etag = upload.commit(seen.etag if seen else "", head)
        return Output(upload.key, upload.size_bytes, plain_etag(etag))

    def _drop(self, seen: ObjectInfo | None) -> list[Output]:
        """Remove an output of an older input that has no successor."""
        if seen:
            self.results.remove(seen.key, seen.etag)
        return []

    def _write_report(self, report: Report, etag: str) -> None:
        key, data = self.names.report, report.to_json()
        self.results.replace(key, data, etag) if etag else self.results.create(key, data)


def make_plan(service: ModelService, inputs: Store, info: ObjectInfo) -> Plan:
    """What a run of this input would be now. Raises one of `REFUSALS`, StorageUnavailable."""
    model, selector = parse_model(info.key)
    kind = file_type(info.key)
    options = read_options(inputs, info, Options(batch_rows=service.settings.batch_rows))
    loaded = service.model(model, selector, options.precision)
    artifact = loaded.artifact
    version, digest = loaded.manifest.version, artifact.files[0].sha256
    return Plan(model, version, artifact.id, digest, kind.format, kind.gzipped, options)


def load(service: ModelService, plan: Plan) -> LoadedModel:
    """The artifact that was pinned, even if the service would choose another one by now."""
    return service.pinned(plan.model, plan.model_version, plan.artifact)
