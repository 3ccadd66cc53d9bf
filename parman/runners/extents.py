# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which lines of a script a dry run has reached, and which it has not: read from the source of the block."""

from __future__ import annotations

import ast
import linecache
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import TypeAlias

from ..context import Site, is_ours

__all__ = ["Extent", "extent_of_caller", "is_installed"]

_Scope: TypeAlias = "ast.Module | ast.FunctionDef | ast.AsyncFunctionDef"


def is_installed(frame: FrameType) -> bool:
    """Tell whether a frame runs code of Python or of an installed library."""
    paths = sysconfig.get_paths()
    return frame.f_code.co_filename.startswith((paths["stdlib"], paths["purelib"], paths["platlib"], "<frozen"))


def extent_of_caller() -> Extent | None:
    """Return the place of the block that code of the user enters here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (is_ours(frame) or is_installed(frame)):
        frame = frame.f_back
    return None if frame is None else Extent(frame.f_code, frame.f_lineno)


class Extent:
    """Where a block stands in the user's file.

    Parameters
    ----------
    code
        The code that the block is part of.
    line
        The line that enters it.
    """

    def __init__(self, code: CodeType, line: int) -> None:
        self._code = code
        self._line = line

    def line_of(self, trace: TracebackType | None) -> int | None:
        """Return the line of the block at which an exception left it."""
        while trace is not None:
            if trace.tb_frame.f_code is self._code:
                return trace.tb_lineno
            trace = trace.tb_next
        return None

    def not_reached(self, last: int | None) -> str | None:
        """Name the lines behind the last one that was reached, or behind the block; None if there are none."""
        try:
            tree = ast.parse("".join(linecache.getlines(self._code.co_filename)))
        except (SyntaxError, ValueError):  # not a file of Python, as a cell with magic commands
            return None
        scope = self._scope(tree)
        if last is None:
            last = self._end(scope)
        if last is None:
            return None
        lines = [node.lineno for node in _statements(scope) if node.lineno > last]
        end = max((node.end_lineno or 0 for node in _statements(scope)), default=0)
        if not lines:
            return None
        place = str(Site(self._code.co_filename, min(lines), ""))
        return place if end == min(lines) else f"{place}-{end}"

    def _scope(self, tree: ast.Module) -> _Scope:
        """Return the function in which the block stands, or the module."""
        found: _Scope = tree
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == self._code.co_name:
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                if first == self._code.co_firstlineno:
                    found = node
        return found

    def _end(self, scope: _Scope) -> int | None:
        """Return the last line of the `with` block; None if the block is none of these."""
        ends = [
            node.end_lineno
            for node in _statements(scope)
            if isinstance(node, ast.With | ast.AsyncWith)
            and node.lineno <= self._line <= max(item.context_expr.end_lineno or 0 for item in node.items)
        ]
        return ends[-1] if ends else None


def _statements(scope: _Scope) -> Iterator[ast.stmt]:
    """Yield the statements that are run with the scope, outer ones first."""
    todo: list[ast.AST] = list(reversed(scope.body))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            todo.extend(reversed(list(ast.iter_child_nodes(node))))
