"""Files that take longer than one invocation: cut into chunks, predicted side by side, joined in order.

    watch      the batch function begins as with any file, and measures; if its time will not do, it hands over
    plan       chunks.json, create-only: where each chunk begins and ends
    predict    each chunk for itself: .out, .err.jsonl and at last .json under its number, create-only
    merge      the parts in order into one .out and one .err.jsonl, then the report: `Job.settle`, like any run

AWS Step Functions goes through the steps (functions/chunks/split.asl.json), tries again what fails, and does as many
chunks at once as it is told to. Each step may be repeated at any time: what is written is written once.
A file that is done in time never comes here.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from itertools import count
from math import ceil, inf
from time import monotonic
from typing import Any, NamedTuple

import orjson

from tensorlet.batch.chunks import Chunk, check_splittable, cut, excerpt, npy_header
from tensorlet.batch.events import notification
from tensorlet.batch.formats.npy import HEADER_BYTES, read_header
from tensorlet.batch.job import REFUSALS, Job, Plan, Produced, load
from tensorlet.batch.keys import chunk_folder, plain_etag
from tensorlet.batch.report import Report
from tensorlet.batch.rows import UnreadableFile
from tensorlet.batch.run import NOT_SPLITTABLE, Counts, Progress, predict_file
from tensorlet.batch.source import Source
from tensorlet.errors import Conflict, ObjectNotFound, StorageUnavailable
from tensorlet.registry.store import ObjectInfo
from tensorlet.registry.upload import Upload, s3_location

MEASURE_S = 15.0  # before a file's time is predicted from its beginning
SHARE = 0.8  # of an invocation's time that a file may be predicted to take
CHUNK_S = 120.0  # what a chunk should take: long beside a cold start, short beside an invocation
MOST_CHUNKS = 10_000  # their outcomes, a few bytes each, must fit in a state's 256 KiB
READERS = 16  # of the reports of parts
OVERTAKEN, UNFINISHED, PLANNED, DONE = "overtaken", "unfinished", "planned", "done"  # how a step ends


class TooLong(Exception):
    """One invocation is not enough: cut the file into chunks of about so many bytes."""

    def __init__(self, chunk_bytes: int):
        super().__init__(chunk_bytes)
        self.chunk_bytes = chunk_bytes


class Unfinished(Exception):
    """Some chunks are not predicted: their workers found the input overtaken, and now it is back."""


class Limits(NamedTuple):
    """Seconds that one invocation has; bytes beyond which a file is split unmeasured, into chunks of as many."""

    invocation_s: float
    split_bytes: int | None = None


class Part(NamedTuple):
    """What became of a chunk; `reason` if it is why the file fails."""

    rows_in: int = 0
    rows_failed: int = 0
    out_bytes: int = 0
    err_bytes: int = 0
    seconds: float = 0.0
    reason: str = ""


class PartKeys(NamedTuple):
    out: str
    err: str
    report: str


def run_or_split(job: Job, limits: Limits, start: Callable[[Job, str], Any]) -> Report | None:
    """`job.run()`, but a file that would take too long is handed over: `start` is called with job and ETag.

    None then, and if there is no input (any more).

    Raises:
        StorageUnavailable, Conflict: try again later.
    """
    etag = ""

    def produce(plan: Plan, info: ObjectInfo, out: Upload, err: Upload) -> Produced:
        nonlocal etag
        etag = plain_etag(info.etag)
        try:
            return job.predict(plan, info, out, err, Watch(plan, info, limits))
        except TooLong as decision:
            _create(job, f"{_folder(job, etag, plan)}/split.json", {"chunk_bytes": decision.chunk_bytes})
            raise

    try:
        return job.settle(produce)
    except TooLong:
        start(job, etag)
        return None


class Watch:
    """Measures how fast a file is predicted, and ends a run that cannot be finished in time.

    Raises, when it is made or called:
        TooLong.
        UnreadableFile: `not_splittable`.
    """

    def __init__(self, plan: Plan, info: ObjectInfo, limits: Limits):
        self._plan = plan
        self._limits = limits
        self._least_bytes = info.size_bytes / MOST_CHUNKS
        self._first: tuple[float, Progress] | None = None  # when and where measuring began
        if limits.split_bytes and info.size_bytes > limits.split_bytes:
            self._end(limits.split_bytes, f"of {info.size_bytes:,} bytes")

    def __call__(self, progress: Progress) -> None:
        now = monotonic()
        if self._first is None:
            self._first = now, progress
        started, first = self._first
        bytes_done = progress.bytes_done - first.bytes_done
        if now - started < MEASURE_S or not bytes_done:
            return
        bytes_per_s = bytes_done / (now - started)
        whole_s, limit_s = progress.bytes_total / bytes_per_s, self._limits.invocation_s
        if whole_s > SHARE * limit_s:
            chunk_bytes = max(bytes_per_s * CHUNK_S, progress.bytes_total / MOST_CHUNKS)
            self._end(
                ceil(chunk_bytes), f"of about {whole_s:,.0f} s, where one invocation has {limit_s:,.0f} s"
            )

    def _end(self, chunk_bytes: float, size: str) -> None:
        try:
            check_splittable(self._plan.format, self._plan.gzipped)
        except UnreadableFile as reason:
            raise UnreadableFile(f"{reason} (this one is {size})") from None
        raise TooLong(ceil(max(chunk_bytes, self._least_bytes)))


def plan_chunks(job: Job, etag: str, seconds: float = inf) -> dict[str, Any]:
    """Find the chunks of the input under `etag`; tells where their list is, or how the file has ended already.

    After so many seconds it leaves the rest for another call.

    Raises:
        StorageUnavailable, Conflict: try again later.
    """
    found = _current(job, etag)
    if found is None:
        return {"state": OVERTAKEN}
    plan, folder, source = found
    key = f"{folder}/chunks.json"
    try:
        if (chunks := _read(job, key)) is None:
            found_chunks, complete = _find_chunks(job, plan, folder, source, seconds)
            if not complete:
                return {"state": UNFINISHED}
            chunks = _create(job, key, [chunk._asdict() for chunk in found_chunks])
    except REFUSALS as error:
        fail(job, etag, error)
        return {"state": DONE}
    place = s3_location(job.results, key)
    return {"state": PLANNED, "chunks": len(chunks), "bucket": place["Bucket"], "key": place["Key"]}


def _find_chunks(
    job: Job, plan: Plan, folder: str, source: Source, seconds: float
) -> tuple[list[Chunk], bool]:
    """The chunks from the beginning, and whether that is all; those of an earlier call are not searched again."""
    until = monotonic() + seconds
    decision = _read(job, f"{folder}/split.json") or {"chunk_bytes": source.info.size_bytes}
    chunks = [Chunk(**chunk) for chunk in _read(job, f"{folder}/found.json") or []]
    after = chunks[-1] if chunks else None
    signature = load(job.service, plan).signature
    for chunk in cut(source, plan.format, signature, plan.options, decision["chunk_bytes"], after):
        chunks.append(chunk)
        # The first one alone does not know the lead, which those behind it need.
        if monotonic() > until and chunk.number and chunk.end < source.info.size_bytes:
            job.results.put(f"{folder}/found.json", orjson.dumps([chunk._asdict() for chunk in chunks]))
            return chunks, False
    return chunks, True


def predict_chunk(job: Job, etag: str, chunk: Chunk) -> dict[str, Any]:
    """Write the part of the outputs that one chunk is, unless it is there; tells its counts.

    Raises:
        StorageUnavailable, Conflict: try again later.
    """
    found = _current(job, etag)
    if found is None:
        return {"state": OVERTAKEN}
    plan, folder, source = found
    keys = part_keys(folder, chunk.number)
    part = _read(job, keys.report)
    if part is None:
        try:
            part = _predict(job, plan, excerpt(source, plan.format, chunk), chunk, keys)
        except Conflict:
            if _current(job, etag) is None:
                return {"state": OVERTAKEN}
            raise
        part = _create(job, keys.report, part._asdict())
    return {"state": DONE, **part}


def merge(job: Job, etag: str) -> Report | None:
    """Join the parts in order, and write the report; None if the input is another one by now, or gone.

    Raises:
        Unfinished: predict the chunks first; those that are done are not done again.
        StorageUnavailable, Conflict: try again later.
    """

    def produce(plan: Plan, info: ObjectInfo, out: Upload, err: Upload) -> Produced:
        folder = _folder(job, etag, plan)
        if (chunks := _read(job, f"{folder}/chunks.json")) is None:
            raise Unfinished
        keys = [part_keys(folder, chunk["number"]) for chunk in chunks]
        with ThreadPoolExecutor(READERS) as readers:
            parts = list(readers.map(lambda names: _part(job, names), keys))
        for part in parts:
            if part.reason:
                raise UnreadableFile(part.reason)
        for part, names in zip(parts, keys, strict=True):
            out.append(names.out, part.out_bytes)
            if part.err_bytes:
                err.append(names.err, part.err_bytes)
        counts = Counts(sum(part.rows_in for part in parts), sum(part.rows_failed for part in parts))
        written = plan.options.format or plan.format
        head = _npy_head(job, keys[0].out, counts) if written == "npy" else b""
        return Produced(counts, head, sum(part.seconds for part in parts), len(parts))

    return job.settle(produce, etag)


def fail(job: Job, etag: str, error: Exception) -> Report | None:
    """Report that the input under `etag` cannot be predicted."""

    def produce(plan: Plan, info: ObjectInfo, out: Upload, err: Upload) -> Produced:
        raise error

    return job.settle(produce, etag)


def part_keys(folder: str, number: int) -> PartKeys:
    base = f"{folder}/{number:05}"
    return PartKeys(f"{base}.out", f"{base}.err.jsonl", f"{base}.json")


def _predict(job: Job, plan: Plan, source: Source, chunk: Chunk, keys: PartKeys) -> Part:
    started = monotonic()
    out, err = job.results.upload(keys.out), job.results.upload(keys.err)
    try:
        model = load(job.service, plan)
        counts, head = predict_file(
            model, source, plan.format, plan.options, out, err, None, chunk.lead_rows, chunk.first_row
        )
        if counts.rows_in != chunk.rows:
            raise UnreadableFile(
                f"{NOT_SPLITTABLE}: {chunk.rows} rows from row {chunk.first_row} on were counted, {counts.rows_in} read"
            )
        sizes = _commit(out, head), _commit(err)
    except REFUSALS as error:
        return Part(reason=str(error))
    finally:
        out.abort()
        err.abort()
    return Part(*counts, *sizes, round(monotonic() - started, 3))


def _commit(upload: Upload, head: bytes = b"") -> int:
    """Create the object, if it has any bytes, unless another attempt has; returns its size."""
    if upload.size_bytes:
        try:
            upload.commit("", head)
        except Conflict:
            return upload.store.head(upload.key).size_bytes
    return upload.size_bytes


def _current(job: Job, etag: str) -> tuple[Plan, str, Source] | None:
    """Plan, folder of the parts and source of the input, if it still is the one under `etag`."""
    try:
        info = job.inputs.head(job.key)
    except ObjectNotFound:
        return None
    if plain_etag(info.etag) != etag:
        return None
    plan = job.pin(info)
    return plan, _folder(job, etag, plan), Source(job.inputs, info, plan.gzipped)


def _folder(job: Job, etag: str, plan: Plan) -> str:
    return chunk_folder(job.key, etag, plan.to_json())


def _part(job: Job, keys: PartKeys) -> Part:
    document = _read(job, keys.report)
    if document is None:
        raise Unfinished
    return Part(**document)


def _npy_head(job: Job, key: str, counts: Counts) -> bytes:
    """The header of the whole array: that of its first part, but for the number of rows."""
    size = min(HEADER_BYTES, job.results.head(key).size_bytes)
    header = read_header(BytesIO(bytes(job.results.get_range(key, 0, size))))
    return npy_header(header.dtype, (counts.rows_in - counts.rows_failed, *header.shape[1:]))


def _read(job: Job, key: str) -> Any:
    try:
        return orjson.loads(memoryview(job.results.get(key).data))
    except ObjectNotFound:
        return None


def _create(job: Job, key: str, document: Any) -> Any:
    """Write a document unless one is there; returns the one that is."""
    try:
        job.results.create(key, orjson.dumps(document))
    except Conflict:
        return _read(job, key)
    return document


class StateMachine:
    """The executions of Step Functions that split files, one for each state in which an input was found."""

    def __init__(self, arn: str):
        self.arn = arn

    def start(self, job: Job, etag: str, bucket: str) -> str:
        """Start an execution unless it is running; returns its name.

        The name is made of the input and of the outputs it will replace, so a repeated event finds it taken.
        An execution that has ended without them has failed: the next attempt has another name.

        Raises:
            StorageUnavailable: Step Functions does not answer, or refuses us.
        """
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        seen = job.look()
        found = [seen.report_etag, *(info.etag if info else "" for info in (seen.out, seen.err))]
        identity = sha256("\n".join([bucket, job.key, etag, *found]).encode()).hexdigest()[:40]
        document = {"bucket": bucket, "key": job.key, "etag": etag, "message": notification(bucket, job.key)}
        client = boto3.client("stepfunctions")
        try:
            for attempt in count(1):
                name = f"{identity}-{attempt}"
                try:
                    client.start_execution(
                        stateMachineArn=self.arn, name=name, input=orjson.dumps(document).decode()
                    )
                except client.exceptions.ExecutionAlreadyExists:
                    arn = f"{self.arn.replace(':stateMachine:', ':execution:')}:{name}"
                    if client.describe_execution(executionArn=arn)["status"] != "RUNNING":
                        continue
                return name
        except (BotoCoreError, ClientError) as error:
            raise StorageUnavailable(f"Step Functions: {error}") from error
        raise AssertionError("count does not end")
