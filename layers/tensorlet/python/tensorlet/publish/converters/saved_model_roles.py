"""Classify and regress signatures of a SavedModel, in terms of the inputs and outputs of its predict signature.

Such a signature takes serialized tf.Examples, which the graph parses into features. Served from ONNX or TFLite,
the model is asked by its predict signature alone; which feature is which input, and which output plays which part,
is all that is needed to answer the others (see tensorlet.protocols.tfs_examples).
"""

from collections.abc import Mapping
from typing import Any

METHODS = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
PARTS = {"classes": "classes", "scores": "scores", "outputs": "values"}


def find_roles(folder: str, predict: str, names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The classify and regress signatures over the tensors of signature `predict`; others cannot be served.

    `names` are our names for the inputs and outputs that the signature calls otherwise.
    """
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    graph = parse_saved_model(folder).meta_graphs[0]
    signatures = graph.signature_def
    outputs = {info.name: names.get(name, name) for name, info in sorted(signatures[predict].outputs.items())}
    features = _features(graph.graph_def, signatures[predict].inputs, names)
    found: dict[str, dict[str, Any]] = {}
    for name, signature in sorted(signatures.items()):
        method = METHODS.get(signature.method_name)
        parts = {
            PARTS[part]: outputs.get(info.name) for part, info in signature.outputs.items() if part in PARTS
        }
        if method and parts and all(parts.values()):
            found[name] = {"method": method, **parts, **({"features": features} if features else {})}
    return found


def _features(graph: Any, inputs: Any, names: Mapping[str, str]) -> dict[str, str]:
    """Feature -> input, where an input is a parsed feature of another name."""
    nodes = {node.name: node for node in graph.node}
    features = {}
    for name, info in sorted(inputs.items()):
        node, index = _source(nodes, info.name)
        key = _dense_key(nodes, node, index) if node else None
        if key and key != names.get(name, name):
            features[key] = names.get(name, name)
    return features


def _source(nodes: Mapping[str, Any], tensor: str) -> tuple[Any, int]:
    """The node and output index that `tensor` comes from, through Identity nodes."""
    name, _, index = tensor.partition(":")
    node = nodes.get(name)
    while node is not None and node.op == "Identity":
        name, _, index = node.input[0].partition(":")
        node = nodes.get(name)
    return node, int(index or 0)


def _dense_key(nodes: Mapping[str, Any], node: Any, index: int) -> str | None:
    """The feature's key of one output of ParseExampleV2: dense values come last among its outputs."""
    if node.op != "ParseExampleV2":
        return None
    import tensorflow as tf

    constant = nodes[node.input[3].partition(":")[0]]
    keys = tf.make_ndarray(constant.attr["value"].tensor).tolist()
    before = 3 * node.attr["num_sparse"].i + 2 * len(node.attr["ragged_value_types"].list.type)
    return keys[index - before].decode() if 0 <= index - before < len(keys) else None
