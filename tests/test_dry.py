# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dry run: all mistakes in one report, no task run, no script that goes on with made-up values."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import multiprocessing
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, NamedTuple, NoReturn

import pytest
from helpers import ROOT, TIMEOUT

from parman import (
    DryRunErrors,
    DryRunner,
    FutureTypeError,
    FutureUseError,
    Length,
    WaitGraph,
    as_future,
    as_resolved,
    cancel,
    resolve,
    share,
    task,
    workflow,
)
from parman.closures import Closure
from parman.runners.dry import DryRunEnded, DryRunStopped

# --- scripts ---

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from parman import *


@dataclass
class Model:
    size: int
    weights: list[float]


def _never(*args):
    Path("ran").touch()
    raise AssertionError("a task ran")


@task
def load(path: Path) -> list[float]: _never()


@task
def mean(numbers: list[float], weight: float = 1.0) -> float: _never()


@task
def split(n: int) -> tuple[int, str]: _never()


@task
def train(n: int) -> Model: _never()


@task(mock=lambda n: list(range(n)))
def seeds(n: int) -> list[int]: _never()

"""


def run(
    directory: Path, body: str, *options: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, int]]:
    """Run a script as a user would, in its directory; a comment `# name` marks a line. Return the lines besides."""
    text = HEAD + dedent(body)
    (directory / "script.py").write_text(text)
    lines = {match[1]: number for number, line in enumerate(text.splitlines(), 1) if (match := re.search(r"# (\w+)$", line))}
    result = subprocess.run(
        [sys.executable, "-W", "error", *options, "script.py"],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert not (directory / "ran").exists()
    return result, lines


def test_all_mistakes_are_in_one_report(tmp_path: Path) -> None:
    """Each mistake of a script is told with the user's file, relative to where they are, and line; status 1."""
    result, line = run(
        tmp_path,
        """
        with workflow("dry"):
            data = load()                           # missing
            load(Path("a"), 1, colour=2)            # wrong
            mean("text", weight=[1])                # values
            mean(load(Path("a")), split(1)[1])      # future
            mean([mean(data)], weight=mean)         # function
            mean({mean(data): 1.0})                 # hidden
            mean(x for x in [1.0])                  # iterator
            n, name = split(3)
            train(name)                             # chained
            with workflow("proceses"):              # runner
                model = train(n)
            mean(model.size)                        # field
            seeds(-1.5)                             # mock
        Path("after").touch()
        print("never")
        """,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert not (tmp_path / "after").exists()
    lines = result.stderr.splitlines()
    where = [match[1] for text in lines if (match := re.match(r"  script\.py:(\d+): ", text))]
    names = ["missing", "wrong", "values", "values", "future", "function", "hidden", "hidden", "iterator", "iterator"]
    names += ["chained", "runner", "field", "mock"]
    assert where == [str(line[name]) for name in names]
    assert lines[0] == "Dry run: 14 mistakes"
    assert f"(from split(), called at script.py:{line['future']})" in result.stderr
    assert "Traceback" not in result.stderr


def test_report_says_what_would_run(tmp_path: Path) -> None:
    """Without mistakes the status is 0, and calls per task, longest chain and width are told in aligned columns."""
    result, _ = run(
        tmp_path,
        """
        with workflow("dry"):
            parts = [load(Path(str(i))) for i in range(12)]
            means = [mean(part) for part in parts]
            train(mean(means))
        print("never")
        """,
    )
    assert result.returncode == 0
    assert result.stdout == ""
    assert result.stderr == dedent(
        """\
        Dry run: no mistakes found
        26 calls would run:
          12 x load
          13 x mean
           1 x train
        Longest chain: 4 calls; width: 12
        """
    ) or "argument n is a future of float" in result.stderr


STOPS = {
    "resolve": "resolve(model)",
    "result": "mean([1.0]).result()",
    "exception": "mean([1.0]).exception()",
    "resolve in a tree": "resolve({'a': [1, mean([1.0])]})",
    "as_resolved": "list(as_resolved([mean([1.0])]))",
    "as_future of a future": "as_future(mean([1.0])).result()",
    "as_future of a tree": "as_future([mean([1.0]), 2]).result()",
    "as_future of a stand-in": "as_future(model).result()",
    "item": "load(Path('a'))[0].result()",
}


@pytest.mark.parametrize("use", STOPS.values(), ids=STOPS)
def test_value_of_a_stand_in_ends_the_run_there(use: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asks a stand-in for its value ends the run at this line, and is told which mock would serve."""
    namespace: dict[str, Any] = {}
    exec(HEAD, namespace)  # as a script, of which only the last line counts here
    code = compile(f"with workflow('dry'):\n    model = train(1)\n    {use}\n    model = None\n", "script.py", "exec")
    with pytest.raises(DryRunStopped) as stopped:
        exec(code, namespace)
    assert stopped.value.code == 0
    assert namespace["model"] is not None
    name = re.search(r"mean|load|train", use.replace("model", "train"))
    assert name is not None
    assert f"Checked up to script.py:3, which needs a value: give `{name[0]}` a mock" in caplog.text
