# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The main demo: the same numbers on every runner, and those of `ase.eos` and of the experimental source."""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers import ROOT

pytest.importorskip("ase", reason="the demo needs ASE")

from ase import units
from ase.build import bulk
from ase.collections import dcdft
from ase.eos import EquationOfState

DEMO = ROOT / "demos" / "eos"
# ASE 3.29 does with NumPy 2.5 what NumPy no longer likes; it is neither the demo's nor Parman's to mend.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning"),
]

METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")


@pytest.fixture(scope="module")
def eos() -> Iterator[ModuleType]:
    """Import the demo, which is a script beside its helper module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DEMO))
        spec = importlib.util.spec_from_file_location("eos", DEMO / "eos.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "eos", module)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("figure", None)


def run(directory: Path, runner: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as a user does."""
    command = [sys.executable, str(DEMO / "eos.py"), "--runner", runner, "--output", "results"]
    directory.mkdir(exist_ok=True)
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """Run the demo serially: what it prints, and the files that it writes."""
    directory = tmp_path_factory.mktemp("serial")
    result = run(directory, "serial")
    assert result.returncode == 0, result.stderr
    return result.stdout, written(directory)


def written(directory: Path) -> dict[str, bytes]:
    """Return the contents of all files below a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_output_is_the_same_on_every_runner(runner: str, serial: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    """What is printed, the table with all its digits and the picture do not depend on the runner."""
    result = run(tmp_path, runner)
    assert result.returncode == 0, result.stderr
    assert (result.stdout, written(tmp_path)) == serial


def test_it_says_where_table_and_figure_are(serial: tuple[str, dict[str, bytes]]) -> None:
    """The last lines name the two files, which are there and are a table and a picture."""
    output, files = serial
    named = [line.split()[-1] for line in output.splitlines()[-2:]]
    assert set(named) == set(files) == {"results/eos.csv", "results/eos.png"}
    assert files["results/eos.png"].startswith(b"\x89PNG")
    assert len(files["results/eos.png"]) > 20_000


def test_readme_shows_the_table(serial: tuple[str, dict[str, bytes]]) -> None:
    """The README beside the demo shows the table that the demo prints."""
    output, _ = serial
    table = output.split("\n\n")[1]
    assert table in (DEMO / "README.md").read_text()


def test_dry_run_says_what_would_run_and_writes_nothing(tmp_path: Path) -> None:
    """On the dry runner each task is counted, nothing is printed as a result, and no file appears."""
    result = run(tmp_path, "dry")
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []
    assert "metal" not in result.stdout
    report = result.stdout + result.stderr
    for task, calls in {"scale": 7, "energy": 119, "fit": 7, "collect": 1}.items():
        assert re.search(rf"\b{calls}\b.*\b{task}\b|\b{task}\b.*\b{calls}\b", report), report


@pytest.mark.parametrize("metal", METALS)
def test_table_is_that_of_ase(metal: str, eos: ModuleType, serial: tuple[str, dict[str, bytes]]) -> None:
    """Lattice constant and bulk modulus agree to six digits with the fit of `ase.eos` to the same points."""
    cells = eos.scale(metal, eos.POINTS)
    volumes = [cell.get_volume() / 4 for cell in cells]
    energies = [eos.energy(cell) for cell in cells]
    volume, _, bulk_modulus = EquationOfState(volumes, energies, "birchmurnaghan").fit()
    rows = {row["metal"]: row for row in csv.DictReader(serial[1]["results/eos.csv"].decode().splitlines())}
    assert float(rows[metal]["a_A"]) == pytest.approx((4 * volume) ** (1 / 3), rel=5e-7)
    assert float(rows[metal]["B_GPa"]) == pytest.approx(bulk_modulus / units.GPa, rel=5e-7)


def test_fit_finds_the_curve_that_made_the_points(eos: ModuleType) -> None:
    """The fit returns the parameters of Birch's energy when the points lie on it."""
    volume, energy, modulus, derivative = 16.0, -3.5, 0.5, 4.6
    cells = eos.scale("Al", eos.POINTS)
    strain = (volume / np.array([cell.get_volume() / 4 for cell in cells])) ** (2 / 3) - 1
    points = energy + 9 / 16 * volume * modulus * (strain**3 * derivative + strain**2 * (6 - 4 * (strain + 1)))
    curve = eos.fit(cells, points.tolist())
    assert (curve.volume, curve.energy, curve.bulk_modulus) == pytest.approx((volume, energy, modulus), rel=1e-9)
    assert curve(curve.volumes) == pytest.approx(points, abs=1e-12)


def test_fit_without_a_minimum_says_so(eos: ModuleType) -> None:
    """Energies that only rise are an error that names the cure, not a number."""
    cells = eos.scale("Al", 5)
    with pytest.raises(ValueError, match="wider range of volumes"):
        eos.fit(cells, [cell.get_volume() for cell in cells])


def test_energy_leaves_the_cell_as_it_was(eos: ModuleType) -> None:
    """The task attaches its calculator to a copy."""
    cell = bulk("Cu", cubic=True)
    eos.energy(cell)
    assert cell.calc is None


@pytest.mark.parametrize("metal", METALS)
def test_experimental_values_are_those_of_the_source(metal: str, eos: ModuleType) -> None:
    """The numbers in the script are those of Lejaeghere et al. (2014) that ASE distributes, rounded."""
    source = dcdft.data[metal]
    assert eos.EXPERIMENT[metal] == (round(source["exp_volume"], 3), round(source["exp_B"], 3))
