# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all tests have in common."""

from __future__ import annotations

import signal

from helpers.cluster import cluster  # noqa: F401 (a fixture)
from hypothesis import HealthCheck, settings

# What runs in the background of a shell, as on some build machines, ignores Ctrl-C, and so does all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of what else runs on a machine than of the code.
settings.register_profile("parman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("parman")
