"""Statistics count what was answered, in bounded memory."""

from tensorlet.serving.statistics import MAX_BATCH_SIZES, Statistics


def test_executions_are_counted_by_batch_size():
    statistics = Statistics()

    statistics.succeeded(rows=2, input_ns=1, infer_ns=2, output_ns=3)
    statistics.succeeded(rows=2, input_ns=1, infer_ns=2, output_ns=3)
    statistics.failed(10, "InvalidTensor")

    assert (statistics.rows, statistics.executions, statistics.failures) == (4, 2, 1)
    assert statistics.batches == {2: [2, 2, 4, 6]}
    assert statistics.fail_ns == 10


def test_callers_cannot_fill_the_memory_with_batch_sizes():
    statistics = Statistics()

    for rows in range(10 * MAX_BATCH_SIZES):
        statistics.succeeded(rows, 0, 0, 0)

    assert len(statistics.batches) == MAX_BATCH_SIZES
    assert statistics.executions == 10 * MAX_BATCH_SIZES
