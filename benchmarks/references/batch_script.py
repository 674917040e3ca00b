"""The script one would write by hand for one job and one file: no bad rows, no report, no conditions.

`python batch_script.py FORMAT MODEL.onnx INPUT OUTPUT`. Text is streamed in blocks of 1 MiB, and each block is parsed
by simdjson as one JSON array; the row lengths are believed. NPY is mapped; `model` only predicts it.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import onnxruntime
import orjson
import simdjson

BLOCK_BYTES = 1 << 20
ROWS_AT_ONCE = 512


def main(format: str, model: str, source: str, target: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    name, width = session.get_inputs()[0].name, session.get_inputs()[0].shape[1]

    def predict(rows: np.ndarray) -> np.ndarray:
        return session.run(None, {name: rows})[0]  # type: ignore[no-any-return]

    predict(np.zeros((1, width), np.float32))
    started, cpu = time.perf_counter(), time.process_time()
    if format == "model":
        rows = model_alone(predict, source)
    elif format == "npy":
        rows = npy_job(predict, source, target)
    else:
        rows = text_job(format, predict, width, source, target)
    figures = {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "rss_mb": peak_rss_mb(),
    }
    print(json.dumps(figures))


def text_job(format: str, predict, width: int, source: str, target: str) -> int:
    parser = simdjson.Parser()
    rows = 0
    with Path(source).open("rb", 0) as reader, Path(target).open("wb", 0) as writer:
        for block in blocks(reader):
            text = b"[" + block.strip(b"\n").replace(b"\n", b",") + b"]"
            numbers = np.frombuffer(parser.parse(text).as_buffer(of_type="d"), np.float64)
            predictions = predict(numbers.astype(np.float32).reshape(-1, width))
            lines = orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY)
            if format == "csv":
                writer.write(lines[2:-2].replace(b"],[", b"\n") + b"\n")
            else:
                writer.write(lines[1:-1].replace(b"],[", b"]\n[") + b"\n")
            rows += len(predictions)
    return rows


def npy_job(predict, source: str, target: str) -> int:
    rows = np.load(source, mmap_mode="r")
    predictions = [predict(rows[n : n + ROWS_AT_ONCE]) for n in range(0, len(rows), ROWS_AT_ONCE)]
    with Path(target).open("wb") as file:
        np.save(file, np.concatenate(predictions))
    return len(rows)


def model_alone(predict, source: str) -> int:
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


def peak_rss_mb() -> float:
    """Of this program; `getrusage` would count the parent's memory, from before the program was started."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
