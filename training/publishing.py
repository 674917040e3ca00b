"""The last step of both training scripts: hand the saved model and everything known about it to `tensorlet.publish`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorlet.publish import publish
from tensorlet.publish.golden import ROWS
from tensorlet.signature import DYNAMIC, TensorSpec

from training.data import Dataset, as_input
from training.knobs import Knobs
from training.progress import say

INPUT = "image"
OUTPUT = "probabilities"


def publish_run(
    source: Path,
    knobs: Knobs,
    data: Dataset,
    *,
    metrics: Mapping[str, Any],
    curve: Sequence[Mapping[str, float]],
    versions: Mapping[str, str],
    module: str | None = None,
) -> int:
    """Export, check and publish one training run; returns the version.

    Both frameworks get the same signature, `image` -> `probabilities`, so their versions can replace each other.
    The check runs on real validation images.
    """
    images = as_input(data.validation.images[:ROWS], knobs.arch)
    say("", f"exporting and checking {source}")
    version = publish(
        source,
        knobs.name,
        knobs.registry,
        aliases=knobs.aliases,
        module=module,
        inputs=[TensorSpec(INPUT, "FP32", (DYNAMIC, *images.shape[1:]))],
        outputs=[OUTPUT],
        scores=OUTPUT,
        labels=[str(label) for label in range(data.classes)],
        golden={INPUT: images},
        keep=knobs.output,
        code=Path(__file__).parent,
        report=say,
        details={
            "training": {
                "knobs": knobs.recorded(),
                "seed": knobs.seed,
                "data_digest": data.digest,
                "metrics": metrics,
                "curve": curve,
                "versions": versions,
            },
        },
    )
    aliases = "".join(f", alias {alias}" for alias in knobs.aliases)
    say(f"published {knobs.name}/{version} to {knobs.registry}{aliases}; files in {knobs.output}")
    return version
