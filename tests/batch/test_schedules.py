"""Whatever S3, SQS and Lambda do, in the end the outputs are those of one clean run over the input as it is.

Hypothesis invents schedules: files are dropped, dropped again and removed; messages are delivered twice, late
and in any order; up to three workers run at once and are interleaved, cut off or failed at any storage call;
the alias moves meanwhile. After each step a report that vouches for the outputs must be right, and a plan must
be the one first made. In the end everything is delivered, and the outputs are compared with a clean run's bytes.
"""

import json
from functools import cache

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tensorlet.batch import Job
from tensorlet.batch.keys import plain_etag, plan_key
from tensorlet.batch.report import Report
from tensorlet.errors import ObjectNotFound
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import Store, open_store
from tensorlet.registry.writer import set_alias
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

from tests.batch.bench import Crash, memory_store, read
from tests.batch.schedules import COMMANDS, DictStore, Worker
from tests.models import linear, publish_onnx

KEY = "linear/a.csv"
CONTENTS = [
    b"1,2,3,4\n",
    b"1,2,3,4.0\n",  # another input with the very same output
    b"1,2,3,4\nx,2,3,4\n5,6,7,8\n",
    b"5,6,7,8\n" * 3,
    b"\xff\xff",
]


@cache
def registry() -> Store:
    """Two versions of one model; `live` moves between them."""
    store = memory_store("registry")
    publish_onnx(store, "linear", linear())
    publish_onnx(store, "linear", linear(seed=1))
    return store


@cache
def service() -> ModelService:
    return ModelService(Registry([registry()]), Settings.from_environ({"TENSORLET_ALIAS_TTL_S": "0"}))


def point_alias(version: int) -> None:
    if service().version("linear") != version:
        set_alias(registry(), "linear", "live", version)


@cache
def clean_run(content: bytes, version: int | None) -> tuple[bytes | None, bytes | None]:
    """`.out` and `.err.jsonl` of one undisturbed run with this version."""
    inputs, results = DictStore(content_etags=True), DictStore(content_etags=True)
    point_alias(version or 1)
    inputs.put(KEY, content)
    Job(service(), inputs, results, KEY).run()
    return tuple(results.objects.get(f"{KEY}{end}", (None,))[0] for end in (".out", ".err.jsonl"))


class Schedule(RuleBasedStateMachine):
    inputs: Store
    results: Store

    def __init__(self):
        super().__init__()
        self.messages = 0  # undelivered ones; all are about the one key
        self.workers: list[Worker] = []
        self.plans: dict[str, bytes] = {}
        self.contents: dict[str, bytes] = {}  # by ETag
        self.live = 1
        self.etags_return = True
        self.finished: tuple[bytes | None, bytes | None] | None = None  # the outputs, once they are right

    @initialize(content_etags=st.booleans())
    def make_stores(self, content_etags):
        self.inputs, self.results = DictStore(content_etags), DictStore(content_etags)
        self.etags_return = content_etags
        self.drop(CONTENTS[0], 1)

    @rule(content=st.sampled_from(CONTENTS), messages=st.integers(1, 2))
    def drop(self, content, messages):
        etag = self.inputs.put(KEY, content)
        self.finished = None
        self.contents[plain_etag(etag)] = content
        self.messages += messages

    @rule()
    def remove(self):
        self.inputs.delete(KEY)
        self.finished = None

    @rule(version=st.sampled_from([1, 2]))
    def move_alias(self, version):
        self.live = version

    @precondition(lambda self: self.messages and len(self.workers) < 3)
    @rule()
    def deliver(self):
        self.messages -= 1
        self.workers.append(
            Worker(
                lambda worker: Job(
                    service(), worker.store(self.inputs), worker.store(self.results), KEY
                ).run()
            )
        )

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), steps=st.integers(1, 12))
    def advance(self, data, steps):
        worker = data.draw(st.sampled_from(range(len(self.workers))))
        self.step(self.workers[worker], steps)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def finish(self, data):
        worker = data.draw(st.sampled_from(range(len(self.workers))))
        self.step(self.workers[worker], 1000)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), command=st.sampled_from(COMMANDS[1:]))
    def disturb(self, data, command):
        worker = data.draw(st.sampled_from(range(len(self.workers))))
        self.step(self.workers[worker], 1, command)

    def step(self, worker, steps, command="go"):
        point_alias(self.live)
        for _ in range(steps):
            if not worker.done:
                worker.advance(command)
        if worker.done:
            self.workers.remove(worker)
            if worker.outcome is not None:
                assert isinstance(worker.outcome, Crash | Exception), worker.outcome
                self.messages += 1  # not acknowledged: it comes again

    @invariant()
    def a_report_that_vouches_for_the_outputs_is_right(self):
        report = self.report()
        if report is None or not self.vouches(report):
            return
        expected = clean_run(self.contents[report.input_etag], report.model_version)
        assert self.outputs() == expected
        if report.input_etag == self.input_etag():
            self.finished = expected

    @invariant()
    def outputs_that_were_right_stay_so_until_the_input_changes(self):
        """With ETags that return, a condition can hold that should not: then they are right again in the end."""
        if self.finished and not self.etags_return:
            assert self.outputs() == self.finished

    @invariant()
    def a_plan_is_never_changed(self):
        for etag in self.contents:
            plan = self.read(plan_key(KEY, etag))
            assert self.plans.setdefault(etag, plan) == plan if plan else etag not in self.plans

    def teardown(self):
        while self.workers:
            self.step(self.workers[0], 1)
        while self.messages:
            self.deliver()
            self.step(self.workers[0], 1000)
        self.a_plan_is_never_changed()
        etag = self.input_etag()
        if etag is None:
            return
        report = self.report()
        assert report.input_etag == etag
        assert self.vouches(report)
        assert report.model_version == json.loads(self.plans[etag])["model_version"]
        self.a_report_that_vouches_for_the_outputs_is_right()

    def report(self) -> Report | None:
        return Report.from_json(self.read(f"{KEY}.report.json") or b"")

    def vouches(self, report: Report) -> bool:
        """Whether the outputs are those which the report lists."""
        found = set()
        for key in (f"{KEY}.out", f"{KEY}.err.jsonl"):
            try:
                found.add((key, plain_etag(self.results.head(key).etag)))
            except ObjectNotFound:
                continue
        return found == {(output.key, output.etag) for output in report.outputs}

    def input_etag(self) -> str | None:
        try:
            return plain_etag(self.inputs.head(KEY).etag)
        except ObjectNotFound:
            return None

    def outputs(self) -> tuple[bytes | None, bytes | None]:
        return self.read(f"{KEY}.out"), self.read(f"{KEY}.err.jsonl")

    def read(self, key: str) -> bytes | None:
        return read(self.results, key)


def worker_over_a_second_input(inputs, results, first):
    """After a whole run over `first`: a worker that has read another input, about to replace its first output."""
    inputs.put(KEY, first)
    Job(service(), inputs, results, KEY).run()
    inputs.put(KEY, CONTENTS[3])
    begun = Worker(lambda worker: Job(service(), worker.store(inputs), worker.store(results), KEY).run())
    while begun.before != "replace":
        begun.advance()
    return begun


def test_an_input_that_returns_to_what_it_was_is_noticed_by_the_second_look():
    """GIVEN outputs of a first input, and a worker that has read a second one
    WHEN the first one comes back, with its old ETag, and its event finds everything done
    THEN all conditions of the worker hold, and only looking again shows that it was too late.
    """
    inputs, results = DictStore(content_etags=True), DictStore(content_etags=True)
    first = CONTENTS[0]
    expected = clean_run(first, 1)[0]
    slow = worker_over_a_second_input(inputs, results, first)

    inputs.put(KEY, first)
    Job(service(), inputs, results, KEY).run()
    while not slow.done:
        slow.advance()

    assert results.get(f"{KEY}.out").data == expected
    assert Report.from_json(results.get(f"{KEY}.report.json").data).input_etag == plain_etag(
        inputs.head(KEY).etag
    )


def test_a_report_does_not_vouch_for_outputs_that_were_written_after_it():
    """GIVEN outputs of a first input, and a worker that was cut off when it had replaced `.out` for a second one
    WHEN the first one comes back, with its old ETag
    THEN its report is still there, but lists another `.out`: the file is not done.
    """
    inputs, results = DictStore(content_etags=True), DictStore(content_etags=True)
    first = CONTENTS[0]
    expected = clean_run(first, 1)[0]
    cut_off = worker_over_a_second_input(inputs, results, first)
    cut_off.advance("crash after")

    inputs.put(KEY, first)
    Job(service(), inputs, results, KEY).run()

    assert results.get(f"{KEY}.out").data == expected


def test_a_slow_worker_does_not_overwrite_newer_outputs_not_even_for_a_moment():
    inputs, results = DictStore(content_etags=False), DictStore(content_etags=False)
    oldest, old, new = CONTENTS[0], CONTENTS[3], CONTENTS[1]
    expected = clean_run(new, 1)[0]
    inputs.put(KEY, oldest)
    Job(service(), inputs, results, KEY).run()
    inputs.put(KEY, old)
    slow = Worker(lambda worker: Job(service(), worker.store(inputs), worker.store(results), KEY).run())
    while slow.before not in ("replace", "put"):
        slow.advance()
    inputs.put(KEY, new)
    Job(service(), inputs, results, KEY).run()

    while not slow.done:
        slow.advance()
        assert results.get(f"{KEY}.out").data == expected


def test_every_schedule_ends_in_the_bytes_of_a_clean_run():
    run_state_machine_as_test(Schedule, settings=settings(stateful_step_count=30))


@pytest.mark.slow
@pytest.mark.stack
def test_every_schedule_ends_in_the_bytes_of_a_clean_run_on_s3(s3, bucket):
    class ScheduleOnS3(Schedule):
        @initialize()
        def make_stores(self):
            for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=item["Key"])
            self.inputs, self.results = open_store(f"s3://{bucket}/in"), open_store(f"s3://{bucket}/out")
            self.drop(CONTENTS[0], 1)

    run_state_machine_as_test(ScheduleOnS3, settings=settings(max_examples=100, stateful_step_count=20))
