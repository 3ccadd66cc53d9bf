# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""From samples to medians, and from medians to tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .compare import FIRST
from .floor import FLOORS
from .machine import sentence
from .peer import Kind
from .peers import PEERS
from .workloads import PLAIN, WORKLOADS

__all__ = ["add_summaries", "summarize", "tables"]

Found = dict[str, Any]
Column = tuple[str, Callable[["Side"], str]]

CALLS = ("fan-out", "chain", "tree", "fan-in", "nested")

TARGETS: dict[Kind, dict[str, str]] = {
    "threads": {
        "fan-out": "1.0",
        "fan-in": "1.0",
        "chain": "1.5",
        "tree": "1.2",
        "nested": "1.5",
        "pending us": "20",
        "pending B": "1500",
        "plain": "1",
        FIRST: "2.5",
    },
    "processes": {
        "fan-out": "0.10",
        "fan-in": "0.10",
        "chain": "0.25",
        "tree": "0.15",
        "nested": "0.3",
        "arrays": "1600",
        FIRST: "1.3",
    },
}
"""What the project wants of itself."""

OWN_TARGETS = {"import parman": "1.25", "plain call": "0.5"}


def summarize(samples: Sequence[Found]) -> Found:
    """Return for each unit the medians of the systems, and those of the ratios of pairs.

    Pairs are what ran one after the other: the median of their ratios is less moved by what else the machine does than
    the ratio of the medians.
    """
    found: Found = {}
    for unit in samples[0]["peer"]:
        columns = {name: [sample[name][unit] for sample in samples] for name in samples[0]}
        found[unit] = {name: statistics.median(column) for name, column in columns.items()}
        for name, column in columns.items():
            if name != "peer":
                ratios = [ours / other for ours, other in zip(columns["peer"], column, strict=True)]
                found[unit][f"to {name}"] = {
                    "median": statistics.median(ratios),
                    "least": min(ratios),
                    "most": max(ratios),
                }
    return found


def add_summaries(found: Found) -> None:
    """Put medians beside all samples."""
    for measured in [*found["peers"].values(), found["parman"]]:
        for record in measured.values():
            if isinstance(record, dict) and "samples" in record:
                record["summary"] = summarize(record["samples"])


def tables(found: Found) -> str:
    """Return everything as markdown."""
    parts = [sentence(found) + "."]
    wanted = found["settings"]["workloads"]
    for kind in FLOORS:
        sides = [Side(name, measured) for name, measured in found["peers"].items() if PEERS[name].kind == kind]
        present = [side for side in sides if "left out" not in side.measured]
        if present:
            parts += [_table(kind, columns, present) for columns in (_calls(wanted), _others(kind, wanted)) if columns]
    if found["parman"]:
        parts.append(_own(found["parman"]))
    parts += _notes(found["peers"])
    return "\n\n".join(parts) + "\n"


class Side:
    """One row: a peer with what was measured of it.

    Attributes
    ----------
    name
        Of the peer.
    measured
        Its records, by workload.
    """

    def __init__(self, name: str, measured: Found) -> None:
        self.name = name
        self.measured = measured

    def cell(self, workload: str, show: Callable[[Found], str]) -> str:
        """Show a summary, or why there is none."""
        record = self.measured.get(workload, {"not offered": True})
        if "summary" in record:
            return show(record["summary"])
        return "-" if "not offered" in record else f"over {record['over']:g} s" if "over" in record else "failed"


class Floor(Side):
    """The row of what all peers of a kind were compared with: medians over all of them."""

    def __init__(self, sides: Iterable[Side]) -> None:
        super().__init__("", {})
        for side in sides:
            for workload, record in side.measured.items():
                if "samples" in record:
                    self.measured.setdefault(workload, {"samples": []})["samples"] += [
                        {**sample, "peer": sample["floor"]} for sample in record["samples"]
                    ]
        for record in self.measured.values():
            record["summary"] = summarize(record["samples"])


def _table(kind: Kind, columns: dict[str, Column], sides: list[Side]) -> str:
    floor, targets = Floor(sides), TARGETS[kind]
    rows = [
        [FLOORS[kind].label, *[_by_hand(floor, key, show) for key, (_, show) in columns.items()]],
        *[[PEERS[side.name].label, *[show(side) for _, show in columns.values()]] for side in sides],
    ]
    if any(key in targets for key in columns):
        rows.append(["*target*", *[targets.get(key, "") for key in columns]])
    return _markdown([kind, *[title for title, _ in columns.values()]], rows)


def _by_hand(floor: Floor, key: str, show: Callable[[Side], str]) -> str:
    """Show what a ratio is a ratio to."""
    if key in CALLS:
        return floor.cell(key, lambda summary: f"1 ({summary['us']['peer']:.1f} us)")
    if key in (FIRST, "whole"):
        unit = "s" if key == FIRST else "s with interpreter"
        return floor.cell(FIRST, lambda summary: f"1 ({summary[unit]['peer']:.3f} s)")
    return show(floor)


def _calls(wanted: list[str]) -> dict[str, Column]:
    columns: dict[str, Column] = {key: (WORKLOADS[key].title, _ratio(key, "us")) for key in CALLS if key in wanted}
    if "pending" in wanted:
        columns["pending us"] = ("pending call [us]", _figure("pending", "us", "{:.1f}"))
        columns["pending B"] = ("pending call [B]", _figure("pending", "B", "{:.0f}"))
    return columns


def _others(kind: Kind, wanted: list[str]) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    if "arrays" in wanted:
        columns["arrays"] = ("8 MB arrays [MB/s]", _figure("arrays", "MB/s", "{:.0f}"))
        if kind == "threads":
            columns["plain"] = ("time over plain calls", _over_plain)
    if "mix" in wanted:
        columns["mix"] = ("mix, over the best schedule", _figure("mix", "of the best", "{:.2f}"))
    if "fairness" in wanted:
        columns["fairness"] = ("fast beside slow, over alone", _figure("fairness", "of alone", "{:.2f}"))
    if FIRST in wanted:
        columns[FIRST] = ("first result", _ratio(FIRST, "s"))
        columns["whole"] = ("with the interpreter's start", _ratio(FIRST, "s with interpreter"))
    return columns


def _ratio(workload: str, unit: str) -> Callable[[Side], str]:
    return lambda side: side.cell(workload, lambda summary: _short(summary[unit]["to floor"]["median"]))


def _figure(workload: str, unit: str, form: str) -> Callable[[Side], str]:
    return lambda side: side.cell(workload, lambda summary: form.format(summary[unit]["peer"]))


def _over_plain(side: Side) -> str:
    return side.cell("arrays", lambda summary: _short(1 / summary["MB/s"][f"to {PLAIN}"]["median"]))


def _own(measured: Found) -> str:
    rows = []
    for name, record in measured.items():
        if name == "plain call":
            both = record["summary"]["us"]
            rows.append(
                [
                    "a call outside a block, over the bare function [us]",
                    f"{both['peer'] - both['floor']:.2f}",
                    OWN_TARGETS[name],
                ]
            )
        else:
            ratio = record["summary"]["s"]["to floor"]["median"]
            title = f"`{name}`, over that of attrs, wrapt, cloudpickle"
            rows.append([title, f"{ratio:.2f}", OWN_TARGETS.get(name, "")])
    return _markdown(["Parman", "", "*target*"], rows)


def _notes(peers: Found) -> list[str]:
    notes = []
    for name, measured in peers.items():
        if "left out" in measured:
            notes.append(f"{PEERS[name].label} is left out: {measured['left out']}.")
            continue
        for workload, record in measured.items():
            if "failed" in record:
                notes.append(f"{PEERS[name].label}, {workload}: {record['failed']}.")
    return notes


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}" if ratio < 20 else f"{ratio:.0f}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
