"""The environments that are measured, made on demand in $TENSORLET_BENCH or ~/.cache/tensorlet-bench.

Each reference has an environment of its own, from `requirements/NAME.txt`. The function has its real layers,
built from the checkout as `sam build` builds them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks.measure import CHECKOUT, Skipped, say

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("TENSORLET_BENCH") or Path.home() / ".cache" / "tensorlet-bench")
LAMBDA = "3.13"  # the Python of the functions
PACKAGES = (  # of all that an environment has, those whose version matters
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
    "boto3",
    "obstore",
    "awslambdaric",
    "aws-lambda-powertools",
    "fastapi",
    "mangum",
    "uvicorn",
    "mlserver",
    "kserve",
    "bentoml",
    "litserve",
    "nvidia-pytriton",
    "pyarrow",
    "polars",
)
PYTHONS = {"mlserver": "3.11", "triton": "shared"}  # the others run on Lambda's


@cache
def environment(name: str) -> Path:
    """The `bin` folder of the environment `requirements/NAME.txt` describes. Raises Skipped."""
    requirements = (HERE / "requirements" / f"{name}.txt").read_text().format(checkout=CHECKOUT)
    version = PYTHONS.get(name, LAMBDA)
    python = find_shared_python() if version == "shared" else find_python(version)
    digest = hashlib.sha256(f"{python} {requirements}".encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    if not (folder / "ready").exists():
        say(f"making the environment {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "requirements.txt").write_text(requirements)
        _run([python, "-m", "venv", str(folder)])
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--requirement", str(folder / "requirements.txt")])
        (folder / "ready").touch()
    return folder / "bin"


@cache
def find_python(version: str) -> str:
    """$TARGET_PYTHON where it is this version, pythonX.Y on PATH, else the interpreter that runs us.

    Raises:
        Skipped: none of them is this version; Lambda's version gives way to the interpreter that runs us.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    installed = sorted(map(str, pyenv.glob(f"{version}.*/bin/python")), reverse=True)
    for python in (os.environ.get("TARGET_PYTHON"), f"python{version}", *installed, sys.executable):
        if python and _version(python) == version:
            return python
    if version == LAMBDA:
        say(f"no Python {version}: measuring with {sys.version.split()[0]}")
        return sys.executable
    raise Skipped(f"needs Python {version}: set TARGET_PYTHON or put python{version} on PATH")


def find_shared_python() -> str:
    """An interpreter with libpython as a shared library, as those of Linux distributions are. Raises Skipped."""
    code = "import sysconfig; print(sysconfig.get_config_var('Py_ENABLE_SHARED'))"
    for python in (
        "/usr/bin/python3",
        sys.executable,
    ):  # the system's is the one whose library the loader finds
        if _output([python, "-c", code]) == "1":
            return python
    raise Skipped("needs a Python with libpython as a shared library in /usr/bin/python3")


@cache
def layers() -> list[Path]:
    """The folders that the predict function finds in Lambda: its own code and its two layers, byte-compiled.

    Where there is no Python 3.13 the runtime layer, which is for it alone, is left to the environment.
    """
    function = CACHE / "function"
    shutil.rmtree(function, ignore_errors=True)
    function.mkdir(parents=True)
    python = find_python(LAMBDA)
    if _version(python) != LAMBDA:
        package = CHECKOUT / "layers/tensorlet/python/tensorlet"
        shutil.copytree(package, function / "tensorlet", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "functions/predict/app.py", function)
        _run([python, "-m", "compileall", "-q", str(function)])
        return [function]
    for makefile, target in (
        ("functions/predict", "PredictFunction"),
        ("layers/tensorlet", "TensorletLayer"),
    ):
        _run(
            ["make", "--silent", "--file", f"{makefile}/Makefile", f"build-{target}"],
            {"ARTIFACTS_DIR": str(function), "TARGET_PYTHON": python},
        )
    return [function, function / "python", _runtime_layer(python)]


def _runtime_layer(python: str) -> Path:
    """The slim layer of third-party packages; built again when what it is made from changes."""
    sources = sorted((CHECKOUT / "layers/runtime").glob("*.*"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = CACHE / f"runtime-{digest}" / "python"
    if not folder.exists():
        say(f"building the runtime layer in {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = folder.with_name("building")
        machine = "arm64" if os.uname().machine == "aarch64" else "x86_64"
        build = [python, str(CHECKOUT / "layers/runtime/build.py"), machine, str(building)]
        _run(build, {"TARGET_PYTHON": python})
        building.rename(folder)
    return folder


def packages(bin_folder: Path) -> dict[str, str]:
    """Name and version of what matters in an environment."""
    python = str(bin_folder / "python")
    code = "import importlib.metadata as m; print(*(f'{d.name}={d.version}' for d in m.distributions()))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    versions = dict(package.lower().replace("_", "-").split("=", 1) for package in found.split())
    return {name: versions[name] for name in PACKAGES if name in versions}


def python_version(bin_folder: Path) -> str:
    return subprocess.run(
        [bin_folder / "python", "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _version(python: str) -> str:
    """X.Y of an interpreter that really runs; having the name is not enough (pyenv's shims have it)."""
    return _output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])


def _output(command: list[str]) -> str:
    """What a command wrote; nothing where it does not run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _run(command: list[str], environ: dict[str, str] | None = None) -> None:
    """Raises Skipped with the last line the command wrote."""
    # PYTHONDONTWRITEBYTECODE would leave the environment uncompiled, and its cold starts two times slower.
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=inherited | (environ or {}), capture_output=True, text=True
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise Skipped(f"{' '.join(command[:4])}: {lines[-1]}")
