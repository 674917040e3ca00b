"""Rows to judge and to calibrate variants with: from files of the user's, or those that training left in the version.

`evaluation.npz` holds `input:<name>` and `label` (a class number for each row) of the test part, and
`calibration:<name>`, inputs of the training part. A user's file is

    .npz    an array for each input by its name (or `x_test`, the one input), and `label` (or `y_test`)
    .csv    a header; the column `label` is the label, the others in their order are the one input
"""

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tensorlet.errors import InvalidRequest
from tensorlet.publish.golden import Arrays, load_arrays
from tensorlet.signature import DYNAMIC, Signature, TensorSpec
from tensorlet.tensors import DATATYPES

FILE = "evaluation.npz"
CALIBRATION = "calibration"
LABELS = ("label", "y_test")
ONE_INPUT = ("x_test", "x")

Classes = npt.NDArray[np.int64]  # (rows,)


class Evaluation(NamedTuple):
    """Inputs and, where they are known, the right classes (rows,)."""

    inputs: Arrays
    labels: Classes | None


def save_evaluation(path: Path, test: Evaluation, calibration: Arrays) -> None:
    arrays: dict[str, Any] = {f"input:{name}": array for name, array in test.inputs.items()}
    arrays |= {f"{CALIBRATION}:{name}": array for name, array in calibration.items()}
    if test.labels is not None:
        arrays["label"] = test.labels
    np.savez_compressed(path, **arrays)


def load_evaluation(path: Path) -> tuple[Evaluation, Arrays]:
    """The test rows and the calibration rows of an `evaluation.npz`."""
    arrays = load_arrays(path)
    test = Evaluation(_prefixed(arrays, "input"), arrays.get("label"))
    return test, _prefixed(arrays, CALIBRATION)


def read_rows(path: Path, signature: Signature, labels: Sequence[str]) -> Evaluation:
    """Rows for `signature` from a .npz or .csv of the user's; `labels` are the names of the classes.

    Raises:
        InvalidRequest: the file cannot be read, or does not fit the model; names what was expected.
    """
    try:
        arrays = _read_csv(path) if path.suffix.lower() == ".csv" else load_arrays(path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidRequest(f"{path}: expected a .npz or .csv file: {error}") from None
    found = next((arrays.pop(name) for name in LABELS if name in arrays), None)
    inputs = {
        spec.name: _fitted(path, spec, _find(path, arrays, spec, signature)) for spec in signature.inputs
    }
    rows = {len(array) for array in inputs.values()} | ({len(found)} if found is not None else set())
    if len(rows) != 1 or not all(rows):
        raise InvalidRequest(
            f"{path}: expected the same rows, one at least, in every array, got {sorted(rows)}"
        )
    return Evaluation(inputs, None if found is None else _classes(path, found, labels))


def _prefixed(arrays: Arrays, prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {
        key.removeprefix(f"{prefix}:"): array for key, array in arrays.items() if key.startswith(f"{prefix}:")
    }


def _read_csv(path: Path) -> dict[str, npt.NDArray[Any]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        header, *rows = list(csv.reader(stream)) or [[]]
    columns = list(zip(*rows, strict=True))
    arrays: dict[str, npt.NDArray[Any]] = {}
    if LABELS[0] in header:
        arrays[LABELS[0]] = np.array(columns[header.index(LABELS[0])])
    numbers = [np.array(values, np.float64) for name, values in zip(header, columns, strict=True)
               if name != LABELS[0]]  # fmt: skip
    arrays[ONE_INPUT[0]] = np.stack(numbers, axis=1) if numbers else np.zeros((0, 0))
    return arrays


def _find(path: Path, arrays: Arrays, spec: TensorSpec, signature: Signature) -> npt.NDArray[Any]:
    names = [spec.name, f"input:{spec.name}", *(ONE_INPUT if len(signature.inputs) == 1 else ())]
    for name in names:
        if name in arrays:
            return arrays[name]
    raise InvalidRequest(f"{path}: expected an array {spec.name!r}, got {', '.join(arrays) or 'nothing'}")


def _fitted(path: Path, spec: TensorSpec, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in the input's dtype and shape; rows of as many elements in another shape are reshaped."""
    shape = spec.shape[1:]
    if array.ndim and DYNAMIC not in shape and array[:1].size == np.prod(shape, dtype=int):
        array = array.reshape(len(array), *shape)
    if not spec.accepts(array.shape) or array.dtype.kind not in "fiub":
        raise InvalidRequest(
            f"{path}, input {spec.name!r}: expected {spec.datatype} {list(spec.shape)},"
            f" got {array.dtype} {list(array.shape)}"
        )
    return np.ascontiguousarray(array.astype(DATATYPES[spec.datatype].numpy))


def _classes(path: Path, found: npt.NDArray[Any], names: Sequence[str]) -> Classes:
    """Labels as class numbers, from numbers or from the names of the classes."""
    known = {name: index for index, name in enumerate(names)}
    texts = [str(label) for label in found.reshape(-1).tolist()]
    try:
        return np.array([known[text] if text in known else int(text) for text in texts], np.int64)
    except ValueError as error:
        raise InvalidRequest(f"{path}: expected labels that are classes of the model: {error}") from None
