# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a script does, as immutable data: kinds of values, tasks, waves of calls, and what happens between them.

A *wave* is a number of calls of one task, as a list comprehension makes them: `b = [step(a[i], 200 + i) for i in ...]`.
Each call has a number of its own, the last argument, by which its prints, failures and outcome are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

__all__ = [
    "OPAQUE",
    "Array",
    "AsTheyCome",
    "Block",
    "Cancel",
    "Change",
    "Drop",
    "Input",
    "Items",
    "Kind",
    "Plan",
    "Record",
    "Scalar",
    "Settle",
    "Step",
    "Task",
    "Variable",
    "Wave",
    "parts",
    "records",
    "simpler",
]

# --- kinds of values ---


@dataclass(frozen=True)
class Scalar:
    """A small value: `int`, `float`, `str`, `complex`, `date`, `Decimal`, `Path`, `bytes`, an enum of the script."""

    name: str


@dataclass(frozen=True)
class Array:
    """A numpy array of so many items; `layout` is "flat", "rows", "columns" (in the order of Fortran), "strided"."""

    count: int
    dtype: str
    layout: str


@dataclass(frozen=True)
class Items:
    """A collection: "list", "dict", "tuple", "deque" or "set"; `fixed`: a list whose annotation tells its length."""

    container: str
    of: Kind
    count: int
    fixed: bool = False


@dataclass(frozen=True)
class Record:
    """A class of the script, each name once; `style` is that of the writer's table."""

    style: str
    name: str
    fields: tuple[tuple[str, Kind], ...]


Kind = Scalar | Array | Items | Record

OPAQUE = frozenset({"class", "slotted class", "generic"})
"""Styles of classes that are no trees: their instances have one future."""


def records(kind: Kind) -> Iterator[Record]:
    """Give the classes that a kind is made of, each after those that it needs."""
    if isinstance(kind, Record):
        for _, inner in kind.fields:
            yield from records(inner)
        yield kind
    elif isinstance(kind, Items):
        yield from records(kind.of)


def parts(kind: Kind) -> Iterator[tuple[str, Kind]]:
    """Give the parts of a result that have futures of their own, by what stands behind the result's name."""
    if isinstance(kind, Record) and kind.style not in OPAQUE:
        for name, inner in kind.fields:
            yield (f'["{name}"]' if kind.style == "TypedDict" else f".{name}"), inner
    elif isinstance(kind, Items) and (kind.container == "tuple" or kind.fixed) and kind.count:
        yield f"[{kind.count - 1}]", kind.of


# --- tasks and calls ---


@dataclass(frozen=True)
class Task:
    """A task of the script.

    Attributes
    ----------
    params
        The kinds of its arguments, but for the number of the call.
    result
        The kind of its result.
    returns
        "new": a value made from all arguments; "first": the first argument itself; "view": a part of it.
    annotated
        Whether it says so.
    pauses
        How long the calls take, in turns [ms].
    prints
        How many lines each call writes.
    scribbles
        It changes its last argument, which nobody else has.
    fails
        With what, by the numbers of calls.
    dies
        How its process is ended, by the numbers of calls.
    """

    name: str
    params: tuple[Kind, ...]
    result: Kind
    returns: str = "new"
    annotated: bool = True
    pauses: tuple[int, ...] = (0,)
    prints: int = 0
    scribbles: bool = False
    fails: tuple[tuple[int, str], ...] = ()
    dies: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Input:
    """Where an argument comes from.

    `mode` is "each" (the item of a wave of the same width), "next" (its neighbour), "one" (its first item), "all" (the
    wave as a list), "named" (the wave as a dict), "chain" (the call before, at first the first item of the wave),
    "variable" (of the script), "own" (made in the call).
    """

    mode: str
    source: str
    part: str = ""


@dataclass(frozen=True)
class Variable:
    """A value that the script has before its first block; `shared`: passed as `share(...)`."""

    name: str
    kind: Kind
    number: int
    shared: bool = False


@dataclass(frozen=True)
class Wave:
    """Calls of a task: those with the numbers from `first` on."""

    name: str
    task: str
    first: int
    width: int
    inputs: tuple[Input, ...]
    nested: bool = False

    @property
    def numbers(self) -> range:
        """The numbers of its calls."""
        return range(self.first, self.first + self.width)

    @property
    def sources(self) -> set[str]:
        """The waves that it takes arguments from."""
        return {each.source for each in self.inputs if each.mode not in ("variable", "own")}


@dataclass(frozen=True)
class Settle:
    """`a = resolve(a)`, in the middle of a block."""

    wave: str


@dataclass(frozen=True)
class AsTheyCome:
    """A loop over `as_resolved` whose body calls a task with each value: a wave that follows another."""

    wave: Wave


@dataclass(frozen=True)
class Cancel:
    """Some calls of a wave are cancelled, each as a whole."""

    wave: str
    items: tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """A variable of the script is changed in place."""

    variable: str


@dataclass(frozen=True)
class Drop:
    """The results of a wave are shown and given up."""

    wave: str


Step = Wave | Settle | AsTheyCome | Cancel | Change | Drop


@dataclass(frozen=True)
class Block:
    """Steps in a block; `style` is "with" or "open"."""

    style: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """A whole script.

    Attributes
    ----------
    runners
        What it runs on.
    text
        How annotations are written: "plain", "quoted" (those of fields), "future" (all of them are text).
    failing
        How it treats failures: "" (there are none), "seen" (in the block), "raised" (by the block), "fail_fast".
    turns, anew
        How often the blocks are run, and whether classes and tasks are defined anew each time.
    closed_input, descriptors
        How it is started.
    """

    theme: str
    runners: tuple[str, ...]
    variables: tuple[Variable, ...]
    tasks: tuple[Task, ...]
    blocks: tuple[Block, ...]
    text: str = "plain"
    failing: str = ""
    turns: int = 1
    anew: bool = False
    closed_input: bool = False
    descriptors: int | None = None
    limit: float = 30.0

    @property
    def steps(self) -> list[Step]:
        """The steps of all blocks."""
        return [step for block in self.blocks for step in block.steps]

    @property
    def waves(self) -> dict[str, Wave]:
        """All waves by their names."""
        found = [step.wave if isinstance(step, AsTheyCome) else step for step in self.steps]
        return {wave.name: wave for wave in found if isinstance(wave, Wave)}

    def task(self, name: str) -> Task:
        """Return the task of this name."""
        return next(task for task in self.tasks if task.name == name)


# --- smaller ones ---


def simpler(plan: Plan) -> Iterator[Plan]:
    """Give plans that are smaller by a piece, the big pieces first."""
    steps = plan.steps
    for step in steps:
        yield _without(plan, step)
    if len(plan.blocks) > 1:
        yield replace(plan, blocks=(Block(plan.blocks[0].style, tuple(steps)),))
    if plan.turns > 1:
        yield replace(plan, turns=1)
    if plan.closed_input:
        yield replace(plan, closed_input=False)
    if plan.descriptors:
        yield replace(plan, descriptors=None)
    for task in plan.tasks:
        for change in ({"pauses": (0,)}, {"prints": 0}, {"scribbles": False}, {"fails": ()}, {"dies": ()}):
            if (smaller := replace(task, **change)) != task:
                yield _tidy(replace(plan, tasks=tuple(smaller if each is task else each for each in plan.tasks)))


def _without(plan: Plan, gone: Step) -> Plan:
    """Leave out a step, and all that needs it."""
    lost: set[str] = set()
    blocks = []
    for block in plan.blocks:
        kept: list[Step] = []
        for step in block.steps:
            wave = step.wave if isinstance(step, AsTheyCome) else step
            needed = wave.sources if isinstance(wave, Wave) else {wave.wave} if not isinstance(wave, Change) else set()
            if step is gone or needed & lost:
                lost |= {wave.name} if isinstance(wave, Wave) else set()
            else:
                kept.append(step)
        if kept:
            blocks.append(replace(block, steps=tuple(kept)))
    return _tidy(replace(plan, blocks=tuple(blocks)))


def _tidy(plan: Plan) -> Plan:
    """Leave out tasks and variables that no call uses."""
    waves = plan.waves.values()
    used = {wave.task for wave in waves}
    read = {each.source for wave in waves for each in wave.inputs if each.mode == "variable"}
    tasks = tuple(task for task in plan.tasks if task.name in used)
    variables = tuple(variable for variable in plan.variables if variable.name in read)
    blocks = tuple(
        replace(
            block,
            steps=tuple(step for step in block.steps if not isinstance(step, Change) or step.variable in read),
        )
        for block in plan.blocks
    )
    return replace(plan, tasks=tasks, variables=variables, blocks=blocks)
