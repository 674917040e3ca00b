"""Train a digit classifier in Keras, then evaluate, save, export and publish it.

    python -m training.train_keras                                     # an MLP on scikit-learn's digits
    python -m training.train_keras --arch cnn --dataset mnist --data-dir ~/mnist --alias live
    python -m training.train_keras --variants fp16,int8-static --prune 0.8 --distill-from mnist

Ctrl-C stops training and goes on with the best epoch so far. The last line of stdout is the published version.
Read it from top to bottom; `train_torch.py` tells the same story in PyTorch.
"""

import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: it greets at length
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers
from tensorlet.errors import TensorletError

from training.checkpoint import write_whole
from training.data import Dataset, as_input, jitter, load_dataset
from training.distillation import TEMPERATURE, WEIGHT, Teacher, load_teacher
from training.evaluation import curve_point, evaluate
from training.knobs import Knobs, parse_knobs
from training.progress import progress_bar, report_evaluation, report_training, say
from training.pruning import FINE_TUNING, masks, sparsity
from training.publishing import publish_run

logging.getLogger("absl").setLevel(logging.ERROR)  # it would call .h5 legacy, which we know


def mlp(height: int, width: int, classes: int) -> keras.Model:
    image = layers.Input((height * width,), name="image")
    hidden = layers.Dense(128, activation="relu")(image)
    return classifier(image, hidden, classes)


def cnn(height: int, width: int, classes: int) -> keras.Model:
    image = layers.Input((height, width, 1), name="image")
    maps = layers.Conv2D(32, 3, padding="same", activation="relu")(image)  # (B, H, W, 32)
    maps = layers.MaxPooling2D()(maps)
    maps = layers.Conv2D(64, 3, padding="same", activation="relu")(maps)  # (B, H/2, W/2, 64)
    maps = layers.MaxPooling2D()(maps)  # (B, H/4, W/4, 64)
    hidden = layers.Dense(64, activation="relu")(layers.Flatten()(maps))
    return classifier(image, layers.Dropout(0.25)(hidden), classes)


def lstm(height: int, width: int, classes: int) -> keras.Model:
    image = layers.Input((height, width), name="image")  # steps, features
    return classifier(image, layers.LSTM(64)(image), classes)


def classifier(image: keras.KerasTensor, hidden: keras.KerasTensor, classes: int) -> keras.Model:
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(hidden)  # (B, classes)
    return keras.Model(image, probabilities)


def main() -> None:
    # -- knobs -------------------------------------------------------------------------------------------
    knobs = parse_knobs("keras", __doc__.partition("\n")[0])
    keras.utils.set_random_seed(knobs.seed)  # first weights, order of images, dropout
    tf.config.experimental.enable_op_determinism()
    random = np.random.default_rng(knobs.seed)  # jitter

    # -- data --------------------------------------------------------------------------------------------
    data = load_dataset(knobs.dataset, knobs.data_dir)
    validation_images = as_input(data.validation.images, knobs.arch)
    say(
        f"{len(data.train.labels):,} training images of {knobs.dataset}, {len(validation_images):,} for validation"
    )

    # -- model -------------------------------------------------------------------------------------------
    build = {"mlp": mlp, "cnn": cnn, "lstm": lstm}[knobs.arch]
    model = build(*data.image_shape, data.classes)
    say(f"{knobs.arch} in Keras, {model.count_params():,} parameters")
    teacher = None
    if knobs.distill_from:
        teacher = load_teacher(knobs.distill_from, knobs.registry, data.image_shape, data.classes)
        say(f"learning from {teacher.model.name} too")

    # -- training ----------------------------------------------------------------------------------------
    knobs.output.mkdir(parents=True, exist_ok=True)
    checkpoint = knobs.output / "checkpoint.weights.h5"  # the best epoch so far: survives whatever happens
    curve = fit(model, data, knobs, checkpoint, knobs.epochs, knobs.lr, random, teacher)
    if knobs.prune:
        weights = [
            variable for variable in model.trainable_variables if variable.ndim > 1
        ]  # biases are few and matter
        kept = masks([variable.numpy() for variable in weights], knobs.prune)
        say(f"pruning {knobs.prune:.0%} of {sum(mask.size for mask in kept):,} weights")
        epochs = math.ceil(FINE_TUNING * knobs.epochs)
        pruned = list(zip(weights, kept, strict=True))
        curve += fit(model, data, knobs, checkpoint, epochs, knobs.lr / 2, random, teacher, pruned)
    report_training(curve)

    # -- evaluation: the only look at the test part ------------------------------------------------------
    validation = evaluate(predict(model, validation_images), data.validation.labels)
    test = evaluate(predict(model, as_input(data.test.images, knobs.arch)), data.test.labels)
    report_evaluation(validation, test)

    # -- native saves ------------------------------------------------------------------------------------
    # Saving a compiled model would save the optimizer too, at three times the size.
    trained = keras.Model(model.inputs, model.outputs)
    trained.save(knobs.output / "model.keras")
    trained.save(knobs.output / "model.h5")  # the older form, which many tools still read
    trained.export(knobs.output / "saved_model" / "1", verbose=False)
    checkpoint.unlink()  # its weights are model.keras now

    # -- export, check, publish --------------------------------------------------------------------------
    version = publish_run(
        knobs.output / "model.keras",
        knobs,
        data,
        metrics={"validation": validation, "test": test},
        curve=curve,
        versions={"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__},
        sparsity=sparsity([variable.numpy() for variable in weights]) if knobs.prune else 0.0,
    )
    say(str(version))


def fit(
    model: keras.Model,
    data: Dataset,
    knobs: Knobs,
    checkpoint: Path,
    epochs: int,
    lr: float,
    random: np.random.Generator,
    teacher: Teacher | None,
    pruned: Sequence[tuple[Any, npt.NDArray[np.float32]]] = (),
) -> list[dict[str, float]]:
    """Train, leave the model at its best epoch, and return the curve; `pruned` are variables with their masks."""
    labels = data.train.labels  # (N,) int64
    validation_images = as_input(data.validation.images, knobs.arch)
    steps = math.ceil(len(labels) / knobs.batch_size)  # in an epoch
    schedule = keras.optimizers.schedules.CosineDecay(lr, decay_steps=epochs * steps)
    loss = distillation_loss if teacher else "sparse_categorical_crossentropy"
    # Compiling with XLA would cost more than it saves on models this small.
    model.compile(keras.optimizers.Adam(schedule), loss, jit_compile=False)
    prune(pruned)
    write_whole(model.save_weights, checkpoint)
    lowest_loss = float("inf")
    curve: list[dict[str, float]] = []
    try:
        for epoch in range(epochs):
            moved = jitter(data.train.images, random)  # (N, height, width)
            images = as_input(moved, knobs.arch)  # (N, ...) float32 in 0..1
            wanted = labels if teacher is None else np.column_stack([labels, teacher.soft_answers(moved)])
            with progress_bar(epoch, epochs, steps) as bar:

                def each_batch(batch: int, logs: Any, bar: Any = bar) -> None:
                    prune(pruned)
                    bar.update()

                callback = keras.callbacks.LambdaCallback(on_train_batch_end=each_batch)
                history = model.fit(
                    images, wanted, batch_size=knobs.batch_size, callbacks=[callback], verbose=0
                )
                validation = evaluate(predict(model, validation_images), data.validation.labels)
                bar.set_postfix_str(f" validation {validation['accuracy']:.4f}")
            curve.append(curve_point(history.history["loss"][0], validation))
            if validation["loss"] < lowest_loss:
                lowest_loss = validation["loss"]
                write_whole(model.save_weights, checkpoint)
    except KeyboardInterrupt:
        say(f"stopped in epoch {len(curve) + 1} of {epochs}; going on with the best so far")
    model.load_weights(checkpoint)
    return curve


def distillation_loss(wanted: Any, probabilities: Any) -> Any:
    """Labels (B, 1) and a teacher's softened answers (B, classes) side by side, against probabilities (B, classes).

    The factor keeps the gradients of the teacher's part at the size of the labels'.
    """
    logits = keras.ops.log(keras.ops.maximum(probabilities, 1e-12))  # but for a constant
    hard = keras.losses.sparse_categorical_crossentropy(wanted[:, 0], probabilities)
    softened = keras.ops.log_softmax(logits / TEMPERATURE, axis=-1)
    soft = -keras.ops.sum(keras.ops.cast(wanted[:, 1:], "float32") * softened, axis=-1)
    return (1 - WEIGHT) * hard + WEIGHT * TEMPERATURE**2 * soft


def prune(pruned: Sequence[tuple[Any, npt.NDArray[np.float32]]]) -> None:
    for variable, mask in pruned:
        variable.assign(variable * mask)


def predict(model: keras.Model, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities (N, classes)."""
    probabilities: npt.NDArray[np.float32] = model.predict(images, batch_size=1000, verbose=0)
    return probabilities


if __name__ == "__main__":
    try:
        main()
    except TensorletError as error:
        sys.exit(f"error: {error}")
