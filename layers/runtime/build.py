"""Build a slim layer of third-party packages: `python3 build.py {x86_64|arm64} FOLDER [runtime|parquet]`.

Installs the layer's requirements.txt for Lambda's Python 3.13, removes what inference never opens, strips the
shared objects, byte-compiles, writes the bill of materials, and fails when the result is over its budget. Needs
only Python 3.11 and its pip.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bytecode import compile_folder
from sbom import write_sbom

LAYERS_FOLDER = Path(__file__).resolve().parents[1]
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}  # Lambda's name -> the name in wheel tags

# Lambda's python3.13 runs on Amazon Linux 2023, whose glibc is 2.34. pip does not count a platform tag as
# including the older ones (pypa/pip#10760), so each is named; nothing newer than 2.34 can get in.
NEWEST_GLIBC_MINOR = 34


class Budget(NamedTuple):
    """MB (10^6 bytes, unzipped, .pyc included) a layer should have, and the most it may have."""

    target_mb: float
    limit_mb: float


# Lambda allows 250 MB for a function and all its layers (sizes.py sums them): ours is 150 for predict, of which the
# package itself takes 2, and 240 for batch, which has the Parquet layer too.
BUDGETS = {"runtime": Budget(110, 148), "parquet": Budget(40, 90)}

# Dead weight, as glob patterns below the layer's python/ folder, each group with the reason why nothing here opens it.
PRUNE: dict[str, list[str]] = {
    # The wheel holds ONNX Runtime twice: as a plain C library, which tensorlet.runtimes.onnx drives, and linked
    # into a Python module. Only the first is ever opened.
    "second copy of ONNX Runtime": [
        "onnxruntime/*.py",
        "onnxruntime/capi/*.py",
        "onnxruntime/capi/libonnxruntime_providers_shared.so",
        "onnxruntime/capi/onnxruntime_pybind11_state*.so",
    ],
    "accelerators Lambda does not have": [
        "ai_edge_litert/libLiteRt*Accelerator.so",
        "ai_edge_litert/vendors",
    ],
    "tools for making models": [
        "ai_edge_litert/*_pb2.py",
        "ai_edge_litert/aot",
        "ai_edge_litert/schema_py_generated.py",
        "ai_edge_litert/tflite",
        "ai_edge_litert/tools",
        "onnxruntime/backend",
        "onnxruntime/datasets",
        "onnxruntime/quantization",
        "onnxruntime/tools",
        "onnxruntime/transformers",
        "numpy/f2py",
    ],
    "sources, headers, type stubs, tests": [
        "bin",
        "simdjson/*.cpp",
        "simdjson/*.h",
        "simdjson/*.pyx",
        "numpy/_core/_simd*.so",
        "numpy/_core/include",
        "numpy/_core/lib",
        "**/*.a",
        "**/*.pyi",
        "**/*.pxd",
        "**/tests",
    ],
    # numpy loads these on first use only, and nothing on the way from a request to its answer uses them.
    "mathematics no inference calls": [
        "numpy/fft",
        "numpy/polynomial",
        "numpy/random",
        "numpy/testing",
    ],
    "a web framework beside ours": ["aws_lambda_powertools/event_handler"],
}


def main(architecture: str, folder: Path, layer: str = "runtime") -> None:
    shutil.rmtree(folder, ignore_errors=True)
    install(LAYERS_FOLDER / layer / "requirements.txt", MACHINES[architecture], folder)
    prune(folder)
    strip(folder)
    compile_folder(folder, "/opt/python")
    print(f"bill of materials: {write_sbom(layer, folder)}", flush=True)
    check_budget(layer, sizes_mb(folder))


def install(requirements: Path, machine: str, folder: Path) -> None:
    """Put the pinned wheels for `machine` into `folder`, whatever machine and Python this is.

    `--ignore-requires-python`, because pip compares a wheel with the Python that runs pip; the tags already
    admit none but wheels for 3.13.
    """
    glibc = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC_MINOR, 16, -1)]
    platforms = [f"--platform={tag}" for tag in [*glibc, f"manylinux2014_{machine}"]]
    python = ["--implementation=cp", "--python-version=3.13", "--only-binary=:all:"]
    quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
    options = ["--no-deps", "--no-compile", "--ignore-requires-python", f"--target={folder}"]
    wheels = ["--requirement", str(requirements)]
    pip = [sys.executable, "-m", "pip", "install", *quiet, *options, *platforms, *python, *wheels]
    if subprocess.run(pip).returncode:
        sys.exit(f"pip could not install {requirements} for {machine}; its message is above")


def prune(folder: Path) -> None:
    for pattern in [pattern for patterns in PRUNE.values() for pattern in patterns]:
        for path in list(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def strip(folder: Path) -> None:
    """Remove symbol tables, where this machine has a `strip` that knows the target's format.

    It saves some 6 MB and nothing depends on it: a foreign format is left as it is.
    """
    tool = shutil.which("llvm-strip") or shutil.which("strip")
    libraries = [path for path in folder.rglob("*.so*") if path.is_file()]
    failed = [
        path
        for path in libraries
        if not tool
        or subprocess.run([tool, "--strip-unneeded", str(path)], stderr=subprocess.DEVNULL).returncode
    ]
    if failed:
        print(f"not stripped: {len(failed)} of {len(libraries)} shared objects")


def sizes_mb(folder: Path) -> dict[str, float]:
    """MB of each package under `folder`, the largest first; `numpy.libs` and `numpy-2.0.dist-info` count as numpy."""
    sizes: dict[str, float] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            package = path.relative_to(folder).parts[0].split("-")[0].split(".")[0]
            sizes[package] = sizes.get(package, 0) + path.stat().st_size / 1e6
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def check_budget(layer: str, sizes: dict[str, float]) -> None:
    """Print the budget table.

    Raises:
        SystemExit: the layer is over its limit.
    """
    total, budget = sum(sizes.values()), BUDGETS[layer]
    rows = [*sizes.items(), ("sum", total), ("target", budget.target_mb), ("limit", budget.limit_mb)]
    print(
        "\n".join([f"{layer} layer, MB unzipped", *(f"  {name:<24}{size:8.1f}" for name, size in rows)]),
        flush=True,
    )
    if total > budget.limit_mb:
        sys.exit(f"the {layer} layer has {total:.1f} MB, more than its limit of {budget.limit_mb} MB")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
