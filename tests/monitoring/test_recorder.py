"""What is kept of the requests of a process, and when it is written."""

import json
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tensorlet.errors import ArtifactRefused, StorageUnavailable
from tensorlet.monitoring import observations
from tensorlet.monitoring.observations import parse, read, tensor_from_json, tensor_to_json, tensors, total
from tensorlet.monitoring.recorder import Recorder, Rules
from tensorlet.tensors import Tensor

from tests.monitoring.conftest import had_traffic, tensor


def seen(observed, clock, version=1):
    hour = timedelta(hours=1)
    return total(read(observed, "half", version, clock.now - hour, clock.now + hour))


def test_what_was_asked_and_answered_can_be_read_again(recorder, observed, clock):
    had_traffic(recorder, 1, answered=2)
    recorder.flush()

    found = seen(observed, clock)

    assert found.tally.requests == 2 and found.tally.rows == 2 and not found.tally.errors
    assert [observation.request for observation in found.sample] == ["r0", "r1"]
    assert found.sample[0].inputs == [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]
    assert tensors(found.sample, "outputs")["y"].tolist() == [2.5, 3.0]


def test_all_requests_count_and_only_the_sample_is_kept(observed, clock):
    chances = iter([0.0, 0.5, 0.04, 0.9])
    recorder = Recorder(observed, Rules(0.05, frozenset(), float("inf")), clock, lambda: next(chances))
    had_traffic(recorder, 1, answered=4)
    recorder.flush()

    assert seen(observed, clock).tally.requests == 4
    assert [observation.request for observation in seen(observed, clock).sample] == ["r0", "r2"]


def test_failures_are_kept_whatever_the_rate(observed, clock):
    recorder = Recorder(observed, Rules(0.0, frozenset(), float("inf")), clock, lambda: 0.5)
    had_traffic(recorder, 1, answered=3, failed=1)
    recorder.flush()

    found = seen(observed, clock)
    assert found.tally.errors == {"InferenceFailed": 1} and found.tally.error_rate == 0.25
    assert [observation.error for observation in found.sample] == ["InferenceFailed: out of memory"]


def test_values_of_redacted_tensors_are_nowhere(observed, clock):
    recorder = Recorder(observed, Rules(1.0, frozenset({"x"}), float("inf")), clock, lambda: 0.0)
    recorder.answered(("half", 1), "r", "model.onnx", 1, 1.0, {"x": tensor(12345.5)}, {"y": tensor(1.0)})
    recorder.flush()

    [info] = list(observed.walk())
    assert b"12345" not in bytes(observed.get(info.key).data)
    [observation] = seen(observed, clock).sample
    assert observation.inputs == [{"name": "x", "datatype": "FP32", "shape": [1], "data": None}]
    assert list(tensors([observation], "inputs")) == []


def test_the_first_request_of_each_interval_writes(observed, clock):
    recorder = Recorder(observed, Rules(1.0, frozenset(), 10.0), clock, lambda: 0.0)
    written = []
    for _ in range(25):
        had_traffic(recorder, 1, answered=1)
        written.append(len(list(observed.walk())))
        clock.pass_(1)

    assert written[0] == 1 and written[9] == 1 and written[10] == 2 and written[-1] == 3
    assert seen(observed, clock).tally.requests == 21


def test_a_store_that_does_not_answer_fails_no_request(observed, clock, monkeypatch):
    def refuse(key, data):
        raise StorageUnavailable("no network")

    monkeypatch.setattr(observed, "create", refuse)
    recorder = Recorder(observed, Rules(1.0, frozenset(), 0.0), clock, lambda: 0.0)

    had_traffic(recorder, 1, answered=1)

    assert list(observed.walk()) == []


def test_only_the_time_asked_for_is_read(recorder, observed, clock):
    for _ in range(3):
        had_traffic(recorder, 1, answered=1)
        recorder.flush()
        clock.pass_(24 * 3600)
    last = clock.now - timedelta(hours=24)

    found = list(read(observed, "half", 1, last, last + timedelta(seconds=1)))

    assert len(found) == 1


@given(
    arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_tensors_survive_the_journey(values):
    there = Tensor.from_numpy(values)

    back = tensor_from_json(tensor_to_json("x", there))

    assert (back.datatype, back.shape) == (there.datatype, there.shape)
    np.testing.assert_array_equal(back.numpy(), values)


def test_text_survives_the_journey():
    there = Tensor("BYTES", (2,), ["Käse".encode(), b""])

    assert tensor_from_json(tensor_to_json("x", there)) == there


@pytest.mark.parametrize("data", [b"", b"nonsense", b"{}\n[]\n", b'{"requests": 1}\n{"other": 2}\n'])
def test_a_file_of_something_else_is_refused(data):
    with pytest.raises(ArtifactRefused, match="half/1/x is not a file of observations"):
        parse("half/1/x", data)


def test_quantiles_of_latency_are_ends_of_bins(recorder, observed, clock):
    had_traffic(recorder, 1, answered=95, infer_ms=0.9)
    had_traffic(recorder, 1, answered=5, infer_ms=70.0)
    recorder.flush()

    tally = seen(observed, clock).tally
    assert (tally.latency_ms(0.5), tally.latency_ms(0.95), tally.latency_ms(0.99)) == (1, 1, 80)


def test_files_of_a_release_with_other_bins_still_count(observed, clock):
    """All but their latency, which has no place in today's."""
    old = {"requests": 7, "rows": 9, "errors": {"InferenceFailed": 1}, "latency": [0] * 16 + [6]}

    tally = parse("half/1/2026-01-01/000000.000-p.jsonl", json.dumps(old).encode()).tally

    assert (tally.requests, tally.rows, tally.error_rate, sum(tally.latency)) == (7, 9, 1 / 7, 0)


def test_of_many_large_requests_the_newest_are_kept_in_memory(recorder, observed, clock, monkeypatch):
    """All of them count."""
    monkeypatch.setattr(observations, "MOST_VALUES", 20)  # two numbers each
    for number in range(30):
        had_traffic(recorder, 1, answered=1, x=(float(number),))
        recorder.flush()
        clock.pass_(1)

    found = seen(observed, clock)

    assert found.tally.requests == 30
    assert [kept.inputs[0]["data"] for kept in found.sample] == [[float(number)] for number in range(20, 30)]
