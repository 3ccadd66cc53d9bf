# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What objects fill in when they are asked is no change, whatever else is one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pint
import pytest
import uncertainties

from parman.snapshots.changes import Watched
from parman.snapshots.take import in_process, take_snapshot


def changed(value: Any, use: Any) -> list[str]:
    """Return what is told of a task that does this with its argument."""
    watched = Watched(take_snapshot({"x": value}, in_process), ())
    use(watched.arguments["x"])
    return watched.changed(None)


# --- classes of a script ---


class Lazy:
    """Computes things once, in each of the usual ways."""

    def __init__(self):
        self.x, self._sum, self._weights = [3, 4], None, None

    @property
    def is_none(self):
        if self._sum is None:
            self._sum = sum(self.x)
        return self._sum

    def has(self):
        if not hasattr(self, "_found"):
            self._found = [5]
        return self._found

    def tries(self):
        try:
            return self._tried
        except AttributeError:
            self._tried = sum(self.x)
        return self._tried

    def gets(self):
        if getattr(self, "_got", None) is None:
            self._got = {"a": 1}
        return self._got

    @functools.wraps(len)
    def mangled(self):
        if "_Lazy__m" not in self.__dict__:
            self.__m = 3
        return self.__m

    def fit(self):
        self._weights = list(self.x)


class Slots:
    __slots__ = ("_hash", "x")

    def __init__(self):
        self.x, self._hash = (1, 2), None

    def __hash__(self):
        if self._hash is None:
            self._hash = hash(self.x)
        return self._hash

    def __eq__(self, other):
        return self.x == other.x


class SlotsAndMore(Slots):
    @functools.cached_property
    def size(self):
        return len(self.x)


@dataclass(frozen=True)
class Frozen:
    xs: tuple
    _total: Any = None

    @property
    def total(self):
        if self._total is None:
            object.__setattr__(self, "_total", sum(self.xs))
        return self._total


@dataclass
class Record:
    xs: list
    _total: Any = None

    @property
    def total(self):
        if self._total is None:
            self._total = sum(self.xs)
        return self._total


class Reified:
    """A cached property as several libraries have one."""

    def __init__(self, function):
        self.function = function

    def __get__(self, obj, cls=None):
        value = self.function(obj)
        setattr(obj, self.function.__name__, value)
        return value


class Keeping(property):
    def __get__(self, obj, cls=None):
        return obj.__dict__.setdefault(self.fget.__name__, self.fget(obj))


class Default:
    def __get__(self, obj, cls=None):
        return 3


class Described:
    default = Default()

    @Reified
    def reified(self):
        return 5

    @Keeping
    def kept(self):
        return 6


class Settable:
    """Lets others set what it keeps in a private attribute."""

    def __init__(self):
        self._tool = self._unit = None

    @property
    def tool(self):
        return self._tool

    @tool.setter
    def tool(self, value):
        if self._tool is None:
            self._tool = value

    def set_unit(self, unit):
        if self._unit is None:
            self._unit = unit


class Checked:
    """Has a getter that fills in what others may set as well, as sparse matrices have."""

    @property
    def ready(self):
        if not hasattr(self, "_ready"):
            self.ready = True
        return self._ready

    @ready.setter
    def ready(self, value):
        self._ready = value


ASKED = {
    "is None": (Lazy, lambda x: x.is_none),
    "hasattr": (Lazy, lambda x: x.has()),
    "try": (Lazy, lambda x: x.tries()),
    "getattr": (Lazy, lambda x: x.gets()),
    "mangled": (Lazy, lambda x: x.mangled()),
    "several": (lambda: {"a": [Lazy(), Lazy()]}, lambda x: [(o.is_none, o.has(), o.tries()) for o in x["a"]]),
    "hash in a slot": (Slots, hash),
    "slots and attributes": (SlotsAndMore, lambda x: (hash(x), x.size)),
    "frozen dataclass": (lambda: Frozen((1, 2)), lambda x: x.total),
    "dataclass": (lambda: Record([1, 2]), lambda x: x.total),
    "reified": (Described, lambda x: x.reified),
    "kept": (Described, lambda x: x.kept),
    "getter": (Checked, lambda x: x.ready),
}


@pytest.mark.parametrize("way", ASKED)
def test_what_is_filled_in_is_no_change(way):
    """An attribute that a class sets once it is asked, after a look whether it is there, is no change."""
    make, ask = ASKED[way]
    assert changed(make(), ask) == []


CHANGED = {
    "public": (Lazy, lambda x: setattr(x, "x", None)),
    "public in what is public": (Lazy, lambda x: x.x.append(1)),
    "new": (Lazy, lambda x: setattr(x, "new", 1)),
    "private, without a look": (Lazy, lambda x: x.fit()),
    "private, from outside": (Lazy, lambda x: setattr(x, "_other", 1)),
    "besides": (Lazy, lambda x: (x.is_none, x.has(), x.x.append(1))),
    "private, besides": (Lazy, lambda x: (x.is_none, x.fit())),
    "in a list, besides": (lambda: [Lazy(), 1], lambda x: (x[0].is_none, x.append(2))),
    "filled in already": (lambda: (lazy := Lazy(), lazy.is_none)[0], lambda x: setattr(x, "_sum", 3)),
    "slot": (SlotsAndMore, lambda x: (hash(x), setattr(x, "x", (3,)))),
    "dataclass": (lambda: Record([1, 2]), lambda x: (x.total, x.xs.append(2))),
    "default": (Described, lambda x: (x.reified, setattr(x, "default", 5))),
    "setter": (Settable, lambda x: setattr(x, "tool", 3)),
    "set by a method": (Settable, lambda x: x.set_unit("m")),
    "beside a pattern": (lambda: [re.compile("x"), [1]], lambda x: x[1].append(1)),
}


@pytest.mark.parametrize("way", CHANGED)
def test_other_changes_are_told(way):
    """What is public, what others can set, and what is set without a look is a change, whatever else is filled in."""
    make, change = CHANGED[way]
    assert changed(make(), change) == ["x"]


# --- classes of libraries ---


def frame() -> Any:
    times = pd.date_range("2024-03-30", periods=4)
    return pd.DataFrame({"k": list("abca"), "x": np.arange(4.0), "t": times}).set_index("k")


def levels() -> Any:
    return frame().reset_index().astype({"k": "category"}).set_index(["k", "t"])


READ_FRAMES = {
    "choice": (frame, lambda x: x[x["x"] > 1]),
    "row": (frame, lambda x: x.loc["a"]),
    "groups": (frame, lambda x: list(x.groupby(level="k"))),
    "column": (frame, lambda x: str(x["t"])),
    "years": (lambda: frame()["t"], lambda x: (x.dt.year, x.unique(), str(x))),
    "index": (lambda: frame().index, lambda x: (x.is_unique, x.get_loc("a"))),
    "groups of levels": (levels, lambda x: list(x.groupby(level="k", observed=True))),
    "row of levels": (levels, lambda x: x.loc["a"]),
    "text of levels": (levels, lambda x: str(x["x"])),
    "type of a level": (levels, lambda x: str(x.index.get_level_values(-1).dtype)),
    "in a dict": (lambda: {"a": [frame(), levels()]}, lambda x: (str(x["a"][0]), str(x["a"][1]))),
}
CHANGED_FRAMES = {
    "value": (frame, lambda x: (str(x["t"]), x.__setitem__("x", 7.0))),
    "one value": (frame, lambda x: x.iloc.__setitem__((0, 0), 7.0)),
    "time": (frame, lambda x: (str(x["t"]), x.iloc.__setitem__((0, 1), pd.Timestamp("2020-01-01")))),
    "column": (levels, lambda x: (str(x["x"]), x.insert(0, "new", 1))),
    "name": (frame, lambda x: setattr(x.index, "name", "q")),
    "attributes": (frame, lambda x: x.attrs.update(a=1)),
    "series": (lambda: frame()["x"], lambda x: x.__setitem__("a", 7.0)),
}


@pytest.mark.parametrize("way", READ_FRAMES)
def test_reading_a_frame_is_no_change(way):
    """Whatever pandas looks up on the way, reading a frame, a column or an index is no change."""
    make, read = READ_FRAMES[way]
    assert changed(make(), read) == []


@pytest.mark.parametrize("way", CHANGED_FRAMES)
def test_changing_a_frame_is_told(way):
    """Values, times, columns, names and attributes of a frame are told, also after a look at it."""
    make, change = CHANGED_FRAMES[way]
    assert changed(make(), change) == ["x"]


def test_quantities():
    """A dimension that a quantity looks up is no change; a value, a unit are."""
    units = pint.UnitRegistry()
    for value in (2.0 * units.m, float("nan") * units.m, np.ones(3) * units.m):
        assert changed(value, lambda x: (x + x, x.to("mm"), x.dimensionality)) == []
        assert changed([value], lambda x: (x[0] + x[0], x.append(1))) == ["x"]
    assert changed(units.m, lambda x: (x.dimensionality, x * x, hash(x))) == []
    assert changed(np.ones(3) * units.m, lambda x: x.__setitem__(0, 3 * units.m)) == ["x"]
    assert changed(2.0 * units.m, lambda x: x.ito("mm")) == ["x"]


def test_numbers_with_uncertainties():
    """A linear combination that is expanded is no change."""
    u = uncertainties.ufloat(3, 0.1)
    assert changed(u * 2, lambda x: x.std_dev) == []
    values = [u * 2, {"k": u + uncertainties.ufloat(1, 0.2)}]
    assert changed(values, lambda x: (x[0].std_dev, x[1]["k"].error_components())) == []
    assert changed(values, lambda x: (x[0].std_dev, x.append(1))) == ["x"]
    pair = uncertainties.correlated_values([1, 2], [[0.1, 0.05], [0.05, 0.2]])
    assert changed(list(pair), lambda x: (x[0] + x[1]).std_dev) == []


def test_sparse_matrices():
    """The flags of a sparse matrix are no change; its values are."""
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy comes with the demos: make test-all has it")
    for form in ("csr", "csc", "coo"):
        matrix = sparse.random(20, 20, 0.2, form, random_state=1)
        assert changed(matrix, lambda x: (x @ x, x + x, x.T, x.tocsr(), x.has_canonical_format)) == []
        assert changed(matrix, lambda x: (x + x, x.data.__setitem__(0, 9.0))) == ["x"]


@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
def test_atoms():
    """Reading atoms is no change; a calculator, constraints, a cell and what goes by other private names are."""
    build = pytest.importorskip("ase.build", reason="ASE comes with the demos: make test-all has it")
    from ase.calculators.emt import EMT
    from ase.constraints import FixAtoms

    atoms = build.bulk("Cu")
    assert changed(atoms, lambda x: (x.get_volume(), x.cell.reciprocal(), x.get_scaled_positions(), x.symbols)) == []
    for change in (
        lambda x: setattr(x, "calc", EMT()),
        lambda x: x.set_constraint(FixAtoms([0])),
        lambda x: x.set_cell(2 * x.cell),
        lambda x: x.set_celldisp([1, 1, 1]),
        lambda x: x.info.update(a=1),
        lambda x: x.rattle(),
    ):
        assert changed(atoms, change) == ["x"]
    atoms.calc = EMT()
    assert changed(atoms, lambda x: x.get_potential_energy()) == []
