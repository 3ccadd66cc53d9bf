# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What several tests need, a module for each kind of thing."""

from pathlib import Path

__all__ = ["ROOT", "TIMEOUT"]

TIMEOUT = 60
"""How long a test waits for what should come at once [s]."""

ROOT = Path(__file__).parents[2]
"""Where the project is."""
