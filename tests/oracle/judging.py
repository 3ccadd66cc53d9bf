# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether the runs of a script ended alike: what it prints, how it ends, what it leaves behind."""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

from .headers import Header
from .running import Run, run

__all__ = ["differences"]

_CALL = re.compile(r"\[(\d+)\] (.*)")
_RESULT = re.compile(r"(\d+) (\w+\[\d+\]) ([=!] .*)")
_CANCELLED = "! CancelledError"
_ALARMS = ("Exception ignored in", "Exception in thread", "Fatal Python error", "resource_tracker", "leaked")
_PATIENCE = 20
"""How many times longer than without a block a script may take beyond its limit."""

_FACTOR, _MORE = 4, 6
"""How much more of the processors a script may use than without a block: a factor, and what is beyond it [s]."""

_PIPES = 8
"""How many times that factor a script may use on an executor that sends each argument of each call through a pipe.

A script of twelve calls with the same twelve arrays of 8 MB each took 9 s by hand on a `ProcessPoolExecutor`, and 1.4 s
without."""

_FAILED = "the block failed: "


class Output:
    """What a script has printed, by kinds of lines (see `writing`)."""

    def __init__(self, text: str) -> None:
        self.prints: defaultdict[int, list[str]] = defaultdict(list)
        self.results: dict[int, str] = {}
        self.cancelled: dict[int, bool] = {}
        self.held: dict[str, int] = {}
        self.others: list[str] = []
        self._order: list[int] = []
        for line in text.splitlines():
            self._sort(line)

    def _sort(self, line: str) -> None:
        if found := _CALL.fullmatch(line):
            self.prints[int(found[1])].append(found[2])
        elif found := _RESULT.fullmatch(line):
            self.results[int(found[1])] = f"{found[3]}"
            self.others.append(f"{found[1]} {found[2]}")
        elif line.startswith("? cancel "):
            number, answer = line.split()[2:]
            self.cancelled[int(number)] = answer == "True"
        elif line.startswith("? held "):
            words = line.split()[2:]
            self.held = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        else:
            self.others.append(line)


def differences(path: Path, runners: list[str] | None = None, python: str = sys.executable) -> list[str]:
    """Run a script without a block and on its runners, and say what is not as it should be.

    Parameters
    ----------
    path
        The script.
    runners
        Those that it runs on; by default those of its first lines.
    python
        The interpreter.
    """
    header = Header.of(path)
    plain = _run(path, "plain", header, python, 4 * header.limit)
    # A hang is told from a busy machine by what a run without a block took at the same time.
    limit = header.limit + _PATIENCE * plain.seconds
    if plain.status is None or "Error" in plain.err:
        return [f"plain: the script is broken: {plain.status}\n{plain.err[-3000:]}"]
    runs: dict[str, Run] = {}
    found = []
    for runner in runners or header.runners:
        runs[runner] = _run(path, runner, header, python, limit)
        found += [f"{runner}: {text}" for text in _Judge(header, plain, runs[runner], runner).found()]
    return found + list(_dear(header, runs))


def _run(path: Path, runner: str, header: Header, python: str, limit: float) -> Run:
    descriptors = header.one("DESCRIPTORS")
    # Who dies or is given up gets its calls again, or for nothing.
    counts = not header.all("DIES") and not header.all("NEEDS")
    return run(
        path,
        runner,
        limit=limit,
        closed_input=header.one("INPUT") == "closed",
        descriptors=int(descriptors) if descriptors else None,
        python=python,
        variables={"ORACLE_COUNT": str(Path(__file__).parents[1] / "helpers")} if counts else None,
    )


def _dear(header: Header, runs: dict[str, Run]) -> list[str]:
    """Name the runs that used much more of the processors than another one."""
    if not header.one("CPU"):
        return []
    name, factor, more = header.one("CPU").split()
    if name not in runs:
        return []
    allowed = float(factor) * runs[name].cpu + float(more)
    return [
        f"{runner}: {each.cpu:.1f} s of CPU, {runs[name].cpu:.1f} s on {name}"
        for runner, each in runs.items()
        if each.cpu > allowed
    ]


class _Judge:
    """Compares one run with the plain one."""

    def __init__(self, header: Header, plain: Run, other: Run, runner: str) -> None:
        self._header = header
        self._plain, self._other = plain, other
        self._wanted, self._got = Output(plain.out), Output(other.out)
        self._in_place = runner == "serial"
        self._factor = _FACTOR * _PIPES if runner.startswith(("fork:", "loky:")) else _FACTOR
        self._dies = {int(number) for number in header.all("DIES")}
        needs = [[int(number) for number in line.split()] for line in header.all("NEEDS")]
        self._needs = {number: others for number, *others in needs}
        self._may_be_cancelled = header.one("MAY") == "cancelled"

    def found(self) -> list[str]:
        """Say what differs."""
        other = self._other
        if other.status is None:
            return [f"not done after {other.seconds:.0f} s{self._so_far()}"]
        if other.status != self._plain.status:
            return [f"exit status {other.status}, not {self._plain.status}{self._so_far()}"]
        found = [f"left behind: {text}" for text in other.left]
        found += [f"standard error says {text!r}{self._so_far()}" for text in _ALARMS if text in other.err]
        found += self._lines()
        if (cpu := other.cpu) > self._factor * self._plain.cpu + float(self._header.one("MORE", str(_MORE))):
            found.append(f"it used {cpu:.1f} s of CPU, {self._plain.cpu:.1f} s without a block")
        numbers = sorted({*self._wanted.results, *self._got.results})
        found += [f"call {number}: {text}" for number in numbers if (text := self._result(number))]
        numbers = sorted({*self._wanted.prints, *self._got.prints})
        found += [f"call {number}: {text}" for number in numbers if (text := self._prints(number))]
        return [*found, *self._holds()]

    def _so_far(self) -> str:
        return "".join(f"\n{text[-1500:].strip()}" for text in (self._other.out, self._other.err) if text.strip())

    def _is_cancelled(self, number: int) -> bool:
        return self._got.results.get(number) == _CANCELLED

    def _lines(self) -> list[str]:
        wanted, got = ([line for line in each.others if _FAILED not in line] for each in (self._wanted, self._got))
        pairs = zip([*wanted, None], [*got, None], strict=False)
        found = [f"a line is {b!r}, not {a!r}" for a, b in pairs if a != b][:1]
        failed = [
            Counter(line.removeprefix(_FAILED).split("  &  "))
            for each in (self._wanted, self._got)
            for line in each.others
            if line.startswith(_FAILED)
        ]
        if failed and len(failed) != 2:
            return [*found, f"that the block failed is said in {len(failed)} of 2 runs"]
        if failed and not (failed[1] <= failed[0] if self._may_be_cancelled else failed[1] == failed[0]):
            return [*found, f"the block failed with {dict(failed[1])}, not with {dict(failed[0])}"]
        return found

    def _result(self, number: int) -> str | None:
        wanted, got = self._wanted.results.get(number), self._got.results.get(number)
        if wanted is None or got is None:
            return f"the result is {got!r}, not {wanted!r}"
        if self._needs and not self._in_place and (text := self._cancelled(number)):
            return text
        if got == _CANCELLED and not self._in_place and (self._needs or self._may_be_cancelled):
            return None
        allowed = [wanted]
        if wanted.startswith("! "):
            allowed = [f"! {text}" for text in wanted[2:].split("  |  ")]
        return None if got in allowed else f"the result is {got!r}, not {' or '.join(map(repr, allowed))}"

    def _cancelled(self, number: int) -> str | None:
        """Compare how a call ended with a model of what may be cancelled."""
        answer = self._got.cancelled.get(number)
        needed = [need for need in self._needs.get(number, []) if self._is_cancelled(need)]
        if not self._is_cancelled(number):
            if answer:
                return "cancel() said True, but it was not cancelled"
            return f"it has a result, but it needs {needed}, which were cancelled" if needed else None
        if answer is False:
            return "cancel() said False, but it was cancelled"
        if answer or needed:
            return None
        if self._is_given_up(number):
            return None  # nobody else needs it
        return "it was cancelled, though nobody asked for it"

    def _is_given_up(self, number: int) -> bool:
        """Tell whether all that need a call were cancelled, one of them because somebody asked for it."""
        users = [user for user, needs in self._needs.items() if number in needs]
        asked = any(self._got.cancelled.get(user) or self._is_given_up(user) for user in users)
        return asked and all(self._is_cancelled(user) for user in users)

    def _prints(self, number: int) -> str | None:
        wanted, got = self._wanted.prints.get(number, []), self._got.prints.get(number, [])
        if self._is_cancelled(number):
            return f"it was cancelled, but it printed {got}" if got else None
        if number in self._dies and got == wanted[: len(got)]:
            return None
        return None if got == wanted else f"it printed {got}, not {wanted}"

    def _holds(self) -> list[str]:
        """Name what is held beyond what a script without a block holds, and does not depend on the number of calls."""
        more = {name: count - self._wanted.held.get(name, 0) for name, count in self._got.held.items()}
        most = {"files": 150, "maps": 150}
        return [f"with all results there are {count} more {name}" for name, count in more.items() if count > most[name]]
