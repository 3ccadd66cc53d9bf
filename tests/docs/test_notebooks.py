# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The notebooks: each is executed in a real kernel, and shows what it is stored with."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def no_other_jupyter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep kernels and settings of the user's account out: the kernel is the one of this environment."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))


def shown(notebook: NotebookNode) -> list[dict[str, str]]:
    """Return for each code cell its texts by kind, without the names that the kernel gives to its cells."""
    return [texts(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]


def texts(outputs: list[NotebookNode]) -> dict[str, str]:
    """Return the texts of a cell's outputs by kind, in as many pieces as they came."""
    found: defaultdict[str, str] = defaultdict(str)
    for output in outputs:
        kind = output.get("name", output.output_type)
        found[kind] += output.get("text") or output.get("data", {}).get("text/plain", "")
    return {kind: re.sub(r"\S*/ipykernel_\d+/\d+\.py", "<cell>", text) for kind, text in found.items()}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_what_it_is_stored_with(path: Path, tmp_path: Path) -> None:
    """Every cell runs, from top to bottom, and its output is the stored one."""
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    fresh = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(fresh, timeout=240, kernel_name="python3", resources=resources).execute()
    assert shown(fresh) == shown(stored)


def test_first_steps_are_there() -> None:
    """The notebook that the README sends newcomers to exists."""
    assert "first_steps" in {path.stem for path in NOTEBOOKS}
