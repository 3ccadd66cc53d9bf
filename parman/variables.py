# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Variables of the library `uncertainties` keep their identity on the way to other processes and back.

Two results are correlated if they depend on the same variable, and the same is the same object. A pickle makes an
independent one of it. So a variable travels with a token, by which each process knows the one that it has. The
library's objects can't be referred to weakly; of very many variables only the last ones are known.
"""

from __future__ import annotations

import sys
import uuid
from collections import OrderedDict
from typing import Any

__all__ = ["is_variable", "reduce_variable"]

_MOST = 100_000

# What is done to either is one step in C, so that no lock is needed, which a fork could find held.
_by_token: OrderedDict[str, Any] = OrderedDict()
_tokens: dict[int, str] = {}


def is_variable(cls: type) -> bool:
    """Tell whether instances of a class are independent variables of `uncertainties`."""
    variable = getattr(sys.modules.get("uncertainties.core"), "Variable", None)
    return variable is not None and cls is variable


def reduce_variable(variable: Any) -> Any:
    """Return what a variable becomes in a stream."""
    token = _tokens.get(id(variable)) or _remember(uuid.uuid4().hex, variable)
    return _known, (token, type(variable), variable.nominal_value, variable.std_dev, variable.tag)


def _known(token: str, cls: type, *content: Any) -> Any:
    """Return the variable that this process knows by a token, unless that was changed, else a new one."""
    known = _by_token.get(token)
    if known is None:
        known = cls(*content)
        return _by_token[_remember(token, known)]
    same = repr(content) == repr((known.nominal_value, known.std_dev, known.tag))
    return known if same else cls(*content)


def _remember(token: str, variable: Any) -> str:
    """Remember a variable, unless another thread was faster; return its token."""
    held = _by_token.setdefault(token, variable)
    token = _tokens.setdefault(id(held), token)
    _by_token.setdefault(token, held)
    while len(_by_token) > _MOST:
        _, oldest = _by_token.popitem(last=False)
        _tokens.pop(id(oldest), None)
    return token
