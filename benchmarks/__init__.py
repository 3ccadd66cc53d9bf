# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What Parman costs, beside hand-written code and beside its peers; `README.md` says how it is measured."""
