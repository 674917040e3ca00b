"""The built layers: everything Lambda needs, compiled, for its glibc, and nothing that weighs for nothing."""

import re
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "layers/runtime"))

import sizes  # a script beside the layers, not a package

LAYERS = ["RuntimeLayer", "ParquetLayer", "TensorletLayer"]
FUNCTIONS = ["PredictFunction", "BatchFunction"]

LAMBDA_GLIBC_MINOR = 34  # Amazon Linux 2023
UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: a hash, and no check of the source


def modules(build: Path) -> list[Path]:
    return [path for part in build.iterdir() if part.is_dir() for path in part.rglob("*.py")]


def test_every_module_is_compiled_for_python_3_13_and_never_checked_again(build):
    """A module without its .pyc is compiled anew at every cold start, because a layer is read-only."""
    assert {part.name for part in build.iterdir() if part.is_dir()} >= {*LAYERS, *FUNCTIONS}
    bytecode = {path: path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc" for path in modules(build)}
    assert len(bytecode) > 100

    uncompiled = [str(path) for path, compiled in bytecode.items() if not compiled.is_file()]
    checked = [
        str(path) for path, compiled in bytecode.items() if compiled.read_bytes()[4:8] != UNCHECKED_HASH
    ]

    assert uncompiled == []
    assert checked == []


def test_no_bytecode_for_another_python_is_shipped(build):
    foreign = [path for path in build.rglob("*.pyc") if not path.name.endswith(".cpython-313.pyc")]
    assert len(MAGIC_NUMBER) == 4
    assert foreign == []


def test_tracebacks_name_the_path_on_lambda_and_not_the_build_machine(build):
    (compiled,) = (build / "TensorletLayer/python/tensorlet/__pycache__").glob("errors.*.pyc")
    assert b"/opt/python/tensorlet/errors.py" in compiled.read_bytes()
    assert str(build).encode() not in compiled.read_bytes()


def test_every_function_with_its_layers_stays_within_its_budget(build):
    weights = {weight.function: weight for weight in sizes.weigh(build)}

    assert weights.keys() >= set(FUNCTIONS)
    for weight in weights.values():
        assert 0 < weight.total_mb <= weight.limit_mb <= sizes.LAMBDA_LIMIT_MB, str(weight)
    assert "ParquetLayer" in weights["BatchFunction"].layers_mb
    assert "ParquetLayer" not in weights["PredictFunction"].layers_mb


def test_onnx_runtime_is_in_the_layer_once(build):
    """Its wheel holds the C library and a Python module with all of it linked in."""
    folder = build / "RuntimeLayer/python/onnxruntime/capi"
    binaries = [*folder.glob("libonnxruntime.so*"), *folder.glob("onnxruntime_pybind11_state*.so")]
    assert len(binaries) == 1


@pytest.mark.parametrize("package", ["boto3", "botocore", "pydantic", "google", "ml_dtypes", "tqdm"])
def test_what_lambda_has_already_or_inference_never_imports_is_not_shipped(build, package):
    assert not (build / "RuntimeLayer/python" / package).exists()


@pytest.mark.parametrize("package", ["cli", "local", "publish"])
def test_developer_tools_stay_out_of_the_layer(build, package):
    assert not (build / "TensorletLayer/python/tensorlet" / package).exists()


def test_every_wheel_is_for_python_3_13_and_a_glibc_that_lambda_has(build):
    wheels = [
        *(build / "RuntimeLayer/python").glob("*.dist-info/WHEEL"),
        *(build / "ParquetLayer/python").glob("*.dist-info/WHEEL"),
    ]
    assert len(wheels) > 7

    for wheel in wheels:
        tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+)$", wheel.read_text(), re.MULTILINE)
        assert any(fits(*tag) for tag in tags), f"{wheel.parent.name}: {tags}"


def fits(python: str, abi: str, platform: str) -> bool:
    glibc = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", platform)]
    right_python = abi in ("cp313", "abi3") or (python, abi) == ("py3", "none")
    return right_python and (
        platform == "any" or "manylinux2014" in platform or min(glibc) <= LAMBDA_GLIBC_MINOR
    )


def test_no_shared_object_asks_for_a_newer_glibc_than_lambda_has(build):
    """Tags are promises; the symbol versions in the files are what the loader looks at."""
    layers = ["RuntimeLayer", "ParquetLayer"]
    libraries = [path for layer in layers for path in (build / layer).rglob("*.so*") if path.is_file()]
    assert len(libraries) > 10

    for library in libraries:
        needed = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)\0", library.read_bytes())]
        assert max(needed, default=0) <= LAMBDA_GLIBC_MINOR, library.name
