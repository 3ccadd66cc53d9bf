# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which runner is in force where, and what of its surroundings a task sees."""

from __future__ import annotations

import contextvars
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.gates import Gate, pass_gate

from parman import ConcurrentRunner, Runner, SerialRunner, Workflow, WorkflowError, resolve, task, workflow

Block = Callable[..., Workflow]
setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="default")


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def read_setting() -> str:
    return setting.get()


@task
def surroundings(name: str) -> tuple[str, str | None, str]:
    return str(Path.cwd()), os.environ.get(name), sys.path[0]


@task
def warn() -> str:
    try:
        warnings.warn("told", UserWarning, stacklevel=1)
    except UserWarning:
        return "raised"
    return "told"


@task
def draw(place: str) -> tuple[float, float, int]:
    pass_gate(place)
    return random.random(), float(np.random.random()), os.getpid()


# --- what a task sees ---


def test_context_variables_of_the_call(local: Block) -> None:
    """In this process a task sees context variables as they were at its call."""
    with local():
        token = setting.set("at the call")
        first = read_setting()
        setting.reset(token)
        assert resolve([first, read_setting()]) == ["at the call", "default"]


@pytest.mark.needs("environment")
def test_surroundings_at_the_entry_of_the_block(remote: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directory, environment and `sys.path` are those at the entry of each block, also on workers that are warm."""
    for i in (1, 2):
        folder = tmp_path / str(i)
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PARMAN_TEST", str(i))
        monkeypatch.syspath_prepend(str(folder))
        with remote():
            monkeypatch.chdir(tmp_path)
            assert resolve([surroundings("PARMAN_TEST")] * 2) == [(str(folder), str(i), str(folder))] * 2
    monkeypatch.delenv("PARMAN_TEST")
    with remote():
        assert resolve(surroundings("PARMAN_TEST"))[1] is None


@pytest.mark.needs("directory")
def test_warning_filters_reach_workers(remote: Block) -> None:
    """What is an error in the driver at the entry of the block is one in the task."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with remote():
            assert resolve(warn()) == "raised"
        warnings.simplefilter("ignore")
        with remote():
            assert resolve(warn()) == "told"


@pytest.mark.core
def test_each_worker_has_random_numbers_of_its_own(remote: Block, gate: Gate) -> None:
    """Two workers draw different numbers, forked ones too, and others than the driver would."""
    random.seed(1)
    np.random.seed(1)
    with remote():
        calls = [draw(gate.place) for _ in range(2)]
        gate.wait_for(2)
        gate.open()
        one, two = resolve(calls)
    assert one[2] != two[2]
    assert len({one[0], two[0], random.Random(1).random()}) == 3
    assert len({one[1], two[1], float(np.random.RandomState(1).random_sample())}) == 3


@pytest.mark.needs("quiet")
def test_random_numbers_of_the_driver_are_left_alone(remote: Block) -> None:
    """Calls take nothing from the driver's generators, which go on as they would without them."""
    state = random.getstate(), np.random.get_state()[1].copy()
    with remote():
        assert resolve([add(i, 1) for i in range(3)]) == [1, 2, 3]
    assert random.getstate() == state[0]
    assert (np.random.get_state()[1] == state[1]).all()


# --- which runner ---


@pytest.mark.parametrize("name", ["serial", "threads", "threads:2", "processes:1"])
def test_runners_by_name(name: str) -> None:
    """A name makes a runner, with a number of workers where that makes sense."""
    with workflow(name) as w:
        assert resolve(add(1, 2)) == 3
        if isinstance(w.runner, ConcurrentRunner) and ":" in name:
            assert w.runner.executor.workers == int(name[-1])  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["thread", "serial:2", "threads:0", "threads:x", "processes:", "dry:1"])
def test_wrong_names_are_errors(name: str) -> None:
    """Any other name is an error that lists the right ones."""
    with pytest.raises(WorkflowError, match="serial, dry, threads, processes or parsl"), workflow(name):
        pass


def test_the_environment_names_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument PARMAN_RUNNER says which runner it is."""
    monkeypatch.setenv("PARMAN_RUNNER", "threads:1")
    with workflow() as w:
        assert isinstance(w.runner, ConcurrentRunner)
        assert resolve(add(1, 2)) == 3
    monkeypatch.setenv("PARMAN_RUNNER", "nonsense")
    with pytest.raises(WorkflowError, match="nonsense"), workflow():
        pass


def test_without_anything_it_is_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither argument nor environment: processes of our own."""
    monkeypatch.delenv("PARMAN_RUNNER", raising=False)
    with workflow() as w:
        assert type(w.runner.executor).__name__ == "ProcessPool"  # type: ignore[attr-defined]


@pytest.mark.core
def test_an_inner_block_takes_the_outer_runner(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block without a runner inside another one uses that one's, and waits for its own calls only."""
    monkeypatch.delenv("PARMAN_RUNNER", raising=False)
    with workflow(runner):
        outer = add(1, 1)
        with workflow() as w:
            assert w.runner is runner
            inner = add(outer, 1)
        assert resolve(inner) == 3


def test_an_inner_block_waits_for_its_own_calls_only(parallel: Block, gate: Gate) -> None:
    """The calls of the outer block may go on when the inner one is left."""

    @task
    def held(place: str) -> int:
        pass_gate(place)
        return 1

    with parallel():
        outer = held(gate.place)
        gate.wait_for()
        with workflow():
            inner = add(1, 1)
        assert inner.done()  # type: ignore[attr-defined]
        assert not outer.done()  # type: ignore[attr-defined]
        gate.open()


def test_an_inner_block_on_another_runner(block: Block) -> None:
    """Blocks on other runners may stand in each other, in both orders."""
    with block():
        x = add(1, 1)
        with workflow(SerialRunner()):
            y = add(x, 1)
            with workflow("threads:1"):
                z = add(x, y)
        assert resolve([x, y, z, add(z, z)]) == [2, 3, 5, 10]


@pytest.mark.core
def test_two_workflows_in_two_threads(runner: Runner) -> None:
    """Each thread has its own block on the same runner; neither sees the other's calls."""
    together = threading.Barrier(2)

    def run(start: int) -> tuple[Any, int]:
        with workflow(runner, keep=True) as w:
            together.wait(30)
            results = [add(start, i) for i in range(20)]
            together.wait(30)
            values = resolve(results)
        return values, len(w.calls)

    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(run, [0, 100]))
    assert found == [([*range(20)], 20), ([*range(100, 120)], 20)]


def test_a_thread_started_by_hand_makes_plain_calls(runner: Runner) -> None:
    """The block is that of the context that entered it."""
    with workflow(runner) as w, ThreadPoolExecutor(1) as executor:
        assert executor.submit(add, 1, 2).result() == 3
        assert w.calls == []


def test_an_opened_block_is_seen_everywhere(runner: Runner) -> None:
    """Between `open()` and `close()` calls from other contexts and threads, as of notebook cells, are in the block."""
    w = contextvars.copy_context().run(lambda: workflow(runner, keep=True).open())
    try:
        first = contextvars.Context().run(add, 1, 2)
        with ThreadPoolExecutor(1) as executor:
            second = executor.submit(add, first, 3).result()
        third = add(second, 4)
    finally:
        contextvars.Context().run(w.close)
    assert resolve([first, second, third]) == [3, 6, 10]
    assert len(w.calls) == 3
    assert add(1, 1) == 2


def test_a_block_serves_once(runner: Runner) -> None:
    """A workflow that was left can't be entered again, nor closed if it was not opened; the error says what to do."""
    w = workflow(runner)
    with w:
        pass
    with pytest.raises(WorkflowError, match=r"workflow\(\) again"), w:
        pass
    with pytest.raises(WorkflowError, match="not open"):
        w.close()
    with pytest.raises(WorkflowError, match="not been entered"):
        _ = workflow(runner).runner


def test_a_runner_can_be_entered_again() -> None:
    """What a runner opened is closed when it is left, and opened again when it is needed."""
    runner = ConcurrentRunner.threads(1)
    for _ in range(2):
        with runner:
            for _ in range(2):
                with workflow(runner):
                    x = add(1, 2)
                assert resolve(x) == 3


def test_an_executor_of_the_users_stays_open() -> None:
    """A pool that was given stays warm when the block is left."""
    with ThreadPoolExecutor(1) as pool:
        with workflow(pool):
            add(1, 2)
        assert pool.submit(int, 5).result() == 5
