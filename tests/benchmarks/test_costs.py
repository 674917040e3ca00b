"""Costs follow from measured times and the price list by Lambda's rules of billing."""

import pytest

from benchmarks import costs
from benchmarks.costs import compute, gigabyte_of_batch, million_predictions, slowdown, thousand_cold_starts


def test_a_gb_second_costs_what_the_price_list_says():
    assert compute(seconds=1, memory_mb=1024) == pytest.approx(0.0000166667)
    assert compute(1, 1024, "arm64") < compute(1, 1024)


@pytest.mark.parametrize(("memory_mb", "factor"), [(512, 1769 / 512), (1769, 1), (3538, 1)])
def test_a_small_function_is_slower_and_a_large_one_no_faster(memory_mb, factor):
    assert slowdown(memory_mb) == pytest.approx(factor)


def test_a_request_is_billed_in_whole_milliseconds():
    """50 µs and half a millisecond of the runtime client are one millisecond."""
    million = million_predictions(handler_us=50, client_ms=0.5, rows=1, memory_mb=1769)

    assert million.compute == pytest.approx(compute(1e6 / 1e3, 1769))
    assert million.requests == pytest.approx(0.20 + 1.00)


def test_rows_in_a_request_divide_its_price():
    alone, together = (million_predictions(50, 0.5, rows, 1769) for rows in (1, 100))

    assert together.total == pytest.approx(alone.total / 100)


def test_a_thousand_cold_starts_are_billed_for_their_time():
    assert thousand_cold_starts(cpu_ms=100, memory_mb=1769) == pytest.approx(compute(100, 1769))


def test_a_gigabyte_of_batch_is_mostly_compute():
    """At 100 MB/s it takes ten seconds; a message, 120 ranged reads and eight writes come on top."""
    cost = gigabyte_of_batch(mb_per_s=100, memory_mb=1769)

    assert cost.compute == pytest.approx(compute(10, 1769))
    assert 0 < cost.requests < cost.compute


def test_every_price_has_a_source():
    for entry in costs.PRICES["prices"].values():
        assert entry["source"].startswith("https://aws.amazon.com/")
