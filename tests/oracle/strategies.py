# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Plans of scripts, as Hypothesis draws them, on themes: each looks into another corner of what users do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from .plans import (
    Array,
    AsTheyCome,
    Block,
    Cancel,
    Change,
    Drop,
    Input,
    Items,
    Kind,
    Plan,
    Record,
    Scalar,
    Settle,
    Step,
    Task,
    Variable,
    Wave,
    parts,
)

__all__ = ["THEMES", "draw_plans", "plans"]

T = TypeVar("T")

_MOST = 400_000_000
"""What all results of a script may need [bytes]."""

_NUMBER = Scalar("int")
_SCALARS = ["int", "float", "str", "complex", "bool", "date", "Decimal", "Fraction", "Path", "Phase", "bytes"]
_CLASSES = [
    "Cell",
    "Grid",
    "Fit",
    "Mesh",
    "Orbit",
    "Sample",
    "Spectrum",
    "Model",
    "Trace",
    "Basis",
    "Frame",
    "Wave",
    "Energy",
    "Force",
    "Mode",
    "Bond",
]
_FIELDS = ["a", "n", "grid", "cell", "error", "label", "steps"]
_WAVES = [
    "seeds",
    "starts",
    "walks",
    "sums",
    "peaks",
    "modes",
    "bands",
    "means",
    "shifts",
    "loads",
    "forces",
    "rates",
    "gaps",
    "tilts",
    "folds",
    "knots",
    "lines",
    "marks",
    "pairs",
    "rings",
    "turns",
    "views",
    "zones",
    "nodes",
    "halves",
    "tails",
    "heads",
    "sides",
    "rows",
    "spans",
]
_VARIABLES = ["mesh", "basis", "table", "setup", "start", "bounds"]
_STYLES = [
    "dataclass",
    "frozen",
    "slots",
    "NamedTuple",
    "TypedDict",
    "attrs",
    "attrs frozen",
    "attrs dict",
    "class",
    "slotted class",
    "generic",
]
_SMALL = (1, 2, 10, 1_000, 8_000, 20_000, 70_000, 131_072, 140_000)
_BIG = (524_288, 1_000_000, 1_048_576, 2_000_000, 3_000_003, 4_194_304)
_FAILURES = ["ValueError", "KeyError", "OSError", "Diverged", "group", "chained", "array", "timeout"]


@dataclass(frozen=True)
class Theme:
    """What the scripts of a theme are like.

    Attributes
    ----------
    waves, widths
        How many waves there are, and how many calls each has.
    counts
        How long arrays are.
    runners
        What each script runs on, and what some of them run on beside it.
    classes
        How often a value is an instance of a class of the script [%].
    numbers
        How often a result is a mere number [%].
    pauses
        How long calls may take [ms].
    failing
        How failures are treated.
    limit
        How long a run may take [s].
    """

    waves: tuple[int, int]
    widths: Sequence[int]
    counts: Sequence[int] = _SMALL
    runners: tuple[str, ...] = ("processes:2",)
    others: Sequence[tuple[str, ...]] = (("serial", "threads:2"),)
    classes: int = 25
    numbers: int = 35
    pauses: Sequence[tuple[int, ...]] = ((0,),)
    failing: Sequence[str] = ("",)
    limit: float = 30


_OTHERS = [
    ("serial", "threads:2"),
    ("threads:2", "fork:2"),
    ("serial", "fork:2"),
    ("threads:64", "serial"),
    ("loky:2",),
]
_QUICK = [(0,), (0,), (0, 10)]
_PAUSES = [(0,), (0,), (1, 3), (0, 10), (0, 0, 0, 50), (20,)]

THEMES = {
    "mixed": Theme((3, 8), [1, 2, 3, 5, 8, 20], others=_OTHERS, pauses=_PAUSES),
    "values": Theme((5, 11), [1, 2, 3], others=_OTHERS, classes=60, numbers=15),
    "big": Theme((3, 6), [4, 8, 12, 20], _BIG, others=[("threads:2",), ("fork:2",)], numbers=80, pauses=_QUICK),
    "many": Theme((2, 3), [180, 220], [132_000, 140_000], others=[("threads:2",)], classes=0, limit=60),
    "swarm": Theme(
        (2, 3), [400, 600, 800], [10], ("threads:16",), [("threads:64", "threads:1000"), ("threads:200",)], 0, 90,
        [(0,), (0, 1), (0, 0, 2)], limit=60,
    ),
    "pools": Theme((9, 14), [2], [10, 1_000], ("fork:2",), [()], classes=95, numbers=0, limit=60),
    "failures": Theme((3, 8), [1, 3, 6], others=_OTHERS, pauses=_PAUSES, failing=("seen", "raised", "fail_fast")),
    "deaths": Theme((2, 5), [2, 4, 8], pauses=_PAUSES, failing=("seen", "raised")),
    "cancels": Theme((2, 5), [2, 4, 8], others=[("threads:2",)], classes=60, pauses=[(30,), (10, 50), (20,)]),
}  # fmt: skip
"""What scripts may be about."""


@st.composite
def plans(draw: Any, theme: str) -> Plan:
    """Draw the plan of a script."""
    return _Drawing(draw, theme).plan()


def draw_plans(theme: str, seed: int, count: int) -> list[Plan]:
    """Return the first plans of a seed: the same ones each time."""
    drawn: list[Plan] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count + 1,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(plans(theme))
    def collect(plan: Plan) -> None:
        drawn.append(plan)

    collect()
    return drawn[1 : count + 1]  # the first one is the smallest there is


class _Drawing:
    """A plan that grows by one wave after another."""

    def __init__(self, draw: Any, theme: str) -> None:
        self._draw = draw
        self._name = theme
        self._theme = THEMES[theme]
        self._classes: list[Record] = []
        self._tasks: dict[str, Task] = {}
        self._variables: list[Variable] = []
        self._steps: list[Step] = []
        self._waves: dict[str, Wave] = {}
        self._dropped: set[str] = set()
        self._bytes = 0
        self._failing = self._pick(self._theme.failing)
        # Big arrays, a number of each, a number of that: what most scripts do with them.
        self._straight = 2 if theme == "big" and self._chance(60) else 0

    # --- choices ---

    def _pick(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))  # type: ignore[no-any-return]

    def _number(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))  # type: ignore[no-any-return]

    def _chance(self, percent: int) -> bool:
        return self._number(0, 99) >= 100 - percent

    # --- the whole ---

    def plan(self) -> Plan:
        """Draw it."""
        for _ in range(self._number(*self._theme.waves)):
            self._wave()
            self._something_else()
        steps = tuple(self._steps)
        cut = self._number(1, len(steps)) if self._chance(25) and not self._failing else len(steps)
        pieces = [piece for piece in (steps[:cut], steps[cut:]) if piece]
        style = "open" if self._chance(15) else "with"
        return Plan(
            theme=self._name,
            runners=self._runners(),
            variables=tuple(self._variables),
            tasks=tuple(self._tasks.values()),
            blocks=tuple(Block(style, piece) for piece in pieces),
            text=self._pick(["plain", "future", "quoted"]),
            failing=self._failing,
            anew=self._name == "pools",
            turns={"pools": 10}.get(self._name, 2 if self._name in ("mixed", "values") and self._chance(10) else 1),
            closed_input=self._chance(12),
            descriptors=(128 if self._chance(50) else 512) if self._name == "many" else None,
            limit=self._theme.limit,
        )

    def _runners(self) -> tuple[str, ...]:
        runners = (*self._theme.runners, *self._pick(self._theme.others))
        if self._failing == "fail_fast":
            return tuple(name for name in runners if name != "serial")
        return runners

    # --- kinds ---

    def _kind(self, depth: int = 0) -> Kind:
        if depth < 3 and self._chance(self._theme.classes):
            return self._record(depth)
        choice = self._number(0, 9)
        if self._name == "many" or choice < 4:
            return self._array()
        if choice < 7 or depth > 2:
            return Scalar(self._pick([*_SCALARS, "text", "blob", "any", "optional"]))
        return self._items(depth)

    def _array(self) -> Array:
        count = self._pick(self._theme.counts)
        if self._name == "big" and self._chance(10):
            count = 8_388_608
        dtype = self._pick(["float64", "float64", "uint8", "float32", "int16"])
        return Array(
            count,
            dtype if self._name != "many" else "float64",
            self._pick(["flat", "flat", "rows", "columns", "strided"]),
        )

    def _items(self, depth: int) -> Items:
        container = self._pick(["list", "dict", "tuple", "deque", "set"])
        if container == "set":
            return Items("set", _NUMBER, self._number(0, 5))
        kind = self._kind(depth + 1) if _size(one := self._kind(depth + 1)) > 20_000_000 else one
        # A result that is annotated as empty has no future, and so nothing that could tell of a failure.
        least = 1 if self._name in ("failures", "deaths", "cancels") else 0
        count = self._number(least, 4) if _size(kind) < 20_000_000 else 1
        return Items(container, kind, count, fixed=container == "list" and self._chance(40))

    def _record(self, depth: int) -> Record:
        if self._classes and self._chance(30):
            return self._pick(self._classes)
        style = self._pick(_STYLES)
        count = 1 if style == "generic" else self._number(1, 3)
        fields = tuple((name, self._kind(depth + 1)) for name in _FIELDS[:count])
        number, name = divmod(len(self._classes), len(_CLASSES))
        record = Record(style, _CLASSES[name] + (f"{number + 1}" if number else ""), fields)
        self._classes.append(record)
        return record

    # --- waves ---

    def _there(self) -> list[Wave]:
        return [wave for wave in self._waves.values() if wave.name not in self._dropped]

    def _wave(self) -> None:
        widths = [wave.width for wave in self._waves.values()]
        width = self._pick(
            [*widths, *(widths * 2 if self._name == "big" else self._theme.widths)] or self._theme.widths
        )
        if widths and self._chance(20):
            width = 1
        if self._straight and not widths:
            width = self._pick([12, 16, 20])
        name = _WAVES[len(self._waves)]
        first = 1000 * (len(self._waves) + 1)
        most = 1 if self._name == "big" and self._chance(70) else 3
        chosen = [self._input(width) for _ in range(self._number(0 if not self._waves else 1, most))]
        if self._straight and self._waves:
            before = list(self._waves.values())[-1]
            chosen, width = [(Input("each", before.name), self._tasks[before.task].result)], before.width
        chains = [i for i, (each, _) in enumerate(chosen) if each.mode == "chain"]
        chosen = [one for i, one in enumerate(chosen) if i not in chains[1:]]
        inputs, params = tuple(each for each, _ in chosen), tuple(kind for _, kind in chosen)
        result, returns = self._result(inputs, params, width)
        wave = Wave(name, "", first, width, inputs, nested=self._chance(8) and not self._failing)
        self._add(replace(wave, task=self._task(wave, params, result, returns)))

    def _add(self, wave: Wave, *, as_they_come: bool = False) -> None:
        self._waves[wave.name] = wave
        self._steps.append(AsTheyCome(wave) if as_they_come else wave)
        self._bytes += _size(self._tasks[wave.task].result) * wave.width

    def _result(self, inputs: tuple[Input, ...], params: tuple[Kind, ...], width: int) -> tuple[Kind, str]:
        for each, kind in zip(inputs, params, strict=True):
            if each.mode == "chain":
                return kind, "new"
        if self._straight and self._waves:
            self._straight -= 1
            return _NUMBER, "new"
        if params and not isinstance(params[0], Items) and self._chance(10):
            first = params[0]
            if isinstance(first, Array) and first.layout == "flat" and first.count > 1 and self._chance(50):
                return replace(first, count=first.count - 1), "view"
            return first, "first"
        if self._waves and self._chance(self._theme.numbers):
            return _NUMBER, "new"
        if not self._waves and self._straight:
            return Array(self._pick([1_048_576, 1_500_000, 2_000_000]), "float64", "flat"), "new"
        if not self._waves and self._name in ("many", "big"):
            return self._fitting(self._array, width), "new"
        return self._fitting(self._kind, width), "new"

    def _fitting(self, make: Any, width: int) -> Kind:
        """Draw a kind for which there is room."""
        for _ in range(3):
            kind: Kind = make()
            if self._bytes + _size(kind) * width < _MOST:
                return kind
        return _NUMBER

    def _input(self, width: int) -> tuple[Input, Kind]:
        choice = self._number(0, 9)
        if not self._there() or choice == 0:
            return self._own()
        if choice == 1:
            return self._variable()
        wave = self._pick(self._there())
        result = self._tasks[wave.task].result
        modes = ["one", "each", "each", "next"] if wave.width == width else ["one"]
        if self._name == "big" and wave.width == width and self._chance(60):
            modes = ["each"]
        if _size(result) < 20_000_000 and width <= 20:
            modes.append("chain")
        if _size(result) * wave.width < 100_000_000 and width * wave.width <= 2_000:
            modes += ["all", "all", "named"]
        mode = self._pick(modes)
        if mode in ("all", "named"):
            return Input(mode, wave.name), Items("list" if mode == "all" else "dict", result, wave.width)
        some = list(parts(result)) if self._tasks[wave.task].annotated and mode != "chain" else []
        if some and self._chance(50):
            part, kind = self._pick(some)
            return Input(mode, wave.name, part), kind
        return Input(mode, wave.name), result

    def _own(self) -> tuple[Input, Kind]:
        kind = self._kind()
        return Input("own", ""), kind if _size(kind) < 20_000_000 else _NUMBER

    def _variable(self) -> tuple[Input, Kind]:
        if self._variables and self._chance(60):
            variable = self._pick(self._variables)
        else:
            kind = self._kind()
            name = _VARIABLES[len(self._variables) % len(_VARIABLES)]
            if len(self._variables) >= len(_VARIABLES) or _size(kind) > 40_000_000:
                return Input("own", ""), _NUMBER
            variable = Variable(name, kind, 7 + len(self._variables), shared=self._chance(30))
            self._variables.append(variable)
        return Input("variable", variable.name), variable.kind

    def _task(self, wave: Wave, params: tuple[Kind, ...], result: Kind, returns: str) -> str:
        annotated = self._chance(85)
        fails, dies = self._troubles(wave)
        for task in self._tasks.values():
            same = (task.params, task.result, task.returns, task.scribbles) == (params, result, returns, False)
            if same and self._name != "pools" and self._chance(60):
                self._tasks[task.name] = replace(task, fails=task.fails + fails, dies=task.dies + dies)
                return task.name
        name = f"{self._pick(['make', 'step', 'fit', 'mix', 'relax', 'scan'])}_{len(self._tasks) + 1}"
        self._tasks[name] = Task(
            name,
            params,
            result,
            returns=returns,
            annotated=annotated,
            pauses=self._pick(self._theme.pauses) if not self._straight else (0,),
            prints=self._number(0, 2) if wave.width <= 20 else 0,
            scribbles=bool(params) and wave.inputs[-1].mode == "own" and returns == "new" and self._chance(30),
            fails=fails,
            dies=dies,
        )
        return name

    def _troubles(self, wave: Wave) -> tuple[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]:
        if not self._failing or not self._chance(60):
            return (), ()
        numbers = sorted({self._pick(wave.numbers) for _ in range(self._number(1, 2))})
        if self._name == "deaths":
            deaths = sum(len(task.dies) for task in self._tasks.values())
            return (), tuple((number, self._pick(["kill", "exit", "segfault"])) for number in numbers[: 3 - deaths])
        kinds = [*_FAILURES, "exit"] if self._failing == "seen" else _FAILURES
        return tuple((number, self._pick(kinds)) for number in numbers), ()

    # --- what happens between waves ---

    def _something_else(self) -> None:
        if self._name == "cancels":
            return self._cancel()
        if self._failing or self._straight or self._name in ("swarm", "pools"):
            return None
        choice = self._number(0, 19)
        if not self._there():
            return None
        wave = self._pick(self._there())
        if choice == 19:
            self._steps.append(Settle(wave.name))
        elif choice >= 17 and wave.width <= 20:
            self._follow(wave)
        elif choice == 15:
            self._dropped.add(wave.name)
            self._steps.append(Drop(wave.name))
        elif choice == 16 and self._variables:
            variable = self._pick(self._variables)
            if not variable.shared and _can_change(variable.kind) and not self._is_handed_on(variable):
                self._steps.append(Change(variable.name))
        return None

    def _cancel(self) -> None:
        wave = self._pick(list(self._waves.values()))
        if self._chance(70):
            items = sorted({self._number(0, wave.width - 1) for _ in range(self._number(1, 3))})
            self._steps.append(Cancel(wave.name, tuple(items)))

    def _is_handed_on(self, variable: Variable) -> bool:
        """Tell whether a result is the very variable, which without a block would be changed with it."""
        given = [
            self._tasks[wave.task].returns != "new" for wave in self._waves.values() if _first(wave) == variable.name
        ]
        return any(given)

    def _follow(self, wave: Wave) -> None:
        """Call a task with each result as it comes."""
        kind = self._tasks[wave.task].result
        new = Wave(_WAVES[len(self._waves)], "", 1000 * (len(self._waves) + 1), wave.width, (Input("each", wave.name),))
        self._add(
            replace(new, task=self._task(new, (kind,), self._fitting(self._kind, wave.width), "new")), as_they_come=True
        )


def _first(wave: Wave) -> str:
    return wave.inputs[0].source if wave.inputs and wave.inputs[0].mode == "variable" else ""


def _size(kind: Kind) -> int:
    """Estimate how much memory a value needs [bytes]."""
    if isinstance(kind, Array):
        return kind.count * {"float64": 8, "float32": 4, "int16": 2, "uint8": 1}[kind.dtype]
    if isinstance(kind, Items):
        return 100 + kind.count * _size(kind.of)
    if isinstance(kind, Record):
        return 100 + sum(_size(inner) for _, inner in kind.fields)
    return {"blob": 2_000_000, "text": 1_000_000}.get(kind.name, 50)


def _can_change(kind: Kind) -> bool:
    return isinstance(kind, Array) or (isinstance(kind, Items) and kind.container in ("list", "dict"))
