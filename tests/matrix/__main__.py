"""Run the matrix and write its tables into docs/models.md: `make matrix`.

Results are kept in FOLDER (default build/matrix), so that a run that was stopped goes on where it was.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.matrix.cells import ARCHITECTURES, ROOT, SOURCES, TARGETS, Cell, make_models, run_cell

PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- matrix: written by `make matrix` -->", "<!-- end of matrix -->"
TITLES = {"onnx": "To ONNX", "tflite": "To TFLite"}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "cells.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    if not (folder / "torch").exists():
        make_models(folder)

    def run(source, architecture):
        key = f"{source}/{architecture}"
        if key not in results:
            results[key] = run_cell(folder, source, architecture)
            kept.write_text(json.dumps(dict(results)))
            print(key, results[key], flush=True)

    with ThreadPoolExecutor(2) as pool:
        for running in [pool.submit(run, source, name) for source in SOURCES for name in ARCHITECTURES]:
            running.result()
    write_page(results)


def write_page(results):
    """Replace the tables between the two marks of docs/models.md."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{tables(results)}\n{END}{rest.partition(END)[2]}")


def tables(results):
    """One table for each target, and the reasons of the cells that were refused as notes under both."""
    notes = []
    parts = []
    for target in TARGETS:
        head = [
            "",
            f"**{TITLES[target]}**",
            "",
            f"| | {' | '.join(name.replace('_', ' ') for name in ARCHITECTURES)} |",
            f"|---|{'---|' * len(ARCHITECTURES)}",
        ]
        rows = []
        for source in SOURCES:
            found = [_text(results.get(f"{source}/{name}"), target, notes) for name in ARCHITECTURES]
            rows.append(f"| {source} | {' | '.join(found)} |")
        parts += head + rows
    return "\n".join([*parts, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1)), ""])


def _text(cells, target, notes):
    if cells is None:
        return "not run"
    cell = Cell(*cells[target])
    if cell.max_abs_diff is not None:
        return f"{cell.max_abs_diff:.0e}"
    if cell.reason not in notes:
        notes.append(cell.reason)
    return f"no ({notes.index(cell.reason) + 1})"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "build" / "matrix")
