"""The knobs both training scripts share, and how long and how fast to train when nobody says."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tensorlet.cli.arguments import ModelReference, parse_model_reference
from tensorlet.cli.registries import WORKING_FOLDER, writable_uri
from tensorlet.errors import InvalidRequest
from tensorlet.publish.optimize import TARGETS
from tensorlet.registry.attestation import Signer
from tensorlet.registry.signing import open_signer

ARCHITECTURES = {
    "mlp": "784-128-10, two dense layers",
    "cnn": "two convolutions and two dense layers, 220 k parameters",
    "lstm": "reads the image as 28 steps of 28",
}
DATASETS = ("digits", "mnist")


class Schedule(NamedTuple):
    epochs: int
    batch_size: int  # images
    lr: float  # of Adam, falling to 0 along a cosine


# Found by trying; enough for the accuracy each pair should reach. Your own data starts like mnist.
SCHEDULES = {
    ("digits", "mlp"): Schedule(60, 32, 1e-3),
    ("digits", "cnn"): Schedule(25, 32, 1e-3),
    ("digits", "lstm"): Schedule(30, 32, 3e-3),
    ("mnist", "mlp"): Schedule(15, 128, 1e-3),
    ("mnist", "cnn"): Schedule(4, 128, 1e-3),
    ("mnist", "lstm"): Schedule(6, 128, 3e-3),
}


class Knobs(NamedTuple):
    arch: str
    dataset: str
    data_dir: Path | None
    epochs: int
    batch_size: int
    lr: float
    seed: int
    name: str
    registry: str
    aliases: tuple[str, ...]
    output: Path
    variants: tuple[str, ...] = ()
    prune: float = 0.0  # share of the weights
    distill_from: ModelReference | None = None
    signer: Signer | None = None

    def recorded(self) -> dict[str, str | int | float]:
        """The knobs that decide the result, for the manifest."""
        return {
            "arch": self.arch,
            "dataset": Path(self.dataset).name,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "seed": self.seed,
            **({"prune": self.prune} if self.prune else {}),
            **({"distill_from": str(self.distill_from)} if self.distill_from else {}),
        }


def parse_knobs(framework: str, description: str, arguments: Sequence[str] | None = None) -> Knobs:
    """Knobs from the command line; exits with status 2 on one that makes no sense.

    Raises:
        InvalidSetting: several registries to choose from.
    """
    parser = argparse.ArgumentParser(prog=f"python -m training.train_{framework}", description=description)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="mlp", help=_described(ARCHITECTURES))
    parser.add_argument(
        "--dataset", type=_dataset, default="digits", metavar="digits|mnist|FILE.npz",
        help="FILE.npz is your own data: x_train, y_train, x_test, y_test",
    )  # fmt: skip
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST's four IDX files, plain or .gz")
    parser.add_argument("--epochs", type=_positive(int), help="times through the training part")
    parser.add_argument("--batch-size", type=_positive(int), help="images in a step")
    parser.add_argument("--lr", type=_positive(float), help="learning rate of Adam at the start")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same model (default 0)")
    parser.add_argument("--name", help="model name in the registry (default: the dataset's)")
    parser.add_argument("--registry", help="URI (default: $TENSORLET_REGISTRY, else ./.tensorlet/registry)")
    parser.add_argument("--alias", action="append", default=[], help="point this alias to the new version")
    parser.add_argument(
        "--sign",
        type=_signer,
        metavar="KEY",
        help="private key (PEM) or ARN of a KMS key, to sign what is published",
    )
    parser.add_argument("--output", type=Path, help="folder for native saves and exports")
    parser.add_argument(
        "--variants", type=_variants, default=(), metavar="TARGET,...",
        help=f"also publish a version with these, measured: {', '.join(TARGETS)}",
    )  # fmt: skip
    parser.add_argument(
        "--prune", type=_share, default=0.0, metavar="SHARE", help="set this share of the weights to zero"
    )
    parser.add_argument(
        "--distill-from", type=_model, metavar="NAME[@VERSION]", help="learn from this published model too"
    )
    given = parser.parse_args(arguments)

    schedule = SCHEDULES[given.dataset if given.dataset in DATASETS else "mnist", given.arch]
    name = given.name or Path(given.dataset).stem
    return Knobs(
        arch=given.arch,
        dataset=given.dataset,
        data_dir=given.data_dir,
        epochs=given.epochs or schedule.epochs,
        batch_size=given.batch_size or schedule.batch_size,
        lr=given.lr or schedule.lr,
        seed=given.seed,
        name=name,
        registry=writable_uri(given),
        aliases=tuple(given.alias),
        variants=given.variants,
        prune=given.prune,
        distill_from=given.distill_from,
        signer=given.sign,
        output=given.output or Path(WORKING_FOLDER, "training", f"{name}-{given.arch}-{framework}"),
    )


def _described(table: dict[str, str]) -> str:
    return "; ".join(f"{key}: {meaning}" for key, meaning in table.items())


def _dataset(text: str) -> str:
    if text not in DATASETS and not (text.endswith(".npz") and Path(text).is_file()):
        raise argparse.ArgumentTypeError(f"expected digits, mnist or an existing .npz file, got {text!r}")
    return text


def _variants(text: str) -> tuple[str, ...]:
    targets = tuple(text.split(","))
    if unknown := set(targets) - set(TARGETS):
        raise argparse.ArgumentTypeError(f"expected {', '.join(TARGETS)}, got {', '.join(sorted(unknown))}")
    return targets


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return share


def _model(text: str) -> ModelReference:
    try:
        return parse_model_reference(text)
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _signer(text: str) -> Signer:
    """Opened before the training and not after."""
    try:
        return open_signer(text)
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(number: type[int] | type[float]):  # type: ignore[no-untyped-def]
    def parse(text: str) -> int | float:
        value = number(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
        return value

    parse.__name__ = "number"  # argparse names it when `text` is not one
    return parse
