"""What a model file is: its operators, opset, signature and graph, read without a runtime or a framework.

Nothing in the file is executed. ONNX is read by a small reader of protocol buffers, TFLite by LiteRT's schema.
"""

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from tensorlet.errors import InvalidRequest
from tensorlet.publish.inspection.graph import Graph
from tensorlet.publish.inspection.onnx_graph import read_onnx
from tensorlet.publish.inspection.tflite_graph import read_tflite
from tensorlet.publish.sources import detect_source, digest_source

READERS = {"onnx": read_onnx, "tflite": read_tflite}
MAX_HEADER_BYTES = 16 << 20


def inspect_file(path: Path) -> dict[str, Any]:
    """What there is to say about a saved model.

    Raises:
        PublishError: no known format.
        InvalidRequest: a file that is not what its name says.
    """
    form = detect_source(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        "file": path.name,
        "format": form.name,
        "framework": form.framework,
        "is_program": form.is_program,
        "size_bytes": sum(file.stat().st_size for file in files),
        "sha256": digest_source(path),
        **_content(path, form.name),
    }


def read_graph(format: str, content: bytes) -> Graph:
    """The graph of an ONNX or TFLite file. Raises InvalidRequest."""
    if format not in READERS:
        raise InvalidRequest(f"a graph can be read from ONNX and TFLite files, not from {format}")
    return READERS[format](content)


def describe_graph(graph: Graph) -> dict[str, Any]:
    """Operators by how often they occur, the opset, and the signature with symbolic dimensions by name."""
    return {
        "opset": graph.opset,
        "operators": dict(Counter(node.operator for node in graph.all_nodes()).most_common()),
        "inputs": [value._asdict() for value in graph.inputs],
        "outputs": [value._asdict() for value in graph.outputs],
        "weights": graph.weights,
    }


def _content(path: Path, format: str) -> dict[str, Any]:
    if format in READERS:
        return describe_graph(read_graph(format, path.read_bytes()))
    if format == "safetensors":
        return {"tensors": _safetensors(path)}
    if format == "keras":
        return {"layers": _keras_layers(path)}
    return {}


def _safetensors(path: Path) -> dict[str, Any]:
    """Name -> datatype and shape, from the header. Source: safetensors, "Format"."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(file.read(size))
        return {
            name: f"{entry['dtype']} {entry['shape']}"
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest(f"{path}: not a safetensors file ({error})") from None


def _keras_layers(path: Path) -> dict[str, int]:
    """Layer class -> how many, from the configuration in the archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > MAX_HEADER_BYTES:
                raise ValueError("config.json is too large")
            config = json.loads(archive.read("config.json"))
        layers = config["config"]["layers"]
        return dict(Counter(str(layer["class_name"]) for layer in layers).most_common())
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile, RecursionError) as error:
        raise InvalidRequest(f"{path}: not a Keras archive ({error})") from None
