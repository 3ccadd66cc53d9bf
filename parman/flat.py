# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Arguments that are nothing but numbers, short strings and futures: checked, searched and frozen in one loop.

Most calls of a workflow with very many calls are of this kind. Anything that is not known to fit takes the long way,
which gives the messages, and teaches the schema what fits.
"""

from __future__ import annotations

from concurrent.futures import Future
from decimal import Decimal
from functools import lru_cache
from typing import Any

from .frozen import FrozenAtoms
from .ledgers import BIG
from .schemas import Schema

__all__ = ["freeze_flat", "names_in"]

_NUMBERS = frozenset({int, float, complex, bool, type(None), type(...), range, Decimal})
_TEXTS = (str, bytes)


def freeze_flat(arguments: dict[str, Any], schema: Schema, checked: bool) -> FrozenAtoms | None:
    """Make the snapshot of such arguments; None if there are others, or if one is not known to fit.

    Parameters
    ----------
    arguments
        As `Schema.bind` returns them; they belong to the snapshot if there is one.
    schema
        What is known of the function.
    checked
        Whether types matter.
    """
    found: list[tuple[str, Future[Any]]] = []
    for name, value in arguments.items():
        cls = type(value)
        if cls in _NUMBERS or (cls in _TEXTS and len(value) < BIG):
            if checked and not schema.surely_fits(name, cls):
                return None
        elif issubclass(cls, Future):
            if checked and not schema.is_known_to_fit(name, getattr(value, "declared", Any)):
                return None
            found.append((name, value))
        else:
            return None
    return _with_futures(arguments, found) if found else FrozenAtoms(arguments)


@lru_cache(maxsize=1000)
def _only_place(name: str) -> tuple[tuple[str, int]]:
    """Return the place of the only future; the same object for all calls, of which there may be very many."""
    return ((name, 0),)


@lru_cache(maxsize=1000)
def names_in(places: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Return the names in the places of futures; mostly the same object for the same ones."""
    return tuple([name for name, _ in places])


def _with_futures(arguments: dict[str, Any], found: list[tuple[str, Future[Any]]]) -> FrozenAtoms:
    if len(found) == 1:
        ((name, future),) = found
        arguments[name] = None
        return FrozenAtoms(arguments, (future,), _only_place(name))
    numbers: dict[int, int] = {}
    futures: list[Future[Any]] = []
    places = []
    for name, future in found:
        number = numbers.setdefault(id(future), len(futures))
        if number == len(futures):
            futures.append(future)
        places.append((name, number))
        arguments[name] = None
    return FrozenAtoms(arguments, tuple(futures), tuple(places))
