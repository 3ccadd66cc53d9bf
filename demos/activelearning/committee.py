# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a committee of models says; shared with the template `sample` by a link."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def predict(models: Sequence[str | Path], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energies that the models predict, a row for each model."""
    return np.array([_predict(json.loads(Path(path).read_text()), points) for path in models])


def _predict(model: dict[str, Any], points: NDArray[np.float64]) -> NDArray[np.float64]:
    waves = np.cos(points @ np.array(model["frequencies"]) + np.array(model["phases"]))
    energies: NDArray[np.float64] = waves @ np.array(model["weights"]) + model["mean"]
    return energies
