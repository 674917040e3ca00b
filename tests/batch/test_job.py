"""Exactly-once effect: the outputs are those of the input as it is now, whatever is repeated, late or stale."""

import json

import pytest
from tensorlet.batch import Job
from tensorlet.errors import Conflict, StorageUnavailable
from tensorlet.registry.store import Store
from tensorlet.registry.writer import set_alias

from tests.batch.bench import Bench, CrashingStore
from tests.models import linear, publish_onnx

KEY = "linear/a.csv"
OLD = b"1,2,3,4\n5,6,7,8\n1,2,3\n"
NEW = b"4,3,2,1\n"


def test_the_report_says_what_was_done(bench: Bench):
    report = bench.run(KEY, OLD)
    document = bench.report(KEY)

    assert document == {**document, "rows_in": 3, "rows_out": 2, "rows_failed": 1}
    assert document == {
        **document,
        "input_key": KEY,
        "model": "linear",
        "model_version": 1,
        "artifact": "onnx",
    }
    assert document["input_etag"] == bench.inputs.head(KEY).etag.strip('"')
    assert len(document["artifact_sha256"]) == 64
    assert document["seconds"] >= 0
    assert "reason" not in document
    assert [output["key"] for output in document["outputs"]] == [f"{KEY}.out", f"{KEY}.err.jsonl"]
    assert report.to_json() == bench.read(f"{KEY}.report.json")


def test_a_repeated_event_changes_nothing(bench: Bench):
    bench.run(KEY, OLD)
    results = CrashingStore(bench.results)
    before = everything(bench.results)

    assert Job(bench.service, bench.inputs, results, KEY).run().rows_in == 3

    assert everything(bench.results) == before
    assert results.calls == 3  # it has looked at the outputs, and that was all


def test_a_newer_input_replaces_the_outputs_of_the_older_one(bench: Bench):
    bench.run(KEY, OLD)
    bench.run(KEY, NEW)
    assert len(bench.out(KEY).splitlines()) == 1
    assert bench.read(f"{KEY}.err.jsonl") is None  # the new input has no bad rows
    assert bench.report(KEY)["rows_in"] == 1


def test_a_wrong_newer_input_leaves_no_predictions_of_the_older_one(bench: Bench):
    bench.run(KEY, OLD)
    assert bench.run(KEY, b"\xff\xff").reason
    assert bench.out(KEY) is None
    assert bench.read(f"{KEY}.err.jsonl") is None


def test_what_a_run_is_stays_pinned_when_the_alias_moves(bench: Bench, store):
    set_alias(store, "linear", "live", 1)
    bench.run(KEY, OLD)
    first = bench.out(KEY)
    publish_onnx(store, "linear", linear(seed=7))
    set_alias(store, "linear", "live", 2)
    for name in (f"{KEY}.out", f"{KEY}.report.json"):
        bench.results.delete(name)

    assert bench.run(KEY).model_version == 1
    assert bench.out(KEY) == first
    assert bench.run("linear/b.csv", OLD).model_version == 2


def test_the_key_chooses_the_version(bench: Bench, store):
    publish_onnx(store, "linear", linear(seed=7))
    set_alias(store, "linear", "stable", 1)
    assert bench.run("linear@1/a.csv", NEW).model_version == 1
    assert bench.run("linear@stable/a.csv", NEW).model_version == 1
    assert bench.run("linear/a.csv", NEW).model_version == 2


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("unknown/a.csv", "model 'unknown' is not in the registry"),
        ("linear@9/a.csv", "has no version 9"),
        ("linear@nobody/a.csv", "has no alias 'nobody'"),
        ("linear/a.txt", "expected a file of .csv"),
        ("a.csv", "expected the key MODEL/FILE"),
        ("..x/a.csv", "is not in the registry"),
    ],
)
def test_what_can_never_be_predicted_is_reported(bench: Bench, key, reason):
    report = bench.run(key, NEW)
    assert reason in report.reason
    assert bench.report(key)["reason"] == report.reason
    assert bench.out(key) is None


def test_a_corrupted_model_is_reported_and_never_run(bench: Bench, store):
    store.put("linear/1/model.onnx", b"something else")
    assert "expected sha256" in bench.run(KEY, NEW).reason


def test_an_input_that_is_gone_needs_nothing(bench: Bench):
    assert bench.run(KEY) is None
    assert everything(bench.results) == {}


class Meanwhile(Store):
    """A store in which something happens before one of its calls, once."""

    def __init__(self, store: Store, method: str, happening):
        super().__init__(store.backend, store.uri)
        self._happening = happening

        def call(*arguments):
            happening, self._happening = self._happening, None
            if happening:
                happening()
            return getattr(store, method)(*arguments)

        setattr(self, method, call)


@pytest.mark.parametrize("method", ["head", "read"])
def test_an_input_that_changes_while_it_is_read_is_read_again(bench: Bench, method):
    bench.inputs.put(KEY, OLD)
    inputs = Meanwhile(bench.inputs, method, lambda: bench.inputs.put(KEY, NEW))
    assert Job(bench.service, inputs, bench.results, KEY).run().rows_in == 1
    assert len(bench.out(KEY).splitlines()) == 1


def test_an_input_that_is_removed_while_it_is_read_needs_nothing(bench: Bench):
    bench.inputs.put(KEY, OLD)
    inputs = Meanwhile(bench.inputs, "read", lambda: bench.inputs.delete(KEY))
    assert Job(bench.service, inputs, bench.results, KEY).run() is None
    assert bench.out(KEY) is None


@pytest.mark.parametrize("method", ["create", "get", "head"])
def test_two_workers_on_one_file_leave_the_same_as_one(bench: Bench, method):
    bench.run(KEY, OLD)
    alone = outputs(bench.results)
    other = Bench(bench.service, bench.inputs, Store(type(bench.results.backend)(), "memory://other"))
    results = Meanwhile(other.results, method, lambda: other.run(KEY))

    Job(bench.service, bench.inputs, results, KEY).run()

    assert outputs(other.results) == alone


def test_a_slow_worker_does_not_overwrite_the_outputs_of_a_newer_input(bench: Bench):
    bench.inputs.put(KEY, OLD)

    def overtaken() -> None:
        bench.run(KEY, NEW)

    results = Meanwhile(bench.results, "create", overtaken)
    assert Job(bench.service, bench.inputs, results, KEY).run().rows_in == 1
    assert len(bench.out(KEY).splitlines()) == 1


def test_storage_that_fails_is_no_fault_of_the_file(bench: Bench):
    def fail() -> None:
        raise StorageUnavailable("s3 is down")

    bench.inputs.put(KEY, OLD)
    with pytest.raises(StorageUnavailable):
        Job(bench.service, Meanwhile(bench.inputs, "read", fail), bench.results, KEY).run()
    assert bench.read(f"{KEY}.report.json") is None


def test_an_input_that_keeps_changing_is_left_for_later(bench: Bench):
    class Restless(Store):
        def read(self, *arguments):
            raise Conflict("changed again")

    bench.inputs.put(KEY, OLD)
    with pytest.raises(Conflict, match="changed 10 times"):
        Job(bench.service, Restless(bench.inputs.backend, "memory://inputs"), bench.results, KEY).run()


def test_a_report_of_somebody_else_is_replaced(bench: Bench):
    for text in (b"hello", b"{}", b"[]", b'{"outputs": 3}'):
        bench.results.put(f"{KEY}.report.json", text)
        assert bench.run(KEY, OLD).rows_in == 3
        assert bench.report(KEY)["rows_in"] == 3


def everything(store: Store) -> dict[str, bytes]:
    import obstore

    keys = [info["path"] for page in obstore.list(store.backend) for info in page]
    return {key: bytes(store.get(key).data) for key in keys}


def outputs(store: Store) -> dict[str, bytes]:
    """All that was written, but for what may differ between two runs: times, and ETags counted by the store."""
    found = everything(store)
    for key, data in found.items():
        if key.endswith(".report.json"):
            report = json.loads(data)
            written = [(output["key"], output["size_bytes"]) for output in report["outputs"]]
            found[key] = json.dumps({**report, "seconds": 0, "estimated_usd": 0, "outputs": written}).encode()
    return found


@pytest.mark.parametrize("before", [None, OLD], ids=["new file", "replaced file"])
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("where", ["inputs", "results"])
def test_a_crash_at_any_storage_call_and_a_second_delivery_leave_the_same_as_a_clean_run(
    bench: Bench, before, after, where
):
    text = b"1,2,3,4\nx,6,7,8\n" if before is None else b"1,1,1,1\n"

    def attempt(crash_at: int) -> tuple[dict[str, bytes], bool]:
        from tests.batch.bench import Crash, memory_store

        fresh = Bench(bench.service, memory_store("inputs"), memory_store("results"))
        if before is not None:
            fresh.run(KEY, before)
        fresh.inputs.put(KEY, text)
        stores = {"inputs": CrashingStore(fresh.inputs), "results": CrashingStore(fresh.results)}
        stores[where].crash_at, stores[where].crash_after = crash_at, after
        try:
            Job(fresh.service, stores["inputs"], stores["results"], KEY).run()
            crashed = False
        except Crash:
            crashed = True
            fresh.run(KEY)
        return outputs(fresh.results), crashed

    clean, _ = attempt(crash_at=-1)
    crash_at = 0
    while True:
        found, crashed = attempt(crash_at)
        assert found == clean
        if not crashed:
            break
        crash_at += 1
    assert crash_at >= 2
