"""A `_batch.json` holds for the files of its folder."""

import pytest

from tests.batch.bench import Bench


def test_options_hold_for_the_files_of_their_folder(bench: Bench):
    bench.inputs.put("linear/eu/_batch.json", b'{"delimiter": ";", "header": true}')
    bench.run("linear/eu/a.csv", b"1;2;3;4\n5;6;7;8\n")
    bench.run("linear/a.csv", b"1,2,3,4\n5,6,7,8\n")

    header, row = bench.out("linear/eu/a.csv").splitlines()
    assert header == b"scores[0];scores[1];scores[2]"
    assert row == bench.out("linear/a.csv").splitlines()[1].replace(b",", b";")


def test_a_table_of_text_names_may_have_no_header(bench: Bench):
    bench.inputs.put("linear/_batch.json", b'{"header": false}')
    report = bench.run("linear/a.csv", b"u1,1,2,3,4\nu2,5,6,7,8\n")
    assert (report.rows_in, report.rows_failed) == (2, 0)


def test_options_are_pinned_with_the_plan(bench: Bench):
    bench.inputs.put("linear/_batch.json", b'{"header": true}')
    bench.run("linear/a.csv", b"1,2,3,4\n5,6,7,8\n")
    first = bench.out("linear/a.csv")
    bench.inputs.delete("linear/_batch.json")
    bench.results.delete("linear/a.csv.report.json")
    bench.run("linear/a.csv")
    assert bench.out("linear/a.csv") == first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object, got list"),
        (
            '{"headers": true}',
            "linear/_batch.json: unknown option 'headers', expected batch_rows, header, delimiter, input_filter",
        ),
        ('{"header": 1}', "header: expected true, false or null, got 1"),
        ('{"delimiter": "::"}', "delimiter: expected one ASCII character"),
        ('{"delimiter": "."}', "delimiter: expected one ASCII character"),
        ('{"batch_rows": 0}', "batch_rows: expected a whole number"),
        ('{"batch_rows": true}', "batch_rows: expected a whole number"),
    ],
)
def test_options_that_cannot_be_read_are_the_files_reason(bench: Bench, text, reason):
    bench.inputs.put("linear/_batch.json", text.encode())
    assert reason in bench.run("linear/a.csv", b"1,2,3,4\n").reason
