# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page on engines: what it says one has to write works."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = pytest.mark.engines

PAGE = (ROOT / "docs" / "engines.md").read_text()
SNIPPETS = re.findall(r"^(?:<!-- not run.*-->\n\n)?```python\n.*?^```$", PAGE, re.DOTALL | re.MULTILINE)
TASKS, *OTHERS = [
    re.sub(r"^```\w*$", "", snippet, flags=re.MULTILINE) for snippet in SNIPPETS if "not run" not in snippet
]
MODULES = ("distributed", "executorlib", "loky", "mpi4py", "parsl")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def needed(snippet: str) -> list[str]:
    """Return the packages that a snippet uses."""
    return [name for name in MODULES if re.search(rf'\b{name}\b.* import |"{name}[":]', snippet)]


@pytest.mark.parametrize("snippet", OTHERS, ids=lambda snippet: ",".join(needed(snippet)))
def test_what_one_has_to_write(snippet: str, tmp_path: Path) -> None:
    """Each snippet, as a script after the tasks of the page, prints the right sum on each of its engines."""
    modules = needed(snippet)
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if "mpi4py" in modules and not shutil.which("mpirun"):
        missing.append("mpirun")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    path = tmp_path / "script.py"
    path.write_text(TASKS + snippet)
    command = [sys.executable, str(path)]
    if "mpi4py" in modules:
        command = ["mpirun", "-n", "3", "--oversubscribe", sys.executable, "-m", "mpi4py.futures", str(path)]
    environment = {**os.environ, **AS_ROOT, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"285"}
