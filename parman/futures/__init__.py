# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Futures: what a call returns, what waits for it, and the loop that settles it."""
