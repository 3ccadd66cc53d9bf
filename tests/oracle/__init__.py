# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whole scripts that run as plain Python and on every runner, and have to end alike.

    plans ── strategies       what a script does, as immutable data; Hypothesis draws it
      └ writing               the text of the script, which says in its first lines how it may end
          └ headers           reads those lines
              └ running       runs the script in a directory of its own, under a limit, and looks what it leaves behind
                  └ judging   compares the runs with the plain one

A script says by itself all that the judge has to know, so that one that failed is kept as it is and run alone:
`python -m tests.oracle FILE`.
"""
