"""A slice of the matrix: one cell of each framework, and the cells that need none."""

import pytest

from tests.matrix.__main__ import tables
from tests.matrix.cells import ARCHITECTURES, SOURCES, make_models, run_cell


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("matrix")


@pytest.mark.training
@pytest.mark.parametrize(
    ("framework", "source", "architecture", "refused"),
    [
        ("keras", ".weights.h5", "gru", ()),
        ("torch", ".pt2", "two_in_two_out", ()),
        ("torch", "TorchScript", "any_length", ("tflite",)),
    ],
)
def test_a_cell_answers_like_its_source_or_says_why_not(folder, framework, source, architecture, refused):
    make_models(folder, [framework], [architecture])

    for target, cell in run_cell(folder, source, architecture).items():
        if target in refused:
            assert "nothing converts TorchScript" in cell.reason
        else:
            assert cell.max_abs_diff is not None and cell.max_abs_diff <= 1e-5, cell.reason


def test_the_table_has_a_number_or_a_numbered_reason_in_every_cell():
    results = {
        f"{source}/{name}": {"onnx": [1e-7, ""], "tflite": [None, "cannot be"]}
        for source in SOURCES
        for name in ARCHITECTURES
    }

    text = tables(results)

    assert text.count("1e-07") == text.count("no (1)") == len(SOURCES) * len(ARCHITECTURES)
    assert text.count("cannot be") == 1
