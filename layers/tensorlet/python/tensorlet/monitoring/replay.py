"""Replay: captured requests asked again of another version, and how its answers differ."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tensorlet.errors import TensorletError
from tensorlet.monitoring.observations import Observation, tensor_from_json, tensor_to_json
from tensorlet.serving.service import LoadedModel
from tensorlet.tensors import Tensor


class Comparison(NamedTuple):
    """One request and the answers of two versions; `error` says why the second has none."""

    request: str
    outputs: Sequence[Mapping[str, Any]]  # of the version that is tried
    differences: Mapping[str, float]  # by output: the greatest absolute difference of an element
    agrees: bool  # the same greatest element in each row, or the same values where there is no such thing
    error: str = ""


class Summary(NamedTuple):
    """Many comparisons in one line."""

    requests: int
    failed: int
    agreeing: int
    max_abs_diff: float


def replay(model: LoadedModel, sample: Iterable[Observation]) -> Iterator[Comparison]:
    """Ask `model` what was asked before. Requests that failed, and those with redacted inputs, are left out."""
    for observation in sample:
        if not observation.error and all(document["data"] is not None for document in observation.inputs):
            yield _compare(model, observation)


def summarise(comparisons: Iterable[Comparison]) -> Summary:
    found = list(comparisons)
    differences = [value for comparison in found for value in comparison.differences.values()]
    return Summary(
        len(found),
        sum(bool(comparison.error) for comparison in found),
        sum(comparison.agrees for comparison in found),
        max(differences, default=0.0),
    )


def _compare(model: LoadedModel, observation: Observation) -> Comparison:
    try:
        inputs = {document["name"]: tensor_from_json(document) for document in observation.inputs}
        outputs = model.infer(inputs)
    except TensorletError as error:
        return Comparison(observation.request, [], {}, False, f"{type(error).__name__}: {error}")
    known = {
        document["name"]: tensor_from_json(document)
        for document in observation.outputs
        if document["data"] is not None and document["name"] in outputs
    }
    pairs = {name: (tensor, outputs[name]) for name, tensor in known.items()}
    return Comparison(
        observation.request,
        [tensor_to_json(name, tensor) for name, tensor in outputs.items()],
        {name: _difference(*pair) for name, pair in pairs.items()},
        all(_agree(*pair) for pair in pairs.values()),
    )


def _difference(old: Tensor, new: Tensor) -> float:
    """The greatest absolute difference; infinite for other shapes, and for texts that are not the same."""
    import numpy as np

    if old.datatype == "BYTES" or old.shape != new.shape:
        return 0.0 if (old.shape, list(old.data)) == (new.shape, list(new.data)) else float("inf")
    if 0 in old.shape:
        return 0.0
    return float(np.max(np.abs(old.numpy().astype(np.float64) - new.numpy().astype(np.float64))))


def _agree(old: Tensor, new: Tensor) -> bool:
    """Whether a classifier says the same class in every row, and whatever else is within a millionth of it."""
    import numpy as np

    if (
        old.datatype in ("FP16", "FP32", "FP64")
        and len(old.shape) == 2
        and old.shape[1] > 1
        and old.shape == new.shape
    ):
        return bool(np.array_equal(old.numpy().argmax(axis=1), new.numpy().argmax(axis=1)))
    return _difference(old, new) <= 1e-6
