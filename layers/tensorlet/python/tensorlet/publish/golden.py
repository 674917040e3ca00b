"""Golden values: a few inputs and what the source model answers, kept with every version as `golden.npz`.

Its arrays are named `input:<name>` and `output:<name>`; all have the same rows where the model takes batches.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tensorlet.errors import PublishError
from tensorlet.signature import DYNAMIC, TensorSpec
from tensorlet.tensors import DATATYPES

ROWS = 8
LENGTH = 8  # of every other dynamic dimension, such as time
SMALL_INTEGERS = 8  # integer inputs are below: mostly indices into an embedding
FILE = "golden.npz"

Arrays = Mapping[str, npt.NDArray[Any]]


class Golden(NamedTuple):
    inputs: Arrays
    outputs: Arrays


def golden_inputs(specs: Sequence[TensorSpec], given: Arrays | None = None) -> dict[str, npt.NDArray[Any]]:
    """Reproducible inputs for `specs`: standard normal floats, small whole numbers; `given` ones first.

    Raises:
        PublishError: a given input that does not fit, or text, which cannot be made up.
    """
    random = np.random.default_rng(0)
    given = given or {}
    return {
        spec.name: _checked(spec, given) if spec.name in given else _made_up(spec, random) for spec in specs
    }


def save_golden(path: Path, golden: Golden) -> None:
    arrays = {f"input:{name}": array for name, array in golden.inputs.items()}
    save_arrays(path, arrays | {f"output:{name}": array for name, array in golden.outputs.items()})


def load_golden(path: Path) -> Golden:
    named = load_arrays(path)
    return Golden(
        {key.removeprefix("input:"): array for key, array in named.items() if key.startswith("input:")},
        {key.removeprefix("output:"): array for key, array in named.items() if key.startswith("output:")},
    )


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Arrays by name as an .npz file."""
    named: dict[str, Any] = dict(arrays)
    np.savez(path, **named)


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an .npz file, by name. Pickled ones are refused by NumPy."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _made_up(spec: TensorSpec, random: np.random.Generator) -> npt.NDArray[Any]:
    lengths = [ROWS, *[LENGTH] * len(spec.shape)]  # where a dimension is dynamic
    shape = tuple(length if dim == DYNAMIC else dim for dim, length in zip(spec.shape, lengths, strict=False))
    datatype = DATATYPES[spec.datatype]
    if datatype.kind == "bytes":
        raise PublishError(f"input {spec.name!r} is text: golden inputs must be given")
    if datatype.kind == "float":
        return np.asarray(random.standard_normal(shape)).astype(datatype.numpy)
    high = 2 if datatype.kind == "bool" else SMALL_INTEGERS
    return np.asarray(random.integers(0, high, shape)).astype(datatype.numpy)


def _checked(spec: TensorSpec, given: Arrays) -> npt.NDArray[Any]:
    array = given[spec.name]
    if not spec.accepts(array.shape) or array.dtype.name != DATATYPES[spec.datatype].numpy:
        raise PublishError(
            f"golden input {spec.name!r}: expected {spec.datatype} {list(spec.shape)},"
            f" got {array.dtype} {list(array.shape)}"
        )
    return array
