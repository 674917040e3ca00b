"""The pump gives the batch function what Lambda's event source mapping would, from moto's S3 and SQS."""

import json
from collections.abc import Iterator
from urllib.parse import unquote_plus

import pytest
from tensorlet.local.pump import BATCH_SIZE, Pumped, drain, failed_messages, pump, real_record
from tensorlet.local.standin import Stack, create_stack, reset, stand_in

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def server() -> Iterator[Stack]:
    with stand_in() as stack:
        yield stack


@pytest.fixture
def stack(server: Stack) -> Stack:
    """A stand-in as new, whose messages are visible again at once and dead after three receives."""
    reset(server.endpoint)
    stack = create_stack(server.endpoint, visibility_s=0, max_receives=3)
    drain(stack.queue, lambda event, context: None)  # the test event, sent when the notification was set up
    return stack


class Recorder:
    """A handler that keeps its events and answers what it is told to."""

    def __init__(self, reply=lambda event: {"batchItemFailures": []}):
        self.events = []
        self.reply = reply

    def __call__(self, event, context):
        assert context.get_remaining_time_in_millis() > 0
        self.events.append(event)
        return self.reply(event)

    @property
    def objects(self):
        """The S3 objects of all events, in their order."""
        bodies = [json.loads(record["body"]) for event in self.events for record in event["Records"]]
        return [record["s3"]["object"] for body in bodies for record in body["Records"]]


def put(stack, key, data=b"1,2\n"):
    stack.queue.s3.put_object(Bucket="input", Key=key, Body=data)


def waiting(queue):
    attributes = queue.sqs.get_queue_attributes(
        QueueUrl=queue.url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


def test_a_dropped_file_becomes_an_event_of_the_real_shape(stack):
    handler = Recorder()
    put(stack, "digits@live/new folder/a+b é.csv")

    assert drain(stack.queue, handler) == [Pumped(1, 1, 0)]

    [record] = handler.events[0]["Records"]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == stack.queue.arn
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    [item] = handler.objects
    assert item["key"] == "digits%40live/new+folder/a%2Bb+%C3%A9.csv"
    assert unquote_plus(item["key"]) == "digits@live/new folder/a+b é.csv"
    assert item["size"] == 4 and item["eTag"]
    int(item["sequencer"], 16)
    assert "versionId" not in item
    assert waiting(stack.queue) == 0


def test_sequencers_of_one_key_grow_with_time():
    def sequencer(sent_ms):
        message = {"MessageId": "f00dfeed", "Attributes": {"SentTimestamp": str(sent_ms)}}
        record = {
            "s3": {"bucket": {"name": "input"}, "object": {"key": "digits/a.csv", "versionId": "known"}}
        }
        return real_record(record, message, lambda *_: None)["s3"]["object"]["sequencer"]

    assert sequencer(999) < sequencer(1000) < sequencer(1_900_000_000_000)


def test_an_object_of_a_versioned_bucket_has_its_version(stack):
    handler, s3 = Recorder(), stack.queue.s3
    s3.put_bucket_versioning(Bucket="input", VersioningConfiguration={"Status": "Enabled"})
    versions = [
        s3.put_object(Bucket="input", Key="digits/versioned.csv", Body=data)["VersionId"]
        for data in (b"1", b"2")
    ]

    drain(stack.queue, handler)

    assert [item["versionId"] for item in handler.objects] == versions


def test_only_what_succeeded_is_deleted_and_the_rest_ends_as_dead_letter(stack):
    def fail_the_bad_one(event):
        bad = [record for record in event["Records"] if "bad.csv" in record["body"]]
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in bad]}

    handler = Recorder(fail_the_bad_one)
    put(stack, "digits/good.csv")
    put(stack, "digits/bad.csv")

    assert pump(stack.queue, handler) == Pumped(2, 1, 1)
    while pump(stack.queue, handler).received:
        pass

    assert [item["key"] for item in handler.objects].count("digits/bad.csv") == 3
    assert [item["key"] for item in handler.objects].count("digits/good.csv") == 1
    assert (waiting(stack.queue), waiting(stack.dead_letters)) == (0, 1)


def test_a_handler_that_raises_fails_the_whole_event(stack):
    def crash(event, context):
        raise RuntimeError("out of memory")

    put(stack, "digits/a.csv")

    assert pump(stack.queue, crash) == Pumped(1, 0, 1, "RuntimeError: out of memory")
    assert waiting(stack.queue) == 1


def test_events_are_limited_in_size(stack):
    handler = Recorder()
    for number in range(BATCH_SIZE + 2):
        put(stack, f"digits/{number}.csv")

    deliveries = drain(stack.queue, handler)

    assert sum(delivery.succeeded for delivery in deliveries) == BATCH_SIZE + 2
    assert max(len(event["Records"]) for event in handler.events) <= BATCH_SIZE


BODIES = {'{"Service":"Amazon S3","Event":"s3:TestEvent"}', "not JSON", "[]"}


def test_a_body_that_is_no_notification_passes_as_it_is(stack):
    """S3 sends a test event when a notification is set up, and anybody may send anything."""
    handler = Recorder()
    for body in BODIES:
        stack.queue.sqs.send_message(QueueUrl=stack.queue.url, MessageBody=body)

    drain(stack.queue, handler)

    bodies = {record["body"] for event in handler.events for record in event["Records"]}
    assert bodies == BODIES


@pytest.mark.parametrize(
    ("reply", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a"}),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": "unknown"}]}, {"a", "b"}),
        ({"batchItemFailures": [{"wrongKey": "a"}]}, {"a", "b"}),
    ],
)
def test_replies_mean_what_they_mean_to_lambda(reply, failed):
    """AWS Lambda developer guide, "Success and failure conditions" of partial batch responses."""
    assert failed_messages(reply, ["a", "b"]) == failed
