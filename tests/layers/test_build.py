"""The builder of the runtime layer, in its parts; tests/sam looks at what it builds."""

import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[2] / "layers/runtime"
sys.path.insert(0, str(RUNTIME))

import build  # noqa: E402  # scripts beside their requirements, not a package
import bytecode  # noqa: E402
import sizes  # noqa: E402


def program(path: Path, line: str) -> str:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bare_path(tmp_path, monkeypatch):
    """A PATH on which there is nothing yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("TARGET_PYTHON", raising=False)
    return folder


def test_target_python_is_asked_first(bare_path, tmp_path, monkeypatch):
    program(bare_path / "python3.13", "echo cpython-313")
    monkeypatch.setenv("TARGET_PYTHON", program(tmp_path / "mine", "echo cpython-313"))

    assert bytecode.find_python(tmp_path).command == [str(tmp_path / "mine")]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            "echo python3.13: command not found >&2; exit 127", id="a pyenv shim of another version"
        ),
        pytest.param("echo cpython-312", id="another version under this name"),
    ],
)
def test_a_python_that_only_has_the_name_is_passed_over(bare_path, tmp_path, line):
    program(bare_path / "python3.13", line)
    program(bare_path / "docker", "echo cpython-313")

    assert bytecode.find_python(tmp_path).command[0] == "docker"


def test_without_any_python_3_13_the_message_names_all_three_places(bare_path, tmp_path, monkeypatch):
    monkeypatch.setenv("TARGET_PYTHON", "/nowhere/python")

    with pytest.raises(SystemExit, match=r"TARGET_PYTHON=/nowhere.*python3\.13 on PATH.*in the image"):
        bytecode.find_python(tmp_path)


def test_a_module_that_does_not_compile_stops_the_build(tmp_path, monkeypatch):
    monkeypatch.setenv("TARGET_PYTHON", sys.executable)
    monkeypatch.setattr(bytecode, "CACHE_TAG", sys.implementation.cache_tag)
    (tmp_path / "right.py").write_text("x = 1\n")
    bytecode.compile_folder(tmp_path, "/opt/python")
    assert Path(cache_from_source(str(tmp_path / "right.py"))).is_file()

    (tmp_path / "wrong.py").write_text("x = \n")
    with pytest.raises(SystemExit, match="not every module"):
        bytecode.compile_folder(tmp_path, "/opt/python")


def test_pruning_removes_dead_weight_and_keeps_what_inference_opens(tmp_path):
    dead = [
        "onnxruntime/__init__.py",
        "onnxruntime/capi/onnxruntime_pybind11_state.cpython-313-x86_64-linux-gnu.so",
        "onnxruntime/capi/libonnxruntime_providers_shared.so",
        "onnxruntime/tools/x.py",
        "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
        "numpy/_core/tests/x.py",
        "numpy/lib/x.pyi",
    ]
    alive = [
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "ai_edge_litert/libLiteRt.so",
        "ai_edge_litert/libpywrap_litert_common.so",
        "numpy/ma/core.py",
    ]
    for name in [*dead, *alive]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    build.prune(tmp_path)

    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(alive)


def test_a_layer_over_its_limit_is_not_built(capsys):
    build.check_budget("runtime", {"numpy": 40.0, "onnxruntime": 37.5})
    assert "77.5" in capsys.readouterr().out

    with pytest.raises(SystemExit, match=r"parquet layer .* more than its limit"):
        build.check_budget("parquet", {"arro3": build.BUDGETS["parquet"].limit_mb, "arro3_io": 0.1})


def test_the_budgets_of_batchs_layers_fit_what_lambda_takes():
    """With 2 MB for the package, which has none of its own."""
    limits = sum(budget.limit_mb for budget in build.BUDGETS.values()) + 2
    assert limits <= sizes.LIMITS_MB["BatchFunction"] <= sizes.LAMBDA_LIMIT_MB


def test_sizes_are_counted_for_each_package(tmp_path):
    for name in ("numpy/a", "numpy.libs/b", "numpy-2.5.5.dist-info/c", "orjson/d"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(bytes(500_000))

    assert build.sizes_mb(tmp_path) == {"numpy": 1.5, "orjson": 0.5}


REQUIREMENTS = [RUNTIME / "requirements.txt", RUNTIME.with_name("parquet") / "requirements.txt"]


@pytest.mark.parametrize("line", [line for file in REQUIREMENTS for line in file.read_text().splitlines()])
def test_every_requirement_is_pinned_and_says_why_it_is_there(line):
    requirement, _, reason = line.partition("#")
    assert reason.strip()
    assert not requirement or "==" in requirement
