"""The gate: an artifact is published only if it answers like its source, in the runtime that will serve it.

Files are opened here, so `trial` runs this in a process of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tensorlet.errors import ParityError, PublishError
from tensorlet.publish.golden import Arrays, Golden, golden_inputs
from tensorlet.runtimes import load_session
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import Tensor


class Parity(NamedTuple):
    """How far an artifact is from its source: the largest absolute difference over all golden rows."""

    max_abs_diff: float
    tolerance: float


def check_artifact(format: str, path: Path, signature: Signature, golden: Golden, tolerance: float) -> Parity:
    """Load the artifact, run it at batch 1 and at the golden batch, and compare.

    `tolerance` is absolute for answers up to 1, and relative to the largest answer above that: a model whose
    answers are in the thousands has differences to match.

    Raises:
        ArtifactRefused, InferenceFailed: no runtime here can open it, or run it.
        ParityError: its answers are further from the source's than `tolerance`, on the row it names.
    """
    session = load_session(format, str(path), signature)
    parity = Parity(0.0, tolerance)
    for rows in _batches(signature, golden):
        answers = session.infer(
            {name: Tensor.from_numpy(array[rows]) for name, array in golden.inputs.items()}
        )
        for name, expected in golden.outputs.items():
            where = f"{path.name}, output {name!r}"
            found = compare(where, expected[rows], answers[name].numpy(), tolerance)
            parity = max(parity, found)
    return parity


def compare(where: str, expected: npt.NDArray[Any], got: npt.NDArray[Any], tolerance: float) -> Parity:
    """Raises ParityError naming `where`, the difference and the row of the largest one."""
    if expected.shape != got.shape:
        raise ParityError(f"{where}: expected shape {list(expected.shape)}, got {list(got.shape)}")
    if expected.dtype.kind not in "fiub":
        if not np.array_equal(expected, got):
            raise ParityError(f"{where}: its values are not the source model's")
        return Parity(0.0, tolerance)
    wanted, answered = expected.astype(np.float64), got.astype(np.float64)
    # Equal infinities, and NaN where the source has NaN, are no difference.
    same = (wanted == answered) | (np.isnan(wanted) & np.isnan(answered))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(wanted - answered))
    finite = np.abs(wanted[np.isfinite(wanted)])
    allowed = tolerance * max(1.0, float(finite.max(initial=0.0)))
    worst = float(difference.max(initial=0.0))
    if not worst <= allowed:  # also when NaN
        row = int(
            np.unravel_index(np.nanargmax(np.nan_to_num(difference, nan=np.inf)), difference.shape or (1,))[0]
        )
        raise ParityError(
            f"{where}: differs from the source model by {worst:.2g} on row {row}, tolerance {allowed:.2g};"
            " nothing was published"
        )
    return Parity(worst, allowed)


def described_by_itself(
    format: str, path: Path, inputs: Sequence[TensorSpec], given: Arrays | None
) -> tuple[Signature, Golden]:
    """A model that is served as it is: its signature, and the runtime's own answers to golden inputs.

    `inputs` may say that a fixed batch is any batch.

    Raises:
        ArtifactRefused, InferenceFailed: no runtime here opens it, or runs it.
        PublishError: `inputs` that contradict the file.
    """
    signature = _viewed(load_session(format, str(path)).signature, inputs)
    values = golden_inputs(signature.inputs, given)
    answers = load_session(format, str(path), signature).infer(
        {name: Tensor.from_numpy(array) for name, array in values.items()}
    )
    return signature, Golden(values, {name: tensor.numpy() for name, tensor in answers.items()})


def _batches(signature: Signature, golden: Golden) -> list[slice]:
    """All rows, and the first alone where a model takes batches of any size."""
    return [slice(None), slice(0, 1)] if signature.batched else [slice(None)]


def _viewed(found: Signature, inputs: Sequence[TensorSpec]) -> Signature:
    """The signature with the caller's `inputs`. Raises PublishError where they contradict the file."""
    if not inputs:
        return found
    own = {spec.name: spec for spec in found.inputs}
    for spec in inputs:
        mine = own.get(spec.name)
        if not mine or mine.datatype != spec.datatype or len(mine.shape) != len(spec.shape):
            raise PublishError(
                f"--input {spec.name}: the file has {', '.join(map(_described, found.inputs))}"
            )
    wanted = {spec.name: spec for spec in inputs}
    viewed = tuple(wanted.get(spec.name, spec) for spec in found.inputs)
    outputs = found.outputs
    if all(spec.shape[:1] == (DYNAMIC,) for spec in viewed):
        outputs = tuple(spec._replace(shape=(DYNAMIC, *spec.shape[1:])) for spec in outputs)
    return Signature(viewed, outputs)


def _described(spec: TensorSpec) -> str:
    return f"{spec.name}:{spec.datatype}:{'x'.join(map(str, spec.shape))}"
