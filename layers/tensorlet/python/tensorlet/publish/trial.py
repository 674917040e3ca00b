"""The trial of an artifact, in a process of its own: whatever is in the file, it cannot take the publisher down.

The process opens the artifact in the runtime that will serve it, runs it, compares it with its source (`gate`), and
makes its fast-start variant. It finds `request.json` in its folder, and adds `answer.json` or `refusal.json`.
"""

import json
import sys
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any, NamedTuple

from tensorlet import errors
from tensorlet.errors import ArtifactRefused, TensorletError
from tensorlet.publish.confine import ended, run_confined
from tensorlet.publish.fast_start import MODEL, WEIGHTS, Variant, make_variant
from tensorlet.publish.gate import Parity, check_artifact, described_by_itself
from tensorlet.publish.golden import FILE, Golden, load_arrays, load_golden, save_golden
from tensorlet.signature import Signature, TensorSpec

REQUEST, ANSWER, REFUSAL = "request.json", "answer.json", "refusal.json"
TIMEOUT_S = 900
PROGRAM = "import sys; from tensorlet.publish.trial import main; sys.exit(main(sys.argv[1]))"


class Request(NamedTuple):
    """What to try. `signature` and the file `golden` are the source's.

    Without them the artifact is its own source, and `inputs` and the file `golden_inputs` are what the user said.
    """

    format: str
    path: str
    signature: Signature | None
    golden: str | None
    inputs: tuple[TensorSpec, ...]
    golden_inputs: str | None  # .npz by input name
    tolerance: float
    fast_start: str

    def to_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "signature": self.signature and self.signature.to_json(),
            "inputs": [spec.to_json() for spec in self.inputs],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Request":
        signature = document["signature"] and Signature.from_json(document["signature"])
        inputs = tuple(map(TensorSpec.from_json, document["inputs"]))
        return cls(**{**document, "signature": signature, "inputs": inputs})


class Trial(NamedTuple):
    """What came of it; `line` says for people what became of the variant."""

    signature: Signature
    parity: Parity
    variant: Variant | None
    line: str


def try_artifact(request: Request, folder: Path) -> Trial:
    """Run the trial in `folder`, which also gets `golden.npz` of an artifact that is its own source.

    Raises:
        ArtifactRefused, InferenceFailed: no runtime here opens the artifact, or runs it, or it crashes one.
        ParityError: it answers differently from its source.
        PublishError: arguments that do not fit it.
    """
    (folder / REQUEST).write_text(json.dumps(request.to_json()))
    try:
        # -P: nothing is imported from the folder where the command runs.
        done = run_confined([sys.executable, "-P", "-c", PROGRAM, str(folder)], folder, TIMEOUT_S)
    except TimeoutExpired:
        raise ArtifactRefused(f"{Path(request.path).name} did not answer in {TIMEOUT_S} s") from None
    if (folder / REFUSAL).is_file():
        refusal = json.loads((folder / REFUSAL).read_text())
        raise getattr(errors, refusal["error"])(refusal["reason"])
    if done.returncode:
        raise ArtifactRefused(f"the runtime {ended(done)} on {Path(request.path).name}")
    return _trial(json.loads((folder / ANSWER).read_text()), folder)


def main(name: str) -> int:
    """The trial itself, in its own process."""
    folder = Path(name)
    request = Request.from_json(json.loads((folder / REQUEST).read_text()))
    try:
        trial = _run(request, folder)
    except TensorletError as error:
        (folder / REFUSAL).write_text(json.dumps({"error": type(error).__name__, "reason": str(error)}))
        return 1
    answer = {
        "signature": trial.signature.to_json(),
        "parity": trial.parity,
        "variant": trial.variant and trial.variant.artifact,
        "line": trial.line,
    }
    (folder / ANSWER).write_text(json.dumps(answer))
    return 0


def _run(request: Request, folder: Path) -> Trial:
    path = Path(request.path)
    if request.signature and request.golden:
        signature, golden = request.signature, load_golden(Path(request.golden))
    else:
        signature, golden = _describe(request, folder)
    parity = check_artifact(request.format, path, signature, golden, request.tolerance)
    variant, line = make_variant(path, folder, signature, golden, request.tolerance, request.fast_start)
    return Trial(signature, parity, variant, line)


def _describe(request: Request, folder: Path) -> tuple[Signature, Golden]:
    given = load_arrays(Path(request.golden_inputs)) if request.golden_inputs else None
    signature, golden = described_by_itself(request.format, Path(request.path), request.inputs, given)
    save_golden(folder / FILE, golden)
    return signature, golden


def _trial(document: dict[str, Any], folder: Path) -> Trial:
    files = {name: folder / name for name in (MODEL, WEIGHTS) if (folder / name).is_file()}
    return Trial(
        Signature.from_json(document["signature"]),
        Parity(*document["parity"]),
        Variant(document["variant"], files) if document["variant"] else None,
        document["line"],
    )
