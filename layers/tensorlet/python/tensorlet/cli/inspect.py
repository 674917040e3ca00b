"""`tensorlet inspect`: what a saved model or a version is, without running it."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from tensorlet.cli.arguments import parse_model_reference
from tensorlet.cli.pull import write_whole
from tensorlet.cli.registries import registry_uri
from tensorlet.cli.text import size, table
from tensorlet.errors import InvalidRequest
from tensorlet.publish.inspection import describe_graph, inspect_file, read_graph
from tensorlet.publish.inspection.drawing import draw
from tensorlet.publish.inspection.graph import Graph
from tensorlet.registry.registry import Registry


def run(arguments: Namespace) -> int:
    path = Path(arguments.target)
    if path.exists():
        found = inspect_file(path)
        graph = read_graph(found["format"], path.read_bytes()) if "operators" in found else None
    else:
        found, graph = inspect_version(arguments)
    if arguments.graph:
        if graph is None:
            raise InvalidRequest(
                f"--graph: graphs are drawn of ONNX and TFLite files, not of {found['format']}"
            )
        write_whole(Path(arguments.graph), draw(graph).encode())
    print(json.dumps(found, indent=2) if arguments.json else text(found))
    return 0


def inspect_version(arguments: Namespace) -> tuple[dict[str, Any], Graph]:
    """A version's manifest in short, and its default artifact's graph; the digest is checked."""
    release = Registry.open(registry_uri(arguments)).resolve(*parse_model_reference(arguments.target))
    manifest = release.manifest
    artifact = manifest.artifact()
    graph = read_graph(artifact.format, bytes(release.read(artifact.files[0])))
    document = manifest.document
    found = {
        "model": manifest.model,
        "version": manifest.version,
        "created": document.get("created"),
        "source": document.get("source"),
        "format": artifact.format,
        "default_artifact": manifest.default_artifact,
        "artifacts": list(document["artifacts"]),
        **describe_graph(graph),
        "signature": manifest.signature.to_json(),
    }
    return found, graph


def text(found: dict[str, Any]) -> str:
    """For people: the facts, the tensors, the operators, the artifacts."""
    parts = [_facts(found)]
    signature = found.get("signature") or {key: found[key] for key in ("inputs", "outputs") if key in found}
    tensors = [
        (kind[:-1], tensor["name"], tensor["datatype"], " × ".join(map(str, tensor["shape"])))
        for kind in ("inputs", "outputs")
        for tensor in signature.get(kind, ())
    ]
    if tensors:
        parts.append(table(("", "tensor", "datatype", "shape"), tensors))
    for title in ("operators", "layers", "tensors"):
        if found.get(title):
            parts.append(table((title[:-1], "count" if title != "tensors" else "what"), found[title].items()))
    if found.get("artifacts"):
        parts.append(
            table(("artifact", "precision", "size", "difference", "sha256"), map(_row, found["artifacts"]))
        )
    return "\n\n".join(parts)


def _facts(found: dict[str, Any]) -> str:
    facts = {
        "model": f"{found['model']}/{found['version']}, {found['created']}" if "model" in found else "",
        "file": found.get("file", ""),
        "format": found["format"]
        + (", a program: opened with --trust-source only" if found.get("is_program") else ""),
        "size": size(found["size_bytes"]) if "size_bytes" in found else "",
        "sha256": found.get("sha256", ""),
        "opset": ", ".join(f"{domain} {version}" for domain, version in found.get("opset", {}).items()),
        "weights": str(found.get("weights", "")),
    }
    return "\n".join(f"{name:8}{value}" for name, value in facts.items() if value)


def _row(artifact: dict[str, Any]) -> tuple[str, ...]:
    parity = artifact.get("parity")
    return (
        artifact["files"][0]["path"],
        artifact["precision"],
        size(sum(file["size_bytes"] for file in artifact["files"])),
        f"{parity['max_abs_diff']:.1e}" if parity else "-",
        artifact["files"][0]["sha256"][:16],
    )
