"""LiteRT behind the interface; the files with real models are made by tests/data/generate_tflite.py.

Both ways into the runtime are held to the same tests: its C library, and its Python API.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorlet.errors import ArtifactRefused
from tensorlet.runtimes import load_session, tflite_c, tflite_python
from tensorlet.runtimes.tflite import TFLiteSession, batches
from tensorlet.signature import Signature, TensorSpec
from tensorlet.tensors import Tensor


@pytest.fixture(params=["c", "python"])
def open_session(request, monkeypatch):
    used = []
    original = {"c": tflite_c.open_graphs, "python": tflite_python.open_graphs}[request.param]
    module = {"c": tflite_c, "python": tflite_python}[request.param]
    if request.param == "python":
        monkeypatch.setattr(tflite_c, "open_graphs", lambda model: [])

    def spy(*arguments):
        graphs = original(*arguments)
        used.extend(graphs)
        return graphs

    monkeypatch.setattr(module, "open_graphs", spy)
    yield lambda model, signature=None: TFLiteSession(model, signature, 1)
    assert used, "the other way into the runtime was taken"


DATA = Path(__file__).parents[1] / "data"


def model(name: str) -> bytes:
    return (DATA / f"{name}.tflite").read_bytes()


def doubled(session, rows: int) -> None:
    """The test models compute y = 2 x + 1 on rows of 3."""
    x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)

    y = session.infer({"x": Tensor.from_numpy(x)})["y"].numpy()

    np.testing.assert_allclose(y, 2 * x + 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["dynamic", "batch1", "signatures"])
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 9, 33])
def test_any_batch_is_answered_whatever_the_file_has(open_session, name, rows):
    signature = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (-1, 3)),))

    doubled(open_session(model(name), signature), rows)


def test_several_batch_sizes_are_one_signature_for_the_caller(open_session):
    assert open_session(model("signatures")).signature == Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 3)),), outputs=(TensorSpec("y", "FP32", (-1, 3)),)
    )


def test_interpreters_are_guarded_against_threads(open_session):
    session = open_session(model("dynamic"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda rows: doubled(session, rows % 5 + 1), range(400)))


@pytest.mark.parametrize(
    "damage", [b"", b"not a model", model("dynamic")[:60]], ids=["empty", "text", "cut short"]
)
def test_a_file_that_is_no_model_is_refused(damage):
    with pytest.raises(ArtifactRefused, match="LiteRT cannot open the model"):
        load_session("tflite", damage)


@given(rows=st.integers(1, 500), sizes=st.sets(st.integers(1, 40), min_size=1).map(sorted))
def test_pieces_cover_all_rows_once_and_only_the_last_is_padded(rows, sizes):
    pieces = list(batches(rows, sizes))

    assert [start for start, _ in pieces] == [sum(size for _, size in pieces[:i]) for i in range(len(pieces))]
    assert all(size in sizes for _, size in pieces)
    assert sum(size for _, size in pieces[:-1]) < rows <= sum(size for _, size in pieces)


@pytest.mark.parametrize("rows", [1, 8, 3])
def test_a_graph_that_computes_its_output_shape_is_left_to_the_python_api(rows):
    """LiteRT's C library reports such shapes one run too late, and writes past buffers made for them."""
    assert tflite_c.open_graphs(model("computed_shape")) == []
    doubled(TFLiteSession(model("computed_shape"), None, 1), rows)
