"""What LiteRT does not check of a TFLite file before it opens it, although it ends the process.

LiteRT looks whether a file is a sound FlatBuffer, and then trusts it: a graph that calls itself overflows the stack,
and a signature that names a tensor which its graph neither takes nor gives aborts. Both are seen here in the few
tables that can say so. The operators, most of a file, are read only if one of them is of a kind that calls graphs.

Sources: FlatBuffers, "Internals"; tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3c.
"""

from collections.abc import Iterator
from struct import Struct, error
from typing import Any

from tensorlet.errors import ArtifactRefused

MOST_NESTED = 100  # calls within calls; ONNX Runtime has the same limit for functions
MOST_TABLES = 1_000_000  # as FlatBuffers' own verifier

# Fields by their place in schema.fbs: Model, OperatorCode, SubGraph, Operator, SignatureDef, TensorMap
OPERATOR_CODES, SUBGRAPHS, SIGNATURE_DEFS = 1, 2, 7
DEPRECATED_CODE, BUILTIN_CODE = 0, 3
GRAPH_INPUTS, GRAPH_OUTPUTS, OPERATORS = 1, 2, 3
OPCODE_INDEX, OPTIONS, OPTIONS_2 = 0, 4, 12  # the type of a union is the field before it
SIGNATURE_INPUTS, SIGNATURE_OUTPUTS, SUBGRAPH_INDEX = 0, 1, 4
TENSOR_INDEX = 1


# BuiltinOperator: where it says which graphs it calls (union, type of the union, fields of the options)
CALLS = {
    31: (OPTIONS, 16, (0,)),  # CALL
    118: (OPTIONS, 92, (0, 1)),  # IF
    119: (OPTIONS, 93, (0, 1)),  # WHILE
    129: (OPTIONS, 103, (0,)),  # CALL_ONCE
    174: (OPTIONS_2, 6, (1,)),  # STABLEHLO_REDUCE
    190: (OPTIONS_2, 7, (6,)),  # STABLEHLO_SCATTER
    198: (OPTIONS_2, 13, (5,)),  # STABLEHLO_REDUCE_WINDOW
    199: (OPTIONS_2, 14, (2,)),  # STABLEHLO_SORT
    200: (OPTIONS_2, 15, (0, 1)),  # STABLEHLO_WHILE
    206: (OPTIONS_2, 21, (1,)),  # STABLEHLO_COMPOSITE
    209: (OPTIONS_2, 23, (0,)),  # STABLEHLO_CASE
}
CASE = 209  # its field is a vector

_BYTE, _INT8, _UINT16, _INT32, _UINT32 = (Struct(f"<{kind}") for kind in "BbHiI")


def check_file(model: Any) -> None:
    """Refuse a TFLite file, a buffer of its bytes, that would end the process which opens it.

    Raises:
        ArtifactRefused: it calls itself, calls too deep, or names what is not there; or it is no FlatBuffer.
    """
    try:
        root = _Table(model, _UINT32.unpack_from(model, 0)[0])
        graphs = list(root.tables(SUBGRAPHS))
        _check_signatures(root, graphs)
        _check_calls([sorted(called) for called in _calls(root, graphs)])
    except error:
        raise _refused("it is cut short, or no TFLite file") from None


class _Table:
    """A table of a FlatBuffer. Whatever lies outside of the file raises struct.error."""

    __slots__ = ("_at", "_data", "_fields", "_size_bytes")

    def __init__(self, data: Any, at: int):
        self._data, self._at = data, at
        self._fields = at - _INT32.unpack_from(data, at)[0]
        self._size_bytes = _UINT16.unpack_from(data, self._fields)[0]

    def number(self, field: int, kind: Struct = _INT32) -> int:
        """A scalar; 0 where it is left out."""
        place = self._place(field)
        return int(kind.unpack_from(self._data, place)[0]) if place else 0

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return _Table(self._data, place + _UINT32.unpack_from(self._data, place)[0]) if place else None

    def tables(self, field: int) -> "Iterator[_Table]":
        for place in self._vector(field):
            yield _Table(self._data, place + _UINT32.unpack_from(self._data, place)[0])

    def numbers(self, field: int) -> list[int]:
        return [_INT32.unpack_from(self._data, place)[0] for place in self._vector(field)]

    def length(self, field: int) -> int:
        return len(self._vector(field))

    def _vector(self, field: int) -> range:
        """Where the elements of a vector are, four bytes each."""
        place = self._place(field)
        if not place:
            return range(0)
        start = place + _UINT32.unpack_from(self._data, place)[0]
        length = _UINT32.unpack_from(self._data, start)[0]
        if length > MOST_TABLES:
            raise _refused(f"it has a list of {length} elements, more than {MOST_TABLES}")
        return range(start + 4, start + 4 + 4 * length, 4)

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry >= self._size_bytes:
            return 0
        offset = _UINT16.unpack_from(self._data, self._fields + entry)[0]
        return self._at + offset if offset else 0


def _check_signatures(root: _Table, graphs: list[_Table]) -> None:
    for signature in root.tables(SIGNATURE_DEFS):
        index = signature.number(SUBGRAPH_INDEX, _UINT32)
        if index >= len(graphs):
            raise _refused(f"a signature: expected one of {len(graphs)} graphs, got {index}")
        for kind, named, own in (
            ("input", SIGNATURE_INPUTS, GRAPH_INPUTS),
            ("output", SIGNATURE_OUTPUTS, GRAPH_OUTPUTS),
        ):
            known = graphs[index].numbers(own)
            for entry in signature.tables(named):
                if (tensor := entry.number(TENSOR_INDEX)) not in known:
                    raise _refused(
                        f"an {kind} of a signature: expected one of the tensors {known[:20]}, got {tensor}"
                    )


def _calls(root: _Table, graphs: list[_Table]) -> list[set[int]]:
    """The graphs that each graph calls."""
    codes = [
        max(code.number(DEPRECATED_CODE, _INT8), code.number(BUILTIN_CODE))
        for code in root.tables(OPERATOR_CODES)
    ]
    calling = {index: code for index, code in enumerate(codes) if code in CALLS}
    if not calling:
        return []
    if sum(graph.length(OPERATORS) for graph in graphs) > MOST_TABLES:
        raise _refused(f"it has more than {MOST_TABLES} operators")
    return [
        {
            called
            for operator in graph.tables(OPERATORS)
            for code in [calling.get(operator.number(OPCODE_INDEX, _UINT32))]
            if code is not None
            for called in _called(operator, code)
        }
        for graph in graphs
    ]


def _called(operator: _Table, code: int) -> list[int]:
    union, type, fields = CALLS[code]
    options = operator.table(union)
    if options is None or operator.number(union - 1, _BYTE) != type:
        raise _refused(f"an operator {code} does not say which graph it calls")
    return options.numbers(fields[0]) if code == CASE else [options.number(field) for field in fields]


def _check_calls(calls: list[list[int]]) -> None:
    depths: dict[int, int] = {}

    def depth(graph: int, callers: tuple[int, ...]) -> int:
        """How many graphs deep the calls from `graph` go."""
        if not 0 <= graph < len(calls):
            raise ArtifactRefused(
                f"a call of the TFLite file: expected one of {len(calls)} graphs, got {graph}"
            )
        if graph in callers:
            raise _refused(f"graph {graph} calls itself")
        if graph not in depths:
            deepest = 0
            if len(callers) < MOST_NESTED:
                deepest = max((depth(called, (*callers, graph)) for called in calls[graph]), default=0)
            depths[graph] = deepest + 1
        if len(callers) + depths[graph] > MOST_NESTED:
            raise ArtifactRefused(
                f"the graphs of the TFLite file call each other more than {MOST_NESTED} deep"
            )
        return depths[graph]

    for graph in range(len(calls)):
        depth(graph, ())


def _refused(reason: str) -> ArtifactRefused:
    return ArtifactRefused(f"LiteRT cannot open the model: {reason}")
