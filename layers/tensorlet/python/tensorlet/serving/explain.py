"""Attributions: how much each element of an input moves an answer, by three methods over a model that is served.

    occlusion              the answer with a part of the input, less the answer with the baseline in its place
    shap                   Shapley values by sampling orders in which the parts come in, each order there and back
    integrated_gradients   gradients along the straight line from the baseline to the input, by the version's own graph

The first two need nothing but answers. `shap` and `integrated_gradients` are complete: the attributions of a row sum
to its answer less that of the baseline. What comes out for a row depends on no other row, and on no earlier request.

Sources: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks" (2014); Castro, Gomez, Tejada,
"Polynomial calculation of the Shapley value based on sampling" (2009); Sundararajan, Taly, Yan, "Axiomatic
Attribution for Deep Networks" (2017).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tensorlet.errors import InvalidRequest, PayloadTooLarge, SignatureMismatch
from tensorlet.registry.manifest import Artifact, Gradient
from tensorlet.runtimes import InferenceSession
from tensorlet.serving.service import LoadedModel
from tensorlet.signature import TensorSpec, quote
from tensorlet.tensors import DATATYPES, Tensor

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
OpenGradient = Callable[[LoadedModel, Artifact], InferenceSession]

OCCLUSION, SHAP, INTEGRATED_GRADIENTS = "occlusion", "shap", "integrated_gradients"
METHODS = (OCCLUSION, SHAP, INTEGRATED_GRADIENTS)
COTANGENT, GRADIENT = (
    "cotangent",
    "gradient:",
)  # tensors of a gradient graph, see `publish.converters.gradient`
CHUNK_BYTES = 8 << 20  # of inputs that the model is run on at once
# Quadrature of more points takes seconds to prepare, and gains nothing.
MAX_SAMPLES, MAX_STEPS, MAX_WINDOW = 4096, 500, 1 << 20


class Options(NamedTuple):
    """What a caller can choose.

    `target` is a class number or label; None explains each row's own class. `window` elements in a row, or
    `window` x `window` elements of rows with two dimensions or more, are one part. `samples` orders and `steps` on
    the line are what accuracy costs.
    """

    method: str = ""
    output: str = ""
    target: int | str | None = None
    baseline: float = 0.0
    window: int = 1
    samples: int = 8
    steps: int = 50
    seed: int = 0


class Explanation(NamedTuple):
    """Attributions by input, in the input's shape; for each row the class explained and the answers."""

    method: str
    output: str
    attributions: Arrays
    target: Array  # (rows,) int64
    value: Array  # (rows,) float64: the answer to the row
    base_value: Array  # (rows,) float64: the answer to the baseline
    evaluations: int  # rows on which the model was run

    @property
    def delta(self) -> Array:
        """(rows,): what the attributions sum to, less what they should sum to if the method is complete."""
        total = sum(array.reshape(len(array), -1).sum(axis=1) for array in self.attributions.values())
        return np.asarray(total - (self.value - self.base_value))


class Part(NamedTuple):
    """A part of one input that is there or is not: the places of its elements in a row, counted in row-major order."""

    input: str
    places: Array  # (elements of the part,) int64


@np.errstate(invalid="ignore", over="ignore")  # an answer may be infinite, and attributions are NaN then
def explain(
    loaded: LoadedModel,
    open_gradient: OpenGradient,
    tensors: Mapping[str, Tensor],
    options: Options,
    max_evaluations: int,
) -> Explanation:
    """Explain each row of `tensors`; `open_gradient` opens the version's gradient graph.

    Raises:
        SignatureMismatch, InferenceFailed: as by an inference.
        InvalidRequest: an output or a class that the model does not have, a model without batches, or without
            the gradients that were asked for.
        PayloadTooLarge: the model would have to be run on more than `max_evaluations` rows.
    """
    loaded.signature.check(tensors, loaded.manifest.model)
    if not loaded.batched:
        raise InvalidRequest(f"{loaded.name}: explaining needs a model that takes batches of any size")
    inputs = {name: tensor.numpy() for name, tensor in tensors.items()}
    explained = [
        spec for spec in loaded.signature.inputs if DATATYPES[spec.datatype].kind in ("float", "int")
    ]
    if not explained:
        raise InvalidRequest(f"{loaded.name}: has no input of numbers to explain")
    run = _Runs(loaded, options, inputs, explained, max_evaluations)
    method = options.method or (INTEGRATED_GRADIENTS if _gradient(run) else OCCLUSION)
    if not run.rows:
        attributions: Arrays = {name: np.zeros(inputs[name].shape) for name in run.explained}
    elif method == INTEGRATED_GRADIENTS:
        attributions = _integrated_gradients(run, open_gradient, options.steps)
    else:
        attributions = _by_parts(run, method, explained, options)
    return Explanation(
        method, run.output, attributions, run.target, run.value, run.base_value, run.evaluations
    )


def _by_parts(run: "_Runs", method: str, explained: Sequence[TensorSpec], options: Options) -> Arrays:
    """Occlusion or Shapley values; what they cost is counted before a part is made."""
    shapes = {spec.name: run.inputs[spec.name].shape[1:] for spec in explained}
    count = sum(part_count(shape, options.window) for shape in shapes.values())
    run.spend(run.rows * (count if method == OCCLUSION else options.samples * max(0, count - 1)))
    parts = [part for spec in explained for part in split(spec, shapes[spec.name], options.window)]
    return _occlusion(run, parts) if method == OCCLUSION else _shap(run, parts, options)


def part_count(shape: Sequence[int], window: int) -> int:
    """How many parts `split` makes."""
    if 0 in shape:
        return 0
    return int(np.prod([-(-size // window) for size in shape[:2]], dtype=int))


def split(spec: TensorSpec, shape: Sequence[int], window: int) -> list[Part]:
    """The parts of a row: runs of `window` elements, or patches of the first two dimensions with all inside them."""
    places = np.arange(int(np.prod(shape, dtype=int)))
    if not len(places):
        return []
    if len(shape) < 2:
        return [Part(spec.name, places[start : start + window]) for start in range(0, len(places), window)]
    grid = places.reshape(*shape[:2], -1)
    return [
        Part(spec.name, grid[top : top + window, left : left + window].ravel())
        for top in range(0, shape[0], window)
        for left in range(0, shape[1], window)
    ]


class _Runs:
    """The model as a function of rows to one number each, and a count of the rows."""

    def __init__(
        self,
        loaded: LoadedModel,
        options: Options,
        inputs: Arrays,
        explained: Sequence[TensorSpec],
        max_evaluations: int,
    ):
        self.loaded, self.inputs = loaded, inputs
        self.max_evaluations, self.evaluations = max_evaluations, 0
        self.rows = len(next(iter(inputs.values())))
        self.output = _output(loaded, options.output)
        self.explained = [spec.name for spec in explained]
        self.baseline = {
            spec.name: _baseline(spec, inputs[spec.name], options.baseline) for spec in explained
        }
        self.spend(2 * self.rows)
        answers = self._answers(inputs)
        self.target = _target(loaded, answers, options.target)
        self.value = answers[np.arange(self.rows), self.target]
        self.base_value = self(np.arange(self.rows), self.baseline)

    def spend(self, evaluations: int) -> None:
        """Refuse before the work begins. Raises PayloadTooLarge."""
        self.evaluations += evaluations
        if self.evaluations > self.max_evaluations:
            raise PayloadTooLarge(
                f"explain: expected at most {self.max_evaluations:,} evaluations of the model, this takes"
                f" {self.evaluations:,}; send fewer rows, a larger window, fewer samples or steps, or raise"
                " TENSORLET_MAX_EXPLAIN_EVALUATIONS"
            )

    def __call__(self, rows: Array, changed: Arrays) -> Array:
        """The answers (N,) for copies of `rows` (N,) in which some inputs are `changed` (N, ...)."""
        answers = self._answers({name: changed.get(name, array[rows]) for name, array in self.inputs.items()})
        return answers[np.arange(len(rows)), self.target[rows]]

    def chunks(self, count: int) -> list[slice]:
        """`count` rows in pieces whose inputs fit into `CHUNK_BYTES`."""
        row_bytes = sum(array[:1].nbytes for array in self.inputs.values()) or 1
        step = max(1, CHUNK_BYTES // row_bytes)
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def _answers(self, inputs: Arrays) -> Array:
        """The output for any number of rows, (rows, elements) of float64."""
        count = len(next(iter(inputs.values())))
        pieces = []
        for rows in self.chunks(count) or [slice(0, 0)]:
            tensors = {
                name: Tensor.from_numpy(np.ascontiguousarray(array[rows])) for name, array in inputs.items()
            }
            piece = self.loaded.session.infer(tensors)[self.output].numpy()
            pieces.append(_flat(piece).astype(np.float64))
        return np.concatenate(pieces)


def _occlusion(run: _Runs, parts: Sequence[Part]) -> Arrays:
    """Each part of each row replaced once; its effect is spread evenly over its elements."""
    found = {name: np.zeros(run.inputs[name].shape) for name in run.explained}
    pairs = [(row, part) for row in range(run.rows) for part in parts]
    for chunk in run.chunks(len(pairs)):
        rows = np.array([row for row, _ in pairs[chunk]])
        changed = {name: run.inputs[name][rows] for name in run.explained}
        for index, (row, part) in enumerate(pairs[chunk]):
            absent = _flat(run.baseline[part.input])[row, part.places]
            _flat(changed[part.input])[index, part.places] = absent
        effects = run.value[rows] - run(rows, changed)
        for (row, part), effect in zip(pairs[chunk], effects, strict=True):
            _flat(found[part.input])[row, part.places] = effect / len(part.places)
    return found


def _shap(run: _Runs, parts: Sequence[Part], options: Options) -> Arrays:
    """The mean effect of each part as it comes in, over orders drawn by `seed`, each used there and back."""
    orders = _orders(len(parts), options.samples, options.seed)
    found = {name: np.zeros(run.inputs[name].shape) for name in run.explained}
    for row in range(run.rows):
        for order in orders:
            answers = np.concatenate(
                ([run.base_value[row]], _growing(run, row, parts, order), [run.value[row]])
            )
            for number, effect in zip(order, np.diff(answers), strict=True):
                part = parts[number]
                _flat(found[part.input])[row, part.places] += effect / len(part.places) / len(orders)
    return found


def _growing(run: _Runs, row: int, parts: Sequence[Part], order: Array) -> Array:
    """The answers as the parts of a row come in one after the other, without the first and the last."""
    current = {name: run.baseline[name][row : row + 1].copy() for name in run.explained}
    answers = []
    for chunk in run.chunks(len(order) - 1):
        changed = {
            name: np.empty((chunk.stop - chunk.start, *array.shape[1:]), array.dtype)
            for name, array in current.items()
        }
        for index, number in enumerate(order[chunk]):
            part = parts[number]
            present = _flat(run.inputs[part.input])[row, part.places]
            _flat(current[part.input])[0, part.places] = present
            for name, array in current.items():
                changed[name][index] = array[0]
        answers.append(run(np.full(chunk.stop - chunk.start, row), changed))
    return np.concatenate(answers) if answers else np.zeros(0)


def _flat(array: Array) -> Array:
    """A view of the rows of an array with one axis for all else."""
    return array.reshape(len(array), int(np.prod(array.shape[1:], dtype=int)))


def quadrature(points: int) -> tuple[Array, Array]:
    """Places in 0..1 and weights of the Gauss-Legendre rule, by the eigenvalues of its Jacobi matrix.

    Source: Golub, Welsch, "Calculation of Gauss Quadrature Rules" (1969). NumPy has it in `numpy.polynomial`, which the
    layer leaves out.
    """
    k = np.arange(1, points)
    beside = k / np.sqrt(4.0 * k * k - 1)
    nodes, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


def _orders(count: int, samples: int, seed: int) -> list[Array]:
    """By Python's generator: the layer leaves out NumPy's."""
    from random import Random

    random, orders = Random(seed), list[Array]()
    while len(orders) < samples:
        order = np.array(random.sample(range(count), count), np.int64)
        orders += [order, order[::-1]]
    return orders[:samples]


def _integrated_gradients(run: _Runs, open_gradient: OpenGradient, steps: int) -> Arrays:
    """The mean gradient on the way, by Gauss-Legendre quadrature, times the way."""
    loaded = run.loaded
    gradient = _gradient(run)
    if gradient is None:
        raise InvalidRequest(
            f"{loaded.name}: has no gradients of output {quote(run.output)} in {loaded.artifact.precision}; expected"
            f" a method of {OCCLUSION}, {SHAP}"
        )
    session = open_gradient(loaded, gradient.artifact)
    run.spend(run.rows * steps)
    shares, weights = quadrature(steps)
    names = gradient.inputs
    found = {name: np.zeros(run.inputs[name].shape) for name in names}
    width = next(spec for spec in loaded.signature.outputs if spec.name == run.output).shape[1:]
    classes = int(np.prod(width, dtype=int))
    for chunk in run.chunks(run.rows * steps):
        rows, number = np.divmod(np.arange(chunk.start, chunk.stop), steps)
        on_the_way = {name: array[rows] for name, array in run.inputs.items()}
        for name in names:
            base, way = run.baseline[name][rows], run.inputs[name][rows] - run.baseline[name][rows]
            share = shares[number].reshape(-1, *[1] * (way.ndim - 1))
            on_the_way[name] = (base + share * way).astype(np.float32)
        cotangent = np.zeros((len(rows), classes), np.float32)
        cotangent[np.arange(len(rows)), run.target[rows]] = 1
        tensors = {name: Tensor.from_numpy(array) for name, array in on_the_way.items()}
        tensors[COTANGENT] = Tensor.from_numpy(cotangent.reshape(-1, *width))
        gradients = session.infer(tensors)
        for name in names:
            slopes = gradients[f"{GRADIENT}{name}"].numpy().astype(np.float64)
            np.add.at(found[name], rows, slopes * weights[number].reshape(-1, *[1] * (slopes.ndim - 1)))
    return {name: total * (run.inputs[name] - run.baseline[name]) for name, total in found.items()}


def _gradient(run: _Runs) -> Gradient | None:
    """The version's gradients, if they are of this output and of the model that answers: the float32 one."""
    gradient = run.loaded.manifest.gradient() if run.loaded.artifact.precision == "fp32" else None
    return gradient if gradient and gradient.output == run.output else None


def _output(loaded: LoadedModel, wanted: str) -> str:
    """The output to explain: the one asked for, the scores, or the first of floats. Raises InvalidRequest."""
    floats = [spec.name for spec in loaded.signature.outputs if DATATYPES[spec.datatype].kind == "float"]
    if wanted and wanted not in floats:
        raise InvalidRequest(f"output: expected one of {', '.join(floats) or 'none'}, got {quote(wanted)}")
    document = loaded.manifest.document
    preferred = [wanted, document.get("roles", {}).get("scores"), *floats]
    for name in preferred:
        if name in floats:
            return str(name)
    raise InvalidRequest(f"{loaded.name}: has no output of floats to explain")


def _target(loaded: LoadedModel, answers: Array, wanted: int | str | None) -> Array:
    """The class to explain in each row. Raises InvalidRequest."""
    count, classes = answers.shape
    if count and not classes:
        raise InvalidRequest("output: expected elements to explain, got an output without any")
    if wanted is None:
        return answers.argmax(axis=1) if classes else np.zeros(count, np.int64)
    labels = loaded.manifest.document.get("labels") or []
    number = labels.index(wanted) if wanted in labels else wanted
    if type(number) is not int or not 0 <= number < classes:
        known = f", or one of {', '.join(map(str, labels[:20]))}" if labels else ""
        raise InvalidRequest(
            f"target: expected a class from 0 to {classes - 1}{known}, got {str(wanted)[:64]!r}"
        )
    return np.full(count, number, np.int64)


def _baseline(spec: TensorSpec, rows: Array, value: float) -> Array:
    """What an absent part is: `value` everywhere. Raises SignatureMismatch where the datatype cannot hold it."""
    base = np.full_like(rows, value)
    if (
        base.size
        and float(base.flat[0]) != float(np.float32(value))
        and spec.datatype not in ("FP16", "BF16", "FP64")
    ):
        raise SignatureMismatch(
            f"baseline: expected a value of {spec.datatype} for input {quote(spec.name)}, got {value}"
        )
    return base
