"""`tensorlet inspect`: what files and versions are said to be, and the picture of their graph."""

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from tensorlet.cli import main
from tensorlet.errors import InvalidRequest
from tensorlet.publish.inspection import read_graph
from tensorlet.publish.inspection.drawing import MAX_NODES, draw
from tensorlet.publish.inspection.graph import Graph, Node, Value

from tests import models

TFLITE = Path(__file__).parents[1] / "data" / "dynamic.tflite"


@pytest.fixture
def linear(tmp_path):
    path = tmp_path / "linear.onnx"
    path.write_bytes(models.linear())
    return path


def inspected(capsys, *arguments):
    assert main(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_onnx_file_is_read_as_the_onnx_package_reads_it(linear, capsys):
    found = inspected(capsys, linear)

    graph = onnx.load(linear).graph
    assert found["operators"] == {"Gemm": 1} and found["opset"] == {"ai.onnx": 18}
    assert found["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["batch", "4"]}]
    assert found["weights"] == len(graph.initializer) and found["size_bytes"] == linear.stat().st_size


def test_a_tflite_file_is_read_without_a_runtime(capsys):
    found = inspected(capsys, TFLITE)

    assert found["inputs"][0]["shape"] == ["?", "3"] and found["inputs"][0]["datatype"] == "FP32"
    assert sum(found["operators"].values()) > 0


@pytest.mark.slow
def test_a_version_is_said_with_its_artifacts_and_its_graph(linear, tmp_path, capsys):
    registry = f"file://{tmp_path / 'registry'}"
    assert main(["publish", str(linear), "--name", "linear", "--registry", registry]) == 0
    capsys.readouterr()

    found = inspected(capsys, "linear", "--registry", registry)

    assert (found["model"], found["version"]) == ("linear", 1)
    assert found["artifacts"][0]["files"][0]["path"] == "model.onnx" and found["operators"] == {"Gemm": 1}
    assert main(["inspect", "linear@1", "--registry", registry]) == 0
    assert "Gemm" in capsys.readouterr().out


def test_the_picture_is_svg_with_every_operator(linear, tmp_path, capsys):
    picture = tmp_path / "graph.svg"

    inspected(capsys, linear, "--graph", picture)

    texts = [element.text for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"image", "Gemm", "scores", "batch × 4"} <= set(texts)


def test_names_in_a_picture_are_text_and_no_markup():
    value = Value("<script>", "FP32", ())
    graph = Graph((Node("A&<b>", ("<script>",), ("y",)),), (value,), (), 0, {}, {})

    assert "<script>" not in draw(graph) and "A&amp;&lt;b&gt;" in draw(graph)


def test_a_graph_too_large_to_be_read_is_not_drawn():
    nodes = tuple(Node("Add", (f"{i}",), (f"{i + 1}",)) for i in range(MAX_NODES + 1))

    with pytest.raises(InvalidRequest, match="pictures are for up to"):
        draw(Graph(nodes, (), (), 0, {}, {}))


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(format, linear):
    original = linear.read_bytes() if format == "onnx" else TFLITE.read_bytes()
    chance = random.Random(0)
    for _ in range(300):
        content = bytearray(original)
        for _ in range(chance.choice([1, 3])):
            content[chance.randrange(len(content))] = chance.choice([0, 1, 0x7F, 0xFF])
        try:
            read_graph(format, bytes(content[: chance.choice([len(content), len(content) // 2])]))
        except InvalidRequest as error:
            assert format.upper()[:4] in str(error).upper()


def test_a_safetensors_header_that_lies_about_its_size_is_refused(tmp_path, capsys):
    path = tmp_path / "weights.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")

    assert main(["inspect", str(path)]) == 1
    assert "not a safetensors file" in capsys.readouterr().err
