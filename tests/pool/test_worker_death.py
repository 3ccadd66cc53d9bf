# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later

"""Workers that die: the calls that were there fail and say so, the others go on or fail, and nothing hangs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import attrs
import loky
import numpy
import pytest
from helpers import TIMEOUT

from parman import ConcurrentRunner, WorkerDied, WorkflowFailed, resolve, task, workflow


def pass_gate(place):
    """Say that this call has started, and wait."""
    (Path(place) / f"{os.getpid()}").touch()
    with (Path(place) / "here").open("w") as file:
        file.write("x")
    with (Path(place) / "open").open() as file:
        file.read()


@task
def hold(place: str) -> int:
    pass_gate(place)
    return os.getpid()


@task
def die(how: str, x: int = 0) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    else:
        os._exit(7)


@task
def double(x: int) -> int:
    return 2 * x


@task
def mark(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("ran\n")


@task
def admitting_nothing(x: None) -> None:
    return x


@task
def accepts_exceptions(x: int | Exception | None) -> str:
    return type(x).__name__


@pytest.fixture(scope="module")
def own():
    with ConcurrentRunner.processes(2) as runner:
        yield runner


def fork_pool():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
        pool.submit(abs, 0).result()
    return pool


def loky_pool():
    return loky.ProcessPoolExecutor(2)


@pytest.fixture(params=[fork_pool, loky_pool], ids=["fork", "loky"])
def broken_by_death(request):
    """Give an executor of the user's which the death of one worker breaks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        executor = request.param()
        yield executor
        executor.shutdown()


@pytest.mark.parametrize(("how", "said"), [("killed", "SIGKILL"), ("segfault", "SIGSEGV"), ("exits", "exit status 7")])
def test_only_the_running_call_is_lost(own, how, said):
    """On our own processes the call that ran there fails, and says how the worker ended; all others run."""
    with workflow(own) as w:
        before = [double(i) for i in range(10)]
        dead = die(how)
        after = [double(i) for i in range(10)]
        dependent = accepts_exceptions(dead)
        assert isinstance(error := dead.exception(TIMEOUT), WorkerDied)
        assert said in str(error)
        assert "die()" in str(error)
        assert f"{__file__}:" in str(error)
        assert resolve(before + after, TIMEOUT) == [2 * i for i in range(10)] * 2
        assert resolve(dependent, TIMEOUT) == "WorkerDied"
    assert [f.closure.name for f in w.failed] == ["die"]


@attrs.frozen
class Config:
    name: str
    size: int = 3


class Deadly:
    """Kills the process that rebuilds it."""

    def __reduce__(self):
        return os._exit, (7,)


@task
def die_with(config: Config, values: list[int], other: object, number: int = 1) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def note_of(error):
    """Return the note that names the call."""
    (note,) = [note for note in error.__notes__ if note.startswith("In the task")]
    return note


def test_the_arguments_of_the_call_are_told(own):
    """The failure names the call with its arguments, results of other calls among them, like every other failure."""
    with workflow(own):
        error = die_with(Config("b"), [1, double(2)], numpy.ones(300_000), number=double(21)).exception(TIMEOUT)
    told = "config=Config(name='b', size=3), values=[1, 4], other=<ndarray float64 (300000,)>, number=42"
    assert note_of(error).startswith(f"In the task die_with({told}), called at {__file__}:")


def test_no_code_of_the_user_runs_for_that(own):
    """What killed the worker while it was rebuilt does not kill the driver, which shows what it is."""
    with workflow(own):
        error = die_with(Config("b"), [], Deadly()).exception(TIMEOUT)
    assert "exit status 7" in str(error)
    assert "other=_exit(7))" in note_of(error)


def test_a_broken_executor_tells_the_arguments_of_each_call(broken_by_death):
    """On an executor that breaks, each of the calls that were in flight is named with its own arguments."""
    with workflow(broken_by_death):
        calls = [die("killed", x) for x in range(3)]
        errors = [call.exception(TIMEOUT) for call in calls]
    for x, error in enumerate(errors):
        assert f"die(how='killed', x={x})" in note_of(error)


def test_a_death_can_be_missed_no_more_than_a_failure(own):
    """A death that nobody retrieved is raised when the block is left."""
    with pytest.raises(WorkflowFailed) as info, workflow(own):
        admitting_nothing(die("exits"))
    assert [type(e) for e in info.value.exceptions] == [WorkerDied]


def test_many_deaths(own, tmp_path):
    """Among many deaths no call is lost and none runs twice."""
    with workflow(own):
        results = []
        for i in range(8):
            results.append(mark(str(tmp_path / f"{i}")))
            results.append(die("killed" if i % 2 else "exits"))
        ended = resolve(results, TIMEOUT, return_exceptions=True)
    assert [type(e) for e in ended] == [type(None), WorkerDied] * 8
    assert [(tmp_path / f"{i}").read_text() for i in range(8)] == ["ran\n"] * 8


def test_a_worker_that_is_killed_from_outside(own, tmp_path):
    """A worker that somebody kills while a call runs there costs that call."""
    for name in ("here", "open"):
        os.mkfifo(tmp_path / name)
    with workflow(own):
        held = hold(str(tmp_path))
        (tmp_path / "here").read_text()
        (pid,) = [int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()]
        os.kill(pid, signal.SIGKILL)
        assert isinstance(error := held.exception(TIMEOUT), WorkerDied)
        assert f"worker process {pid} was killed by SIGKILL" in str(error)
        assert resolve([double(i) for i in range(4)], TIMEOUT) == [0, 2, 4, 6]


def test_a_broken_executor_fails_everything(broken_by_death):
    """On an executor that breaks, calls in flight fail and are named as that; the others fail likewise."""
    with workflow(broken_by_death) as w:
        assert resolve(double(1), TIMEOUT) == 2
        dead = die("killed")
        rest = [double(i) for i in range(30)]
        after = accepts_exceptions(dead)
        ended = resolve([dead, *rest, after], TIMEOUT, return_exceptions=True)
        assert isinstance(ended[0], WorkerDied)
        assert "die()" in str(ended[0])
        assert "in flight" in str(ended[0])
        assert isinstance(ended[-1], WorkerDied)
        assert "can't run any more" in str(ended[-1])
        assert all(isinstance(e, WorkerDied) or e == 2 * i for i, e in enumerate(ended[1:-1]))
        later = double(5)
        assert isinstance(later.exception(TIMEOUT), WorkerDied)
    assert w._registry.pending() == []
