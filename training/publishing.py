"""The last step of both training scripts: hand the saved model and everything known about it to `tensorlet.publish`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorlet.publish import publish
from tensorlet.publish.evaluation import FILE as EVALUATION_FILE
from tensorlet.publish.evaluation import Evaluation, save_evaluation
from tensorlet.publish.golden import ROWS
from tensorlet.publish.optimize import optimize
from tensorlet.signature import DYNAMIC, TensorSpec

from training.data import Dataset, as_input
from training.knobs import Knobs
from training.progress import say

INPUT = "image"
OUTPUT = "probabilities"
TEST_FILE = "test.npz"  # beside the native saves: `tensorlet optimize --test`
STORED_ROWS, CALIBRATION_ROWS = 2000, 256  # that go into the version


def publish_run(
    source: Path,
    knobs: Knobs,
    data: Dataset,
    *,
    metrics: Mapping[str, Any],
    curve: Sequence[Mapping[str, float]],
    versions: Mapping[str, str],
    module: str | None = None,
    sparsity: float = 0.0,
) -> int:
    """Export, check and publish one training run; returns the version.

    Both frameworks get the same signature, `image` -> `probabilities`, so their versions can replace each other.
    The check runs on real validation images. With `--variants` a second version follows that has them too, and that
    one is returned. `sparsity` is the share of pruned weights.
    """
    images = as_input(data.validation.images[:ROWS], knobs.arch)
    say("", f"exporting and checking {source}")
    aliases = () if knobs.variants else knobs.aliases  # those of the last version
    keep_rows(data, knobs)
    version = publish(
        source,
        knobs.name,
        knobs.registry,
        aliases=aliases,
        module=module,
        inputs=[TensorSpec(INPUT, "FP32", (DYNAMIC, *images.shape[1:]))],
        outputs=[OUTPUT],
        scores=OUTPUT,
        labels=[str(label) for label in range(data.classes)],
        golden={INPUT: images},
        profile=knobs.output / EVALUATION_FILE,
        keep=knobs.output,
        signer=knobs.signer,
        code=Path(__file__).parent,
        report=say,
        attachments={EVALUATION_FILE: knobs.output / EVALUATION_FILE},
        details={
            "training": {
                "knobs": knobs.recorded(),
                "seed": knobs.seed,
                "data_digest": data.digest,
                "metrics": metrics,
                "curve": curve,
                "versions": versions,
                **({"sparsity": sparsity} if sparsity else {}),
            },
        },
    )
    if knobs.variants:
        say("", f"making and measuring {', '.join(knobs.variants)} of {knobs.name}/{version}")
        version = optimize(
            knobs.name,
            str(version),
            knobs.registry,
            knobs.variants,
            test=knobs.output / TEST_FILE,
            aliases=knobs.aliases,
            signer=knobs.signer,
            report=say,
        )
    pointing = "".join(f", alias {alias}" for alias in knobs.aliases)
    say(f"published {knobs.name}/{version} to {knobs.registry}{pointing}; files in {knobs.output}")
    return version


def keep_rows(data: Dataset, knobs: Knobs) -> None:
    """Leave rows for `tensorlet optimize`: all of the test part here, and a part of them for the version."""
    test = Evaluation({INPUT: as_input(data.test.images, knobs.arch)}, data.test.labels)
    save_evaluation(knobs.output / TEST_FILE, test, {})
    stored = Evaluation({INPUT: test.inputs[INPUT][:STORED_ROWS]}, data.test.labels[:STORED_ROWS])
    calibration = as_input(data.train.images[:CALIBRATION_ROWS], knobs.arch)
    save_evaluation(knobs.output / EVALUATION_FILE, stored, {INPUT: calibration})
