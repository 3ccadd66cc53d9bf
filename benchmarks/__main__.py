# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a call costs: Parman and its peers beside hand-written code that does the same, in the same run.

`python -m benchmarks --help`; `README.md` says what is measured, and how.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path

from .compare import CHOICES, Settings, compare
from .peers import PEERS
from .report import add_summaries, tables

RESULTS = Path(__file__).parent / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PEERS, metavar="PEER", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--workload", nargs="+", choices=CHOICES, metavar="W", help=f"of {', '.join(CHOICES)}")
    parser.add_argument("--calls", type=int, default=2000, help="of a workload; slow peers make fewer (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement (%(default)s)")
    parser.add_argument("--limit", type=float, default=120, help="of a workload of a peer [s] (%(default)s)")
    parser.add_argument("--json", type=Path, help="where results go, tables as .md beside (results/DATE.json)")
    return parser.parse_args()


def main() -> None:
    """Measure, write the tables, keep everything."""
    wanted = _arguments()
    settings = Settings(
        wanted.only or list(PEERS), wanted.workload or CHOICES, wanted.calls, wanted.repeats, wanted.limit
    )
    found = compare(settings)
    add_summaries(found)
    text = tables(found)
    path = wanted.json or RESULTS / f"{datetime.now():%Y-%m-%dT%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    path.with_suffix(".md").write_text(text)
    sys.stdout.write(f"{text}\nAll samples are in {path}\n")


if __name__ == "__main__":
    main()
