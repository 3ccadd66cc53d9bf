# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Annotations: what a task takes and what it returns, checked and taken apart."""
