"""Listing runs, finding files that were missed, and trying the failed ones again."""

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from tensorlet.batch import Job, jobs
from tensorlet.batch.events import keys_of, notification

from tests.batch.bench import Bench

pytestmark = pytest.mark.stack

ROWS = b"1,2,3,4\n"


@pytest.fixture
def queues(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        sqs = boto3.client("sqs", region_name="us-east-1")
        yield [jobs.Queue(sqs, sqs.create_queue(QueueName=name)["QueueUrl"]) for name in ("files", "dead")]


def receive_all(queue: jobs.Queue) -> list[str]:
    bodies = []
    while messages := queue.sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10).get("Messages"):
        bodies += [message["Body"] for message in messages]
    return bodies


@given(st.text(min_size=1).filter(lambda key: key.isprintable() and not key.endswith("/")))
def test_the_message_for_a_key_names_that_key(key):
    if key != "/_batch.json":
        assert keys_of(notification("in", key)) == [("in", key)]


def test_runs_are_listed_by_their_reports(bench: Bench):
    for key in ("linear/b/2.csv", "linear/a.csv", "half/c.txt"):
        bench.run(key, ROWS)
    found = list(jobs.runs(bench.results))
    assert [report.input_key for report in found] == ["half/c.txt", "linear/a.csv", "linear/b/2.csv"]
    assert [bool(report.reason) for report in found] == [True, False, False]
    assert [report.input_key for report in jobs.runs(bench.results, "linear/b")] == ["linear/b/2.csv"]


def test_files_without_a_report_of_their_present_content_were_missed(bench: Bench):
    bench.run("linear/done.csv", ROWS)
    bench.run("linear/changed.csv", ROWS)
    bench.inputs.put("linear/changed.csv", ROWS * 2)
    bench.inputs.put("linear/new.csv", ROWS)
    bench.inputs.put("linear/_batch.json", b"{}")
    assert list(jobs.missed(bench.inputs, bench.results)) == ["linear/changed.csv", "linear/new.csv"]


def test_reconciling_sends_the_missing_messages_until_nothing_is_missed(bench: Bench, queues):
    queue, _ = queues
    bench.inputs.put("linear/a b+ü.csv", ROWS)
    assert jobs.reconcile(bench.inputs, bench.results, "in", queue) == ["linear/a b+ü.csv"]

    for body in receive_all(queue):
        for name in keys_of(body):
            Job(bench.service, bench.inputs, bench.results, name.key).run()

    assert jobs.reconcile(bench.inputs, bench.results, "in", queue) == []


def test_dead_letters_go_back_to_their_queue(queues):
    queue, dead = queues
    bodies = [notification("in", f"m/{n}.csv") for n in range(23)]
    for body in bodies:
        dead.sqs.send_message(QueueUrl=dead.url, MessageBody=body)

    assert jobs.redrive(dead, queue) == 23
    assert sorted(receive_all(queue)) == sorted(bodies)
    assert jobs.redrive(dead, queue) == 0
