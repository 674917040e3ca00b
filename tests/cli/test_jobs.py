"""`tensorlet jobs`: the runs there were, as a table or as JSON, and what can be done about the failed ones."""

import json

import pytest
from tensorlet.batch import Job
from tensorlet.batch.run import Progress
from tensorlet.cli.batch import progress_text
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import open_store
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings


@pytest.fixture
def folders(digits, tmp_path, monkeypatch):
    """An input and an output folder in which one file is done, one has failed, and one is new."""
    inputs, results = open_store(f"{tmp_path}/input"), open_store(f"{tmp_path}/output")
    service = ModelService(Registry([digits]), Settings.from_environ({}))
    inputs.put("digits/a.csv", b"1,2,3,4\nx,2,3,4\n")
    inputs.put("digits/deep/b.csv", b"\xff\xff")
    inputs.put("digits/new.csv", b"1,2,3,4\n")
    for key in ("digits/a.csv", "digits/deep/b.csv"):
        Job(service, inputs, results, key).run()
    monkeypatch.setenv("TENSORLET_OUTPUT", results.uri)
    monkeypatch.delenv("TENSORLET_INPUT", raising=False)
    return inputs, results


def test_runs_are_listed_with_what_they_did_and_cost(tensorlet, folders):
    outcome = tensorlet("jobs")

    assert outcome.status == 0
    header, done, failed, reason, total = outcome.out.splitlines()
    assert header.split() == ["KEY", "STATE", "MODEL", "ROWS", "FAILED", "SECONDS", "USD"]
    assert done.split()[:5] == ["digits/a.csv", "done", "digits/2", "2", "1"]
    assert failed.split()[:3] == ["digits/deep/b.csv", "failed", "digits/2"]
    assert "not UTF-8" in reason
    assert total.startswith("2 runs, 2 rows, about $0.0")


def test_with_the_input_also_those_are_listed_that_are_not_done(tensorlet, folders):
    inputs, _ = folders
    lines = tensorlet("jobs", "--input", inputs.uri).out.splitlines()
    assert ["digits/new.csv", "queued"] in [line.split()[:2] for line in lines]


@pytest.mark.parametrize("key", ["digits/deep", "digits/deep/", "digits/deep/b.csv"])
@pytest.mark.parametrize("with_input", [True, False])
def test_a_key_or_a_folder_of_keys_can_be_asked_for(tensorlet, folders, key, with_input):
    inputs, _ = folders
    flags = ["--input", inputs.uri] if with_input else []
    [run] = json.loads(tensorlet("jobs", key, "--json", *flags).out)
    assert (run["key"], run["state"], run["input_key"]) == (
        "digits/deep/b.csv",
        "failed",
        "digits/deep/b.csv",
    )


def test_nothing_found_is_said_on_stderr(tensorlet, folders):
    outcome = tensorlet("jobs", "nobody")
    assert (outcome.status, outcome.out) == (0, "")
    assert "no runs under nobody" in outcome.err
    assert json.loads(tensorlet("jobs", "nobody", "--json").out) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--redrive"], "--dead-letters URL"),
        (["--reconcile"], "--input s3://BUCKET"),
        (["--reconcile", "--input", "s3://bucket"], "--queue URL"),
        (["--redrive", "--dead-letters", "https://sqs/dead"], "--queue URL"),
    ],
)
def test_what_an_action_lacks_is_named(tensorlet, folders, monkeypatch, flags, words):
    for name in ("QUEUE", "DEAD_LETTERS"):
        monkeypatch.delenv(f"TENSORLET_{name}", raising=False)
    outcome = tensorlet("jobs", *flags)
    assert outcome.status == 1
    assert words in outcome.err


@pytest.mark.stack
def test_lost_and_failed_files_are_sent_again(tensorlet, folders, monkeypatch):
    import boto3
    from tensorlet.batch.events import keys_of
    from tensorlet.local.standin import stand_in

    with stand_in() as stack:
        s3, sqs = boto3.client("s3"), stack.queue.sqs
        sqs.purge_queue(QueueUrl=stack.queue.url)
        s3.put_bucket_notification_configuration(
            Bucket="input", NotificationConfiguration={}
        )  # events get lost
        s3.put_object(Bucket="input", Key="digits/lost.csv", Body=b"1,2,3,4\n")
        sqs.send_message(QueueUrl=stack.dead_letters.url, MessageBody="dead")
        queues = ["--queue", stack.queue.url, "--dead-letters", stack.dead_letters.url]
        flags = ["--input", "s3://input", "--output", stack.output, *queues]

        reconciled = tensorlet("jobs", *flags, "--reconcile")
        redriven = tensorlet("jobs", *flags, "--redrive")

        bodies = [
            m["Body"]
            for m in sqs.receive_message(QueueUrl=stack.queue.url, MaxNumberOfMessages=10)["Messages"]
        ]
    assert (reconciled.status, reconciled.out) == (0, "digits/lost.csv\n")
    assert "1 events sent again" in reconciled.err
    assert "1 messages go back to the queue" in redriven.err
    assert keys_of(bodies[0]) == [("input", "digits/lost.csv")]
    assert bodies[1] == "dead"


def test_the_progress_line_has_a_bar_the_speed_and_what_is_left():
    text = progress_text(Progress(5000, 3, 250, 1000), elapsed_s=10.0, columns=100)
    assert text.startswith("━")
    assert text.endswith(" 25%  5,000 rows  3 failed  500 rows/s  0:30 left")
    assert len(progress_text(Progress(5000, 3, 250, 1000), 10.0, columns=20)) <= 20


@pytest.mark.parametrize("done", [0, 1000, 1200])
def test_the_progress_line_survives_its_ends(done):
    assert "rows/s" in progress_text(Progress(0, 0, done, 1000), elapsed_s=0.0, columns=80)
