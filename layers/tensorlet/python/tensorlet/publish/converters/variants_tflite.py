"""Smaller forms of a published TFLite file: half precision and 8-bit integers, by the AI Edge Quantizer.

`job.source` is the float32 model, `job.golden_inputs` the calibration rows; each step writes `model.tflite`. It reads
what either framework's converter wrote, so that no source is needed. Inputs and outputs stay floats.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import qtyping, recipe
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.quantizer import Quantizer

from tensorlet.publish.converters.job import Job, run
from tensorlet.publish.golden import Arrays, load_arrays

Ranges = dict[str, dict[str, Any]]  # tensor -> {"min": ..., "max": ...}


def to_fp16(job: Job) -> None:
    """Weights are stored as half precision and computed with as float32."""
    quantizer = Quantizer(job.source)
    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    quantizer.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        algorithm_key=AlgorithmName.FLOAT_CASTING,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
    )
    _write(quantizer, job)


def to_int8_dynamic(job: Job) -> None:
    """Weights are integers; activations become integers on the way, by the range of each request."""
    quantizer = Quantizer(job.source)
    quantizer.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    _write(quantizer, job)


def to_int8_static(job: Job) -> None:
    """Weights and activations are integers, activations by the ranges seen in the calibration rows."""
    quantizer = Quantizer(job.source)
    quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
    for edge in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        quantizer.update_quantization_recipe(
            regex=".*", operation_name=edge, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    rows = load_arrays(Path(str(job.golden_inputs)))
    _write(quantizer, job, _observed(quantizer, job.source, rows))


def _observed(quantizer: Any, model: str, rows: Arrays) -> Ranges:
    """The smallest and the largest value of every tensor.

    The quantizer itself keeps moving averages, which cut off what is rare: on digits that costs up to ten points of
    accuracy. So it sees one batch at a time, and the extremes are kept here.
    """
    ranges: Ranges = {}
    for signature, batch in _batches(model, rows):
        for tensor, found in quantizer.calibrate({signature: [batch]}).items():
            known = ranges.get(tensor)
            if known and found:
                found = {
                    "min": np.minimum(known["min"], found["min"]),
                    "max": np.maximum(known["max"], found["max"]),
                }
            ranges[tensor] = found or known or {}
    return ranges


def _batches(model: str, rows: Arrays) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every signature of the file with the rows, in batches of the size that it takes."""
    interpreter = Interpreter(model)
    count = len(next(iter(rows.values())))
    for signature in interpreter.get_signature_list():
        details: Mapping[str, Any] = interpreter.get_signature_runner(signature).get_input_details()
        size = max(1, *(int(detail["shape"][0]) for detail in details.values()))
        for start in range(0, count - size + 1, size):
            yield signature, {name: rows[name][start : start + size] for name in details}


def _write(quantizer: Any, job: Job, ranges: Ranges | None = None) -> None:
    content = quantizer.quantize(ranges, enable_progress_report=False).quantized_model
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    _keep_dynamic(model)
    flatbuffer_utils.write_model(model, str(job.path("model.tflite")))


def _keep_dynamic(model: Any) -> None:
    """Give the tensors that the quantizer put between others the dynamic dimensions of those.

    It adds them with the shape of the sample, and the runtime then takes no other batch.
    """
    between = (schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE)
    codes = {index for index, code in enumerate(model.operatorCodes) if code.builtinCode in between}
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator.opcodeIndex in codes:
                ends = [graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]]
                known = [tensor.shapeSignature for tensor in ends if tensor.shapeSignature is not None]
                for tensor in ends:
                    tensor.hasRank = True
                    tensor.shapeSignature = known[0] if known else None


if __name__ == "__main__":
    run({"fp16": to_fp16, "int8-dynamic": to_int8_dynamic, "int8-static": to_int8_static})
