"""Example answers for a model card, with attributions: what the artifact that will be served says of a few rows.

The file is opened in a process of its own, as everywhere in publishing. Rows come from `evaluation.npz` (some that are
right, one of each class first, then the worst mistakes) or else from `golden.npz`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tensorlet.errors import ArtifactRefused, TensorletError
from tensorlet.publish.confine import ended, run_confined
from tensorlet.publish.evaluation import FILE as EVALUATION_FILE
from tensorlet.publish.evaluation import Classes, load_evaluation
from tensorlet.publish.golden import FILE as GOLDEN_FILE
from tensorlet.publish.golden import Arrays, load_arrays, load_golden, save_arrays
from tensorlet.publish.measure import is_classifier
from tensorlet.registry.manifest import Manifest
from tensorlet.runtimes import load_session
from tensorlet.tensors import Tensor

RIGHT, WRONG, UNKNOWN = 8, 4, 8  # rows shown: right ones, mistakes, and those whose class nobody knows
PARTS = 1024  # of a row at most: attributions of more would take minutes
TIMEOUT_S = 300
PROGRAM = "import sys; from tensorlet.publish.examples import main; sys.exit(main(sys.argv[1]))"
REQUEST, ANSWER, ROWS, RESULT, REFUSAL = (
    "request.json", "answer.json", "rows.npz", "examples.npz", "refusal.txt",
)  # fmt: skip


class Examples(NamedTuple):
    """`count` rows of the one input explained: the row, the answer to it, what moved it, and the right class."""

    method: str
    rows: npt.NDArray[Any]  # (count, ...)
    answers: npt.NDArray[Any]  # (count, classes)
    attributions: npt.NDArray[Any]  # like rows
    targets: npt.NDArray[np.int64]  # (count,)
    labels: Classes | None


def make_examples(document: Mapping[str, Any], files: Mapping[str, Path], folder: Path) -> Examples | None:
    """Examples for the version that `document` describes, in the new folder `folder`; None where there are none.

    Only for classifiers of one input of numbers: what else would a picture show?

    Raises:
        ArtifactRefused: the artifact does not explain its answers.
    """
    manifest = _manifest(document)
    found = _rows(files)
    inputs = manifest.signature.inputs
    if found is None or len(inputs) != 1 or inputs[0].datatype != "FP32" or not manifest.signature.batched:
        return None
    folder.mkdir()
    rows, labels = found
    save_arrays(folder / ROWS, {**rows, **({} if labels is None else {"label": labels})})
    artifact = manifest.artifact()
    request = {
        "document": dict(document),
        "path": str(files[artifact.files[0].path]),
        "explain": str(files[document["explain"]["file"]]) if "explain" in document else "",
    }
    (folder / REQUEST).write_text(json.dumps(request))
    try:
        done = run_confined([sys.executable, "-P", "-c", PROGRAM, str(folder)], folder, TIMEOUT_S)
    except TimeoutExpired:
        raise ArtifactRefused(f"the examples took more than {TIMEOUT_S} s") from None
    if (folder / REFUSAL).is_file():
        raise ArtifactRefused((folder / REFUSAL).read_text())
    if done.returncode:
        raise ArtifactRefused(f"the process {ended(done)}")
    if not (folder / RESULT).is_file():
        return None
    arrays = load_arrays(folder / RESULT)
    method = json.loads((folder / ANSWER).read_text())["method"]
    shown = {name: arrays[name] for name in ("rows", "answers", "attributions", "targets")}
    return Examples(method, **shown, labels=arrays.get("labels"))


def main(name: str) -> int:
    """The answers and attributions, in their own process."""
    from tensorlet.serving.explain import Options, explain
    from tensorlet.serving.service import LoadedModel

    folder = Path(name)
    request = json.loads((folder / REQUEST).read_text())
    manifest = _manifest(request["document"])
    artifact = manifest.artifact()
    arrays = load_arrays(folder / ROWS)
    labels = arrays.pop("label", None)
    [(input, rows)] = arrays.items()
    try:
        loaded = LoadedModel(
            manifest, artifact, load_session(artifact.format, request["path"], manifest.signature)
        )
        answers = {
            name: tensor.numpy() for name, tensor in loaded.infer({input: Tensor.from_numpy(rows)}).items()
        }
        output = next(filter(None, [manifest.document.get("roles", {}).get("scores"), *answers]))
        if not is_classifier(answers[output]):
            return 0
        chosen = choose(answers[output], labels)
        found = explain(
            loaded,
            lambda *_: load_session("onnx", request["explain"]),
            {input: Tensor.from_numpy(rows[chosen])},
            Options(output=output, window=window(rows.shape[1:])),
            max_evaluations=2 * PARTS * len(chosen),
        )
    except TensorletError as error:
        (folder / REFUSAL).write_text(str(error))
        return 1
    kept = {
        "rows": rows[chosen],
        "answers": answers[output][chosen],
        "attributions": found.attributions[input],
        "targets": found.target,
    }
    save_arrays(folder / RESULT, kept | ({} if labels is None else {"labels": labels[chosen]}))
    (folder / ANSWER).write_text(json.dumps({"method": found.method}))
    return 0


def choose(answers: npt.NDArray[Any], labels: Classes | None) -> npt.NDArray[np.int64]:
    """The rows to show: right ones of different classes as far as there are, then the mistakes that were surest."""
    if labels is None:
        return np.arange(min(UNKNOWN, len(answers)))
    given = answers.argmax(axis=1)
    right, wrong = np.flatnonzero(given == labels), np.flatnonzero(given != labels)
    seen = [int((labels[right[:place]] == labels[row]).sum()) for place, row in enumerate(right)]
    turns = right[np.argsort(seen, kind="stable")][:RIGHT]  # the first of each class, then the second, ...
    sure = wrong[np.argsort(-answers[wrong].max(axis=1), kind="stable")][:WRONG]
    return np.concatenate([turns, sure]).astype(np.int64)


def window(shape: tuple[int, ...]) -> int:
    """The smallest window that makes at most `PARTS` parts of a row."""
    sides = shape[:2] or (1,)
    size = 1
    while np.prod([-(-side // size) for side in sides]) > PARTS:
        size += 1
    return size


def _manifest(document: Mapping[str, Any]) -> Manifest:
    """A manifest before the registry has given it a number and its files their digests."""
    unknown = {"size_bytes": 0, "sha256": "0" * 64}
    listed = [{"path": document["explain"]["file"], **unknown}] if "explain" in document else []
    artifacts = [
        {**artifact, "files": [{**unknown, **file} for file in artifact["files"]]}
        for artifact in document["artifacts"]
    ]
    return Manifest.from_json(
        {
            "schema_version": 1,
            "model": "model",
            "version": 1,
            **document,
            "artifacts": artifacts,
            "files": listed,
        }
    )


def _rows(files: Mapping[str, Path]) -> tuple[Arrays, Classes | None] | None:
    if EVALUATION_FILE in files:
        test, _ = load_evaluation(files[EVALUATION_FILE])
        return test.inputs, test.labels
    if GOLDEN_FILE in files:
        return load_golden(files[GOLDEN_FILE]).inputs, None
    return None
