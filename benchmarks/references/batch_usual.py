"""The usual ways to predict a file, each in a few lines: `python batch_usual.py WAY MODEL.onnx INPUT OUTPUT`."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

from batch_job import Model, measured

import numpy as np  # isort: skip  # after batch_job, which keeps OpenBLAS to one thread


def row_by_row(predict: Model, source: str, target: str) -> int:
    """As tutorials do: the csv module, one prediction at a time."""
    with open(source, newline="") as reader, open(target, "w", newline="") as writer:  # noqa: PTH123
        rows, out = 0, csv.writer(writer)
        for row in csv.reader(reader):
            out.writerow(predict(np.array([row], np.float32))[0].tolist())
            rows += 1
    return rows


def numpy_text(predict: Model, source: str, target: str) -> int:
    rows = np.loadtxt(source, np.float32, delimiter=",")
    np.savetxt(target, predict(rows), "%.9g", ",")
    return len(rows)


def pyarrow_stream(predict: Model, source: str, target: str) -> int:
    """Blocks of 1 MiB, columns to a matrix and back."""
    from pyarrow import csv as arrow
    from pyarrow import table

    rows = 0
    read = arrow.ReadOptions(autogenerate_column_names=True, use_threads=False, block_size=1 << 20)
    with arrow.open_csv(source, read) as reader, Path(target).open("wb") as writer:
        for batch in reader:
            x = np.stack([np.asarray(column, np.float32) for column in batch.columns], axis=1)
            columns = {str(number): column for number, column in enumerate(predict(x).T)}
            arrow.write_csv(table(columns), writer, arrow.WriteOptions(include_header=False))
            rows += len(x)
    return rows


def polars_frame(predict: Model, source: str, target: str) -> int:
    import polars

    x = polars.read_csv(source, has_header=False).to_numpy().astype(np.float32)
    polars.from_numpy(predict(x)).write_csv(target, include_header=False)
    return len(x)


def json_lines(predict: Model, source: str, target: str) -> int:
    """The json module, one prediction at a time."""
    with Path(source).open() as reader, Path(target).open("w") as writer:
        rows = 0
        for line in reader:
            y = predict(np.array([json.loads(line)], np.float32))[0]
            writer.write(json.dumps(y.tolist()) + "\n")
            rows += 1
    return rows


WAYS: dict[str, Callable[[Model, str, str], int]] = {
    way.__name__: way for way in (row_by_row, numpy_text, pyarrow_stream, polars_frame, json_lines)
}


def main(way: str, model: str, source: str, target: str) -> None:
    predict = Model(model)
    measured(lambda: WAYS[way](predict, source, target))


if __name__ == "__main__":
    main(*sys.argv[1:])
