"""The model card: complete for a version that has everything, whole for one that has nothing, and never a request."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from tensorlet.publish.card import as_image, card
from tensorlet.publish.charts import axis, grey, heat, line_chart, png
from tensorlet.publish.evaluation import Evaluation, save_evaluation
from tensorlet.publish.examples import Examples, choose, make_examples, window
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import publish_version

from tests.models import linear

HOSTILE = "<script>alert('x')</script>\"&"
FILE = {"path": "model.onnx", "size_bytes": 1000, "sha256": "ab" * 32}
BARE = {
    "model": "digits",
    "version": 7,
    "created": "2026-01-01T00:00:00Z",
    "signature": {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 28, 28]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 2]}],
    },
    "artifacts": [{"id": "onnx", "format": "onnx", "precision": "fp32", "files": [FILE]}],
    "default_artifact": "onnx",
}
METRICS = {
    "agreement": 1.0,
    "accuracy": 0.9,
    "max_abs_diff": 0.0,
    "rows": 9,
    "latency_ms": {"1": 0.5, "32": 2.0},
}
TEST = {
    "accuracy": 0.9,
    "loss": 0.3,
    "rows": 10,
    "per_class": [
        {"precision": 0.8, "recall": None, "rows": 5},
        {"precision": 1.0, "recall": 1.0, "rows": 5},
    ],
    "confusion": [[4, 1], [0, 5]],
    "calibration": [
        {"confidence": 0.6, "accuracy": 0.5, "rows": 4},
        {"confidence": 0.9, "accuracy": 1.0, "rows": 6},
    ],
}
POINT = {"training_loss": 0.5, "validation_loss": 0.6, "validation_accuracy": 0.8}
FULL = BARE | {
    "labels": ["cat", "dog"],
    "framework": {"name": "torch", "versions": {"torch": "2.13"}},
    "source": {"format": "state_dict", "file": "model.pth", "sha256": "cd" * 32},
    "derived_from": {"version": 6, "manifest_sha256": "ef" * 32},
    "training": {
        "knobs": {"arch": "cnn", "dataset": "digits"},
        "curve": [POINT, {**POINT, "training_loss": 0.4}],
        "metrics": {"test": TEST, "validation": TEST},
        "sparsity": 0.8,
        "versions": {},
        "data_digest": "sha256:00",
    },
    "artifacts": [
        {**BARE["artifacts"][0], "metrics": METRICS, "parity": {"max_abs_diff": 1e-7, "tolerance": 1e-4}},
        {
            "id": "onnx.int8", "format": "onnx", "precision": "int8", "metrics": METRICS,
            "variant": {"of": "onnx", "target": "int8-static"}, "files": [{**FILE, "path": "model.int8.onnx"}],
        },
    ],
}  # fmt: skip
EXAMPLES = Examples(
    "occlusion",
    np.random.default_rng(0).random((2, 28, 28)),
    np.array([[0.9, 0.1], [0.2, 0.8]]),
    np.random.default_rng(1).standard_normal((2, 28, 28)),
    np.array([0, 1]),
    np.array([0, 0]),
)
SECTIONS = (
    "Examples",
    "Quality",
    "Classes",
    "Variants",
    "Signature",
    "Call it",
    "Artifacts",
    "How it was made",
)


class Page(HTMLParser):
    """The tags and attributes of a page, and whether every tag that is opened is closed."""

    VOID = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag


def headings(text):
    return re.findall(r"<h2>([^<]*)</h2>", text)


def test_a_version_that_has_everything_shows_everything():
    page = card(FULL, EXAMPLES)

    assert headings(page) == list(SECTIONS)
    for shown in ("digits", "90.00%", "int8-static", "ab" * 32, "80.00%", "Derived from version 6", "is cat"):
        assert shown in page


def test_a_version_that_has_nothing_shows_what_it_is_and_how_to_call_it():
    page = card(BARE)

    assert headings(page) == ["Signature", "Call it", "Artifacts"]


@pytest.mark.parametrize("manifest", [BARE, FULL], ids=["bare", "full"])
def test_a_card_is_whole_and_asks_for_nothing_from_anywhere(manifest):
    text = card(manifest, EXAMPLES if manifest is FULL else None)
    page = Page(text)

    assert page.open == []
    assert "script" not in page.tags and "link" not in page.tags
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|https?://", text)


def hostile(value):
    """`value` with every text of it replaced by an attack, but what the card looks up by."""
    kept = {"FP32", "onnx", "tflite", *METRICS["latency_ms"]}
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) and value not in kept else value


def test_no_text_of_a_manifest_becomes_markup():
    page = card(hostile(FULL) | {"default_artifact": HOSTILE}, EXAMPLES)

    assert "<script" not in page and "alert('x')" not in page
    assert "script" not in Page(page).tags


def test_rows_to_show_are_right_ones_of_each_class_and_the_surest_mistakes():
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 1])
    answers = np.eye(3)[[0, 0, 1, 1, 2, 0, 1, 0]] * np.array([9, 9, 9, 9, 9, 5, 8, 7])[:, None]

    assert choose(answers, labels).tolist() == [0, 2, 4, 1, 3, 6, 7, 5]
    assert choose(answers[:3], None).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("shape", "size"), [((28, 28, 1), 1), ((784,), 1), ((64, 64), 2), ((4096,), 4), ((), 1)]
)
def test_a_large_row_is_explained_in_larger_parts(shape, size):
    assert window(shape) == size


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((28, 28), (28, 28)),
        ((28, 28, 1), (28, 28)),
        ((8, 8, 3), (8, 8)),
        ((784,), (28, 28)),
        ((10,), None),
        ((65,), None),
    ],
)
def test_a_row_is_a_picture_where_it_looks_like_one(shape, seen):
    image = as_image(np.zeros(shape))

    assert (None if image is None else image.shape) == seen


def test_a_picture_is_a_png_of_its_pixels():
    from struct import unpack
    from zlib import crc32, decompress

    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    data = png(pixels)

    assert data[:8] == b"\x89PNG\r\n\x1a\n" and unpack(">II", data[16:24]) == (3, 2)
    length = unpack(">I", data[33:37])[0]
    body = data[41 : 41 + length]
    assert crc32(data[37 : 41 + length]) == unpack(">I", data[41 + length : 45 + length])[0]
    assert decompress(body) == b"".join(b"\0" + row.tobytes() for row in pixels)


def test_what_speaks_for_an_answer_is_blue_and_what_speaks_against_it_red():
    colours = heat(np.zeros((1, 2)), np.array([[1.0, -1.0]]))

    assert colours[0, 0, 2] > colours[0, 0, 0] and colours[0, 1, 0] > colours[0, 1, 2]
    assert grey(np.array([[0.0, 2.0]])).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [0.001, 0.002], [3e9, 4e9], [-5, 5]])
def test_an_axis_covers_its_values_with_a_few_round_ticks(values):
    found = axis("x", values)

    assert found.low <= min(values) and found.high >= max(values)
    assert 2 <= len(found.ticks) <= 9


def test_a_line_of_one_name_is_escaped():
    assert "&lt;b&gt;" in line_chart({"<b>": [1.0, 2.0]}, "y", "x")


@pytest.mark.slow
def test_examples_come_from_the_artifact_that_will_be_served(tmp_path):
    (tmp_path / "model.onnx").write_bytes(linear(columns=64))
    rows = np.random.default_rng(0).standard_normal((20, 64)).astype(np.float32)
    save_evaluation(tmp_path / "evaluation.npz", Evaluation({"image": rows}, np.arange(20) % 3), {})
    files = {name: tmp_path / name for name in ("model.onnx", "evaluation.npz")}
    document = {
        "signature": {
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
        },
        "artifacts": [
            {"id": "onnx", "format": "onnx", "precision": "fp32", "files": [{"path": "model.onnx"}]}
        ],
        "default_artifact": "onnx",
    }

    examples = make_examples(document, files, tmp_path / "examples")

    assert examples.method == "occlusion"
    assert examples.rows.shape == examples.attributions.shape == (len(examples.labels), 64)
    assert (examples.answers.argmax(1) == examples.targets).all()


def test_the_card_of_a_version_tells_its_number_and_digests(tmp_path):
    (tmp_path / "model.onnx").write_bytes(linear())
    document = {key: BARE[key] for key in ("signature", "default_artifact")} | {
        "artifacts": [
            {"id": "onnx", "format": "onnx", "precision": "fp32", "files": [{"path": "model.onnx"}]}
        ]
    }

    def complete(manifest):
        (tmp_path / "card.html").write_text(card(manifest))
        return {"card.html": tmp_path / "card.html"}

    store = open_store(str(tmp_path / "registry"))
    publish_version(store, "digits", document, {"model.onnx": tmp_path / "model.onnx"}, complete=complete)

    manifest = Registry([store]).release("digits", 1).manifest
    page = bytes(store.get("digits/1/card.html").data).decode()
    assert "version 1" in page and manifest.artifact().files[0].sha256 in page
    assert [file["path"] for file in manifest.document["files"]] == ["card.html"]
    assert json.dumps(manifest.document)
