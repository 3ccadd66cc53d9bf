# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Equation of state of seven fcc metals: lattice constant and bulk modulus beside experiment.

Read it as a serial script: without `@task` and `with workflow(...)` it does the same, one call after the other.
README.md in this directory tells the physics and the sources.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from figure import draw
from numpy.typing import NDArray

from parman import Length, Runner, resolve, task, workflow

METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
POINTS = 17
SMALLEST, LARGEST = 0.90, 1.06
"""The range of volumes, relative to that of ASE's reference cell."""

EXPERIMENT = {
    "Al": (16.269, 77.136),
    "Ni": (10.808, 192.458),
    "Cu": (11.647, 144.279),
    "Pd": (14.565, 187.194),
    "Ag": (16.850, 105.707),
    "Pt": (15.022, 285.512),
    "Au": (16.822, 182.005),
}
"""Volume [angstrom^3/atom] and bulk modulus [GPa], with zero-point and thermal effects taken out.

Source: K. Lejaeghere et al., Crit. Rev. Solid State Mater. Sci. 39, 1 (2014), doi:10.1080/10408436.2013.772503.
"""


@dataclass(frozen=True)
class Curve:
    """A third-order Birch-Murnaghan curve through the energies of one metal.

    Attributes
    ----------
    volumes, energies
        The points [angstrom^3/atom], [eV/atom].
    volume, energy
        The minimum [angstrom^3/atom], [eV/atom].
    bulk_modulus
        At the minimum [eV/angstrom^3].
    coefficients
        Of the powers 3, 2, 1, 0 of x = (V / V_mean)^(-2/3) - 1 [eV/atom].
    """

    volumes: NDArray[np.float64]
    energies: NDArray[np.float64]
    volume: float
    energy: float
    bulk_modulus: float
    coefficients: NDArray[np.float64]

    def __call__(self, volumes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the energies [eV/atom] on the curve."""
        x = (volumes / self.volumes.mean()) ** (-2 / 3) - 1
        return np.polyval(self.coefficients, x)


class Row(NamedTuple):
    """One line of the table: lattice constants [angstrom] and bulk moduli [GPa]."""

    metal: str
    a: float
    a_experiment: float
    bulk_modulus: float
    bulk_modulus_experiment: float


@task
def scale(metal: str, count: int) -> Annotated[list[Atoms], Length("count")]:
    """Make cubic cells of a metal over the range of volumes."""
    cells = []
    for volume in np.linspace(SMALLEST, LARGEST, count):
        cell = bulk(metal, cubic=True)
        cell.set_cell(cell.cell * np.cbrt(volume), scale_atoms=True)
        cells.append(cell)
    return cells


@task
def energy(cell: Atoms) -> float:
    """Compute the energy of a cell [eV/atom] with effective medium theory."""
    cell = cell.copy()  # a task leaves its arguments as they are
    cell.calc = EMT()
    return float(cell.get_potential_energy()) / len(cell)


@task
def fit(cells: list[Atoms], energies: list[float]) -> Curve:
    """Fit a Birch-Murnaghan curve: in V^(-2/3) it is a polynomial of third degree, a linear least-squares problem."""
    volumes = np.array([cell.get_volume() / len(cell) for cell in cells])
    mean = volumes.mean()
    coefficients = np.polyfit((volumes / mean) ** (-2 / 3) - 1, energies, 3)
    x = minimum(coefficients)
    volume = mean * (1 + x) ** -1.5
    curvature = np.polyval(np.polyder(coefficients, 2), x)
    bulk_modulus = curvature * (2 / 3 * (1 + x)) ** 2 / volume  # V d2E/dV2 with dx/dV = -2/3 (1 + x) / V
    lowest = np.polyval(coefficients, x)
    return Curve(volumes, np.array(energies), float(volume), float(lowest), float(bulk_modulus), coefficients)


def minimum(coefficients: NDArray[np.float64]) -> float:
    """Return where the polynomial of third degree has its minimum."""
    stationary = np.roots(np.polyder(coefficients))
    upward = [x.real for x in stationary if np.isreal(x) and np.polyval(np.polyder(coefficients, 2), x.real) > 0]
    if not upward:
        raise ValueError("The energies have no minimum in volume: take a wider range of volumes.")
    return float(upward[0])


@task
def collect(curves: dict[str, Curve]) -> list[Row]:
    """Put the lattice constants and bulk moduli beside the experimental ones."""
    rows = []
    for metal, curve in curves.items():
        volume, bulk_modulus = EXPERIMENT[metal]
        rows.append(Row(metal, edge(curve.volume), edge(volume), float(curve.bulk_modulus / units.GPa), bulk_modulus))
    return rows


def edge(volume: float) -> float:
    """Return the edge of the cubic cell [angstrom] with four atoms of this volume [angstrom^3]."""
    return float(np.cbrt(4 * volume))


@task
def write_table(rows: list[Row], path: Path) -> Path:
    """Write the table with all digits, as comma-separated values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("metal", "a_A", "a_exp_A", "B_GPa", "B_exp_GPa"))
        writer.writerows(rows)
    return path


@task
def write_figure(curves: dict[str, Curve], rows: list[Row], path: Path) -> Path:
    """Draw all curves and write the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(curves, rows).savefig(path)
    return path


def format_table(rows: list[Row]) -> str:
    """Return the table as text."""
    lines = [
        "        lattice constant [A]          bulk modulus [GPa]",
        "metal     EMT     exp.      %         EMT    exp.      %",
    ]
    for row in rows:
        a_error = 100 * (row.a / row.a_experiment - 1)
        error = 100 * (row.bulk_modulus / row.bulk_modulus_experiment - 1)
        lines.append(
            f"{row.metal:<5}{row.a:9.4f}{row.a_experiment:9.4f}{a_error:+7.1f}"
            f"{row.bulk_modulus:12.2f}{row.bulk_modulus_experiment:8.2f}{error:+7.1f}"
        )
    return "\n".join(lines)


def main(runner: Runner | str | None, output: Path) -> None:
    """Compute, fit, collect, draw."""
    with workflow(runner):
        curves = {}
        for metal in METALS:
            cells = scale(metal, POINTS)
            curves[metal] = fit(cells, [energy(cell) for cell in cells])
        rows = collect(curves)
        table = write_table(rows, output / "eos.csv")
        figure = write_figure(curves, rows, output / "eos.png")
    print(f"{len(METALS) * POINTS} energies of {len(METALS)} metals, {len(METALS)} Birch-Murnaghan curves\n")
    print(format_table(resolve(rows)))
    print(f"\nTable with all digits: {resolve(table)}\nFigure of all curves:  {resolve(figure)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Equation of state of seven fcc metals with ASE and EMT.")
    parser.add_argument(
        "--runner", help="serial, dry, threads, processes:4, parsl, ... (default: PARMAN_RUNNER, else processes)"
    )
    parser.add_argument("--output", type=Path, default=Path("eos-results"), help="where table and figure go")
    arguments = parser.parse_args()
    start = time.perf_counter()
    main(arguments.runner, arguments.output)
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
