# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Curves of growth as pictures: both axes logarithmic, so that a power law is a straight line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .curves import Curve, fit
from .points import SYSTEMS

__all__ = ["plot"]

STYLES: dict[str, dict[str, Any]] = {
    "parman-threads": {"color": "#0072b2", "marker": "o"},
    "parman-processes": {"color": "#d55e00", "marker": "s"},
    "hand-threads": {"color": "#0072b2", "marker": "o", "markerfacecolor": "white", "alpha": 0.6},
    "hand-processes": {"color": "#d55e00", "marker": "s", "markerfacecolor": "white", "alpha": 0.6},
}
"""Colours that the colour-blind can tell apart; what is written by hand is hollow."""


def plot(curve: Curve, systems: dict[str, Any], path: Path) -> None:
    """Draw time, and memory where it was asked for, with fitted lines whose slopes the legend tells."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [("s", "time [s]")] + ([("B", "peak memory of the script [B]")] if curve.memory else [])
    settings: Any = {
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 10,
        "grid.color": "#e4e4e4",
        "legend.fontsize": 9,
    }
    with plt.rc_context(settings):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(6.2 * len(panels), 4.6), squeeze=False, layout="constrained", dpi=130
        )
        for axis, (unit, label) in zip(axes[0], panels, strict=True):
            axis.set(xscale="log", yscale="log", xlabel=curve.axis, ylabel=label)
            for name, measured in systems.items():
                _draw(axis, name, {size: found[unit] for size, found in measured["points"].items() if unit in found})
            if axis.get_legend_handles_labels()[1]:
                axis.legend(frameon=False, title="slope of the last two decades", alignment="left")
        figure.suptitle(curve.title)
        figure.savefig(path)
        plt.close(figure)


def _draw(axis: Any, name: str, points: dict[int, float]) -> None:
    """Draw points, and the line that was fitted to the last of them."""
    if not points:
        return
    style, line = STYLES[name], fit(points)
    dashes = {"color": style["color"], "lw": 1.3, "ls": "--" if "hand" in name else "-", "alpha": 0.7}
    axis.plot(*zip(*points.items(), strict=True), ls="none", ms=5.5, **style)
    if line:
        ends = [line.least, line.most]
        axis.plot(ends, [line.factor * end**line.slope for end in ends], **dashes)
    slope = f"{line.slope:.2f}" if line else "too few points"
    axis.plot([], [], label=f"{SYSTEMS[name].label}: {slope}", ms=5.5, **{**dashes, **style})
