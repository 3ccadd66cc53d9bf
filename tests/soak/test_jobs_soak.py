# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Drivers of template jobs that are killed some hundred times; not part of the normal run.

    python -m pytest -s tests/soak

`SOAK_KILLS` is the least number of kills in each of the 24 campaigns (10 unless set), `SOAK_SEED` the seed.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time

import pytest
from helpers.drivers import Campaign

KILLS = int(os.environ.get("SOAK_KILLS", "10"))
SEED = os.environ.get("SOAK_SEED", "1")

CASES = list(
    itertools.product(["inplace", "scratch"], ["serial", "threads:2", "processes:2"], [True, False], [True, False])
)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("staging", "runner", "rerun", "alone"), CASES)
def test_many_kills(tmp_path, staging, runner, rerun, alone):
    """After many kills the results are those of an undisturbed run, and no finished job ran twice."""
    whole = Campaign(tmp_path / "undisturbed", runner, staging)
    longest = whole.finish()
    rng = random.Random(f"{SEED} {staging} {runner} {rerun} {alone}")
    kills, number, begin = 0, 0, time.monotonic()
    while kills < KILLS:
        campaign = Campaign(tmp_path / str(number), runner, staging, rerun)
        campaign.be_killed(rng, rng.randint(1, 6), longest, alone)
        campaign.check(whole)
        kills += campaign.kills
        number += 1
    sys.stdout.write(f"\n{kills} kills in {number} campaigns, {time.monotonic() - begin:.0f} s ")
