"""The fast lane and the careful lane give the same rows: it only ever accepts what the careful one reads alike."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.batch.formats.blocks import LANES, csv_columns, csv_numbers, jsonl_lists, jsonl_numbers
from tensorlet.batch.formats.csv import CsvReader
from tensorlet.batch.formats.jsonl import JsonlReader
from tensorlet.batch.options import Options
from tensorlet.batch.rows import Rows, UnreadableFile, regroup
from tensorlet.batch.source import Source
from tensorlet.registry.store import ObjectInfo
from tensorlet.signature import Signature, TensorSpec

from tests.batch.bench import memory_store

DATATYPES = ["FP32", "FP64", "FP16", "BF16", "INT64", "INT32", "INT8", "UINT64", "UINT8", "BOOL"]

numbers = st.one_of(
    st.integers(-300, 300).map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(
        ["0", "1", "-0", "-0.0", "0.0", "-0e0", "1e400", "1E+2", "5e-324", "9007199254740993", "1.0"]
    ),
    st.sampled_from([mark.mark.decode() for mark in LANES.values()]),
)
NOT_JSON = [
    "",
    " 7 ",
    "\t8",
    "01",
    "+1",
    ".5",
    "1.",
    "nan",
    "inf",
    "1_0",
    "١",
    "abc",
    "1 2",
    "0x1",
    "1;2",
    "é",
]
NOT_PLAIN = ["true", "null", '"2"', '"3,4"', '"5\n6"', '"', '7"', "[8", "9]", "[1,2]", "{}", "\r", "1\r2"]
oddities = st.sampled_from(NOT_JSON + NOT_PLAIN)
cells = st.one_of(numbers, numbers, numbers, oddities)
line_ends = st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n", "\r"])


@st.composite
def csv_files(draw: st.DrawFn) -> str:
    """Mostly tables of one width, with anything in them."""
    width = draw(st.integers(1, 3))
    rows = st.lists(cells, min_size=width, max_size=width) | st.lists(cells, max_size=4)
    lines = draw(st.lists(rows.map(",".join), max_size=8))
    return "".join(line + draw(line_ends) for line in lines) + draw(st.sampled_from(["", "1", "1,2"]))


texts = st.text('ab,;é"\r\n [\0', max_size=4)


@st.composite
def mixed_csv_files(draw: st.DrawFn) -> str:
    """Tables with text columns among those of numbers: `id,x[0],label,x[1],note`, or without the one in the middle."""
    kinds = draw(
        st.sampled_from(
            [(texts, cells, texts, cells, texts), (texts, cells, cells, texts), (cells, cells, texts)]
        )
    )
    names = iter(["x[0]", "x[1]"])
    header = ",".join(next(names) if kind is cells else f"text{n}" for n, kind in enumerate(kinds))
    lines = draw(
        st.lists(st.tuples(*kinds).map(",".join) | st.lists(cells, max_size=6).map(",".join), max_size=8)
    )
    return header + "\n" + "".join(line + draw(line_ends) for line in lines)


@st.composite
def jsonl_files(draw: st.DrawFn) -> str:
    flat = st.lists(cells, min_size=2, max_size=2).map(lambda row: "[" + ",".join(row) + "]")
    nested = st.sampled_from(
        ["[[1,2]]", "[[1],[2]]", "[1],[2]", "1,2", "[]", "[", "]", "3", "[1,2", "1,2]", "[1, 2] "]
    )
    objects = st.builds(
        str.__mod__,
        st.sampled_from(
            [
                '{"f":%s}',
                '{"id":7,"f":%s}',
                ' {"f":{"x":%s}}',
                '{"x":%s,"f":1}',
                '{"f":[],"x":%s}',
                '{"inputs":%s}',
                '{"f":"%s"}',
            ]
        ),
        flat | nested,
    )
    lines = draw(st.lists(flat | flat | nested, max_size=8) | st.lists(objects, max_size=8))
    return "".join(line + draw(line_ends) for line in lines) + draw(st.sampled_from(["", "[1,2]"]))


def signature(datatype: str, width: int = 2) -> Signature:
    return Signature((TensorSpec("x", datatype, (-1, width)),), (TensorSpec("y", "FP32", (-1, 1)),))


class BytesSource(Source):
    """A source without a store."""

    def __init__(self, data: bytes, block_bytes: int = 1 << 20):
        super().__init__(
            memory_store("none"), ObjectInfo("m/file", len(data), "etag"), block_bytes=block_bytes
        )
        self.data = data

    def ranges(self, start: int = 0) -> Iterator[bytes]:
        yield self.data[start:]


def all_rows(reader) -> Rows | str:
    """All rows of a file, or why there are none."""
    try:
        blocks = list(regroup(reader().rows(), 1 << 20))
    except UnreadableFile as error:
        return str(error)
    return blocks[0] if blocks else Rows(0, {}, {})


def assert_same(fast: Rows | str, careful: Rows | str) -> None:
    if isinstance(fast, str) or isinstance(careful, str):
        assert fast == careful
        return
    assert (fast.size, fast.failures) == (careful.size, careful.failures)
    good = [n for n in range(fast.size) if n not in fast.failures]
    if fast.records is not None:
        assert [fast.records[n] for n in good] == [careful.records[n] for n in good]
    for name in fast.columns if good else ():
        one, other = (np.stack([rows.columns[name][n] for n in good]) for rows in (fast, careful))
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


@given(csv_files(), st.sampled_from(DATATYPES), st.integers(1, 3), st.integers(1, 40), st.booleans())
def test_both_lanes_read_the_same_rows_of_a_csv_file(text, datatype, width, block_bytes, header):
    def lane(fast: bool) -> Rows | str:
        options = Options(header=header)
        file = BytesSource(text.encode(), block_bytes)
        return all_rows(lambda: CsvReader(file, signature(datatype, width), options, fast))

    assert_same(lane(fast=True), lane(fast=False))


@given(
    mixed_csv_files(),
    st.sampled_from(DATATYPES),
    st.integers(1, 60),
    st.sampled_from(["$", "$[1:]", "$[3,1]"]),
)
def test_both_lanes_read_the_same_numbers_and_text_beside_them(text, datatype, block_bytes, input_filter):
    options = Options(header=True, join="input", input_filter=input_filter)

    def lane(fast: bool) -> Rows | str:
        file = BytesSource(text.encode(), block_bytes)
        return all_rows(lambda: CsvReader(file, signature(datatype), options, fast))

    assert_same(lane(fast=True), lane(fast=False))


@given(
    jsonl_files(),
    st.sampled_from(DATATYPES),
    st.integers(1, 40),
    st.sampled_from(["$", "$.f", "$.f.x", "$[0]"]),
)
def test_both_lanes_read_the_same_rows_of_a_jsonl_file(text, datatype, block_bytes, input_filter):
    options = Options(join="input", input_filter=input_filter)

    def lane(fast: bool) -> Rows | str:
        file = BytesSource(text.encode(), block_bytes)
        return all_rows(lambda: JsonlReader(file, signature(datatype), options, fast))

    assert_same(lane(fast=True), lane(fast=False))


@given(st.binary(max_size=60), st.integers(1, 20))
def test_any_bytes_are_rows_or_an_unreadable_file(data, block_bytes):
    file = BytesSource(data, block_bytes)
    all_rows(lambda: CsvReader(file, signature("FP32"), Options()))
    all_rows(lambda: JsonlReader(file, signature("FP32")))


@given(csv_files(), st.integers(1, 60), st.integers(1, 60))
def test_where_a_file_is_cut_into_blocks_does_not_matter(text, one, other):
    """But for the first block, from which columns are chosen: here they are given by the header."""
    text = "x[0],x[1]\n" + text

    def blocks_of(size: int) -> Rows | str:
        return all_rows(lambda: CsvReader(BytesSource(text.encode(), size), signature("FP32"), Options()))

    assert_same(blocks_of(one), blocks_of(other))


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        pytest.param(
            b"1,2\n3\n4,5,6\n", "rows that are too short and too long make up for each other", id="ragged"
        ),
        pytest.param(b'1,"2"\n', "a quote", id="quote"),
        pytest.param(b"[1,2]\n", "JSON would flatten it", id="brackets"),
        pytest.param(b"1,\r2\n", "to CSV it ends the line", id="carriage return"),
        pytest.param(b"1,2\n\n3,4\n", "an empty line", id="empty line"),
        pytest.param(b"1,-7.7e77\n", "the mark itself", id="mark"),
        pytest.param(b"1,true\n", "JSON, but no number", id="true"),
        pytest.param(b"1,1e400\n", "beyond float64", id="overflow"),
    ],
)
def test_the_fast_lane_leaves_to_the_careful_one(block, reason):
    assert csv_numbers(block, 2, LANES["float"]) is None


def test_the_fast_lane_takes_plain_numbers():
    expected = [[1.0, -2.5], [3e10, 4.0]]
    assert csv_numbers(b"1,-2.5\n3e10, 4\n", 2, LANES["float"]).tolist() == expected
    assert csv_numbers(b"1,-2.5\r\n3e10,4", 2, LANES["float"]).tolist() == expected
    assert csv_numbers(b"1;-2.5\n3e10;4\n", 2, LANES["float"], b";").tolist() == expected
    assert jsonl_numbers(b"[1,-2.5]\n[3e10, 4]\n", 2, LANES["float"]).tolist() == expected
    assert csv_numbers(b"9223372036854775807\n", 1, LANES["int"]).tolist() == [[9223372036854775807]]


@pytest.mark.parametrize(
    "block", [b"[1],[2]\n3,4\n", b"[[1,2]]\n", b"[1,2]\n\n", b"1,2\n", b"[1,2", b"[", b"\n"]
)
def test_the_fast_lane_takes_no_nested_or_broken_lists(block):
    assert jsonl_numbers(block, 2, LANES["float"]) is None


@pytest.mark.parametrize(
    ("block", "positions"),
    [
        (b"u1,1,2,cat\nu2,3,4,dog\n", [1, 2]),
        (b"u1,1,2,cat\r\nu2,3,4,\r\n", [1, 2]),
        ("é,1,x,2\n,3,[,4".encode(), [1, 3]),
    ],
)
def test_the_fast_lane_takes_the_numbers_between_texts(block, positions):
    assert csv_columns(block, 4, positions, LANES["float"]).tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"u,1,2\n", id="too short"),
        pytest.param(b"u,1,2,3,x\n", id="too long"),
        pytest.param(b"1,2\n", id="far too short"),
        pytest.param(b'"u",1,2,x\n', id="quote"),
        pytest.param(b"u\r,1,2,x\n", id="carriage return"),
        pytest.param(b"\xff,1,2,x\n", id="not UTF-8"),
        pytest.param(b"u,1,2,x\n\n", id="empty line"),
        pytest.param(b"u,1,y,x\n", id="no number"),
    ],
)
def test_the_fast_lane_leaves_other_tables_to_the_careful_one(block):
    assert csv_columns(block, 4, [1, 2], LANES["float"]) is None


def test_the_fast_lane_takes_the_one_list_of_an_object():
    def is_row(document):
        return document["f"] == []

    block = b'{"id": 1, "f": [1, 2]}\n{"f":[3,4],"id":"]"}\n'
    assert jsonl_lists(block.replace(b'"]"', b'"x"'), 2, LANES["float"], is_row).tolist() == [
        [1.0, 2.0],
        [3.0, 4.0],
    ]
    assert jsonl_lists(block, 2, LANES["float"], is_row) is None
    assert jsonl_lists(b'{"f":[[1,2]]}\n', 2, LANES["float"], is_row) is None


def test_large_integers_are_rounded_alike_in_every_lane():
    """2**53 + 2**29 + 1 lies just above the middle of two float32 values; by way of float64 exactly on it."""
    line = f"[{2**53 + 2**29 + 1},1]\n".encode()

    def lane(fast: bool) -> Rows | str:
        return all_rows(lambda: JsonlReader(BytesSource(line), signature("FP32"), fast=fast))

    assert_same(lane(fast=True), lane(fast=False))
