# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What runs in the process of one peer: `python -m benchmarks.measure SETTINGS`, with the settings as JSON.

The peer and the floor run in turn, so that what else the machine does meets both. What was found goes to the standard
output, a line of JSON for each workload as soon as it is measured; all other output goes where errors go.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from .floor import FLOORS
from .peer import NotOffered, Peer
from .peers import PEERS
from .workloads import PLAIN, WORKLOADS, Figures, Workload, plain_chain

__all__ = ["Samples"]

Samples = list[dict[str, Figures]]
"""For each repeat: what was measured of `peer`, `floor`, and perhaps `plain`."""


def _once(system: Peer, workload: Workload, n: int) -> Figures:
    gc.collect()
    with system.block():
        return workload.run(system, n)


def _sample(peer: Peer, floor: Peer, workload: Workload, calls: int, repeats: int) -> dict[str, Any]:
    n = workload.size(calls * peer.share)
    runs: dict[str, Callable[[], Figures]] = {
        "peer": lambda: _once(peer, workload, n),
        "floor": lambda: _once(floor, workload, n),
    }
    if workload.beside_plain:
        runs[PLAIN] = lambda: plain_chain(n)
    for system in (peer, floor):
        with system.block():
            workload.run(system, min(n, 50))
    samples: Samples = [{name: run() for name, run in runs.items()} for _ in range(repeats)]
    return {"n": n, "samples": samples}


def _measure(peer: Peer, workloads: list[str], calls: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Give one record for each workload, and before it a line that says that it begins."""
    with ExitStack() as stack:
        floor = FLOORS[peer.kind]()
        floor.open(stack)
        floor.fan(50)  # its processes are forked here, before a peer has threads
        try:
            peer.open(stack)
        except ImportError as error:
            yield {"left out": str(error)}
            return
        for name in workloads:
            yield {"begins": name}
            try:
                yield {"workload": name, **_sample(peer, floor, WORKLOADS[name], calls, repeats)}
            except NotOffered:
                yield {"workload": name, "not offered": True}
            except Exception as error:
                traceback.print_exc()
                yield {"workload": name, "failed": f"{type(error).__name__}: {error}"}
    yield {"end": True}


def main(settings: str) -> None:
    """Measure, and write lines."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.getLogger("parman").setLevel(logging.ERROR)
    wanted = json.loads(settings)
    peer = PEERS[wanted["peer"]]()
    for record in _measure(peer, wanted["workloads"], wanted["calls"], wanted["repeats"]):
        output.write(json.dumps(record) + "\n")
        output.flush()


if __name__ == "__main__":
    main(sys.argv[1])
