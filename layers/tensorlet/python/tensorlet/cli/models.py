"""`tensorlet models`: what a registry has."""

import json
from argparse import Namespace
from typing import Any

from tensorlet.cli.registries import registry_uri
from tensorlet.cli.text import size, table
from tensorlet.errors import ModelNotFound, TensorletError
from tensorlet.registry.registry import Registry
from tensorlet.registry.rollout import describe


def run(arguments: Namespace) -> int:
    uri = registry_uri(arguments)
    registry = Registry.open(uri)
    names = [arguments.name] if arguments.name else registry.models()
    models = [describe_model(registry, name) for name in names]
    if arguments.json:
        print(json.dumps([_for_scripts(model) for model in models], indent=2))
    elif arguments.name:
        print(version_table(models[0]))
    elif models:
        print(model_table(models))
    else:
        print(f"no models in {uri} yet; `tensorlet publish PATH --name NAME` adds one")
    return 0


def describe_model(registry: Registry, name: str) -> dict[str, Any]:
    """A model with all its versions, oldest first, and its aliases. Raises ModelNotFound."""
    versions = registry.versions(name)
    if not versions:
        raise ModelNotFound(f"model {name!r} is not in the registry")
    return {
        "name": name,
        "versions": [describe_version(registry, name, version) for version in versions],
        "aliases": registry.aliases(name).weights,
    }


def describe_version(registry: Registry, name: str, version: int) -> dict[str, Any]:
    """One version; one whose manifest is broken is listed with its `error`, for the others are none the worse."""
    try:
        manifest = registry.release(name, version).manifest
    except TensorletError as error:
        return {"version": version, "created": None, "formats": [], "size_bytes": 0, "error": str(error)}
    return {
        "version": version,
        "created": manifest.document.get("created"),
        "formats": sorted({artifact.format for artifact in manifest.artifacts}),
        "size_bytes": sum(artifact.size_bytes for artifact in manifest.artifacts),
    }


def model_table(models: list[dict[str, Any]]) -> str:
    """One line for each model, with its newest version."""
    headers = ("name", "versions", "newest", "created", "formats", "aliases")
    return table(headers, [_model_row(model) for model in models])


def version_table(model: dict[str, Any]) -> str:
    """One line for each version, newest first."""
    rows = []
    for version in reversed(model["versions"]):
        pointing = [
            alias
            if weights[str(version["version"])] == 1
            else f"{alias} {weights[str(version['version'])]:.0%}"
            for alias, weights in model["aliases"].items()
            if str(version["version"]) in weights
        ]
        formats = ", ".join(version["formats"]) or version.get("error", "")
        rows.append(
            (
                version["version"],
                version["created"] or "-",
                size(version["size_bytes"]),
                ", ".join(pointing),
                formats,
            )
        )
    return table(("version", "created", "size", "aliases", "formats"), rows)


def _model_row(model: dict[str, Any]) -> tuple[object, ...]:
    newest = model["versions"][-1]
    return (
        model["name"],
        len(model["versions"]),
        newest["version"],
        newest["created"] or "-",
        ", ".join(newest["formats"]) or "broken",
        ", ".join(f"{alias} → {describe(weights)}" for alias, weights in model["aliases"].items()),
    )


def _for_scripts(model: dict[str, Any]) -> dict[str, Any]:
    """The documented members only: what scripts see is a contract."""
    members = ("version", "created", "formats", "error")
    versions = [{name: version[name] for name in members if name in version} for version in model["versions"]]
    return {**model, "versions": versions}
