"""S3 and SQS on this machine: moto's server in this process, and the buckets and queues of the template in it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from tensorlet.errors import InvalidSetting
from tensorlet.local.functions import REGION
from tensorlet.local.pump import Queue

VISIBILITY_S = 180  # six times the function's timeout, as the template has it
MAX_RECEIVES = 5  # then a message goes to the dead letter queue


class Stack(NamedTuple):
    """What the template creates, as it is called here."""

    endpoint: str
    registry: str  # URI
    output: str  # URI
    input_bucket: str
    queue: Queue
    dead_letters: Queue


@contextmanager
def stand_in(visibility_s: int = VISIBILITY_S, max_receives: int = MAX_RECEIVES) -> Iterator[Stack]:
    """A running stand-in on a free port of the loopback interface; the environment points every client to it.

    Raises:
        InvalidSetting: moto is not installed.
    """
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        raise InvalidSetting(
            "the stand-in for S3 and SQS is not installed: pip install 'tensorlet[dev]'"
        ) from None
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        reset(endpoint)
        with environment(endpoint):
            yield create_stack(endpoint, visibility_s, max_receives)
    finally:
        server.stop()


def reset(endpoint: str) -> None:
    """Forget everything; what moto holds belongs to the process and outlives a server."""
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=10).close()


@contextmanager
def environment(endpoint: str) -> Iterator[None]:
    """The variables which send AWS clients to `endpoint`, with credentials that mean nothing anywhere else."""
    ours = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "stand-in",
        "AWS_SECRET_ACCESS_KEY": "stand-in",
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    before = {key: os.environ.get(key) for key in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def create_stack(endpoint: str, visibility_s: int, max_receives: int) -> Stack:
    """Three buckets; an object created in the input bucket becomes a message in the queue."""
    import boto3

    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    for bucket in ("registry", "input", "output"):
        s3.create_bucket(Bucket=bucket)
    dead_letters = _create_queue(s3, sqs, "batch-dead-letters", {})
    redrive = f'{{"deadLetterTargetArn": "{dead_letters.arn}", "maxReceiveCount": {max_receives}}}'
    attributes = {"VisibilityTimeout": str(visibility_s), "RedrivePolicy": redrive}
    queue = _create_queue(s3, sqs, "batch", attributes)
    s3.put_bucket_notification_configuration(
        Bucket="input",
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": queue.arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    return Stack(endpoint, "s3://registry/models", "s3://output", "input", queue, dead_letters)


def _create_queue(s3: Any, sqs: Any, name: str, attributes: dict[str, str]) -> Queue:
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return Queue(sqs, s3, url, arn)
