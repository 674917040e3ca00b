"""TFLite files, by the schema that comes with LiteRT."""

import struct
from typing import Any

from tensorlet.errors import InvalidRequest
from tensorlet.publish.inspection.graph import Graph, Node, Value

V2_NAMES = {"FLOAT32": "FP32", "FLOAT16": "FP16", "FLOAT64": "FP64", "STRING": "BYTES"}
MAX_ITEMS = 1 << 20  # of any list: a broken file can claim four billion


def read_tflite(content: bytes) -> Graph:
    """The main graph of a TFLite file; its opset is the version of the schema. Raises InvalidRequest."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        if content[4:8] != b"TFL3":
            raise ValueError("its identifier is not TFL3")
        model = schema.Model.GetRootAs(content, 0)
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        codes = [_operator(model.OperatorCodes(i), names) for i in range(_count(model.OperatorCodesLength()))]
        graph = model.Subgraphs(0)
        tensors = [graph.Tensors(i) for i in range(_count(graph.TensorsLength()))]
        kinds = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
        values = [_value(tensor, kinds) for tensor in tensors]
        stored = sum(model.Buffers(tensor.Buffer()).DataLength() > 0 for tensor in tensors)
        operators = [graph.Operators(i) for i in range(_count(graph.OperatorsLength()))]
        return Graph(
            nodes=tuple(
                Node(
                    codes[operator.OpcodeIndex()],
                    tuple(values[i].name for i in _indexes(operator.Inputs, operator.InputsLength())),
                    tuple(values[i].name for i in _indexes(operator.Outputs, operator.OutputsLength())),
                )
                for operator in operators
            ),
            inputs=tuple(values[i] for i in _indexes(graph.Inputs, graph.InputsLength())),
            outputs=tuple(values[i] for i in _indexes(graph.Outputs, graph.OutputsLength())),
            weights=stored,
            opset={"tflite": model.Version()},
            shapes={value.name: value.shape for value in values},
        )
    except (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidRequest(f"not a TFLite file: {error}") from None


def _operator(code: Any, names: dict[int, str]) -> str:
    if code.CustomCode():
        return str(code.CustomCode().decode())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the old field ends at 127
    return names.get(number, str(number))


def _value(tensor: Any, kinds: dict[int, str]) -> Value:
    dims = tensor.ShapeSignature if tensor.ShapeSignatureLength() else tensor.Shape
    count = tensor.ShapeSignatureLength() or tensor.ShapeLength()
    shape = tuple("?" if dims(i) < 0 else str(dims(i)) for i in range(_count(count)))
    kind = kinds.get(tensor.Type(), "?")
    return Value((tensor.Name() or b"").decode(), V2_NAMES.get(kind, kind), shape)


def _indexes(item: Any, count: int) -> list[int]:
    """The tensors of a list; -1 stands for an optional one that is left out."""
    return [item(i) for i in range(_count(count)) if item(i) >= 0]


def _count(length: int) -> int:
    if length > MAX_ITEMS:
        raise ValueError(f"a list of {length} items")
    return length
