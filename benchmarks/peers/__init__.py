# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parman and its peers, by the names that the command line takes; the libraries are imported when they are opened."""

from __future__ import annotations

from ..peer import Peer
from .dask import Distributed, Threaded
from .joblib import JoblibLoky, JoblibThreads
from .loky import Loky
from .parman import ParmanProcesses, ParmanSerial, ParmanThreads
from .parsl import HighThroughput, ParslThreads
from .ray import Ray

__all__ = ["PEERS"]

PEERS: dict[str, type[Peer]] = {
    "parman-threads": ParmanThreads,
    "parman-serial": ParmanSerial,
    "parsl-threads": ParslThreads,
    "dask-threads": Threaded,
    "joblib-threads": JoblibThreads,
    "parman-processes": ParmanProcesses,
    "parsl-processes": HighThroughput,
    "dask-processes": Distributed,
    "ray": Ray,
    "joblib-loky": JoblibLoky,
    "loky": Loky,
}
