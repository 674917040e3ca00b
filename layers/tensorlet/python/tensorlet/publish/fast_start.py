"""The form of an ONNX model that starts fastest: made and measured when it is published, chosen when it is loaded.

Most of a large model's start is reading its weights, optimising its graph, and copying weights into the order the
kernels like best ("prepacking"). The variant has its graph optimised already and its weights in a file of their
own, which is mapped into memory and used as it lies. The price is the kernels' second-best order: warm requests
take somewhat longer. Both are measured here, and stand in the manifest.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from tensorlet.errors import ArtifactRefused, InferenceFailed, ParityError, PublishError
from tensorlet.publish.gate import Parity, compare
from tensorlet.publish.golden import Golden
from tensorlet.runtimes import load_session, onnx_runtime_version
from tensorlet.signature import Signature
from tensorlet.tensors import Tensor

ID = "onnx.fast"
MODEL, WEIGHTS = "model.fast.onnx", "model.fast.weights"

# In `auto`, a variant is published where it wins much and costs little.
MIN_BYTES = 4 << 20  # a smaller model starts in a few milliseconds as it is
MAX_START_RATIO = 0.5
MAX_SLOWDOWN = 1.6

BATCHES = (1, 32)  # rows of the warm measurement: one request, and the batch that prepacking helps most
START_ROUNDS, WARM_ROUNDS = 3, 9

Inputs = Mapping[str, Tensor]


class Measured(NamedTuple):
    """Ratios of the variant to the plain file: session and first answer, and the slowest of the warm batches."""

    start_ratio: float
    warm_slowdown: float


class Variant(NamedTuple):
    """The manifest's entry for the variant, and its files: path in the version -> local file."""

    artifact: dict[str, Any]
    files: dict[str, Path]


def make_variant(
    model: Path, folder: Path, signature: Signature, golden: Golden, tolerance: float, mode: str
) -> tuple[Variant | None, str]:
    """The fast-start variant of the ONNX file `model`, written to `folder`, and a line about it for people.

    `mode` is auto (where it pays), always, or never.

    Raises:
        PublishError: with `always`, where no variant can be made.
    """
    if mode == "never" or (mode == "auto" and model.stat().st_size < MIN_BYTES):
        return None, ""
    try:
        _write_variant(model, folder)
        parity = _check(folder / MODEL, signature, golden, tolerance)
        measured = measure(model, folder / MODEL, signature, golden)
    except (ArtifactRefused, InferenceFailed, ParityError) as error:
        if mode == "always":
            raise PublishError(f"--fast-start always: {error}") from error
        return None, f"fast start: not written, {error}"
    found = f"{measured.start_ratio:.2f}x the start, {measured.warm_slowdown:.2f}x when warm"
    if mode == "auto" and (measured.start_ratio > MAX_START_RATIO or measured.warm_slowdown > MAX_SLOWDOWN):
        return None, f"fast start: not written, {found}"
    files = {path.name: path for path in (folder / MODEL, folder / WEIGHTS) if path.exists()}
    return Variant(_artifact(files, parity, measured), files), f"fast start: {found}"


def measure(plain: Path, fast: Path, signature: Signature, golden: Golden) -> Measured:
    """Both files side by side, in turn: medians of the starts, the quietest of the warm runs."""
    inputs = {rows: _inputs(golden, rows) for rows in (BATCHES if signature.batched else (None,))}
    first = next(iter(inputs.values()))

    def start_plain() -> Any:
        return _started(plain.read_bytes(), signature, first, prepack=True)

    def start_fast() -> Any:
        return _started(str(fast), signature, first, prepack=False)

    def run(session: Any, rows: int | None) -> Callable[[], Any]:
        return lambda: session.infer(inputs[rows])

    starts = _alternate(start_plain, start_fast, START_ROUNDS, median)
    plain_session, fast_session = start_plain(), start_fast()
    slowdowns = [
        _alternate(run(plain_session, rows), run(fast_session, rows), WARM_ROUNDS, min) for rows in inputs
    ]
    return Measured(round(starts, 3), round(max(slowdowns), 3))


def _write_variant(model: Path, folder: Path) -> None:
    """Let ONNX Runtime write what it makes of the graph at its start. Raises ArtifactRefused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Not ORT_ENABLE_ALL, whose layouts are for the processor of this machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / MODEL)
    for key, value in {
        "session.optimized_model_external_initializers_file_name": WEIGHTS,
        "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        "session.disable_prepacking": "1",
    }.items():
        options.add_session_config_entry(key, value)
    try:
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base but Exception
        raise ArtifactRefused(f"ONNX Runtime cannot write the variant: {error}") from error


def _check(fast: Path, signature: Signature, golden: Golden, tolerance: float) -> Parity:
    """The gate of every artifact. Raises ParityError, ArtifactRefused, InferenceFailed."""
    answers = load_session("onnx", str(fast), signature, prepack=False).infer(
        {name: Tensor.from_numpy(array) for name, array in golden.inputs.items()}
    )
    parities = [
        compare(f"{fast.name}, output {name!r}", expected, answers[name].numpy(), tolerance)
        for name, expected in golden.outputs.items()
    ]
    return max(parities)


def _artifact(files: Mapping[str, Path], parity: Parity, measured: Measured) -> dict[str, Any]:
    return {
        "id": ID,
        "format": "onnx",
        "precision": "fp32",
        "files": [{"path": name} for name in files],
        "parity": parity._asdict(),
        "fast_start": {
            "of": "onnx",
            "runtime": "onnxruntime",
            "runtime_version": onnx_runtime_version(),
            **measured._asdict(),
        },
    }


def _inputs(golden: Golden, rows: int | None) -> Inputs:
    """The golden inputs, cut or repeated to `rows`."""
    return {
        name: Tensor.from_numpy(array if rows is None else np.resize(array, (rows, *array.shape[1:])))
        for name, array in golden.inputs.items()
    }


def _started(model: Any, signature: Signature, inputs: Inputs, prepack: bool) -> Any:
    """A session that has given its first answer."""
    session = load_session("onnx", model, signature, prepack=prepack)
    session.infer(inputs)
    return session


def _alternate(
    plain: Callable[[], Any], fast: Callable[[], Any], rounds: int, summary: Callable[[list[float]], float]
) -> float:
    """The time `fast` takes in times of `plain`, by turns; one uncounted round warms both up."""
    seconds: dict[Callable[[], Any], list[float]] = {plain: [], fast: []}
    for _ in range(rounds + 1):
        for run, times in seconds.items():
            start = perf_counter()
            run()
            times.append(perf_counter() - start)
    return summary(seconds[fast][1:]) / summary(seconds[plain][1:])
