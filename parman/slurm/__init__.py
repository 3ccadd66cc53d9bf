# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Slurm: the program that submits a job and waits for it, and what it is made of."""
