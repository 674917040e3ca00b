"""A model's graph as plain values, whichever file it came from."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Value(NamedTuple):
    """An input or output: its datatype, and its dimensions as text (`batch`, `3`, `?`)."""

    name: str
    datatype: str
    shape: tuple[str, ...]


class Node(NamedTuple):
    """One operator; `inputs` and `outputs` are names of tensors, `subgraphs` its branches or its body."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    subgraphs: tuple["Graph", ...] = ()


class Graph(NamedTuple):
    """`weights` counts the tensors stored in the file, `shapes` are of those in between, where known."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: int
    opset: Mapping[str, int]
    shapes: Mapping[str, tuple[str, ...]]

    def all_nodes(self) -> Iterator[Node]:
        """Also those of subgraphs."""
        for node in self.nodes:
            yield node
            for graph in node.subgraphs:
                yield from graph.all_nodes()
