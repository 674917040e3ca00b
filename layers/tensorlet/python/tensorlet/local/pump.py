"""The event source mapping between a queue and the batch function, for queues that have none: moto's.

It receives messages, makes the event that Lambda would, calls the handler and deletes what succeeded. What
failed comes back after the queue's visibility timeout, and goes where the queue's own redrive policy says.

S3 notifications of moto are brought to the shape of the real ones first: it leaves out `sequencer` and
`versionId`, and encodes the slashes of a key.
Sources: AWS Lambda developer guide, "Using Lambda with Amazon SQS"; Amazon S3 user guide, "Event message structure".
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from tensorlet.local.functions import REGION, Handler, LambdaContext

BATCH_SIZE = (
    10  # messages in one event: the default of an event source mapping, and SQS's limit for one receive
)

FindVersion = Callable[[str, str, str], str | None]  # bucket, key, ETag -> version id


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
    if done:  # what took too long has another handle by now; it stays, and is delivered again
        entries = [{"Id": record["messageId"], "ReceiptHandle": record["receiptHandle"]} for record in done]
        queue.sqs.delete_message_batch(QueueUrl=queue.url, Entries=entries)
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
    find_version = version_finder(queue.s3)
    return {"Records": [sqs_record(queue, message, find_version) for message in reply.get("Messages", [])]}


def failed_messages(reply: Any, message_ids: Sequence[str]) -> set[str]:
    """The messages a handler's reply says have failed.

    Nothing said means that all succeeded; an identifier which was not in the event means that all failed.
    Source: AWS Lambda developer guide, "Implementing partial batch responses".
    """
    items = (reply or {}).get("batchItemFailures") or []
    failed = {item.get("itemIdentifier") for item in items}
    return failed if failed <= set(message_ids) else set(message_ids)


def sqs_record(queue: Queue, message: Mapping[str, Any], find_version: FindVersion) -> dict[str, Any]:
    """One message as Lambda shows it to a function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": real_body(message, find_version),
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": REGION,
    }


def real_body(message: Mapping[str, Any], find_version: FindVersion) -> str:
    """The body with its S3 records in their real shape; any other body as it is."""
    body: str = message["Body"]
    try:
        document = json.loads(body)
    except ValueError:
        return body
    if not isinstance(document, dict) or "Records" not in document:
        return body  # the test event that S3 sends when a notification is set up, for one
    document["Records"] = [real_record(record, message, find_version) for record in document["Records"]]
    return json.dumps(document)


def real_record(
    record: dict[str, Any], message: Mapping[str, Any], find_version: FindVersion
) -> dict[str, Any]:
    """One S3 record as S3 itself writes it."""
    bucket, item = record["s3"]["bucket"]["name"], dict(record["s3"]["object"])
    key = unquote_plus(item["key"])
    item["key"] = quote_plus(key, safe="/")
    # Hexadecimal, and growing with time for one key; of two puts in one millisecond either may seem the later.
    item.setdefault(
        "sequencer", f"{int(message['Attributes']['SentTimestamp']):012X}{message['MessageId'][:4].upper()}"
    )
    version = find_version(bucket, key, item.get("eTag", ""))
    if version:
        item.setdefault("versionId", version)
    return {**record, "eventVersion": "2.1", "s3": {**record["s3"], "object": item}}


def version_finder(s3: Any) -> FindVersion:
    """Finds the newest version of an object with an ETag; it asks only once whether a bucket keeps versions."""

    @cache
    def versioned(bucket: str) -> bool:
        try:
            return bool(s3.get_bucket_versioning(Bucket=bucket).get("Status"))
        except s3.exceptions.NoSuchBucket:
            return False

    def find(bucket: str, key: str, etag: str) -> str | None:
        if not versioned(bucket):
            return None
        for version in s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", []):
            found = version["Key"], version["ETag"].strip('"')
            if found == (key, etag) and version["VersionId"] != "null":
                return str(version["VersionId"])
        return None

    return find
