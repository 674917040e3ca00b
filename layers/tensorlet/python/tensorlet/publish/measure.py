"""How good, how large and how fast artifacts are, in the runtime that serves them.

Each is run in a process of its own first, so that one that crashes its runtime is only a reason; those that answer are
then timed side by side, in turn, in one process: what else the machine does falls on all of them alike.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from subprocess import TimeoutExpired
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tensorlet.errors import ArtifactRefused, TensorletError
from tensorlet.publish.confine import ended, run_confined
from tensorlet.publish.golden import Arrays, load_arrays, save_arrays
from tensorlet.runtimes import InferenceSession, load_session
from tensorlet.signature import Signature
from tensorlet.tensors import Tensor

BATCHES = (1, 32)  # rows of a request whose latency is measured
ROUNDS, MAX_SECONDS = 200, 3.0  # of each batch size; the medians of fewer rounds where a model is slow
CHUNK = 256  # rows at once while answering the test rows
TIMEOUT_S = 900
PROGRAM = "import sys; from tensorlet.publish.measure import main; sys.exit(main(*sys.argv[1:]))"
REQUEST, ANSWER, ROWS, OUTPUTS, REFUSAL = (
    "request.json", "latency.json", "rows.npz", "outputs.npz", "refusal.txt",
)  # fmt: skip


class Subject(NamedTuple):
    """A file to measure; its id names it in what comes back."""

    id: str
    format: str
    path: Path


class Quality(NamedTuple):
    """How the answers are, over `rows` rows: against the labels, where there are any, and against another's answers.

    `agreement` is the share of rows with the same class; of a model that does not classify, of rows whose values
    all lie within a hundredth of the spread of that value.
    """

    accuracy: float | None
    agreement: float
    max_abs_diff: float
    rows: int


def answers(
    subject: Subject, signature: Signature, inputs: Arrays, folder: Path
) -> dict[str, npt.NDArray[Any]]:
    """All outputs for `inputs`, from a process of its own that works in the new folder `folder`.

    Raises:
        ArtifactRefused: no runtime here opens it or runs it, or it crashes one.
    """
    _in_process("answer", [subject], signature, inputs, folder)
    return load_arrays(folder / OUTPUTS)


def latencies(
    subjects: Sequence[Subject], signature: Signature, inputs: Arrays, folder: Path
) -> dict[str, dict[str, float]]:
    """Subject id -> batch size -> median latency in milliseconds."""
    _in_process("latency", subjects, signature, inputs, folder)
    measured: dict[str, dict[str, float]] = json.loads((folder / ANSWER).read_text())
    return measured


def judge(got: Arrays, expected: Arrays, output: str, labels: npt.NDArray[np.int64] | None) -> Quality:
    """The quality of the answers `got`, against the original's, `expected`; classes are told by `output`."""
    mine, original = got[output], expected[output]
    difference = max(
        float(np.abs(got[name].astype(np.float64) - expected[name]).max(initial=0.0))
        for name in expected
        if expected[name].dtype.kind in "fiu"
    )
    if is_classifier(original):
        found = mine.argmax(axis=-1)
        same = found == original.argmax(axis=-1)
        accuracy = None if labels is None else float(np.mean(found == labels))
    else:
        spread = original.max(axis=0) - original.min(axis=0)
        close = np.abs(mine.astype(np.float64) - original) <= np.maximum(spread, 1e-6) / 100
        same, accuracy = close.reshape(len(close), -1).all(axis=1), None
    return Quality(accuracy, float(np.mean(same)), difference, len(mine))


def is_classifier(answers: npt.NDArray[Any]) -> bool:
    """Whether each row is the scores of several classes."""
    return answers.ndim == 2 and answers.shape[1] > 1 and answers.dtype.kind == "f"


def main(step: str, name: str) -> int:
    """One step in its own process."""
    folder = Path(name)
    request = json.loads((folder / REQUEST).read_text())
    signature = Signature.from_json(request["signature"])
    rows = load_arrays(folder / ROWS)
    try:
        sessions = {id: load_session(format, path, signature) for id, format, path in request["subjects"]}
        if step == "answer":
            [session] = sessions.values()
            save_arrays(folder / OUTPUTS, _answered(session, signature, rows))
        else:
            (folder / ANSWER).write_text(json.dumps(_timed(sessions, signature, rows)))
    except TensorletError as error:
        (folder / REFUSAL).write_text(str(error))
        return 1
    return 0


def _in_process(
    step: str, subjects: Sequence[Subject], signature: Signature, inputs: Arrays, folder: Path
) -> None:
    folder.mkdir()
    listed = [(subject.id, subject.format, str(subject.path)) for subject in subjects]
    (folder / REQUEST).write_text(json.dumps({"signature": signature.to_json(), "subjects": listed}))
    save_arrays(folder / ROWS, inputs)
    names = ", ".join(subject.path.name for subject in subjects)
    try:
        # -P: nothing is imported from the folder where the command runs.
        done = run_confined([sys.executable, "-P", "-c", PROGRAM, step, str(folder)], folder, TIMEOUT_S)
    except TimeoutExpired:
        raise ArtifactRefused(f"{names} did not answer in {TIMEOUT_S} s") from None
    if (folder / REFUSAL).is_file():
        raise ArtifactRefused(f"{names}: {(folder / REFUSAL).read_text()}")
    if done.returncode:
        raise ArtifactRefused(f"the runtime {ended(done)} on {names}")


def _answered(
    session: InferenceSession, signature: Signature, rows: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    if not signature.batched:  # its one answer is a row
        return {name: tensor.numpy()[None] for name, tensor in session.infer(_tensors(rows, None)).items()}
    count = len(next(iter(rows.values())))
    pieces = [session.infer(_tensors(rows, slice(start, start + CHUNK))) for start in range(0, count, CHUNK)]
    return {
        spec.name: np.concatenate([piece[spec.name].numpy() for piece in pieces])
        for spec in signature.outputs
    }


def _timed(
    sessions: Mapping[str, InferenceSession], signature: Signature, rows: Mapping[str, npt.NDArray[Any]]
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {id: {} for id in sessions}
    for size in BATCHES if signature.batched else BATCHES[:1]:
        batch = {name: np.resize(array, (size, *array.shape[1:])) for name, array in rows.items()}
        tensors = _tensors(batch if signature.batched else rows, None)
        runs = {id: partial(session.infer, tensors) for id, session in sessions.items()}
        for id, times in _in_turn(runs).items():
            found[id][str(size)] = 1e3 * median(times)
    return found


def _in_turn(runs: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each run, one of each after the other."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {id: [] for id in runs}
    end = perf_counter() + MAX_SECONDS
    for _ in range(ROUNDS):
        for id, run in runs.items():
            start = perf_counter()
            run()
            times[id].append(perf_counter() - start)
        if perf_counter() > end:
            break
    return times


def _tensors(rows: Mapping[str, npt.NDArray[Any]], chosen: slice | None) -> dict[str, Tensor]:
    return {
        name: Tensor.from_numpy(array if chosen is None else array[chosen]) for name, array in rows.items()
    }
