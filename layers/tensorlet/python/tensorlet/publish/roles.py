"""Which outputs classify and regress: from the command line, a signature.json, or a SavedModel's signatures.

`signature.json` lies in the SavedModel's folder, or beside the model's file, and holds `roles` and `signatures` as
the manifest does (docs/manifest.schema.json):

    {"roles": {"classes": OUTPUT, "scores": OUTPUT, "values": OUTPUT, "features": {FEATURE: INPUT}},
     "signatures": {NAME: {"method": "classify", "scores": OUTPUT}}}
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorlet.errors import PublishError
from tensorlet.signature import Signature, TensorSpec

SIGNATURE_FILE = "signature.json"
OUTPUT_PARTS = ("classes", "scores", "values")
MEMBERS = {*OUTPUT_PARTS, "features"}
METHODS = ("classify", "regress")


def find_roles(
    source: Path, described: Path, signature: Signature, classes: str | None, scores: str | None
) -> dict[str, Any]:
    """The manifest's `roles` and `signatures`, where there are any.

    `described` is the file that a converter left with the signatures of its source; a signature.json says more
    than that, and the command line more than both.

    Raises:
        PublishError: a name that the model does not have, or a signature.json that is not one.
    """
    given = _read(source / SIGNATURE_FILE if source.is_dir() else source.with_name(SIGNATURE_FILE))
    for part, name in (("classes", classes), ("scores", scores)):
        if name:
            _check_name(name, signature.outputs, f"--{part}: expected an output")
    roles = given.get("roles", {}) | {
        part: name for part, name in (("classes", classes), ("scores", scores)) if name
    }
    signatures = _read(described) | given.get("signatures", {})
    _check(roles, signature, "roles")
    for name, entry in signatures.items():
        if not isinstance(entry, dict) or entry.get("method") not in METHODS:
            raise PublishError(
                f"signature {name!r}: expected a method of {', '.join(METHODS)}, got {entry!r}"
            )
        _check(
            {part: value for part, value in entry.items() if part != "method"},
            signature,
            f"signature {name!r}",
        )
    return {key: value for key, value in (("roles", roles), ("signatures", signatures)) if value}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PublishError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise PublishError(f"{path}: expected a JSON object")
    return document


def _check(roles: Mapping[str, Any], signature: Signature, where: str) -> None:
    if unknown := set(roles) - MEMBERS:
        raise PublishError(f"{where}: expected members {', '.join(sorted(MEMBERS))}, got {sorted(unknown)}")
    for part in OUTPUT_PARTS:
        if part in roles:
            _check_name(roles[part], signature.outputs, f"{where}: {part}: expected an output")
    for name in roles.get("features", {}).values():
        _check_name(name, signature.inputs, f"{where}: features: expected an input")


def _check_name(name: Any, specs: tuple[TensorSpec, ...], expected: str) -> None:
    names = [spec.name for spec in specs]
    if name not in names:
        raise PublishError(f"{expected}, one of {', '.join(names)}, got {name!r}")
