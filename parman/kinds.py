# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kinds of classes that snapshots treat in a way of their own.

numpy is not imported for this: a class of numpy's can only be there if somebody else has imported it.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from io import IOBase
from typing import Any

__all__ = [
    "is_array",
    "is_calculator",
    "is_generator",
    "is_iterator",
    "is_molecule",
    "is_plain_array",
    "is_quantity",
    "is_scalar",
    "is_seed",
]


def is_array(cls: type) -> bool:
    """Tell whether instances of a class are numpy arrays."""
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array is not None and issubclass(cls, array)


def is_plain_array(value: Any) -> bool:
    """Tell whether this is a numpy array of numbers and the like that owns its memory."""
    if type(value) is not getattr(sys.modules.get("numpy"), "ndarray", None):
        return False
    flags = value.flags
    return bool(value.base is None and flags.owndata and flags.writeable and flags.forc and not value.dtype.hasobject)


def is_scalar(cls: type) -> bool:
    """Tell whether instances of a class are numpy scalars, which can't be changed; records can."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and issubclass(cls, numpy.generic) and not issubclass(cls, numpy.void)


def is_quantity(cls: type) -> bool:
    """Tell whether instances are quantities or units of pint, which belong to a registry of units."""
    return cls.__module__.partition(".")[0] == "pint" and hasattr(cls, "_REGISTRY") and hasattr(cls, "__reduce__")


def is_molecule(cls: type) -> bool:
    """Tell whether instances are molecules of RDKit, whose pickles hold what a setting of the library says."""
    return cls.__module__ == "rdkit.Chem.rdchem" and cls.__name__ in ("Mol", "RWMol")


def is_calculator(cls: type) -> bool:
    """Tell whether instances are calculators of ASE, whose state is what they computed last."""
    return any(base.__module__.startswith("ase.calculators.") and "Calculator" in base.__name__ for base in cls.__mro__)


def is_iterator(cls: type) -> bool:
    """Tell whether instances of a class are used up by reading them; files and mocks are none of them."""
    return issubclass(cls, Iterator) and not issubclass(cls, IOBase) and cls.__module__ != "unittest.mock"


def is_generator(cls: type) -> bool:
    """Tell whether instances of a class give random numbers, and change when they do.

    Those of other libraries are known by what they are called and where, or by methods that draw and that go on.
    """
    if issubclass(cls, random.Random):
        return not issubclass(cls, random.SystemRandom)
    module: Any = sys.modules.get("numpy.random")
    if module is not None and issubclass(cls, (module.Generator, module.RandomState, module.BitGenerator)):
        return True
    return any(map(_is_called_generator, cls.__mro__)) or (_has(cls, _DRAWING) and _has(cls, _GOING_ON))


_GENERATOR = re.compile(r"(Generator|RandomState|Random|Rngs?|RNG|RngStream|PRNG\w*|QMCEngine|SobolEngine)$")
_ITS_MODULE = re.compile(r"(^|\.)_?(random|randomgen|quasirandom|rngs?|rnglib|qmc)(\.|$)|^torch\._C$")
_DRAWING = (
    "random", "random_sample", "random_raw", "rand", "randn", "randint", "integers", "uniform", "standard_normal",
)  # fmt: skip
_GOING_ON = (
    "seed", "manual_seed", "reset_from_seed", "get_state", "getstate", "set_state", "setstate", "jumped",
    "fast_forward", "spawn",
)  # fmt: skip


def _is_called_generator(cls: type) -> bool:
    return bool(_GENERATOR.search(cls.__name__) and _ITS_MODULE.search(cls.__module__))


def _has(cls: type, names: tuple[str, ...]) -> bool:
    return any(callable(getattr(cls, name, None)) for name in names)


def is_seed(cls: type) -> bool:
    """Tell whether instances give seeds to generators, and other ones each time they spawn."""
    seed = getattr(sys.modules.get("numpy.random"), "SeedSequence", None)
    return seed is not None and issubclass(cls, seed)
