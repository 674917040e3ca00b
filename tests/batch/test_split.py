"""A split file has the bytes of an unsplit one, whatever is repeated, reordered or cut off."""

import json
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorlet.batch import Job, chunks, split
from tensorlet.batch.chunks import Chunk
from tensorlet.batch.source import Source
from tensorlet.batch.split import Limits, run_or_split

from tests.batch.bench import Bench, Crash, CrashingStore, memory_store
from tests.models import linear, publish_onnx

ROWS = 800
LIMITS = Limits(invocation_s=900, split_bytes=1500)


def csv_text(header: bool = False, size: int = ROWS) -> bytes:
    """Rows of every kind: bad ones, quoted ones with newlines, empty lines, none that can be predicted in between."""
    rows = [b'n,"the\nfirst",c,d\n' if header else b""]
    for n in range(size):
        kinds = {3: b"x,2,3,4\n", 5: b'"%d",2,3,"4\n"\n' % n, 7: b"1,2\n\n", 11: b'1,"\n\n",3,4\r\n'}
        rows.append(kinds.get(n % 13, b"%d,2,3.5,-4\n" % n) if n < 400 or n > 480 else b"bad,,,\n")
    return b"".join(rows)


def jsonl_text() -> bytes:
    kinds = {3: b"[1,2]\n", 5: b'{"image": [1,2,3,4]}\n', 7: b"nonsense\n\n", 11: b" \n[1,2,3,4]\r\n"}
    return b"".join(kinds.get(n % 13, b"[%d,2,3.5,-4]\n" % n) for n in range(ROWS)).rstrip(b"\n")


def npy_file(size: int = ROWS) -> bytes:
    file = BytesIO()
    np.save(file, np.arange(size * 4, dtype="i8").reshape(size, 4) % 1000 - 500)
    return file.getvalue()


FILES = {
    "linear/a.csv": csv_text(),
    "linear/header.csv": b"\xef\xbb\xbf" + csv_text(header=True),
    "linear/a.jsonl": jsonl_text(),
    "linear/a.npy": npy_file(),
}
SHORT = {"linear/a.csv": csv_text(header=True, size=300), "linear/a.npy": npy_file(300)}


@pytest.fixture(autouse=True)
def short_leads(monkeypatch):
    monkeypatch.setattr(chunks, "LEAD_BYTES", 500)
    monkeypatch.setattr(Source.__init__, "__defaults__", (False, 2 << 20, 700))


@pytest.fixture
def split_bench(bench: Bench) -> Bench:
    """The workbench, with groups of 16 rows."""
    bench.inputs.put("linear/_batch.json", b'{"batch_rows": 16}')
    return bench


def beside(bench: Bench) -> Bench:
    """The same input, and other outputs."""
    return Bench(bench.service, bench.inputs, memory_store("other"))


def hand_over(bench: Bench, key: str, limits: Limits = LIMITS) -> str:
    """The ETag with which the file was handed to the state machine."""
    started = []
    job = Job(bench.service, bench.inputs, bench.results, key)
    assert run_or_split(job, limits, lambda job, etag: started.append(etag)) is None
    [etag] = started
    return etag


def list_of_chunks(bench: Bench) -> list[Chunk]:
    [key] = [info.key for info in bench.results.walk() if info.key.endswith("/chunks.json")]
    return [Chunk(**item) for item in json.loads(bytes(bench.results.get(key).data))]


def run_split(bench: Bench, key: str):
    """All steps in their order, as the state machine takes them."""
    etag = hand_over(bench, key)
    job = Job(bench.service, bench.inputs, bench.results, key)
    assert split.plan_chunks(job, etag)["state"] == "planned"
    for chunk in list_of_chunks(bench):
        assert split.predict_chunk(job, etag, chunk)["state"] == "done"
    return split.merge(job, etag)


def outputs(bench: Bench, key: str) -> tuple[bytes | None, bytes | None]:
    return bench.out(key), bench.read(f"{key}.err.jsonl")


@pytest.mark.parametrize("key", FILES)
def test_a_split_file_has_the_bytes_of_an_unsplit_one(split_bench: Bench, key):
    whole = beside(split_bench)
    expected = whole.run(key, FILES[key])

    report = run_split(split_bench, key)

    assert outputs(split_bench, key) == outputs(whole, key)
    counts = (report.rows_in, report.rows_out, report.rows_failed)
    assert counts == (expected.rows_in, expected.rows_out, expected.rows_failed)
    assert report.chunks == len(list_of_chunks(split_bench)) > 5
    assert report.model_version == expected.model_version
    assert not report.reason


@pytest.mark.parametrize(
    ("key", "data", "reason"),
    [
        ("linear/a.csv", FILES["linear/a.csv"] + b'1,"2', f"row {ROWS}: a quote is never closed"),
        ("linear/a.csv", b"1,2\n" * 3000, "takes 4 numbers"),
        ("linear/a.csv", FILES["linear/a.csv"] + b"1,2,3,\xff\n", "not UTF-8"),
        ("linear/a.npy", b"nonsense" * 1000, "not NPY"),
        ("unknown/a.csv", FILES["linear/a.csv"], "model 'unknown' is not in the registry"),
    ],
)
def test_a_wrong_file_fails_as_it_would_unsplit(split_bench: Bench, key, data, reason):
    whole = beside(split_bench)
    expected = whole.run(key, data)
    assert reason in expected.reason
    started = []
    job = Job(split_bench.service, split_bench.inputs, split_bench.results, key)

    report = run_or_split(job, LIMITS, lambda job, etag: started.append(etag))
    if started:
        if split.plan_chunks(job, started[0])["state"] == "planned":
            for chunk in list_of_chunks(split_bench):
                split.predict_chunk(job, started[0], chunk)
        report = split.merge(job, started[0])

    assert report.reason == expected.reason
    assert outputs(split_bench, key) == (None, None)
    assert split_bench.report(key)["reason"] == expected.reason


@pytest.mark.parametrize("key", ["linear/a.csv.gz", "linear/a.npz", "linear/a.parquet"])
def test_a_file_that_cannot_be_cut_is_reported_before_work_is_wasted(split_bench: Bench, key):
    split_bench.inputs.put(key, bytes(5000))
    job = Job(split_bench.service, split_bench.inputs, split_bench.results, key)
    report = run_or_split(job, LIMITS, lambda job, etag: pytest.fail("it was handed over"))
    assert report.reason.startswith("not_splittable: ")
    assert "5,000 bytes" in report.reason


def test_rows_none_of_which_can_be_predicted_at_the_beginning_cannot_be_cut(split_bench: Bench):
    """Nobody could know how wide the rows of the output are."""
    split_bench.inputs.put("linear/a.csv", b"n,x,y,z\n" + b"1,,,\n" * 1000 + b"1,2,3,4\n" * 1000)
    report = run_split(split_bench, "linear/a.csv")
    assert report.reason.startswith("not_splittable: none of its first")


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("linear/header.csv", {"join": "input", "delimiter": ","}),
        ("linear/header.csv", {"output_filter": "$[-1,0]", "join": "input"}),
        ("linear/a.csv", {"format": "jsonl"}),
        ("linear/a.csv", {"format": "npy"}),
        ("linear/a.jsonl", {"format": "csv"}),
        ("linear/a.jsonl", {"join": "input"}),
        ("linear/a.npy", {"format": "csv"}),
    ],
)
def test_options_hold_for_every_chunk(split_bench: Bench, key, options):
    split_bench.inputs.put("linear/_batch.json", json.dumps({"batch_rows": 16, **options}).encode())
    whole = beside(split_bench)
    assert not whole.run(key, FILES[key]).reason
    assert not run_split(split_bench, key).reason
    same = outputs(split_bench, key) == outputs(whole, key)
    assert same


@pytest.mark.parametrize("key", ["linear/a.npy", "linear/a.csv"])
def test_what_can_only_be_written_as_a_whole_is_reported(split_bench: Bench, key):
    split_bench.inputs.put("linear/_batch.json", b'{"format": "npz"}')
    split_bench.inputs.put(key, FILES[key])
    etag = hand_over(split_bench, key)
    job = Job(split_bench.service, split_bench.inputs, split_bench.results, key)
    assert split.plan_chunks(job, etag) == {"state": "done"}
    assert split_bench.report(key)["reason"].startswith("not_splittable: npz")


def test_a_file_that_is_done_in_time_is_never_split(split_bench: Bench):
    split_bench.inputs.put("linear/a.csv", FILES["linear/a.csv"])
    job = Job(split_bench.service, split_bench.inputs, split_bench.results, "linear/a.csv")
    report = run_or_split(job, Limits(900), lambda job, etag: pytest.fail("it was handed over"))
    assert (report.rows_in, report.chunks) == (ROWS, 0)
    assert not [info for info in split_bench.results.walk() if "split" in info.key]


def test_a_file_is_split_when_its_own_speed_shows_that_time_will_not_do(split_bench: Bench, monkeypatch):
    """GIVEN a model that takes a second for each group of rows
    WHEN its first seconds predict more than an invocation has
    THEN the rest is not tried, and a chunk is what a worker does in two minutes.
    """
    clock = iter(range(10_000))
    monkeypatch.setattr(split, "monotonic", lambda: next(clock))
    split_bench.inputs.put("linear/a.csv", FILES["linear/a.csv"])

    hand_over(split_bench, "linear/a.csv", Limits(invocation_s=30))

    assert next(clock) < 20
    [key] = [info.key for info in split_bench.results.walk() if info.key.endswith("/split.json")]
    chunk_bytes = json.loads(bytes(split_bench.results.get(key).data))["chunk_bytes"]
    size = len(FILES["linear/a.csv"])
    assert 0.5 < chunk_bytes / (size / (ROWS / 16) * split.CHUNK_S) < 2


@pytest.mark.parametrize("key", FILES)
def test_a_search_that_takes_too_long_goes_on_in_the_next_call(split_bench: Bench, key):
    whole = beside(split_bench)
    whole.run(key, FILES[key])
    etag = hand_over(split_bench, key)
    job = Job(split_bench.service, split_bench.inputs, split_bench.results, key)

    calls = 1
    while split.plan_chunks(job, etag, seconds=-1.0)["state"] == "unfinished":
        calls += 1

    found = list_of_chunks(split_bench)
    assert 3 < calls < len(found)
    for chunk in found:
        split.predict_chunk(job, etag, chunk)
    split.merge(job, etag)
    same = outputs(split_bench, key) == outputs(whole, key)
    assert same


def test_an_overtaken_file_is_left_to_its_new_event(split_bench: Bench):
    key = "linear/a.csv"
    split_bench.inputs.put(key, FILES[key])
    etag = hand_over(split_bench, key)
    job = Job(split_bench.service, split_bench.inputs, split_bench.results, key)
    split.plan_chunks(job, etag)
    [first, *_] = list_of_chunks(split_bench)

    split_bench.run(key, b"1,2,3,4\n")

    assert split.plan_chunks(job, etag) == {"state": "overtaken"}
    assert split.predict_chunk(job, etag, first) == {"state": "overtaken"}
    assert split.merge(job, etag) is None
    assert split_bench.report(key)["rows_in"] == 1


def test_without_all_parts_nothing_is_written(split_bench: Bench):
    key = "linear/a.csv"
    split_bench.inputs.put(key, FILES[key])
    etag = hand_over(split_bench, key)
    job = Job(split_bench.service, split_bench.inputs, split_bench.results, key)
    with pytest.raises(split.Unfinished):
        split.merge(job, etag)
    split.plan_chunks(job, etag)
    with pytest.raises(split.Unfinished):
        split.merge(job, etag)
    assert outputs(split_bench, key) == (None, None)


def test_parts_of_another_plan_are_not_used(split_bench: Bench, store):
    """GIVEN a file that was split, and its plan and report removed to run it with a new version
    THEN the new version predicts all of it.
    """
    key = "linear/a.csv"
    split_bench.inputs.put(key, FILES[key])
    run_split(split_bench, key)
    first = split_bench.out(key)
    publish_onnx(store, "linear", linear(seed=3))
    for info in split_bench.results.walk():
        if info.key.endswith((".plan.json", ".report.json", "/chunks.json")):
            split_bench.results.delete(info.key)

    report = run_split(split_bench, key)

    whole = beside(split_bench)
    whole.run(key)
    assert report.model_version == 2
    assert split_bench.out(key) == whole.out(key) != first


@settings(max_examples=settings.default.max_examples // 4)  # each is dozens of steps
@given(data=st.data())
def test_steps_may_be_repeated_reordered_and_cut_off(split_bench_of, data):
    """GIVEN chunks predicted in any order, each perhaps more than once and cut off at any storage call
    WHEN every step has at last succeeded once
    THEN the outputs are those of one clean unsplit run.
    """
    key = data.draw(st.sampled_from(sorted(SHORT)))
    bench, expected = split_bench_of(key)
    etag = hand_over(bench, key, Limits(900, len(SHORT[key]) // 4))
    job = Job(bench.service, bench.inputs, bench.results, key)

    def disturbed(step) -> None:
        """Cut off at a call, until it is not reached."""
        results = CrashingStore(bench.results)
        results.crash_at = data.draw(st.integers(-1, 12))
        results.crash_after = data.draw(st.booleans())
        try:
            step(Job(bench.service, bench.inputs, results, key))
        except Crash:
            step(job)

    disturbed(lambda job: split.plan_chunks(job, etag))
    found = list_of_chunks(bench)
    again = data.draw(st.lists(st.sampled_from(found), max_size=3))
    for chunk in data.draw(st.permutations([*found, *again])):
        disturbed(lambda job, chunk=chunk: split.predict_chunk(job, etag, chunk))
    disturbed(lambda job: split.merge(job, etag))
    split.merge(job, etag)

    same = (
        outputs(bench, key) == expected
    )  # not compared by pytest, which would explain megabytes byte by byte
    assert same
    assert bench.report(key)["chunks"] == len(found)


@pytest.fixture(scope="module")
def split_bench_of():
    """A fresh workbench for a key with its file, and the outputs of an unsplit run."""
    from tensorlet.registry.registry import Registry
    from tensorlet.serving.service import ModelService
    from tensorlet.settings import Settings

    registry = memory_store("registry")
    publish_onnx(registry, "linear", linear())
    service = ModelService(Registry([registry]), Settings.from_environ({}))
    expected: dict[str, tuple[bytes | None, bytes | None]] = {}

    def make(key: str):
        bench = Bench(service, memory_store("inputs"), memory_store("results"))
        bench.inputs.put("linear/_batch.json", b'{"batch_rows": 16}')
        if key not in expected:
            whole = beside(bench)
            whole.run(key, SHORT[key])
            expected[key] = outputs(whole, key)
        bench.inputs.put(key, SHORT[key])
        return bench, expected[key]

    return make
