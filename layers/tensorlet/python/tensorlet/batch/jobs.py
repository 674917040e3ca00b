"""What an operator asks: which runs there were, which files were missed, and to try the failed ones again."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tensorlet.batch.events import notification
from tensorlet.batch.keys import HIDDEN, outputs, plain_etag
from tensorlet.batch.options import FILE as OPTIONS_FILE
from tensorlet.batch.report import Report
from tensorlet.errors import ObjectNotFound
from tensorlet.registry.store import Store

REPORT = ".report.json"


class Queue(NamedTuple):
    """An SQS queue, or one of dead letters, and the boto3 client that reaches it."""

    sqs: Any
    url: str


def runs(results: Store, prefix: str = "") -> Iterator[Report]:
    """The reports under a prefix of input keys, in order of their keys."""
    for info in results.walk(prefix):
        if info.key.endswith(REPORT) and not info.key.startswith(f"{HIDDEN}/"):
            report = _read(results, info.key)
            if report is not None:
                yield report


def missed(inputs: Store, results: Store, prefix: str = "") -> Iterator[str]:
    """The input keys that have no report as they are now: S3's events can be late, and now and then get lost.

    A file that is being worked on is among them; to process it twice does no harm.
    """
    for info in inputs.walk(prefix):
        if info.key.endswith("/") or info.key.rpartition("/")[2] == OPTIONS_FILE:
            continue
        report = _read(results, outputs(info.key).report)
        if report is None or report.input_etag != plain_etag(info.etag):
            yield info.key


def reconcile(inputs: Store, results: Store, bucket: str, queue: Queue, prefix: str = "") -> list[str]:
    """Send the message that S3 should have sent, for every missed key; returns the keys."""
    keys = list(missed(inputs, results, prefix))
    for key in keys:
        queue.sqs.send_message(QueueUrl=queue.url, MessageBody=notification(bucket, key))
    return keys


def redrive(dead_letters: Queue, queue: Queue) -> int:
    """Send all messages of the dead-letter queue once more; returns how many.

    Each is deleted only after it was sent: a crash in between repeats a message, which does no harm.
    """
    moved = 0
    while messages := dead_letters.sqs.receive_message(QueueUrl=dead_letters.url, MaxNumberOfMessages=10).get(
        "Messages", []
    ):
        for message in messages:
            queue.sqs.send_message(QueueUrl=queue.url, MessageBody=message["Body"])
            dead_letters.sqs.delete_message(QueueUrl=dead_letters.url, ReceiptHandle=message["ReceiptHandle"])
            moved += 1
    return moved


def _read(results: Store, key: str) -> Report | None:
    try:
        return Report.from_json(results.get(key).data)
    except ObjectNotFound:
        return None
