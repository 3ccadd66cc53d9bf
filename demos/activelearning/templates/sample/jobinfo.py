# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""New configurations, where the committee knows least."""

from __future__ import annotations

from pathlib import Path


def mock(committee: list[Path], size: int) -> list[Path]:
    """Choose configurations for which the models of the committee disagree."""
    return [Path(f"config{number:03d}.txt") for number in range(size)]
