"""The event source mapping between a queue and the batch function, for queues that have none: moto's.

It receives messages, makes the event that Lambda would, calls the handler and deletes what succeeded. What
failed comes back after the queue's visibility timeout, and goes where the queue's own redrive policy says.

S3 notifications of moto are brought to the shape of the real ones first: it leaves out `sequencer` and
`versionId`, and encodes the slashes of a key.
Sources: AWS Lambda developer guide, "Using Lambda with Amazon SQS"; Amazon S3 user guide, "Event message structure".
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from tensorlet.local.functions import REGION, Handler, LambdaContext

BATCH_SIZE = (
    10  # messages in one event: the default of an event source mapping, and SQS's limit for one receive
)


class Queue(NamedTuple):
    """A queue with the boto3 clients that reach it and the bucket its notifications are about."""

    sqs: Any
    s3: Any
    url: str
    arn: str


class Pumped(NamedTuple):
    """How many messages of one event were received, succeeded and failed; `error` of a handler that raised."""

    received: int
    succeeded: int
    failed: int
    error: str = ""


def pump(queue: Queue, handler: Handler, wait_s: int = 0) -> Pumped:
    """Deliver one event of up to `BATCH_SIZE` messages; `Pumped(0, 0, 0)` when there are none within `wait_s`."""
    event = receive(queue, wait_s)
    records = event["Records"]
    if not records:
        return Pumped(0, 0, 0)
    try:
        reply = handler(event, LambdaContext("batch"))
    except Exception as error:  # a function error fails the whole batch, as in Lambda
        return Pumped(len(records), 0, len(records), f"{type(error).__name__}: {error}")
    failed = failed_messages(reply, [record["messageId"] for record in records])
    done = [record for record in records if record["messageId"] not in failed]
    for record in done:
        with suppress(
            queue.sqs.exceptions.ReceiptHandleIsInvalid
        ):  # it took too long, and is delivered again
            queue.sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=record["receiptHandle"])
    return Pumped(len(records), len(done), len(failed))


def drain(queue: Queue, handler: Handler) -> list[Pumped]:
    """Pump until the queue shows no message; those that failed are hidden by then and are not waited for."""
    deliveries = []
    while (delivery := pump(queue, handler)).received:
        deliveries.append(delivery)
    return deliveries


def receive(queue: Queue, wait_s: int = 0) -> dict[str, Any]:
    """The messages there are as the event of a Lambda function; its `Records` may be empty."""
    reply = queue.sqs.receive_message(
        QueueUrl=queue.url,
        MaxNumberOfMessages=BATCH_SIZE,
        WaitTimeSeconds=wait_s,
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return {"Records": [sqs_record(queue, message) for message in reply.get("Messages", [])]}


def failed_messages(reply: Any, message_ids: Sequence[str]) -> set[str]:
    """The messages a handler's reply says have failed.

    Nothing said means that all succeeded; an identifier which was not in the event means that all failed.
    Source: AWS Lambda developer guide, "Implementing partial batch responses".
    """
    items = (reply or {}).get("batchItemFailures") or []
    failed = {item.get("itemIdentifier") for item in items}
    return failed if failed <= set(message_ids) else set(message_ids)


def sqs_record(queue: Queue, message: Mapping[str, Any]) -> dict[str, Any]:
    """One message as Lambda shows it to a function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": real_body(queue.s3, message),
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": REGION,
    }


def real_body(s3: Any, message: Mapping[str, Any]) -> str:
    """The body with its S3 records in their real shape; any other body as it is."""
    body: str = message["Body"]
    try:
        document = json.loads(body)
    except ValueError:
        return body
    if not isinstance(document, dict) or "Records" not in document:
        return body  # the test event that S3 sends when a notification is set up, for one
    document["Records"] = [real_record(s3, record, message) for record in document["Records"]]
    return json.dumps(document)


def real_record(s3: Any, record: dict[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """One S3 record as S3 itself writes it."""
    bucket, item = record["s3"]["bucket"]["name"], dict(record["s3"]["object"])
    key = unquote_plus(item["key"])
    item["key"] = quote_plus(key, safe="/")
    # Hexadecimal, and growing with time for one key; of two puts in one millisecond either may seem the later.
    item.setdefault(
        "sequencer", f"{int(message['Attributes']['SentTimestamp']):012X}{message['MessageId'][:4].upper()}"
    )
    version = version_of(s3, bucket, key, item.get("eTag", ""))
    if version:
        item.setdefault("versionId", version)
    return {**record, "eventVersion": "2.1", "s3": {**record["s3"], "object": item}}


def version_of(s3: Any, bucket: str, key: str, etag: str) -> str | None:
    """The newest version of the object with this ETag; None in a bucket without versions, or none any more."""
    try:
        if not s3.get_bucket_versioning(Bucket=bucket).get("Status"):
            return None
        listing = s3.list_object_versions(Bucket=bucket, Prefix=key)
    except s3.exceptions.NoSuchBucket:
        return None
    for version in listing.get("Versions", []):
        if version["Key"] == key and version["ETag"].strip('"') == etag and version["VersionId"] != "null":
            return str(version["VersionId"])
    return None
