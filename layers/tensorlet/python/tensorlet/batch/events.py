"""Which objects a message is about. Only their names are used: what happened to them is read from storage.

Sources: Amazon S3 User Guide, "Event message structure" (keys are URL-encoded, `+` is a space) and
"EventBridge event message structure" (keys are as they are).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from tensorlet.batch.options import FILE as OPTIONS_FILE
from tensorlet.errors import InvalidRequest


class ObjectName(NamedTuple):
    bucket: str
    key: str


def keys_of(body: str) -> list[ObjectName]:
    """The objects created, in order, without repetition; none for a test event, a removal, a folder marker, options.

    Raises:
        InvalidRequest: not a message of S3 or EventBridge.
    """
    try:
        message = json.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"message: expected JSON, got {error}") from None
    if not isinstance(message, dict):
        raise InvalidRequest(f"message: expected an object, got {type(message).__name__}")
    try:
        names = list(_eventbridge(message) if "detail-type" in message else _notification(message))
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"message: not an S3 event: {type(error).__name__}: {error}") from None
    return [name for name in dict.fromkeys(names) if not name.key.endswith(("/", f"/{OPTIONS_FILE}"))]


def notification(bucket: str, key: str) -> str:
    """The message S3 sends for a new object, as far as we read it: `keys_of(notification(b, k)) == [(b, k)]`."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}]})


def _notification(message: Mapping[str, Any]) -> Iterator[ObjectName]:
    """S3 -> SQS; `s3:TestEvent`, sent once when the notification is set up, has no Records."""
    for record in message.get("Records", []):
        if not record["eventName"].removeprefix("s3:").startswith("ObjectCreated"):
            continue
        yield ObjectName(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))


def _eventbridge(message: Mapping[str, Any]) -> Iterator[ObjectName]:
    if message["detail-type"] == "Object Created":
        yield ObjectName(message["detail"]["bucket"]["name"], message["detail"]["object"]["key"])
