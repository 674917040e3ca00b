"""Costs follow from times and the price list by AWS's rules of billing."""

import pytest
from tensorlet import cost
from tensorlet.batch.source import READ_BYTES
from tensorlet.cost import (
    cost_of_file,
    cost_of_requests,
    price,
    price_list,
    seconds_of_file,
    slowdown,
    usd_of_compute,
    usd_of_invocation,
)
from tensorlet.errors import InvalidRequest
from tensorlet.registry.upload import PART_BYTES


def test_a_gb_second_costs_what_the_price_list_says():
    assert usd_of_compute(memory_mb=1024, seconds=1) == pytest.approx(0.0000166667)
    assert usd_of_compute(1024, 1, "arm64") == pytest.approx(0.0000133334)


def test_an_architecture_without_a_price_is_refused_by_name():
    with pytest.raises(InvalidRequest, match="architecture: expected x86_64 or arm64, got 'riscv64'"):
        usd_of_compute(1024, 1, "riscv64")


@pytest.mark.parametrize(
    ("seconds", "billed_ms"),
    [(0.0, 0), (0.00005, 1), (0.001, 1), (0.0011, 2), (0.003, 3), (1.1, 1100), (900.0, 900_000)],
)
def test_time_is_billed_in_whole_milliseconds(seconds, billed_ms):
    assert usd_of_compute(1024, seconds) == pytest.approx(billed_ms / 1e3 * price("lambda_gb_second_x86_64"))


def test_an_invocation_is_its_time_and_its_request():
    assert usd_of_invocation(1769, 0.012) == pytest.approx(usd_of_compute(1769, 0.012) + 0.20 / 1e6)


@pytest.mark.parametrize(("memory_mb", "factor"), [(512, 1769 / 512), (1769, 1), (3538, 1)])
def test_a_small_function_is_slower_and_a_large_one_no_faster(memory_mb, factor):
    assert slowdown(memory_mb) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("bytes_s", "memory_mb", "seconds"),
    [
        pytest.param(50e6, 1769, 20, id="as fast as its CPU"),
        pytest.param(50e6, 512, 20 * 1769 / 512, id="a fraction of a CPU"),
        pytest.param(500e6, 10240, 12.8, id="no faster than 625 Mbit/s"),
    ],
)
def test_a_file_takes_what_its_cpu_or_the_network_takes(bytes_s, memory_mb, seconds):
    assert seconds_of_file(10**9, bytes_s, memory_mb) == pytest.approx(seconds)


@pytest.mark.parametrize(("body_bytes", "metered"), [(0, 1), (512 << 10, 1), (803_000, 2)])
def test_the_http_api_counts_a_request_for_each_begun_512_kb(body_bytes, metered):
    million = cost_of_requests(1e6, memory_mb=1769, seconds=0.0005, body_bytes=body_bytes)

    assert million.requests == pytest.approx(0.20 + metered * 1.00)
    assert million.compute == pytest.approx(1e6 * usd_of_compute(1769, 0.001))
    assert million.total == million.compute + million.requests


def test_a_file_is_billed_for_its_reads_and_writes_its_message_and_its_time():
    nothing = cost_of_file(read_bytes=0, written_bytes=0, memory_mb=1769, seconds=10)
    gigabyte = cost_of_file(10**9, 10**8, 1769, 10)

    assert gigabyte.compute == nothing.compute == pytest.approx(usd_of_compute(1769, 10))
    assert gigabyte.requests - nothing.requests == pytest.approx(477 * 0.0004 / 1e3 + 20 * 0.005 / 1e3)


def test_reads_and_parts_are_as_large_as_the_batch_function_makes_them():
    assert (cost.READ_BYTES, cost.PART_BYTES) == (READ_BYTES, PART_BYTES)


def test_every_price_has_its_unit_and_a_source_and_the_list_its_date():
    assert price_list()["read"] >= "2026-11-23" and price_list()["region"]
    for name, entry in price_list()["prices"].items():
        assert any(unit in name for unit in ("second", "thousand", "million"))
        assert entry["usd"] > 0 and entry["source"].startswith("https://aws.amazon.com/")
