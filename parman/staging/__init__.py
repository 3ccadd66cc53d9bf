# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Stagings: how the files of a job get from where results are kept to where its script runs, and back."""
