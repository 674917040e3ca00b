"""Train a digit classifier in PyTorch, then evaluate, save, export and publish it.

    python -m training.train_torch                                     # an MLP on scikit-learn's digits
    python -m training.train_torch --arch cnn --dataset mnist --data-dir ~/mnist --alias live
    python -m training.train_torch --variants fp16,int8-static --prune 0.8 --distill-from mnist

Ctrl-C stops training and goes on with the best epoch so far. The last line of stdout is the published version.
Read it from top to bottom; `train_keras.py` tells the same story in Keras.
"""

import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tensorlet.errors import TensorletError
from torch.nn import functional

from training import torch_models
from training.checkpoint import write_whole
from training.data import Dataset, as_input, jitter, load_dataset
from training.distillation import TEMPERATURE, WEIGHT, Teacher, load_teacher
from training.evaluation import curve_point, evaluate
from training.knobs import Knobs, parse_knobs
from training.progress import progress_bar, report_evaluation, report_training, say
from training.pruning import FINE_TUNING, masks, sparsity
from training.publishing import publish_run


def main() -> None:
    # -- knobs -------------------------------------------------------------------------------------------
    knobs = parse_knobs("torch", __doc__.partition("\n")[0])
    torch.manual_seed(knobs.seed)  # first weights, order of images, dropout
    torch.use_deterministic_algorithms(True)
    random = np.random.default_rng(knobs.seed)  # jitter

    # -- data --------------------------------------------------------------------------------------------
    data = load_dataset(knobs.dataset, knobs.data_dir)
    validation_images = torch.from_numpy(as_input(data.validation.images, knobs.arch))
    say(
        f"{len(data.train.labels):,} training images of {knobs.dataset}, {len(validation_images):,} for validation"
    )

    # -- model -------------------------------------------------------------------------------------------
    height, width = data.image_shape
    model = getattr(torch_models, knobs.arch)(height=height, width=width, classes=data.classes)
    say(f"{knobs.arch} in PyTorch, {sum(p.numel() for p in model.parameters()):,} parameters")
    teacher = None
    if knobs.distill_from:
        teacher = load_teacher(knobs.distill_from, knobs.registry, data.image_shape, data.classes)
        say(f"learning from {teacher.model.name} too")

    # -- training ----------------------------------------------------------------------------------------
    knobs.output.mkdir(parents=True, exist_ok=True)
    checkpoint = knobs.output / "checkpoint.pth"  # the best epoch so far: survives whatever happens next
    curve = fit(model, data, knobs, checkpoint, knobs.epochs, knobs.lr, random, teacher)
    if knobs.prune:
        weights = [weight for weight in model.parameters() if weight.ndim > 1]  # biases are few and matter
        kept = [torch.from_numpy(mask) for mask in masks([w.detach().numpy() for w in weights], knobs.prune)]
        say(f"pruning {knobs.prune:.0%} of {sum(weight.numel() for weight in weights):,} weights")
        epochs = math.ceil(FINE_TUNING * knobs.epochs)
        pruned = list(zip(weights, kept, strict=True))
        curve += fit(model, data, knobs, checkpoint, epochs, knobs.lr / 2, random, teacher, pruned)
    report_training(curve)

    # -- evaluation: the only look at the test part ------------------------------------------------------
    validation = evaluate(predict(model, validation_images), data.validation.labels)
    test_images = torch.from_numpy(as_input(data.test.images, knobs.arch))
    test = evaluate(predict(model, test_images), data.test.labels)
    report_evaluation(validation, test)

    # -- native saves ------------------------------------------------------------------------------------
    state_dict = knobs.output / "model.pth"
    torch.save(model.state_dict(), state_dict)
    save_torchscript(model, validation_images[:1], knobs.output / "model.torchscript.pt")
    checkpoint.unlink()  # its weights are model.pth now

    # -- export, check, publish --------------------------------------------------------------------------
    version = publish_run(
        state_dict,
        knobs,
        data,
        module=f"training.torch_models:{knobs.arch}(height={height}, width={width}, classes={data.classes})",
        metrics={"validation": validation, "test": test},
        curve=curve,
        versions={"torch": torch.__version__, "numpy": np.__version__},
        sparsity=sparsity([w.detach().numpy() for w in weights]) if knobs.prune else 0.0,
    )
    say(str(version))


def fit(
    model: torch_models.Classifier,
    data: Dataset,
    knobs: Knobs,
    checkpoint: Path,
    epochs: int,
    lr: float,
    random: np.random.Generator,
    teacher: Teacher | None,
    pruned: Sequence[tuple[torch.Tensor, torch.Tensor]] = (),
) -> list[dict[str, float]]:
    """Train, leave the model at its best epoch, and return the curve; `pruned` are weights with their masks."""
    labels = torch.from_numpy(data.train.labels)  # (N,) int64
    validation_images = torch.from_numpy(as_input(data.validation.images, knobs.arch))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    steps = math.ceil(len(labels) / knobs.batch_size)  # in an epoch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps)
    prune(pruned)
    write_whole(lambda path: torch.save(model.state_dict(), path), checkpoint)
    lowest_loss = float("inf")
    curve: list[dict[str, float]] = []
    try:
        for epoch in range(epochs):
            moved = jitter(data.train.images, random)  # (N, height, width)
            images = torch.from_numpy(as_input(moved, knobs.arch))  # (N, ...) float32 in 0..1
            taught = torch.from_numpy(teacher.soft_answers(moved)) if teacher else None  # (N, classes)
            total_loss = 0.0
            model.train()
            with progress_bar(epoch, epochs, steps) as bar:
                for rows in torch.randperm(len(labels)).split(knobs.batch_size):  # (B,)
                    logits = model.logits(images[rows])  # (B, classes)
                    loss = functional.cross_entropy(logits, labels[rows])
                    if taught is not None:
                        loss = (1 - WEIGHT) * loss + WEIGHT * distillation_loss(logits, taught[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    prune(pruned)
                    schedule.step()
                    total_loss += loss.item() * len(rows)
                    bar.update()
                model.eval()
                validation = evaluate(predict(model, validation_images), data.validation.labels)
                bar.set_postfix_str(f" validation {validation['accuracy']:.4f}")
            curve.append(curve_point(total_loss / len(labels), validation))
            if validation["loss"] < lowest_loss:
                lowest_loss = validation["loss"]
                write_whole(lambda path: torch.save(model.state_dict(), path), checkpoint)
    except KeyboardInterrupt:
        say(f"stopped in epoch {len(curve) + 1} of {epochs}; going on with the best so far")
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    model.eval()
    return curve


def distillation_loss(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Cross entropy with the teacher's softened answers; the factor keeps its gradients at the size of the labels'."""
    softened = functional.log_softmax(logits / TEMPERATURE, dim=-1)
    return -(taught * softened).sum(dim=-1).mean() * TEMPERATURE**2


@torch.no_grad()
def prune(pruned: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for weight, mask in pruned:
        weight.mul_(mask)


@torch.no_grad()
def predict(model: torch_models.Classifier, images: torch.Tensor) -> npt.NDArray[np.float32]:
    """Probabilities (N, classes), in chunks: memory stays small on 60,000 images."""
    probabilities: npt.NDArray[np.float32] = torch.cat([model(chunk) for chunk in images.split(1000)]).numpy()
    return probabilities


def save_torchscript(model: torch_models.Classifier, example: torch.Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        # TorchScript is deprecated, and still what the C++ and mobile runtimes of many users read.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(model, torch.zeros_like(example)).save(path)


if __name__ == "__main__":
    try:
        main()
    except TensorletError as error:
        sys.exit(f"error: {error}")
