"""Byte-compile a folder for Lambda's Python 3.13: `python3 bytecode.py FOLDER RUNTIME_PATH`.

A layer is read-only on Lambda: a module without its .pyc is compiled anew at every cold start, which makes
the imports 2 to 3 times slower. A .pyc fits one Python version only, so a Python 3.13 has to be found.

RUNTIME_PATH is where Lambda will have the folder (`/opt/python`, `/var/task`); tracebacks then name the path
of the running function and no path of the machine that built it.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

CACHE_TAG = "cpython-313"
IMAGE = os.environ.get("LAMBDA_IMAGE") or "lambda-standin/python:3.13-x86_64"


class Python(NamedTuple):
    """A place where Python 3.13 may be, and the command that starts it."""

    place: str
    command: list[str]


def compile_folder(folder: Path, runtime_path: str) -> None:
    """Write a .pyc beside every module under `folder`, never checked again against its source.

    Unchecked, because the files of a layer cannot change and a check costs a `stat` for each import.

    Raises:
        SystemExit: no Python 3.13 was found, or a module does not compile.
    """
    folder = folder.resolve()
    python = find_python(folder)
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", runtime_path]
    if subprocess.run([*python.command, "-m", "compileall", *options, str(folder)]).returncode:
        sys.exit(f"{python.place}: not every module of {folder} compiles for Python 3.13")
    print(f"byte-compiled {folder.name} with {python.place}", flush=True)


def find_python(folder: Path) -> Python:
    """The first place that really runs Python 3.13; having the name is not enough (pyenv's shims have it).

    Raises:
        SystemExit: there is none; the message names every place that was tried.
    """
    candidates = places(folder)
    for python in candidates:
        if runs(python):
            return python
    tried = "; ".join(python.place for python in candidates)
    sys.exit(
        f"no Python 3.13 to byte-compile {folder.name} with. Tried: {tried}. "
        "Set TARGET_PYTHON, put python3.13 on PATH, or make the local Lambda image (tests/sam/lambda_image.sh)."
    )


def places(folder: Path) -> list[Python]:
    """`$TARGET_PYTHON` when it is set, python3.13 on PATH, and the local Lambda image with `folder` mounted."""
    target = os.environ.get("TARGET_PYTHON")
    owner = f"{os.getuid()}:{os.getgid()}"
    container = ["docker", "run", "--rm", "--network=none", "--user", owner, "--volume", f"{folder}:{folder}"]
    return [
        *([Python(f"TARGET_PYTHON={target}", [target])] if target else []),
        Python("python3.13 on PATH", ["python3.13"]),
        Python(f"python3.13 in the image {IMAGE}", [*container, "--entrypoint", "python3.13", IMAGE]),
    ]


def runs(python: Python) -> bool:
    try:
        says = subprocess.run(
            [*python.command, "-c", "import sys; print(sys.implementation.cache_tag)"],
            capture_output=True,
            text=True,
        )
    except OSError:  # no such program
        return False
    return says.returncode == 0 and says.stdout.strip() == CACHE_TAG


if __name__ == "__main__":
    compile_folder(Path(sys.argv[1]), sys.argv[2])
