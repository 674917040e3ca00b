"""The tables of docs/costs.md, from measured times."""

import pytest
from tensorlet.cost import cost_of_requests, slowdown

from benchmarks.costs import MEMORY_MB, batch_table, dollars, prediction_table


def test_rows_in_a_request_divide_its_price():
    def warm(request):
        return {"request": request, "name": "Tensorlet", "us": {"median": 50.0}, "body_bytes": 8000}

    head, alone, together = prediction_table([warm("1x784 JSON"), warm("100x784 JSON")], 0.5, [])

    prices = [cost_of_requests(1e6, mb, 0.00055 * slowdown(mb)) for mb in MEMORY_MB]
    assert head[1:] == ["512 MB", "1,769 MB", "3,538 MB"]
    assert [cell.partition(" ")[0] for cell in alone[1:]] == [dollars(p.total) for p in prices]
    assert [cell.partition(" ")[0] for cell in together[1:]] == [dollars(p.total / 100) for p in prices]


@pytest.mark.parametrize(("name", "rows"), [("Tensorlet", 2), ("FastAPI + Mangum", 1)])
def test_the_table_of_predictions_compares_with_the_tutorial_only(name, rows):
    cold = {"group": "mlp", "name": name, "total_ms": {"median": 100.0}}

    assert len(prediction_table([], 0.5, [cold])) == rows


def test_a_gigabyte_costs_the_cpu_time_that_was_measured():
    line = {
        "format": "csv",
        "name": "Tensorlet",
        "cpu_us_row": {"median": 20.0},
        "rows": 1000,
        "input_bytes": 1_000_000,
        "output_bytes": 20_000,
    }

    _, row = batch_table([line, {**line, "name": "script by hand"}])

    assert row[0] == "CSV, 50 MB in a second of CPU"
    assert row[2].endswith("($0.0006 compute)")  # twenty seconds of 1,769 MB
