"""`tensorlet pull`: an artifact as a local file, its digest checked before it has its name."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from tensorlet.cli.registries import open_registry
from tensorlet.cli.text import size
from tensorlet.errors import NotFound
from tensorlet.registry.manifest import Artifact, Manifest


def run(arguments: Namespace) -> int:
    release = open_registry(arguments).resolve(*arguments.model)
    artifact = choose_artifact(release.manifest, arguments.format)
    model_file, *others = artifact.files
    target = Path(arguments.output)
    # The model file last: whoever sees it finds its weights beside it, where it looks for them by name.
    for file in others:
        write_whole(target.parent / file.path, release.read(file))
    write_whole(target, release.read(model_file))
    print(
        f"{release.name}/{model_file.path} → {target} ({size(artifact.size_bytes)},"
        f" sha256 {model_file.sha256} checked)",
        file=sys.stderr,
    )
    return 0


def choose_artifact(manifest: Manifest, format: str | None) -> Artifact:
    """The artifact of `format`, or the default one. Raises NotFound naming the formats there are."""
    artifact = manifest.artifact(format or "")
    if format and artifact.format != format:
        formats = ", ".join(sorted({artifact.format for artifact in manifest.artifacts}))
        raise NotFound(f"{manifest.model}/{manifest.version} has no {format} artifact; it has: {formats}")
    return artifact


def write_whole(path: Path, data: Any) -> None:
    """Write beside `path`, then rename: it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
