# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND cancel-structure
# RUNNERS threads:2 processes:2
# EXPECT out=True False
"""A template job whose result has fields is cancelled while it waits: its script must not run."""

import sys
import time
from pathlib import Path

from parman import cancel, job_template, task, workflow

template = Path("fit")
template.mkdir()
(template / "jobinfo.py").write_text("""
from dataclasses import dataclass

@dataclass
class Fit:
    slope: float
    error: float

def mock(*, start):
    return Fit(0.0, 0.0)
""")
script = f"""#!/bin/sh
touch {Path.cwd()}/fit.ran
echo '{{"slope": 1.0, "error": 0.0}}' > result.json
"""
(template / "run").write_text(script)
(template / "run").chmod(0o755)
fit = job_template("fit")


@task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


with workflow(sys.argv[1]):
    answer = cancel(fit("results/0", start=nap(1.0)))
print(answer, Path("fit.ran").exists())
