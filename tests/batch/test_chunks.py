"""Cutting files between rows: the chunks make up the file, and each row is where the readers find it."""

from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tensorlet.batch import chunks
from tensorlet.batch.chunks import Chunk, csv_records, cut, excerpt, json_lines
from tensorlet.batch.formats import FORMATS
from tensorlet.batch.options import Options
from tensorlet.batch.rows import UnreadableFile
from tensorlet.batch.source import Source
from tensorlet.signature import Signature, TensorSpec

from tests.batch.bench import memory_store

ONE_TO_ONE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 1)),))
CELLS = st.sampled_from(["1", "2.5", "x", "", '"3"', '"a\nb"', '"say ""1"""', '5" disk', "é", " "])
ENDS = st.sampled_from(["\n", "\r\n", "\n\n", "\n\r\r\n"])


@st.composite
def csv_files(draw) -> bytes:
    rows = draw(st.lists(st.tuples(st.lists(CELLS, min_size=1, max_size=3), ENDS), max_size=30))
    text = "".join(",".join(cells) + end for cells, end in rows)
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return (b"\xef\xbb\xbf" if draw(st.booleans()) else b"") + text.encode()


@st.composite
def jsonl_files(draw) -> bytes:
    lines = draw(
        st.lists(st.sampled_from(["[1,2]", "", " \t", "\x0b", "\x00", "nonsense", "[3,4]\r"]), max_size=30)
    )
    return "\n".join(lines).encode() + draw(st.sampled_from([b"", b"\n"]))


def source_of(data: bytes, key: str, block_bytes: int = 1 << 19) -> Source:
    store = memory_store("in")
    store.put(key, data)
    return Source(store, store.head(key), block_bytes=block_bytes)


def rows_of(source: Source, format: str, options: Options = Options()) -> list[int]:  # noqa: B008
    """The number of rows in each block that the reader gives."""
    blocks = FORMATS[format].read(source, ONE_TO_ONE, options).rows()
    return [rows.size for rows in blocks]


@given(csv_files(), st.integers(1, 64))
@example(b'1,2\n"\n', 1)
@example(b'1,2\n5" disk,1\n3,4\n', 1)
def test_csv_records_end_where_the_reader_ends_them(data, block_bytes):
    """However the file is cut into blocks, there are as many marks as rows, and between two marks lies one row."""
    options = Options(header=False)
    try:
        whole = sum(rows_of(source_of(data, "m/a.csv"), "csv", options))
    except UnreadableFile as refusal:
        if "quote" in str(refusal):
            with pytest.raises(UnreadableFile, match="a quote is never closed"):
                list(csv_records(source_of(data, "m/a.csv", block_bytes), ","))
        return

    marks = list(csv_records(source_of(data, "m/a.csv", block_bytes), ","))

    ends = [int(end) for mark in marks for end in mark.ends]
    assert len(ends) == whole
    assert all(mark.end == following.start for mark, following in pairwise(marks))
    assert not marks or marks[-1].end == len(data)
    for start, end in pairwise([3 if data.startswith(b"\xef\xbb\xbf") else 0, *ends]):
        row = source_of(data[start:end], "m/a.csv")
        assert sum(mark.ends.size for mark in csv_records(row, ",")) == 1


@given(jsonl_files(), st.integers(1, 64))
def test_json_lines_end_where_the_reader_ends_them(data, block_bytes):
    marks = list(json_lines(source_of(data, "m/a.jsonl", block_bytes)))
    rows = [line for line in data.split(b"\n") if line.strip()]
    assert sum(mark.ends.size for mark in marks) == len(rows)


@pytest.mark.parametrize("header", [b"", b"a,b\n"], ids=["no header", "header"])
@pytest.mark.parametrize("chunk_bytes", [1, 1000, 1 << 20])
def test_chunks_of_csv_cover_all_rows_in_whole_groups(header, chunk_bytes, monkeypatch):
    monkeypatch.setattr(chunks, "LEAD_BYTES", 100)
    data = header + b"".join(b"%d,2\n" % n for n in range(1000))
    source = source_of(data, "m/a.csv", block_bytes=300)

    found = list(cut(source, "csv", ONE_TO_ONE, Options(batch_rows=7), chunk_bytes))

    assert_they_cover(found, 1000, len(data))
    assert all(chunk.first_row % 7 == 0 for chunk in found)
    assert all(chunk.end - chunk.start >= chunk_bytes for chunk in found[:-1])
    assert (len(found) > 1) == (chunk_bytes < len(data))
    for chunk in found:
        assert sum(rows_of(excerpt(source, "csv", chunk), "csv")) == chunk.lead_rows + chunk.rows


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_chunks_are_the_same_when_they_are_searched_in_several_goes(name, monkeypatch):
    monkeypatch.setattr(chunks, "LEAD_BYTES", 100)
    rows = (b'%d,"\n2"\n\n' if name == "a.csv" else b"[%d,2]\n\n") * 500
    data = (b"a,b\n" if name == "a.csv" else b"") + rows % tuple(range(500))
    source, format = source_of(data, f"m/{name}", block_bytes=300), name.partition(".")[2]
    arguments = (source, format, ONE_TO_ONE, Options(batch_rows=7), 400)
    whole = list(cut(*arguments))
    assert len(whole) > 5
    for n in range(1, len(whole)):
        assert list(cut(*arguments, after=whole[n])) == whole[n + 1 :]


@pytest.mark.parametrize("shape", [(100, 2), (1, 2), (0, 2)])
def test_chunks_of_an_array_are_plain_arithmetic(shape):
    file = BytesIO()
    np.save(file, np.arange(shape[0] * 2, dtype="f8").reshape(shape))
    source = source_of(file.getvalue(), "m/a.npy")

    found = list(cut(source, "npy", ONE_TO_ONE, Options(batch_rows=8), 500))

    assert_they_cover(found, shape[0], len(file.getvalue()), start=128)
    for chunk in found:
        part = excerpt(source, "npy", chunk)
        array = np.load(BytesIO(part.read(0, part.info.size_bytes)))
        expected = np.load(BytesIO(file.getvalue()))
        np.testing.assert_array_equal(array[: chunk.lead_rows], expected[: chunk.lead_rows])
        rows = slice(chunk.first_row, chunk.first_row + chunk.rows)
        np.testing.assert_array_equal(array[chunk.lead_rows :], expected[rows])


@pytest.mark.parametrize(
    ("key", "reason"),
    [("m/a.npz", "npz can only"), ("m/a.parquet", "parquet can only"), ("m/a.npy", "Fortran")],
)
def test_what_cannot_be_cut_says_so(key, reason):
    file = BytesIO()
    np.save(file, np.asfortranarray(np.zeros((4, 2))))
    with pytest.raises(UnreadableFile, match=f"not_splittable: .*{reason}"):
        list(cut(source_of(file.getvalue(), key), key.rpartition(".")[2], ONE_TO_ONE, Options(), 1))


@given(
    st.binary(max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted).map(tuple), max_size=4),
    st.binary(max_size=5),
)
def test_an_excerpt_reads_as_its_ranges_joined(data, ranges, head):
    source = source_of(data, "m/a.csv")
    ranges = [(min(start, len(data)), min(end, len(data))) for start, end in ranges]
    part = chunks.Excerpt(source.store, source.info, ranges, head)
    joined = head + b"".join(data[start:end] for start, end in ranges)
    assert part.info.size_bytes == len(joined)
    for start in range(len(joined) + 1):
        for end in range(start, len(joined) + 3):
            assert part.read(start, end) == joined[start:end]
    assert b"".join(part.ranges()) == joined


def assert_they_cover(found: list[Chunk], rows: int, size_bytes: int, start: int = 0) -> None:
    assert [chunk.number for chunk in found] == list(range(len(found)))
    assert (found[0].first_row, found[0].start, found[-1].end) == (0, start, size_bytes)
    assert sum(chunk.rows for chunk in found) == rows
    for chunk, following in pairwise(found):
        assert (chunk.first_row + chunk.rows, chunk.end) == (following.first_row, following.start)
