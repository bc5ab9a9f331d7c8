"""Every notebook runs from top to bottom on a CPU, and is kept without its output."""

import os
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# They train, and compile everything twice.
SLOW = ("3_train_with_grpo",)


def _read(path):
    import nbformat

    return nbformat.read(path, as_version=4)


def _run(path):
    return pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])


def test_there_are_four_notebooks_numbered_in_the_order_of_reading():
    assert [path.stem.split("_")[0] for path in NOTEBOOKS] == ["1", "2", "3", "4"]
    assert set(SLOW) < {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", [_run(path) for path in NOTEBOOKS])
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path):
    import nbclient

    # As a reader has it: the one CPU device, and not the eight of the tests.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    client = nbclient.NotebookClient(_read(path), timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute(env={**environment, "JAX_PLATFORMS": "cpu"})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_output(path):
    cells = [cell for cell in _read(path).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
