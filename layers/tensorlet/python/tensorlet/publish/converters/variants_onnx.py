"""Smaller forms of a published ONNX file: half precision and 8-bit integers, by ONNX Runtime's own tools.

`job.source` is the float32 model, `job.golden_inputs` the calibration rows; each step writes `model.onnx`. Inputs and
outputs stay what the signature says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from tensorlet.publish.converters.job import Job, run
from tensorlet.publish.converters.onnx_file import strip
from tensorlet.publish.golden import Arrays, load_arrays

CALIBRATION_BATCH = 32  # rows; bounds the memory that observing every activation takes
# ConvInteger takes 4 to 7 times as long as Conv, so only these are quantised dynamically.
DYNAMIC_OPS = ["Gemm", "MatMul", "LSTM"]


class Rows(CalibrationDataReader):
    """The calibration rows in batches."""

    def __init__(self, arrays: Arrays) -> None:
        self.batches = self._split(arrays)

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)

    @staticmethod
    def _split(arrays: Arrays) -> Iterator[dict[str, Any]]:
        count = len(next(iter(arrays.values())))
        for start in range(0, count, CALIBRATION_BATCH):
            yield {name: array[start : start + CALIBRATION_BATCH] for name, array in arrays.items()}


def to_fp16(job: Job) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = convert_float_to_float16(onnx.load(job.source), keep_io_types=True)
    OnnxModel(model).topological_sort()  # the conversion appends its casts; ONNX wants an order
    _finish(model, job)


def to_int8_dynamic(job: Job) -> None:
    """Weights are integers; activations become integers on the way, by the range of each request."""
    quantize_dynamic(
        job.source,
        job.path("quantized.onnx"),
        weight_type=QuantType.QUInt8,
        per_channel=True,
        op_types_to_quantize=DYNAMIC_OPS,
    )
    _finish(onnx.load(job.path("quantized.onnx")), job)


def to_int8_static(job: Job) -> None:
    """Weights and activations are integers, activations by the ranges seen in the calibration rows."""
    prepared = job.path("prepared.onnx")
    quant_pre_process(job.source, prepared)
    quantize_static(
        prepared,
        job.path("quantized.onnx"),
        Rows(load_arrays(Path(str(job.golden_inputs)))),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    _finish(onnx.load(job.path("quantized.onnx")), job)


def _finish(model: Any, job: Job) -> None:
    strip(model)
    used = {node.domain for node in model.graph.node} | {""}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, job.path("model.onnx"))


if __name__ == "__main__":
    run({"fp16": to_fp16, "int8-dynamic": to_int8_dynamic, "int8-static": to_int8_static})
