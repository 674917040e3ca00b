"""Objects of any size: whole or not at all, on a condition, on every kind of store."""

import pytest
from tensorlet.errors import Conflict
from tensorlet.registry import upload as upload_module
from tensorlet.registry.store import Store, open_store
from tensorlet.registry.upload import PART_BYTES, Upload

from tests.batch.bench import memory_store, read

MIB = 1 << 20


@pytest.fixture(params=["memory", "file", "s3"])
def any_store(request, tmp_path) -> Store:
    if request.param == "memory":
        return memory_store("results")
    if request.param == "file":
        return open_store(f"file://{tmp_path}/results")
    return open_store(f"s3://{request.getfixturevalue('bucket')}/results")


def upload(store: Store, data: bytes, part_bytes: int = PART_BYTES) -> Upload:
    upload = Upload(store, "m/a.out", part_bytes)
    for start in range(0, len(data), 300_000):
        upload.write(data[start : start + 300_000])
    return upload


@pytest.mark.parametrize("size", [0, 10, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])
def test_what_is_written_is_there_after_the_commit_and_not_before(any_store, size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    writing = upload(any_store, data)
    assert read(any_store, "m/a.out") is None

    etag = writing.commit("")

    assert read(any_store, "m/a.out") == data
    assert any_store.head("m/a.out").etag == etag
    assert (writing.size_bytes, any_store.head("m/a.out").size_bytes) == (size, size)


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_only_one_of_two_can_create(any_store, size):
    first, second = upload(any_store, b"1" * size), upload(any_store, b"2" * size)
    first.commit("")
    with pytest.raises(Conflict):
        second.commit("")
    second.abort()
    assert read(any_store, "m/a.out") == b"1" * size


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_what_has_changed_is_not_replaced(any_store, size, request):
    if any_store.uri.startswith("s3:") and size > PART_BYTES:
        pytest.skip("moto ignores If-Match when a multipart upload is completed; S3 does not")
    etag = any_store.create("m/a.out", b"old")
    first, second = upload(any_store, b"1" * size), upload(any_store, b"2" * size)
    first.commit(etag)
    with pytest.raises(Conflict):
        second.commit(etag)
    second.abort()
    assert read(any_store, "m/a.out") == b"1" * size


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_without_a_condition_the_last_one_wins(any_store, size):
    upload(any_store, b"1" * size).commit(None)
    upload(any_store, b"2" * size).commit(None)
    assert read(any_store, "m/a.out") == b"2" * size


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_the_head_takes_the_place_of_the_first_bytes(any_store, size):
    upload(any_store, b"-" * size).commit("", b"header")
    assert read(any_store, "m/a.out") == b"header" + b"-" * (size - 6)


def test_an_aborted_upload_leaves_nothing(any_store, tmp_path):
    upload(any_store, b"1" * (2 * PART_BYTES)).abort()
    assert read(any_store, "m/a.out") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_conditional_delete_spares_what_has_changed(any_store):
    old = any_store.create("m/a.out", b"old")
    new = any_store.replace("m/a.out", b"new", old)
    with pytest.raises(Conflict):
        any_store.remove("m/a.out", old)
    any_store.remove("m/a.out", new)
    assert read(any_store, "m/a.out") is None


def test_a_range_is_that_of_the_etag_or_a_conflict(any_store):
    old = any_store.create("m/a.csv", b"0123456789")
    assert bytes(any_store.read("m/a.csv", 2, 5, old)) == b"234"
    any_store.replace("m/a.csv", b"abcdefghij", old)
    with pytest.raises(Conflict):
        any_store.read("m/a.csv", 2, 5, old)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([3, 5], id="small ones are streamed together"),
        pytest.param([3, 11 * MIB, 2 * MIB, 10 * MIB, 7], id="large ones are copied"),
    ],
)
@pytest.mark.slow
def test_objects_are_appended_as_if_their_bytes_were_written(any_store, sizes):
    pieces = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
    writing = Upload(any_store, "m/a.out")
    writing.write(b"-" * 6)
    for n, piece in enumerate(pieces):
        any_store.put(f"parts/{n}", piece)
        writing.append(f"parts/{n}", len(piece))

    writing.commit("", b"header")

    assert read(any_store, "m/a.out") == b"header" + b"".join(pieces)
    assert writing.size_bytes == 6 + sum(sizes)


@pytest.mark.stack
def test_s3_copies_what_is_large_in_ranges(s3, bucket, monkeypatch):
    """The bytes do not come through us: only what fills a part of the least size is read."""
    monkeypatch.setattr(upload_module, "COPY_BYTES", 6 * MIB)
    store = open_store(f"s3://{bucket}/results")
    piece = bytes(range(256)) * (21 * MIB // 256)
    store.put("parts/0", piece)
    read_bytes = []
    monkeypatch.setattr(
        Store, "get_range", lambda self, key, start, end: read_bytes.append(end - start) or piece[start:end]
    )

    writing = Upload(store, "m/a.out")
    writing.append("parts/0", len(piece))
    writing.commit("")

    assert sum(read_bytes) == PART_BYTES
    assert read(store, "m/a.out") == piece
