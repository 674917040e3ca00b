"""ONNX files: a reader of the protocol buffers' wire format, and the few fields that are looked at.

Sources: Protocol Buffers, "Encoding"; ONNX, onnx/onnx.proto (the numbers of the fields).
"""

from collections.abc import Iterator
from typing import Any

from tensorlet.errors import InvalidRequest
from tensorlet.publish.inspection.graph import Graph, Node, Value

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MAX_DEPTH = 16  # of graphs in graphs

MODEL = {"opset_import": 8, "graph": 7}
OPSET = {"domain": 1, "version": 2}
GRAPH = {"node": 1, "initializer": 5, "input": 11, "output": 12, "value_info": 13}
NODE = {"input": 1, "output": 2, "op_type": 4, "attribute": 5}
ATTRIBUTE = {"g": 6, "graphs": 11}
TENSOR_NAME = 8
VALUE = {"name": 1, "type": 2}
TENSOR_TYPE = 1  # of a TypeProto
TYPE = {"elem_type": 1, "shape": 2}
DIMENSION = {"dim_value": 1, "dim_param": 2}

# TensorProto.DataType
DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip


def read_onnx(content: bytes) -> Graph:
    """The graph of an ONNX file. Raises InvalidRequest for anything else."""
    try:
        model = memoryview(content)
        opset = {
            _text(entry, OPSET["domain"]) or "ai.onnx": _number(entry, OPSET["version"])
            for entry in _all(model, MODEL["opset_import"])
        }
        graphs = list(_all(model, MODEL["graph"]))
        if len(graphs) != 1:
            raise ValueError(f"it has {len(graphs)} graphs")
        return _graph(graphs[0], opset, 0)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"not an ONNX file: {error}") from None


def _graph(message: memoryview, opset: dict[str, int], depth: int) -> Graph:
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs nested deeper than {MAX_DEPTH}")
    weights = {_text(tensor, TENSOR_NAME) for tensor in _all(message, GRAPH["initializer"])}
    inputs, outputs, between = (
        tuple(_value(value) for value in _all(message, GRAPH[field]))
        for field in ("input", "output", "value_info")
    )
    return Graph(
        nodes=tuple(_node(node, opset, depth) for node in _all(message, GRAPH["node"])),
        inputs=tuple(value for value in inputs if value.name not in weights),
        outputs=outputs,
        weights=len(weights),
        opset=opset,
        shapes={value.name: value.shape for value in inputs + between + outputs},
    )


def _node(message: memoryview, opset: dict[str, int], depth: int) -> Node:
    subgraphs = tuple(
        _graph(graph, opset, depth + 1)
        for attribute in _all(message, NODE["attribute"])
        for field in ATTRIBUTE.values()
        for graph in _all(attribute, field)
    )
    names = {
        field: tuple(bytes(n).decode() for n in _all(message, NODE[field])) for field in ("input", "output")
    }
    return Node(_text(message, NODE["op_type"]), names["input"], names["output"], subgraphs)


def _value(message: memoryview) -> Value:
    datatype = "?"
    shape: tuple[str, ...] = ()
    for kind in _all(message, VALUE["type"]):
        for tensor in _all(kind, TENSOR_TYPE):
            datatype = DATATYPES.get(_number(tensor, TYPE["elem_type"]), "?")
            for dims in _all(tensor, TYPE["shape"]):
                shape = tuple(_dimension(dim) for dim in _all(dims, 1))
    return Value(_text(message, VALUE["name"]), datatype, shape)


def _dimension(message: memoryview) -> str:
    values = list(_fields(message, DIMENSION["dim_value"]))
    return str(values[0]) if values else _text(message, DIMENSION["dim_param"]) or "?"


def _text(message: memoryview, field: int) -> str:
    return next((bytes(value).decode() for value in _all(message, field)), "")


def _number(message: memoryview, field: int) -> int:
    return next((value for value in _fields(message, field) if isinstance(value, int)), 0)


def _all(message: memoryview, field: int) -> Iterator[memoryview]:
    """The strings and messages of one field."""
    return (value for value in _fields(message, field) if not isinstance(value, int))


def _fields(message: memoryview, wanted: int) -> Iterator[Any]:
    """The values of one field, in order. Raises ValueError where the encoding is broken."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        value: Any
        if kind == VARINT:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == BYTES else ({FIXED64: 8, FIXED32: 4}.get(kind, -1), at)
            if size < 0 or at + size > len(message):
                raise ValueError(f"a field of wire type {kind} ends after the file")
            value, at = message[at : at + size], at + size
        if key >> 3 == wanted:
            yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits in each byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
