# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parsl's configuration for the test cluster; see `slurm` for where that comes from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from . import ROOT

__all__ = ["LOST", "configuration"]

HEARTBEAT, LOST = 1, 6
"""When a manager that does not answer is lost [s]."""


def configuration(run_dir: Path | str, nodes: int = 1, blocks: int = 1, strategy: str = "none") -> Any:
    """Return a configuration for the test cluster."""
    from parsl.config import Config  # may not be installed
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import SrunLauncher
    from parsl.providers import SlurmProvider

    class Provider(SlurmProvider):
        """Asks for the state of blocks each second, rather than each minute."""

        status_polling_interval = 1

    programs = Path(sys.executable).parent
    executor = HighThroughputExecutor(
        label="slurm",
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        cores_per_worker=0.001,
        max_workers_per_node=2,
        heartbeat_period=HEARTBEAT,
        heartbeat_threshold=LOST,
        provider=Provider(
            partition="main",
            nodes_per_block=nodes,
            init_blocks=1,
            min_blocks=1,
            max_blocks=blocks,
            walltime="00:10:00",
            exclusive=False,
            worker_init=f"export PATH={programs}:$PATH PYTHONPATH={ROOT}",
            launcher=SrunLauncher(),
        ),
    )
    return Config(
        executors=[executor],
        run_dir=str(run_dir),
        strategy=strategy,
        strategy_period=0.5,
        usage_tracking=0,
        initialize_logging=False,
    )
