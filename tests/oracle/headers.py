# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the first lines of a script say of its runs: a word in capitals, and what belongs to it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["Header"]

_LINE = re.compile(r"# ([A-Z]+) (.+)")


class Header:
    """The lines `# WORD text` at the head of a script, before the first that is not a comment."""

    def __init__(self, text: str) -> None:
        self.lines: list[tuple[str, str]] = []
        for line in text.splitlines():
            if not line.startswith("#"):
                break
            if found := _LINE.fullmatch(line.rstrip()):
                self.lines.append((found[1], found[2]))

    @classmethod
    def of(cls, path: Path) -> Header:
        """Read the head of a file."""
        return cls(path.read_text())

    def one(self, word: str, default: str = "") -> str:
        """Return what belongs to a word that is there once at most."""
        return next((text for key, text in self.lines if key == word), default)

    def all(self, word: str) -> list[str]:
        """Return what belongs to a word that may be there more than once."""
        return [text for key, text in self.lines if key == word]

    @property
    def runners(self) -> list[str]:
        """The names of the runners that the script is for."""
        return self.one("RUNNERS", "serial threads:2 processes:2").split()

    @property
    def limit(self) -> float:
        """How long a run may take [s]."""
        return float(self.one("LIMIT", "30"))

    @property
    def python(self) -> tuple[int, ...]:
        """The oldest version of Python that can run the script."""
        return tuple(int(part) for part in self.one("PYTHON", "3.0").split("."))
