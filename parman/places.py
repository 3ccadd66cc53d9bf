# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where in the arguments of a call something is that can't be there, and what the user is told of it."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Sequence, ValuesView
from concurrent.futures import Future
from typing import Any

from .errors import ArgumentError, HiddenFutureError
from .hidden import Trail, format_trail, search, search_leaves
from .kinds import is_generator, is_iterator, is_seed
from .ledgers import Ledger
from .trees import Key, StandIn, futures_in, map_leaves, walk

__all__ = ["Place"]


class Place:
    """A value of which a snapshot is taken, and how places in it are named.

    Parameters
    ----------
    value
        The value; a dict of arguments if the label ends with "()".
    label
        What the value is.
    """

    def __init__(self, value: object, label: str) -> None:
        self.value = value
        self.label = label
        self.is_call = label.endswith("()") and isinstance(value, dict)

    def format(self, trail: Trail) -> str:
        """Return a place as the user would write it."""
        if self.is_call and trail and isinstance(trail[0], Key):
            return format_trail(str(trail[0].key), trail[1:])
        return format_trail("<somewhere>" if self.is_call else self.label or "the value", trail)

    def error(self, text: str, cls: type[ArgumentError] = ArgumentError) -> ArgumentError:
        """Make an error that names the function and the place."""
        return cls(f"{self.label}: argument {text}" if self.is_call else text)

    # --- futures ---

    def check_futures(
        self,
        futures: Sequence[Future[Any]],
        references: Sequence[object],
        *,
        stand_ins: bool = False,
        views: bool = False,
    ) -> None:
        """Raise an error if any future is elsewhere than among the leaves of the tree.

        Parameters
        ----------
        futures
            All that were met when the value was copied.
        references
            What was not copied.
        stand_ins, views
            Whether any stand-in, view of a dict's values was met.
        """
        tree = map_leaves(_opened, self.value) if views else self.value
        proper = {id(future) for future in _proper(tree, stand_ins)} if futures else set()
        strangers = [future for future in futures if id(future) not in proper]
        if not futures and all(search(obj) is None for obj in references):
            return
        trail = search_leaves(tree)
        if trail is not None:
            raise self.error(f"{self.format(trail)} is a future {_OUT_OF_REACH}", HiddenFutureError)
        if strangers:
            raise self.error(f"{self._holder()} holds a future somewhere {_OUT_OF_REACH}", HiddenFutureError)

    def _holder(self) -> str:
        """Return the argument that has a future somewhere, however deep."""
        for name, value in self.value.items() if self.is_call else ():  # type: ignore[attr-defined]
            if search_leaves(value, budget=1_000_000) is not None:
                return str(name)
        return self.format(())

    # --- iterators and random generators ---

    def check_iterators(self) -> None:
        """Raise an error if any leaf is used up by reading it."""
        for trail, leaf in walk(self.value):
            if is_iterator(type(leaf)):
                raise self.error(
                    f"{self.format(trail)} is {_a(leaf)}, which is used up by the first to read it, while each task "
                    "has a copy of its own; pass a list"
                )

    def check_generators(self, ledger: Ledger) -> None:
        """Raise an error if any leaf is a random generator that an earlier call was given."""
        leaves = [(trail, leaf) for trail, leaf in walk(self.value) if is_generator(type(leaf))]
        passed = ledger.pass_generators([leaf for _, leaf in leaves])
        for trail, leaf in leaves:
            if leaf is passed:
                raise self.error(
                    f"{self.format(trail)} is a random generator that an earlier call was given: both calls would see "
                    f"the same numbers; give each call one of its own, {_one_each(leaf)}"
                )

    def seeds_again(self, ledger: Ledger) -> Iterator[str]:
        """Yield the places of sequences of seeds that an earlier call was given."""
        leaves = [(trail, leaf) for trail, leaf in walk(self.value) if is_seed(type(leaf))]
        passed = ledger.pass_generators([leaf for _, leaf in leaves])
        yield from (self.format(trail) for trail, leaf in leaves if leaf is passed)


def _opened(leaf: object) -> object:
    """Return the values that a view of a dict shows, which are replaced as if they were in a list."""
    if isinstance(leaf, ItemsView):
        return map_leaves(_opened, [value for _, value in leaf])
    return map_leaves(_opened, list(leaf)) if isinstance(leaf, ValuesView) else leaf


def _proper(tree: object, stand_ins: bool) -> Iterator[Future[Any]]:
    """Yield the futures that will be replaced by their values."""
    for _, future in futures_in(tree):
        yield future
    for _, leaf in walk(tree) if stand_ins else ():
        if issubclass(type(leaf), StandIn):
            whole, changes = leaf._parman_pass()  # type: ignore[attr-defined]
            yield whole
            yield from _proper(changes, stand_ins)


_OUT_OF_REACH = (
    "where it can't be found and replaced by its value; resolve() it, "
    "or pass it as an argument or in a list, tuple or dict value"
)


def _a(leaf: object) -> str:
    name = type(leaf).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _one_each(generator: object) -> str:
    return "as from rng.spawn(n)" if hasattr(generator, "spawn") else "with a seed of its own"
