"""What an operator asks: which runs there were, which files were missed, and to try the failed ones again."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from tensorlet.batch.events import notification
from tensorlet.batch.keys import HIDDEN, is_path, outputs, plain_etag, plan_key
from tensorlet.batch.options import FILE as OPTIONS_FILE
from tensorlet.batch.report import Report
from tensorlet.errors import InvalidSetting, ObjectNotFound, StorageUnavailable
from tensorlet.registry.store import ObjectInfo, Store
from tensorlet.registry.upload import get_anywhere, head_anywhere

REPORT = ".report.json"
WAITING, QUEUED, RUNNING, DONE, FAILED = "waiting_for_upload", "queued", "running", "done", "failed"
# An input that is older than its report by so much was not replaced while that report was made: need not be compared.
LONGEST_RUN_S = 86_400


class Queue(NamedTuple):
    """An SQS queue, or one of dead letters, and the boto3 client that reaches it."""

    sqs: Any
    url: str


class State(NamedTuple):
    """How far the input of a key has come; `report` once it is done or has failed."""

    name: str
    key: str
    report: Report | None = None


def state(inputs: Store, results: Store, key: str) -> State:
    """Raises StorageUnavailable."""
    try:
        etag = (inputs.head(key) if is_path(key) else head_anywhere(inputs, key)).etag
    except ObjectNotFound:
        return State(WAITING, key)
    report = _read(results, outputs(key).report)
    if report is not None and report.input_etag == plain_etag(etag):
        return State(FAILED if report.reason else DONE, key, report)
    if not is_path(key):
        return State(QUEUED, key)
    try:
        results.head(plan_key(key, etag))
    except ObjectNotFound:
        return State(QUEUED, key)
    return State(RUNNING, key)


def states(inputs: Store | None, results: Store, key: str = "") -> Iterator[State]:
    """All runs of a key, or under a prefix of keys, in order; without `inputs` only those that have ended."""
    if key and (alone := _alone(inputs, results, key)):
        yield alone
    elif inputs is None:
        for report in runs(results, key):
            yield State(FAILED if report.reason else DONE, report.input_key, report)
    else:
        for info in inputs.walk(key):
            if not _is_no_file(info.key):
                yield state(inputs, results, info.key)


def runs(results: Store, prefix: str = "") -> Iterator[Report]:
    """The reports under a prefix of input keys, in order of their keys."""
    for info in results.walk(prefix):
        if info.key.endswith(REPORT) and not info.key.startswith(f"{HIDDEN}/"):
            report = _read(results, info.key)
            if report is not None:
                yield report


def missed(inputs: Store, results: Store, prefix: str = "", older_than_s: float = 0.0) -> Iterator[str]:
    """The input keys that have no report as they are now: S3's events can be late, and now and then get lost.

    A file that is being worked on is among them, unless it is younger than `older_than_s`; to process it twice does
    no harm.
    """
    reported = {
        info.key: info.modified
        for info in results.walk(prefix)
        if info.key.endswith(REPORT) and not info.key.startswith(f"{HIDDEN}/")
    }
    newest = time.time() - older_than_s
    for info in inputs.walk(prefix):
        if _is_no_file(info.key) or info.modified > newest:
            continue
        key = outputs(info.key).report
        if key not in reported or (
            reported[key] < info.modified + LONGEST_RUN_S and not _is_of(results, key, info)
        ):
            yield info.key


def reconcile(
    inputs: Store, results: Store, queue: Queue, prefix: str = "", older_than_s: float = 0.0
) -> list[str]:
    """Send the message that S3 should have sent, for every missed key; returns the keys.

    Raises:
        InvalidSetting: `inputs` is no bucket.
        StorageUnavailable.
    """
    bucket = bucket_of(inputs)
    keys = list(missed(inputs, results, prefix, older_than_s))
    for key in keys:
        queue.sqs.send_message(QueueUrl=queue.url, MessageBody=notification(bucket, key))
    return keys


def redrive(dead_letters: Queue, queue: Queue) -> int:
    """Send all messages of the dead-letter queue once more; returns how many, about.

    SQS moves them by itself, in the background. Where it will not, they are received and sent.

    Raises:
        StorageUnavailable: SQS refuses, or does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        count = waiting(dead_letters)
        try:
            dead_letters.sqs.start_message_move_task(
                SourceArn=_attribute(dead_letters, "QueueArn"), DestinationArn=_attribute(queue, "QueueArn")
            )
            return count
        except ClientError:  # a stand-in, or one task is under way already; what is really wrong shows next
            return _move(dead_letters, queue)
    except (BotoCoreError, ClientError) as error:
        raise StorageUnavailable(f"SQS: {error}") from error


def _move(dead_letters: Queue, queue: Queue) -> int:
    """Each message is deleted only after it was sent: a crash in between repeats one, which does no harm."""
    moved = 0
    while messages := dead_letters.sqs.receive_message(QueueUrl=dead_letters.url, MaxNumberOfMessages=10).get(
        "Messages", []
    ):
        for message in messages:
            queue.sqs.send_message(QueueUrl=queue.url, MessageBody=message["Body"])
            dead_letters.sqs.delete_message(QueueUrl=dead_letters.url, ReceiptHandle=message["ReceiptHandle"])
            moved += 1
    return moved


def waiting(queue: Queue) -> int:
    """How many messages nobody has received yet, about."""
    return int(_attribute(queue, "ApproximateNumberOfMessages"))


def bucket_of(inputs: Store) -> str:
    """The bucket of a store for input files, as events name it. Raises InvalidSetting."""
    scheme, _, bucket = inputs.uri.rstrip("/").partition("://")
    if scheme != "s3" or "/" in bucket:
        raise InvalidSetting(f"expected s3://BUCKET for the input files, got {inputs.uri!r}")
    return bucket


def _attribute(queue: Queue, name: str) -> str:
    found = queue.sqs.get_queue_attributes(QueueUrl=queue.url, AttributeNames=[name])["Attributes"]
    return str(found[name])


def _alone(inputs: Store | None, results: Store, key: str) -> State | None:
    """The state of a key that is a file and no prefix."""
    if inputs is not None:
        found = state(inputs, results, key)
        return None if found.name == WAITING else found
    report = _read(results, outputs(key).report)
    return report and State(FAILED if report.reason else DONE, key, report)


def _is_no_file(key: str) -> bool:
    """Whether nothing is to be predicted under a key: a folder's marker, or options."""
    return key.endswith("/") or key.rpartition("/")[2] == OPTIONS_FILE


def _is_of(results: Store, key: str, info: ObjectInfo) -> bool:
    """Whether a report is that of an input as it is now."""
    report = _read(results, key)
    return report is not None and report.input_etag == plain_etag(info.etag)


def _read(results: Store, key: str) -> Report | None:
    try:
        return Report.from_json(results.get(key).data if is_path(key) else get_anywhere(results, key))
    except ObjectNotFound:
        return None
