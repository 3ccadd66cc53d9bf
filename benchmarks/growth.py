# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How cost grows with the work: `python -m benchmarks.growth [--most 1e5]`; each point in a process of its own.

Straight lines are fitted to the logarithms of the last two decades, where what a start costs is over: a slope of 1 is a
cost in proportion to the work. Figures, plots and a table go to `results/growth`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .children import Child, OverTime
from .curves import CURVES, fit
from .machine import describe, sentence
from .plots import plot
from .points import SYSTEMS

RESULTS = Path(__file__).parent / "results" / "growth"

Points = dict[int, dict[str, float]]
Found = dict[str, Any]


def _measure(curve: str, system: str, sizes: list[int], limit: float) -> Found:
    """Measure until a size takes too long: the next would, too."""
    points: Points = {}
    found: Found = {"points": points}
    for size in sizes:
        with Child("-m", "benchmarks.points", curve, system, str(size)) as child:
            try:
                line = child.line(limit)
            except OverTime:
                found["note"] = f"{size}: over {limit:g} s"
                break
            if line is None:
                found["note"] = f"{size}: {child.complaint()}"
                break
        points[size] = line
        sys.stderr.write(f"{curve} {system} {size}: {line}\n")
    return found


def table(found: Found) -> str:
    """Return slopes, and what the greatest size costs."""
    lines = [
        "| | | slope of time | greatest | time [s] | each [us] | slope of memory | each [B] |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    notes = []
    for name, systems in found["curves"].items():
        for system, measured in systems.items():
            label = SYSTEMS[system].label
            if "note" in measured:
                notes.append(f"{CURVES[name].title}, {label}: {measured['note']}.")
            if not measured["points"]:
                continue
            most = max(measured["points"])
            seconds = measured["points"][most]["s"]
            cells = [name, label, _slope(measured, "s"), f"{most:.0e}", f"{seconds:.3g}", f"{seconds / most * 1e6:.3g}"]
            if CURVES[name].memory and "B" in measured["points"][most]:
                cells += [_slope(measured, "B"), f"{measured['points'][most]['B'] / most:.0f}"]
            else:
                cells += ["", ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n\n".join([sentence(found) + ".", "\n".join(lines), *notes]) + "\n"


def _slope(measured: Found, unit: str) -> str:
    line = fit({size: values[unit] for size, values in measured["points"].items() if unit in values})
    return f"{line.slope:.2f}" if line else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.partition("\n")[0])
    parser.add_argument("--curve", nargs="+", choices=CURVES, metavar="C", help=f"of {', '.join(CURVES)}")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--most", type=float, default=1e6, help="calls, futures, leaves (%(default).0e)")
    parser.add_argument("--most-bytes", type=float, default=1e9, help="of an argument (%(default).0e)")
    parser.add_argument("--limit", type=float, default=600, help="of a point [s] (%(default)s)")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where results go (%(default)s)")
    return parser.parse_args()


def main() -> None:
    """Measure, plot, write the table, keep everything."""
    wanted = _arguments()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    found: Found = {**describe(), "curves": {}}
    for name in wanted.curve or CURVES:
        sizes = CURVES[name].sizes(wanted.most_bytes if name == "arguments" else wanted.most)
        found["curves"][name] = {
            system: _measure(name, system, sizes, wanted.limit) for system in wanted.only or SYSTEMS
        }
        plot(CURVES[name], found["curves"][name], wanted.folder / f"{name}.png")
    text = table(found)
    (wanted.folder / "growth.json").write_text(json.dumps(found, indent=1) + "\n")
    (wanted.folder / "growth.md").write_text(text)
    sys.stdout.write(f"{text}\nPlots and figures are in {wanted.folder}\n")


if __name__ == "__main__":
    main()
