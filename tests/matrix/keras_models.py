"""The architectures in Keras, saved in every form: `python -m tests.matrix.keras_models FOLDER [ARCHITECTURE]...`

Each goes to FOLDER/ARCHITECTURE: model.keras, model.h5, model.weights.h5 with model.json, and saved_model/.
"""

import os
import sys
from pathlib import Path

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}

import keras
from keras import Input, Model, layers

CLASSES = 3


def mlp():
    x = Input((4,), name="x")
    return Model(x, classified(layers.Dense(8, activation="relu")(x)))


def cnn():
    x = Input((8, 8, 1), name="x")
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))
    return Model(x, classified(layers.Flatten()(layers.MaxPooling2D(2)(y))))


def lstm():
    x = Input((6, 4), name="x")
    return Model(x, classified(layers.LSTM(8)(x)))


def gru():
    x = Input((6, 4), name="x")
    return Model(x, classified(layers.GRU(8)(x)))


def bidirectional():
    """Two layers, of which the first gives all its steps."""
    x = Input((6, 4), name="x")
    y = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    return Model(x, classified(layers.Bidirectional(layers.GRU(8))(y)))


def two_in_two_out():
    x, y = Input((4,), name="x"), Input((2,), name="y")
    total = layers.Dense(CLASSES)(x) + layers.Dense(CLASSES)(y)
    return Model({"x": x, "y": y}, {"total": total, "probability": layers.Softmax()(total)})


def embedding():
    ids = Input((6,), dtype="int32", name="ids")
    return Model(ids, classified(layers.GRU(8)(layers.Embedding(8, 4)(ids))))


def any_length():
    """A sequence of any length in, and one as long out."""
    x = Input((None, 4), name="x")
    return Model(x, layers.Dense(CLASSES)(layers.LSTM(8, return_sequences=True)(x)))


def classified(features):
    return layers.Dense(CLASSES, activation="softmax", name="probability")(features)


ARCHITECTURES = {
    make.__name__: make
    for make in (mlp, cnn, lstm, gru, bidirectional, two_in_two_out, embedding, any_length)
}


def save(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "model.weights.h5")
    (folder / "model.json").write_text(model.to_json())
    model.export(folder / "saved_model", verbose=False)


if __name__ == "__main__":
    target, *names = sys.argv[1:]
    for name in names or ARCHITECTURES:
        keras.utils.set_random_seed(0)
        save(ARCHITECTURES[name](), Path(target) / name)
