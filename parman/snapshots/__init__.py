# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Snapshots: values as they were, from which any number of copies can be made, here or in another process."""
