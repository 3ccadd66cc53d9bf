# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a workflow costs in memory, and what it lets go of.

The costs are measured in an interpreter of its own, on the whole family of processes: the plain memory of each
process (the pages of shared memory are left out there), and once the pages of each anonymous memory file that any
of them has open, mapped or not. The pages of a map that were written are plain memory, and count once more.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
from helpers import ROOT, TIMEOUT
from helpers.processes import children
from helpers.scripts import run_script
from helpers.waiting import death, died, in_thread

from parman import ConcurrentRunner, SerialRunner, Workflow, WorkflowFailed, cancel, resolve, share, task, workflow
from parman.snapshots.cache import SnapshotCache

MB = 1_000_000
BIG = 200 * MB
RUNNERS = ("threads:2", "processes:2")


# --- the meter ---


def family() -> list[Path]:
    """Return the folders in /proc of this process and all its descendants."""
    found, todo = [], [os.getpid()]
    while todo:
        process = todo.pop()
        todo += children(process)
        found.append(Path("/proc") / str(process))
    return [folder for folder in found if folder.exists()]


def plain_memory(folder: Path) -> int:
    """Return the memory of a process without shared memory, by its share in what it shares with others [bytes]."""
    lines = dict(line.split(":") for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
    return sum(int(lines[name].split()[0]) * 1024 for name in ("Pss_Anon", "Pss_File"))


def memory_files(folder: Path) -> dict[int, int]:
    """Return for each memory file that a process has open the size of its pages [bytes]."""
    found = {}
    for fd in (folder / "fd").iterdir():
        try:
            if "parman" in str(fd.readlink()):
                info = fd.stat()
                found[info.st_ino] = info.st_blocks * 512
        except OSError:
            continue
    return found


def memory() -> int:
    """Return the memory of the whole family [bytes]."""
    plain, files = 0, {}
    for folder in family():
        try:
            plain += plain_memory(folder)
            files.update(memory_files(folder))
        except OSError:
            continue  # it has ended
    return plain + sum(files.values())


class Meter:
    """Measures again and again, for the peak, beside whatever runs."""

    def __init__(self) -> None:
        self.start = self.peak = memory()
        self._stop = threading.Event()
        self._thread = in_thread(self._watch)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, memory())

    def stop(self) -> float:
        """Return how much the peak was above the start [MB]."""
        self._stop.set()
        self._thread.join()
        return (max(self.peak, memory()) - self.start) / MB


def measured(scenario: Callable[..., float], *args: object) -> Any:
    """Return what a scenario returns in an interpreter of its own."""
    paths = [str(ROOT / "tests"), str(Path(__file__).parent)]
    call = f"test_memory_use.{scenario.__name__}({', '.join(map(repr, args))})"
    text = f"import json, sys; sys.path[:0] = {paths!r}; import test_memory_use; print(json.dumps({call}))"
    done = run_script(text)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- tasks ---


@task
def make(number: float, size: int) -> numpy.ndarray:
    return numpy.full(size // 8, number)


@task
def read(array: numpy.ndarray, number: int) -> float:
    pages = array if number % 10 == 0 else array[:: 1 << 16]  # a few calls look at all of it
    return float(pages.mean()) + number


@task
def write_a_page(array: numpy.ndarray) -> float:
    array[:10] += 7.0
    return float(array[:20].sum())


@task
def step(array: numpy.ndarray) -> numpy.ndarray:
    return array + 1


# --- what big arrays cost ---


def warm_up(runner: str) -> None:
    """Have the workers and their numpy started, so that the meter sees only what comes after."""
    with workflow(runner):
        resolve([read(make(1.0, 80), i) for i in range(8)])


@contextmanager
def warm(name: str) -> Iterator[tuple[ConcurrentRunner, Meter]]:
    """Give a runner that has run before, and a meter that starts now."""
    kind, _, number = name.partition(":")
    with getattr(ConcurrentRunner, kind)(int(number)) as runner:
        warm_up(runner)
        yield runner, Meter()


def argument_to_many(name: str) -> float:
    """Give one array to a hundred calls."""
    with warm(name) as (runner, meter):
        array = numpy.full(BIG // 8, 1.0)
        with workflow(runner):
            sums = resolve([read(array, i) for i in range(100)])
        assert sums == [1.0 + i for i in range(100)]
        return meter.stop()


def result_to_many(name: str) -> float:
    """Let a hundred calls wait for one array."""
    with warm(name) as (runner, meter), workflow(runner):
        array = make(1.0, BIG)
        assert sum(resolve([read(array, i) for i in range(100)])) == 100 + 4950
        return meter.stop()


def late_result_to_many(name: str) -> float:
    """Give an array that is there already to a hundred calls."""
    with warm(name) as (runner, meter), workflow(runner):
        array = make(1.0, BIG)
        assert resolve(read(array, 0)) == 1.0
        assert sum(resolve([read(array, i) for i in range(100)])) == 100 + 4950
        return meter.stop()


def resolved_result_to_many(name: str) -> float:
    """Give an array that the script has looked at to calls, once as its value and once as the future."""
    with warm(name) as (runner, meter), workflow(runner):
        future = make(1.0, BIG)
        array = resolve(future)
        assert sum(resolve([read(x, i) for i in range(15) for x in (array, future)])) == 30 + 210
        return meter.stop()


def writing_calls(name: str) -> float:
    """Let tasks write a little of their copies."""
    with warm(name) as (runner, meter):
        array = numpy.full(BIG // 8, 1.0)
        with workflow(runner):
            assert resolve([write_a_page(array) for _ in range(20)]) == [90.0] * 20
        return meter.stop()


def chain(name: str) -> float:
    """Run a long chain with large results of which the script holds only the last."""
    with warm(name) as (runner, meter), workflow(runner):
        array = make(0.0, 20 * MB)
        for _ in range(200):
            array = step(array)
        assert resolve(array)[0] == 200
        return meter.stop()


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    "scenario", [argument_to_many, result_to_many, late_result_to_many, resolved_result_to_many, writing_calls]
)
def test_one_array_for_many_calls(scenario, runner):
    """An array of 200 MB in a hundred calls costs less than 500 MB, whichever way the calls come to it."""
    assert BIG / MB < measured(scenario, runner) < 500


@pytest.mark.slow
@pytest.mark.parametrize("runner", RUNNERS)
def test_chain_costs_two_results(runner, monkeypatch):
    """A chain of 200 calls costs two of its results, and a third while one is copied; not the 200."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")  # or the C library would keep some of what was freed
    assert 20 < measured(chain, runner) < 4 * 20


of_other_tests: set[int] = set()
"""The memory files that values of other modules' tests hold in this process."""


@pytest.fixture(scope="module", autouse=True)
def files_of_other_tests():
    """Note the memory files that are there before the first test of this module."""
    gc.collect()
    of_other_tests.update(memory_files(Path("/proc/self")))


@task
def count_files(array: numpy.ndarray, driver: int, counts: list) -> tuple[numpy.ndarray, list]:
    now = len(memory_files(Path("/proc") / str(driver)))
    return array + 1, [*counts, now]


@pytest.mark.parametrize("runner", RUNNERS)
def test_chain_holds_two_results(runner):
    """While a link of a chain runs, only the result before it is held, and no older one."""
    with workflow(runner):
        array, counts, before = make(0.0, 2 * MB), [], len(of_other_tests)
        for _ in range(200):
            array, counts = count_files(array, os.getpid(), counts)
        assert max(resolve(counts)) - before <= 2


# --- what is held once ---


def held_files() -> int:
    """Return how many memory files this process has open."""
    gc.collect()
    return len(memory_files(Path("/proc/self")).keys() - of_other_tests)


@task
def wait_for_writer(fifo: str) -> str:
    return Path(fifo).read_text()


@pytest.fixture
def fifo(tmp_path):
    """Make a pipe with a name, whose reader waits for the writer."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_array_passed_again_is_held_once(kind, fifo):
    """A thousand pending calls hold one copy of an array, and another one once it was changed."""
    array = numpy.ones(2 * MB // 8)
    before = held_files()
    with workflow(f"{kind}:1"):
        opened = wait_for_writer(str(fifo))
        first = [read(array, i) for i in range(500)]
        held_first = held_files() - before
        array[0] = 3.0
        second = [read(array, i) for i in range(0, 500, 10)]
        held_second = held_files() - before
        fifo.write_text("go")
        assert resolve(opened) == "go"
        assert resolve(first[490]) == 491.0
        assert resolve(second[49]) == pytest.approx(491 + 2.0 / array.size, abs=1e-9)
    assert (held_first, held_second) == (1, 2)
    assert held_files() == before


def test_buffer_that_is_being_dropped_is_not_found():
    """Who takes a snapshot of an array just when the last call that held it ends gets a copy of its own."""
    view = memoryview(bytes(2 * MB))
    cache = SnapshotCache()
    errors = []

    def keep_and_drop() -> None:
        try:
            for _ in range(40):
                cache.keep(view)
        except OSError as error:
            errors.append(error)

    threads = [in_thread(keep_and_drop) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert not errors


# --- what is let go of ---


class Thing:
    """Something that knows when it is gone."""

    alive: weakref.WeakSet = weakref.WeakSet()

    def __init__(self) -> None:
        self.alive.add(self)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Thing, ()


@pytest.fixture
def things():
    """Count the living things."""
    Thing.alive.clear()

    def count() -> int:
        gc.collect()
        return len(Thing.alive)

    return count


@task
def pass_on(thing: object, fail: bool = False) -> object:
    local = Thing()
    if fail:
        raise ValueError("as told")
    return thing if thing is not None else local


def test_arguments_are_dropped_when_a_call_has_run(things):
    """A call that has run holds its arguments no longer, while the block goes on and its future is held."""
    with workflow("threads:2"):
        seen = [read(numpy.ones(2 * MB // 8) * i, i) for i in range(3)]
        resolve(seen)
        number = describe(Thing())
        assert resolve(number) == "Thing"
        assert things() == 0
        assert held_files() == 0


@task
def describe(thing: object) -> str:
    return type(thing).__name__


@pytest.mark.parametrize("runner", RUNNERS)
def test_results_are_dropped_with_their_last_future(runner, things):
    """A result is gone when no future of it is left, while the block goes on."""
    with workflow(runner) as w:
        result = pass_on(None)
        assert isinstance(resolve(result), Thing)
        assert things() == 1
        assert len(w.calls) == 1
        del result
        assert things() == 0
        assert w.calls == []


def test_unread_results_are_dropped_with_their_last_future(things):
    """So is one that nobody has looked at, and one whose consumer has run."""
    with workflow("threads:2"):
        first = pass_on(None)
        second = describe(first)
        assert resolve(second) == "Thing"
        del first
        assert things() == 0


def test_cancelled_calls_hold_nothing(things):
    """A cancelled call holds neither arguments nor results of others."""
    gate = threading.Event()
    wait_for = task(gate.wait)
    with workflow("threads:1"):
        opened = wait_for(TIMEOUT)
        pending = [pass_on(Thing()) for _ in range(5)]
        behind = [describe(future) for future in pending]
        assert cancel(behind)
        gate.set()
        assert resolve(opened)
        assert resolve(describe(1)) == "int"
        assert things() == 0


def test_unsettled_calls_hold_only_snapshots(things):
    """A pending call holds a snapshot of its arguments, not the objects of the script."""
    gate = threading.Event()
    wait_for = task(gate.wait)
    with workflow("threads:1"):
        wait_for(TIMEOUT)
        pending = [describe(Thing()) for _ in range(5)]
        assert things() == 0
        gate.set()
        assert resolve(pending) == ["Thing"] * 5


def run_a_block(runner: Any) -> list[threading.Event]:
    """Leave a block in which calls have failed, and give what tells that what belonged to it is gone."""
    ballast = Thing()

    @task
    def with_ballast(x: object, fail: bool = False) -> object:
        assert ballast is not None
        if fail:
            raise ValueError("as told")
        return x

    with workflow(runner) as w:
        shared = share(numpy.ones(MB // 8))
        results = [with_ballast(Thing()) for _ in range(3)]
        failed = [with_ballast(result, fail=True) for result in results]
        assert len(resolve(failed, return_exceptions=True)) == 3
        assert resolve(with_ballast(shared)).sum() == MB // 8
    gone = (w, w._registry, ballast, with_ballast.__parman_task__, failed[0]._origin, shared)
    return [death(thing) for thing in gone]


RUNNER_OBJECTS = {
    "serial": SerialRunner,
    "threads": lambda: ConcurrentRunner.threads(2),
    "processes": lambda: ConcurrentRunner.processes(2),
    "threads of others": lambda: ConcurrentRunner(ThreadPoolExecutor(2)),
    "processes of others": lambda: ConcurrentRunner(ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))),
}


@pytest.mark.parametrize("kind", RUNNER_OBJECTS)
def test_a_runner_keeps_nothing_of_a_block(kind, things):
    """A runner object that stays open holds neither calls that failed nor tasks, shares or results of former blocks."""
    with RUNNER_OBJECTS[kind]() as runner:
        for _ in range(2):
            for event in run_a_block(runner):
                assert died(event)
        assert things() == 0
        if kind.endswith("others"):
            runner.executor.shutdown()


@pytest.mark.parametrize(("runner", "count"), [("threads:2", 10_000), ("processes:2", 2_000), ("serial", 1_000)])
def test_failures_keep_no_frames(runner, count, things):
    """However many calls fail, none keeps the frames of its task, and a hundred keep their arguments."""
    w = workflow(runner)
    with pytest.raises(WorkflowFailed) as caught:
        fail_often(w, count)
    assert things() == 0
    failed = caught.value.failed
    assert len(failed) == len(w.failed) == count
    assert sum(closure._snapshot is not None for closure, _ in failed) == 100
    frames = [frame for _, exception in failed for frame in frames_of(exception) if "test_memory" not in frame]
    assert not frames


def fail_often(block: Workflow, count: int) -> None:
    """Make many calls that fail."""
    with block:
        for i in range(count):
            pass_on([i], fail=True)


def frames_of(exception: BaseException) -> Iterator[str]:
    """Yield the files of the frames that an exception keeps."""
    trace = exception.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename
        trace = trace.tb_next


def test_rerun_without_arguments_says_why():
    """A failed call beyond the hundred says that its arguments are gone."""
    with pytest.raises(WorkflowFailed) as caught:
        fail_often(workflow("threads:2"), 101)
    closures = [closure for closure, _ in caught.value.failed]
    kept = [closure for closure in closures if closure._snapshot is not None]
    dropped = [closure for closure in closures if closure._snapshot is None]
    with pytest.raises(ValueError, match="as told"):
        kept[0].rerun()
    with pytest.raises(RuntimeError, match=r"arguments of pass_on.* were dropped"):
        dropped[0].rerun()


def test_retrieved_failure_keeps_no_frames(things):
    """Asking for a failure again and again keeps no frame of the task or of the asker."""
    with workflow("threads:2"):
        future = pass_on(Thing(), fail=True)
        for _ in range(10):
            ask(future)
        depth = len(list(frames_of(future.exception())))
        assert depth < 5
    assert things() <= 1  # that of the last who asked, as with any exception


def ask(future: Any) -> None:
    """Ask for a failure with something in a local variable."""
    local = Thing()
    with pytest.raises(ValueError, match="as told"):
        future.result()
    assert local is not None
