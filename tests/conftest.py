# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all tests have in common."""

from __future__ import annotations

import signal

from slurm import cluster  # noqa: F401 (a fixture)

# What runs in the background of a shell, as on some build machines, ignores Ctrl-C, and so does all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
