"""Attributions have the properties their methods promise, on models whose answers are known in full."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorlet.errors import InvalidRequest, PayloadTooLarge
from tensorlet.publish.converters.gradient import differentiate
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import publish_version
from tensorlet.runtimes import load_session
from tensorlet.serving.explain import Options, explain, part_count, quadrature, split
from tensorlet.signature import TensorSpec
from tensorlet.tensors import Tensor

from tests.models import half_plus, identity, linear, linear_weights, publish_onnx, publish_precisions

COLUMNS, CLASSES = 6, 3
COMPLETE = ("shap", "integrated_gradients")
ALL = ("occlusion", *COMPLETE)


def network(ignored: int = 2) -> bytes:
    """Two layers with a tanh and a softmax; the column `ignored` moves nothing, and columns work together."""
    random = np.random.default_rng(3)
    first = random.standard_normal((COLUMNS, 8)).astype(np.float32)
    first[ignored] = 0
    second = random.standard_normal((8, CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "second"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def publish_explained(store, name, model, **document):
    """A version with the gradient graph that publishing makes."""
    source = onnx.load_from_string(model)
    output = source.graph.output[0].name
    gradient = differentiate(source, output)
    inputs = [value.name.removeprefix("gradient:") for value in gradient.graph.output]
    manifest = {
        "signature": load_session("onnx", model).signature.to_json(),
        "artifacts": [
            {"id": "onnx", "format": "onnx", "precision": "fp32", "files": [{"path": "model.onnx"}]}
        ],
        "default_artifact": "onnx",
        "explain": {"format": "onnx", "file": "explain.onnx", "inputs": inputs, "output": output},
        **document,
    }
    with TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("model.onnx", "explain.onnx")}
        files["model.onnx"].write_bytes(model)
        files["explain.onnx"].write_bytes(gradient.SerializeToString())
        return publish_version(store, name, manifest, files)


@pytest.fixture
def net(store, service):
    publish_explained(store, "net", network())
    return service.model("net")


def rows(count=4, seed=0, columns=COLUMNS):
    return np.random.default_rng(seed).standard_normal((count, columns)).astype(np.float32)


def explained(service, loaded, x, limit=1 << 20, **options):
    name = loaded.signature.inputs[0].name
    return explain(loaded, service.gradient, {name: Tensor.from_numpy(x)}, Options(**options), limit)


@pytest.mark.parametrize("method", ALL)
def test_a_linear_model_is_explained_by_its_weights(store, service, method):
    publish_explained(store, "linear", linear())
    matrix, _ = linear_weights(4, 3)
    x = rows(columns=4)

    found = explained(service, service.model("linear"), x, method=method, target=1)

    np.testing.assert_allclose(found.attributions["image"], x * matrix[:, 1], atol=1e-5)


@pytest.mark.parametrize("method", COMPLETE)
def test_attributions_sum_to_what_the_answer_gained(service, net, method):
    found = explained(service, net, rows(), method=method, baseline=0.25)

    np.testing.assert_allclose(found.delta, 0, atol=1e-5)
    assert np.abs(found.value - found.base_value).max() > 0.1


@pytest.mark.parametrize("method", ALL)
def test_an_input_that_the_model_ignores_gets_nothing(service, net, method):
    found = explained(service, net, rows(), method=method)

    assert not found.attributions["x"][:, 2].any()
    assert found.attributions["x"][:, [0, 1, 3, 4, 5]].any(axis=1).all()


def test_many_orders_come_near_to_the_exact_shapley_values(service, net):
    x = rows(1)
    exact = np.zeros(COLUMNS)
    from itertools import permutations

    orders = list(permutations(range(COLUMNS)))
    states = np.array([[(mask >> column) & 1 for column in range(COLUMNS)] for mask in range(2**COLUMNS)])
    answers = net.infer({"x": Tensor.from_numpy((states * x).astype(np.float32))})["y"].numpy()
    target = answers[-1].argmax()
    for order in orders:
        mask = 0
        for column in order:
            exact[column] += answers[mask | 1 << column, target] - answers[mask, target]
            mask |= 1 << column

    found = explained(service, net, x, method="shap", samples=400)

    np.testing.assert_allclose(found.attributions["x"][0], exact / len(orders), atol=0.02)


@pytest.mark.parametrize("points", [1, 2, 7, 50, 200])
def test_the_quadrature_is_that_of_gauss_and_legendre(points):
    nodes, weights = np.polynomial.legendre.leggauss(points)

    places, found = quadrature(points)

    np.testing.assert_allclose(places, (nodes + 1) / 2, atol=1e-12)
    np.testing.assert_allclose(found, weights / 2, atol=1e-12)


def test_explaining_needs_no_part_of_numpy_that_the_layer_leaves_out(tmp_path):
    """layers/runtime/build.py removes them."""
    publish_explained(open_store(str(tmp_path)), "net", network())
    code = """
import sys
for name in ("fft", "polynomial", "random", "testing"):
    sys.modules[f"numpy.{name}"] = None
import numpy as np
from tensorlet.serving.explain import METHODS, Options, explain
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings
from tensorlet.tensors import Tensor
service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": sys.argv[1]}))
for method in METHODS:
    explain(service.model("net"), service.gradient, {"x": Tensor.from_numpy(np.ones((2, 6), np.float32))},
            Options(method=method), 1 << 16)
"""

    done = subprocess.run([sys.executable, "-c", code, f"file://{tmp_path}"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ALL)
def test_a_row_is_explained_alike_alone_and_among_others(service, net, method):
    x = rows(5)

    together = explained(service, net, x, method=method).attributions["x"]
    alone = explained(service, net, x[3:4], method=method).attributions["x"]

    np.testing.assert_allclose(together[3], alone[0], atol=1e-6)


def test_a_seed_gives_the_same_orders_every_time(service, net):
    first, again, other = (
        explained(service, net, rows(), method="shap", samples=2, seed=seed).attributions["x"]
        for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_each_row_is_explained_for_its_own_class_unless_one_is_named(service, store):
    publish_explained(store, "net", network(), labels=["ant", "bee", "cat"])
    loaded = service.model("net")
    x = rows(8)
    answers = loaded.infer({"x": Tensor.from_numpy(x)})["y"].numpy()

    own = explained(service, loaded, x)
    named = explained(service, loaded, x, target="bee")

    assert own.target.tolist() == answers.argmax(1).tolist()
    assert named.target.tolist() == [1] * 8
    np.testing.assert_allclose(named.value, answers[:, 1], atol=1e-6)


def test_gradients_are_the_default_where_the_version_has_them(service, store, net):
    publish_onnx(store, "plain", network())

    assert explained(service, net, rows()).method == "integrated_gradients"
    assert explained(service, service.model("plain"), rows()).method == "occlusion"


def test_gradients_are_of_the_float_model_alone(service, store):
    publish_precisions(store, "small", {"fp32": network(), "int8": network()})

    with pytest.raises(InvalidRequest, match="has no gradients of output 'y' in int8"):
        explained(service, service.model("small", precision="int8"), rows(), method="integrated_gradients")


@pytest.mark.parametrize(
    ("shape", "window", "parts", "largest"),
    [
        ((10,), 1, 10, 1),
        ((10,), 4, 3, 4),
        ((5, 5), 2, 9, 4),
        ((4, 4, 3), 2, 4, 12),
        ((), 1, 1, 1),
        ((0,), 1, 0, 0),
        ((3, 3, 0), 1, 0, 0),
    ],
)
def test_parts_cover_every_element_once(shape, window, parts, largest):
    found = split(TensorSpec("x", "FP32", (-1, *shape)), shape, window)

    assert len(found) == part_count(shape, window) == parts
    assert max((len(part.places) for part in found), default=0) == largest
    places = np.concatenate([part.places for part in found]) if found else np.zeros(0)
    assert sorted(places) == list(range(int(np.prod(shape))))


def test_a_window_shares_its_effect_evenly(service, net):
    found = explained(service, net, rows(), method="occlusion", window=3).attributions["x"]

    np.testing.assert_allclose(found[:, :3], found[:, :1].repeat(3, axis=1))


def test_too_much_work_is_refused_before_it_begins(service, net):
    with pytest.raises(PayloadTooLarge, match="at most 20 evaluations of the model, this takes 32"):
        explained(service, net, rows(4), method="occlusion", limit=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "z"}, "output: expected one of y, got 'z'"),
        ({"target": 3}, "target: expected a class from 0 to 2, got '3'"),
        ({"target": "owl"}, "target: expected a class from 0 to 2, got 'owl'"),
    ],
)
def test_what_the_model_does_not_have_cannot_be_explained(service, net, options, message):
    with pytest.raises(InvalidRequest, match=message):
        explained(service, net, rows(), **options)


def test_a_model_of_one_number_is_explained_too(service, store):
    publish_onnx(store, "half", half_plus(2.0))

    found = explained(service, service.model("half"), np.array([2.0, 4.0], np.float32))

    assert found.attributions["x"].tolist() == [1.0, 2.0]
    assert found.base_value.tolist() == [2.0, 2.0]


def test_a_model_without_batches_says_so(service, store):
    publish_onnx(store, "three", identity({"x": ("FP32", [3])}))

    with pytest.raises(InvalidRequest, match="takes batches of any size"):
        explained(service, service.model("three"), np.ones(3, np.float32))


def test_too_much_work_takes_no_memory_before_it_is_refused(service, store):
    """Parts and orders of 4 MB of input would take gigabytes."""
    publish_onnx(store, "wide", identity({"x": ("FP32", ["batch", "columns"])}))
    loaded = service.model("wide")
    x = np.zeros((1, 1 << 20), np.float32)

    tracemalloc.start()
    for options in ({"method": "occlusion"}, {"method": "shap", "samples": 4096}):
        with pytest.raises(PayloadTooLarge):
            explained(service, loaded, x, limit=1 << 16, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 100 << 20


def test_no_rows_of_any_width_take_no_memory(service, store):
    publish_onnx(store, "wide", identity({"x": ("FP32", ["batch", "columns"])}))

    found = explained(service, service.model("wide"), np.zeros((0, 1 << 30), np.float32), method="shap")

    assert found.attributions["x"].shape == (0, 1 << 30)


def test_no_rows_give_no_attributions(service, net):
    assert explained(service, net, rows(0), method="occlusion").attributions["x"].shape == (0, COLUMNS)
