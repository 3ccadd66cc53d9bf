# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One plan after another: its script is written and judged; one that fails is made smaller, and kept."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from .judging import differences
from .plans import Plan, simpler
from .writing import script

__all__ = ["KEPT", "examine"]

KEPT = Path("oracle-failures")
"""Where scripts that failed are kept, below the directory in which the oracle runs."""


def examine(plan: Plan, name: str, patience: float = 60) -> str | None:
    """Judge the script of a plan.

    Parameters
    ----------
    plan
        The plan.
    name
        What the script is called, if it is kept.
    patience
        How long a smaller script that fails as well is looked for [s].

    Returns
    -------
    None if all is well; else what is wrong, with the smallest script that was found, and how to run it.
    """
    with tempfile.TemporaryDirectory(prefix="oracle-") as folder:
        path = Path(folder) / f"{name}.py"
        found = _judge(plan, path)
        if not found:
            return None
        kept = _keep(path, f"{name}_whole.py")
        smallest, found = _smallest(plan, found, path, time.monotonic() + patience)
        path.write_text(script(smallest))
        kept = _keep(path, f"{name}.py")
    said = "\n".join(f"  {text}" for text in found[:12])
    body = script(smallest).partition("\ndef left_behind")[2].partition("\n\n\n")[2]
    return f"{said}\n\nThe script, without what all have in common:\n\n{body}\nTo run it: python -m tests.oracle {kept}"


def _judge(plan: Plan, path: Path, runners: list[str] | None = None) -> list[str]:
    path.write_text(script(plan))
    return differences(path, runners)


def _keep(path: Path, name: str) -> Path:
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / name
    kept.write_text(path.read_text())
    return kept


def _smallest(plan: Plan, found: list[str], path: Path, end: float) -> tuple[Plan, list[str]]:
    """Look for a smaller plan that fails on a runner on which this one has failed."""
    failed = [runner for runner in plan.runners if any(text.startswith(f"{runner}: ") for text in found)]
    improved = bool(failed)
    while improved:
        improved = False
        for smaller in simpler(plan):
            if time.monotonic() > end:
                return plan, found
            if smaller.waves and (still := _judge(smaller, path, failed)) and not still[0].startswith("plain: "):
                plan, found, improved = smaller, still, True
                break
    return plan, found
