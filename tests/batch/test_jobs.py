"""Listing runs, finding files that were missed, and trying the failed ones again."""

import importlib.util
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.batch import Job, jobs
from tensorlet.batch.events import keys_of, notification
from tensorlet.errors import InvalidSetting
from tensorlet.registry.store import Store, open_store

from tests.batch.bench import Bench

pytestmark = pytest.mark.stack

ROWS = b"1,2,3,4\n"
RECONCILE = Path(__file__).parents[2] / "functions/reconcile/app.py"


@pytest.fixture
def queues(s3, bucket) -> list[jobs.Queue]:
    """One for files and one for dead letters."""
    sqs = boto3.client("sqs", region_name="us-east-1")
    names = (f"files-{bucket}", f"dead-{bucket}")
    return [jobs.Queue(sqs, sqs.create_queue(QueueName=name)["QueueUrl"]) for name in names]


@pytest.fixture
def on_s3(bench: Bench, bucket) -> Bench:
    """The workbench with its input in a bucket."""
    return bench._replace(inputs=open_store(f"s3://{bucket}"))


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


def test_a_job_goes_from_waiting_to_done(bench: Bench):
    key = "linear/a.csv"

    def state() -> jobs.State:
        return jobs.state(bench.inputs, bench.results, key)

    assert state() == (jobs.WAITING, key, None)
    bench.inputs.put(key, ROWS)
    assert state().name == jobs.QUEUED
    job = Job(bench.service, bench.inputs, bench.results, key)
    job.pin(bench.inputs.head(key))
    assert state().name == jobs.RUNNING
    report = job.run()
    assert state() == (jobs.DONE, key, report)
    bench.inputs.put(key, b"\xff")
    assert state().name == jobs.QUEUED
    job.run()
    assert state().name == jobs.FAILED


def test_files_without_a_report_of_their_present_content_were_missed(bench: Bench):
    bench.run("linear/done.csv", ROWS)
    bench.run("linear/changed.csv", ROWS)
    bench.inputs.put("linear/changed.csv", ROWS * 2)
    bench.inputs.put("linear/new.csv", ROWS)
    bench.inputs.put("linear/_batch.json", b"{}")
    assert list(jobs.missed(bench.inputs, bench.results)) == ["linear/changed.csv", "linear/new.csv"]
    assert list(jobs.missed(bench.inputs, bench.results, older_than_s=60)) == []


def test_reports_that_are_much_younger_than_their_input_are_not_read_again(bench: Bench, monkeypatch):
    """A look at a million files costs two listings, and a request only for those of the last day."""
    bench.run("linear/done.csv", ROWS)
    monkeypatch.setattr(jobs, "LONGEST_RUN_S", -60)
    read = []
    monkeypatch.setattr(Store, "get", lambda self, key: read.append(key))
    assert list(jobs.missed(bench.inputs, bench.results)) == []
    assert read == []


def test_reconciling_sends_the_missing_messages_until_nothing_is_missed(on_s3: Bench, bucket, queues):
    queue, _ = queues
    on_s3.inputs.put("linear/a b+ü.csv", ROWS)
    assert jobs.reconcile(on_s3.inputs, on_s3.results, queue) == ["linear/a b+ü.csv"]

    for body in receive_all(queue):
        for name in keys_of(body):
            assert name.bucket == bucket
            Job(on_s3.service, on_s3.inputs, on_s3.results, name.key).run()

    assert jobs.reconcile(on_s3.inputs, on_s3.results, queue) == []


def test_only_a_bucket_has_events(bench: Bench, queues):
    with pytest.raises(InvalidSetting, match="s3://BUCKET"):
        jobs.reconcile(bench.inputs, bench.results, queues[0])


def test_dead_letters_go_back_to_their_queue(queues):
    queue, dead = queues
    bodies = [notification("in", f"m/{n}.csv") for n in range(23)]
    for body in bodies:
        dead.sqs.send_message(QueueUrl=dead.url, MessageBody=body)

    assert jobs.redrive(dead, queue) == 23
    assert sorted(receive_all(queue)) == sorted(bodies)
    assert jobs.redrive(dead, queue) == 0


def test_sqs_moves_dead_letters_itself_where_it_can(queues):
    queue, dead = queues
    dead.sqs.send_message(QueueUrl=dead.url, MessageBody="m")
    asked = []
    dead.sqs.start_message_move_task = lambda **arguments: asked.append(arguments)

    assert jobs.redrive(dead, queue) == 1

    [arguments] = asked
    assert arguments["SourceArn"].rpartition(":")[2] == dead.url.rpartition("/")[2]
    assert arguments["DestinationArn"].rpartition(":")[2] == queue.url.rpartition("/")[2]
    assert receive_all(queue) == []


def test_the_scheduled_function_leaves_alone_what_is_young_or_queued(
    on_s3: Bench, bucket, queues, monkeypatch
):
    queue, _ = queues
    for key, value in {"INPUT": f"s3://{bucket}", "OUTPUT": f"s3://{bucket}/out", "QUEUE": queue.url}.items():
        monkeypatch.setenv(f"TENSORLET_{key}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    spec = importlib.util.spec_from_file_location("reconcile_app", RECONCILE)
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    on_s3.inputs.put("linear/a.csv", ROWS)

    assert app.handler({}, None) == {"sent": 0}
    monkeypatch.setattr(app, "LATE_S", -60.0)
    assert app.handler({}, None) == {"sent": 1}
    assert app.handler({}, None) == {"sent": 0}
    assert keys_of(receive_all(queue)[0]) == [(bucket, "linear/a.csv")]
