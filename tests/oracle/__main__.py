# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Run scripts of the oracle for a time, or those that are named.

python -m tests.oracle --minutes 60 --seed 1     new scripts, two at a time
python -m tests.oracle oracle-failures/*.py      scripts that were kept
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from .examining import examine
from .judging import differences
from .plans import Plan
from .strategies import THEMES, draw_plans

_BATCH = 5
"""How many plans are drawn from a seed."""


def main() -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="scripts to judge, instead of new ones")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to go on (5)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--themes", nargs="+", default=list(THEMES), choices=list(THEMES), metavar="THEME")
    parser.add_argument("--jobs", type=int, default=2, help="how many scripts run at a time (2)")
    parser.add_argument("--runners", nargs="+", help="other runners than the scripts name")
    parser.add_argument("--patience", type=float, default=60.0, help="how long to make a failing script smaller [s]")
    asked = parser.parse_args()
    if asked.files:
        return _judge(asked.files, asked.runners)
    return _Soak(asked).run()


def _judge(files: list[Path], runners: list[str] | None) -> int:
    failed = 0
    for path in files:
        found = differences(path, runners)
        failed += bool(found)
        _say("\n  ".join([f"{path}: {'ok' if not found else ''}", *found]))
    return int(failed > 0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _Soak:
    """Runs scripts until the time is over."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._start = time.monotonic()
        self._end = self._start + 60 * asked.minutes
        self._told = self._start
        self._scripts: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()
        self._failed: list[str] = []
        self._seed = asked.seed

    def run(self) -> int:
        """Run them, and say in the end how many there were."""
        waiting: dict[Future[str | None], tuple[str, Plan]] = {}
        with ThreadPoolExecutor(self._asked.jobs) as pool:
            for name, plan in self._plans():
                if time.monotonic() > self._end:
                    break
                waiting[pool.submit(examine, plan, name, self._asked.patience)] = (name, plan)
                if len(waiting) > self._asked.jobs:
                    self._collect(waiting)
            while waiting:
                self._collect(waiting)
        self._report("done")
        return int(bool(self._failed))

    def _plans(self) -> Iterator[tuple[str, Plan]]:
        for seed in itertools.count(self._asked.seed):
            self._seed = seed
            for theme in self._asked.themes:
                for number, plan in enumerate(draw_plans(theme, seed, _BATCH)):
                    yield f"{theme}_{seed}_{number}", plan

    def _collect(self, waiting: dict[Future[str | None], tuple[str, Plan]]) -> None:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            name, plan = waiting.pop(future)
            self._scripts[plan.theme] += 1
            self._runs.update(plan.runners)
            if found := future.result():
                self._failed.append(name)
                _say(f"FAILED {name}\n{found}\n")
        if time.monotonic() - self._told > 30:
            self._told = time.monotonic()
            self._report("so far")

    def _report(self, when: str) -> None:
        minutes = (time.monotonic() - self._start) / 60
        scripts = ", ".join(f"{count} {theme}" for theme, count in self._scripts.items())
        runs = ", ".join(f"{count} {runner}" for runner, count in self._runs.most_common())
        _say(
            f"{when}: {minutes:.1f} min, seeds {self._asked.seed} to {self._seed}, {self._scripts.total()} scripts "
            f"({scripts}), {self._runs.total()} runs ({runs}), {len(self._failed)} failed"
            + "".join(f" {name}" for name in self._failed[:20])
        )


if __name__ == "__main__":
    sys.exit(main())
