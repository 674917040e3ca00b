"""Data for training: formats, splits and layouts. Needs no framework."""

import gzip
import struct

import numpy as np
import pytest
from tensorlet.errors import InvalidSetting

from training.data import as_input, jitter, load_dataset, read_idx
from training.evaluation import evaluate


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def own_data(tmp_path):
    """100 images for training and 20 for the test, each image filled with its own number."""
    numbers = np.arange(120, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None], (120, 8, 6))
    labels = numbers % 4
    path = tmp_path / "own.npz"
    np.savez(path, x_train=images[:100], y_train=labels[:100], x_test=images[100:], y_test=labels[100:])
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_idx_file_is_read_as_it_was_written(tmp_path, packed):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))

    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\x0d\x01\0\0\0\1\0\0\0\0", id="floats"),
        pytest.param(idx(np.zeros(3, np.uint8))[:-1], id="cut off"),
        pytest.param(b"\0\0\x08\x03\0\0", id="header cut off"),
    ],
)
def test_a_broken_idx_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "labels"
    path.write_bytes(content)

    with pytest.raises(InvalidSetting, match="labels"):
        read_idx(path)


def test_mnist_is_read_from_four_idx_files(tmp_path):
    random = np.random.default_rng(0)
    for part, rows in (("train", 50), ("t10k", 10)):
        images = random.integers(0, 256, (rows, 28, 28), np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        labels = np.arange(rows, dtype=np.uint8) % 10
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))

    data = load_dataset("mnist", tmp_path)

    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [45, 5, 10]
    assert data.image_shape == (28, 28) and data.classes == 10
    assert data.train.images.dtype == np.float32 and 0.9 < data.train.images.max() <= 1


def test_a_missing_mnist_file_is_named(tmp_path):
    with pytest.raises(InvalidSetting, match="train-images-idx3-ubyte"):
        load_dataset("mnist", tmp_path)


def test_the_three_parts_share_no_image(own_data):
    data = load_dataset(str(own_data))

    parts = [
        set((part.images[:, 0, 0] * 255).round().astype(int))
        for part in (data.train, data.validation, data.test)
    ]
    assert [len(part) for part in parts] == [90, 10, 20]
    assert set.union(*parts) == set(range(120))
    assert parts[2] == set(range(100, 120))


def test_images_keep_their_labels(own_data):
    data = load_dataset(str(own_data))

    for part in (data.train, data.validation, data.test):
        np.testing.assert_array_equal((part.images[:, 0, 0] * 255).round().astype(int) % 4, part.labels)


def test_the_digest_follows_the_data(own_data, tmp_path):
    digest = load_dataset(str(own_data)).digest
    with np.load(own_data) as arrays:
        changed = {name: arrays[name].copy() for name in arrays.files}
    np.savez(tmp_path / "same.npz", **changed)
    changed["x_train"][0, 0, 0] += 1
    np.savez(tmp_path / "changed.npz", **changed)

    assert load_dataset(str(tmp_path / "same.npz")).digest == digest
    assert load_dataset(str(tmp_path / "changed.npz")).digest != digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"x_train": np.zeros((100, 5))}, "expected images", id="images of no shape"),
        pytest.param({"y_train": np.zeros(99, int)}, "expected 100 labels", id="labels missing"),
        pytest.param({"y_test": np.zeros(20)}, "whole numbers", id="labels not whole"),
        pytest.param({"y_test": np.full(20, -1)}, "from 0", id="labels below zero"),
        pytest.param({"x_test": np.zeros((20, 9, 9))}, "one size", id="two sizes"),
        pytest.param({"x_train": np.array([{}] * 100)}, "x_train", id="pickled objects"),
    ],
)
def test_own_data_that_is_not_images_and_labels_is_refused(own_data, tmp_path, change, message):
    with np.load(own_data) as arrays:
        np.savez(tmp_path / "bad.npz", **{**{name: arrays[name] for name in arrays.files}, **change})

    with pytest.raises(InvalidSetting, match=message):
        load_dataset(str(tmp_path / "bad.npz"))


@pytest.mark.parametrize(("arch", "shape"), [("mlp", (2, 48)), ("cnn", (2, 8, 6, 1)), ("lstm", (2, 8, 6))])
def test_every_architecture_has_its_layout(arch, shape):
    images = np.arange(96, dtype=np.float32).reshape(2, 8, 6)

    laid_out = as_input(images, arch)

    assert laid_out.shape == shape
    np.testing.assert_array_equal(laid_out.ravel(), images.ravel())


def test_jitter_moves_every_image_by_at_most_one_pixel_and_loses_no_ink_inside():
    images = np.zeros((200, 5, 5), np.float32)
    images[:, 2, 2] = 1

    moved = jitter(images, np.random.default_rng(0))

    assert (moved.sum(axis=(1, 2)) == 1).all()
    assert (moved[:, 1:4, 1:4].sum(axis=(1, 2)) == 1).all()
    assert len(np.unique(moved, axis=0)) == 9


def test_metrics_count_what_was_confused():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]], np.float32)

    metrics = evaluate(probabilities, np.array([0, 1, 1]))

    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert metrics["per_class"][1] == {"precision": 1.0, "recall": 0.5, "rows": 2}
    assert metrics["per_class"][2] == {"precision": None, "recall": None, "rows": 0}
