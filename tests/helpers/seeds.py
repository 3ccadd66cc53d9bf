# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Seeds of random tests: one for the quick suite, the others for the whole one."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["seeds"]


def seeds(count: int) -> list[Any]:
    """Return so many seeds as parameters of a test; all but the first are slow."""
    return [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, count))]
