"""The script one would write by hand for one job and one file: no bad rows, no report, no conditions.

`python batch_script.py FORMAT MODEL.onnx INPUT OUTPUT`. Text is streamed in blocks of 1 MiB, and each block is parsed
by simdjson as one JSON array; the row lengths are believed. NPY is mapped; `model` only predicts it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from batch_job import Model, measured

import numpy as np  # isort: skip  # after batch_job, which keeps OpenBLAS to one thread
import orjson
import simdjson

BLOCK_BYTES = 1 << 20
ROWS_AT_ONCE = 512


def main(format: str, model: str, source: str, target: str) -> None:
    predict = Model(model)
    if format == "model":
        measured(lambda: model_alone(predict, source))
    elif format == "npy":
        measured(lambda: npy_job(predict, source, target))
    else:
        measured(lambda: text_job(format, predict, source, target))


def text_job(format: str, predict: Model, source: str, target: str) -> int:
    parser = simdjson.Parser()
    rows = 0
    with Path(source).open("rb", 0) as reader, Path(target).open("wb", 0) as writer:
        for block in blocks(reader):
            text = b"[" + block.strip(b"\n").replace(b"\n", b",") + b"]"
            numbers = np.frombuffer(parser.parse(text).as_buffer(of_type="d"), np.float64)
            predictions = predict(numbers.astype(np.float32).reshape(-1, predict.width))
            lines = orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY)
            if format == "csv":
                writer.write(lines[2:-2].replace(b"],[", b"\n") + b"\n")
            else:
                writer.write(lines[1:-1].replace(b"],[", b"]\n[") + b"\n")
            rows += len(predictions)
    return rows


def npy_job(predict: Model, source: str, target: str) -> int:
    rows = np.load(source, mmap_mode="r")
    predictions = [predict(rows[n : n + ROWS_AT_ONCE]) for n in range(0, len(rows), ROWS_AT_ONCE)]
    with Path(target).open("wb") as file:
        np.save(file, np.concatenate(predictions))
    return len(rows)


def model_alone(predict: Model, source: str) -> int:
    """The rows of an NPY file, from memory that is used again and again, and nothing written."""
    rows = np.load(source, mmap_mode="r")
    group = np.array(rows[:ROWS_AT_ONCE])
    for _ in range(0, len(rows), ROWS_AT_ONCE):
        predict(group)
    return len(rows)


def blocks(reader) -> Iterator[bytes]:
    """Whole lines, about `BLOCK_BYTES` at a time."""
    tail = b""
    while data := reader.read(BLOCK_BYTES):
        end = data.rfind(b"\n") + 1
        yield tail + data[:end]
        tail = data[end:]
    if tail:
        yield tail


if __name__ == "__main__":
    main(*sys.argv[1:])
