"""Golden predictions asked over HTTP: what `tensorlet verify` asks of an artifact, asked of a whole function."""

import json
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from tensorlet.errors import TensorletError
from tensorlet.registry.registry import Registry, Release

GOLDEN = "golden.npz"
LARGEST = 1 << 20  # values in one request: as JSON they must fit into Lambda's 6 MB


class Question(NamedTuple):
    """A V2 inference request."""

    path: str
    body: str


Ask = Callable[[Question], Mapping[str, Any]]  # -> a Lambda proxy reply: statusCode, body


def failures(registry: Registry, ask: Ask) -> list[str]:
    """What was answered wrong, a line for each model; none: the function may have traffic."""
    return [reason for model in registry.models() for reason in _failures(registry, model, ask)]


def _failures(registry: Registry, model: str, ask: Ask) -> Iterator[str]:
    try:
        release = registry.resolve(model)
        golden = _golden(release)
    except TensorletError as error:  # not the new version's fault: the old one has the same registry
        print(json.dumps({"message": "model not checked", "model": model, "reason": str(error)}))
        return
    if golden is None:
        return
    inputs, outputs = golden
    reply = ask(_question(release, inputs))
    if reply.get("statusCode") != 200:
        yield f"{release.name}: expected status 200, got {json.dumps(reply)[:500]}"
        return
    answers = {output["name"]: output for output in json.loads(reply["body"])["outputs"]}
    for name, expected in outputs.items():
        if name not in answers:
            yield f"{release.name}: expected output {name!r}, got {sorted(answers)}"
        elif wrong := _difference(answers[name]["data"], expected, _tolerance(release)):
            yield f"{release.name}: output {name!r} {wrong}"


def _golden(release: Release) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Inputs and outputs by name; None for a version without any, or with too many for a request."""
    files = {file.path: file for file in release.manifest.listed()}
    if GOLDEN not in files:
        return None
    with np.load(BytesIO(release.read(files[GOLDEN])), allow_pickle=False) as arrays:
        named = {key: arrays[key] for key in arrays.files}
    if sum(array.size for array in named.values()) > LARGEST:
        return None
    return _of(named, "input:"), _of(named, "output:")


def _of(named: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): array for key, array in named.items() if key.startswith(prefix)}


def _question(release: Release, inputs: Mapping[str, Any]) -> Question:
    datatypes = {spec.name: spec.datatype for spec in release.manifest.signature.inputs}
    tensors = [
        {
            "name": name,
            "datatype": datatypes[name],
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in inputs.items()
    ]
    path = f"/v2/models/{release.manifest.model}/versions/{release.manifest.version}/infer"
    return Question(path, json.dumps({"inputs": tensors}))


def _tolerance(release: Release) -> float:
    """What publishing allowed the artifact that is served by default."""
    default = release.manifest.default_artifact
    (artifact,) = [found for found in release.manifest.document["artifacts"] if found["id"] == default]
    return float((artifact.get("parity") or {}).get("tolerance", 1e-4))


def _difference(answered: Any, expected: Any, tolerance: float) -> str:
    """How an output is wrong, empty if it is not."""
    found = np.asarray(answered).ravel()
    wanted = expected.ravel()
    if found.shape != wanted.shape:
        return f"has {found.size} values, expected {wanted.size}"
    if wanted.dtype.kind not in "fiub":
        return "" if found.tolist() == wanted.tolist() else "differs"
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    if np.allclose(found, wanted, rtol=0, atol=tolerance, equal_nan=True):
        return ""
    return f"differs by {np.nanmax(np.abs(found - wanted)):.1e}, allowed {tolerance:.1e}"
