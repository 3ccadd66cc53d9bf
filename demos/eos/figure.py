# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The figure of the demo: one panel for each metal, and the bulk moduli beside experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from eos import Curve, Row
    from matplotlib.axes import Axes

# Paul Tol's "bright" scheme, which colour-blind readers can tell apart; its yellow is darkened for white paper.
COLOURS = ("#4477aa", "#66ccee", "#228833", "#bbaa22", "#ee6677", "#aa3377", "#cc6622")
GREY = "0.83"
TEXT = "0.25"
LABEL_SIDES = {"Al": (True, True), "Ni": (True, False), "Au": (False, False)}
"""Whether a metal's name stands right of and above its point, where left and above would cover another."""


def draw(curves: dict[str, Curve], rows: list[Row]) -> Figure:
    """Draw energy above the minimum [meV/atom] against volume relative to the minimum's, and the bulk moduli [GPa]."""
    figure = Figure(figsize=(10, 5.4), dpi=160, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.1)
    *panels, last = figure.subplots(2, 4).flat
    for panel, row, colour in zip(panels, rows, COLOURS, strict=True):
        for curve in curves.values():
            draw_line(panel, curve, GREY, 0.9)
        draw_metal(panel, curves[row.metal], row, colour)
    for panel in panels[::4]:
        panel.set_ylabel("energy $E - E_0$  [meV/atom]")
    for panel in panels[3:]:
        panel.set_xlabel("volume $V / V_0$")
    draw_moduli(last, rows)
    title = "Equation of state of fcc metals: EMT energies, Birch-Murnaghan curves, experimental volume (▲)"
    figure.suptitle(title, x=0.01, ha="left", size=12)
    return figure


def draw_line(axes: Axes, curve: Curve, colour: str, width: float) -> None:
    """Draw the fitted curve."""
    grid = np.linspace(curve.volumes.min(), curve.volumes.max(), 200)
    axes.plot(grid / curve.volume, 1000 * (curve(grid) - curve.energy), color=colour, lw=width)


def draw_metal(axes: Axes, curve: Curve, row: Row, colour: str) -> None:
    """Draw curve and points of the panel's metal, with a tick at the experimental volume."""
    draw_line(axes, curve, colour, 1.6)
    points = 1000 * (curve.energies - curve.energy)
    axes.plot(curve.volumes / curve.volume, points, "o", color=colour, ms=4.2, mec="white", mew=0.5)
    axes.plot(row.a_experiment**3 / 4 / curve.volume, -9, "^", color=TEXT, ms=5)
    numbers = f"a = {row.a:.3f} Å\nB = {row.bulk_modulus:.0f} GPa"
    axes.set_title(row.metal, color=colour, size=17, weight="bold", y=0.97, va="top", pad=0)
    axes.text(0.5, 0.81, numbers, color=TEXT, size=9, linespacing=1.4, ha="center", va="top", transform=axes.transAxes)
    axes.set(xlim=(0.885, 1.115), ylim=(-18, 180), xticks=(0.9, 1, 1.1), yticks=range(0, 151, 50))
    tidy(axes)


def draw_moduli(axes: Axes, rows: list[Row]) -> None:
    """Draw computed against experimental bulk moduli."""
    axes.plot((0, 320), (0, 320), color=GREY, lw=1, zorder=0)
    for row, colour in zip(rows, COLOURS, strict=True):
        axes.plot(row.bulk_modulus_experiment, row.bulk_modulus, "o", color=colour, ms=6, mec="white", mew=0.6)
        right, up = LABEL_SIDES.get(row.metal, (False, True))
        axes.annotate(
            row.metal,
            (row.bulk_modulus_experiment, row.bulk_modulus),
            xytext=(4 if right else -4, 3 if up else -3),
            textcoords="offset points",
            ha="left" if right else "right",
            va="bottom" if up else "top",
            color=colour,
            size=9,
        )
    axes.set(xlim=(0, 320), ylim=(0, 320), xlabel="experiment  [GPa]", ylabel="EMT  [GPa]", xticks=range(0, 301, 100))
    axes.set_yticks(range(0, 301, 100))
    axes.text(0.03, 0.96, "bulk modulus", color=TEXT, size=11, weight="bold", va="top", transform=axes.transAxes)
    tidy(axes)


def tidy(axes: Axes) -> None:
    """Take away what is not read."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=TEXT, labelsize=8)
