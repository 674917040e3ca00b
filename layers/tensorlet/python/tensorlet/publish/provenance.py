"""Where a version comes from: the code, the environment and the knobs that made it. No paths, no names of machines."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Those that checked the version and wrote it; what trained and converted it stands under `framework`.
PACKAGES = ("ai-edge-litert", "numpy", "obstore", "onnxruntime", "tensorlet")


def provenance(code: Path, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's `provenance`: the state of the checkout around `code`, this environment, and the `knobs` set."""
    state = code_state(code)
    return {
        **({"code": state} if state else {}),
        "environment": environment(),
        "knobs": {name: value for name, value in knobs.items() if value},
    }


def code_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out around `folder`, and whether files of it were changed; None outside of git."""
    # A checkout can name a program that watches its files (core.fsmonitor), which git would run.
    git = [
        "git",
        "-c",
        "core.fsmonitor=false",
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
        "--match",
        "",
    ]
    try:
        done = subprocess.run(git, cwd=folder, capture_output=True, text=True)
    except OSError:
        return None
    revision = done.stdout.strip()
    if done.returncode or not revision:
        return None
    return {"revision": revision.removesuffix("-dirty"), "dirty": revision.endswith("-dirty")}


def environment() -> dict[str, Any]:
    """The Python, the platform and the packages of this process."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{sys.platform} {platform.machine()}",
        "packages": {name: found for name in PACKAGES if (found := _installed(name))},
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
