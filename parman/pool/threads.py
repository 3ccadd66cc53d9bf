# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How many CPUs this process may use.

What pools have in common, and the pool of threads.

The standard library's pools keep an interpreter alive until their calls have ended, and can't give a running call up.
Ours can do both, with little: a queue, and daemon threads, the *lanes*, that take calls from it.

    caller                    queue                     lane (a daemon thread each)
    submit ── Call ──────▶ SimpleQueue ──── get ──▶ take ─ prepare ─ begin ─ run ─ finish
    shutdown, garbage ── None ─▶                 └▶ None: put back for the next lane, end

The lanes know the `Crew`, never the pool: a pool that the user forgets becomes garbage, and the callback of a weak
reference puts the `None`. That callback runs wherever the collector runs, so it may take no lock: a `put` is all it
does.

Who may touch a future is settled by the crew's lock: a call *begins* under it (by its lane, or by whoever interrupts
the crew), and after that an outcome that comes too late finds the future finished and is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, InvalidStateError
from math import ceil
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from ..errors import Interrupted
from ..lifecycle import Stage, at_exit

__all__ = ["Call", "Lane", "Outcome", "Pool", "ThreadPool", "available_cpus"]


def available_cpus(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> int:
    """Count the CPUs that this process may use, which on a shared machine are fewer than it has.

    Parameters
    ----------
    root
        Where the file system with `proc` and `sys` starts.
    environ
        The environment, asked for `SLURM_CPUS_PER_TASK`.

    Returns
    -------
    int
        The least of the CPU affinity, the CPU quota of the control groups (version 1 and 2, rounded up) and
        `SLURM_CPUS_PER_TASK`; at least 1.
    """
    counts = [_affinity(), *_quotas(root)]
    with contextlib.suppress(KeyError, ValueError):
        counts.append(int(environ["SLURM_CPUS_PER_TASK"]))
    return max(1, min(counts))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[int]:
    """Give the quota [CPUs] of each control group above this process that has one."""
    for folder in _groups(root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = _read_quota(folder)
            if quota > 0:
                yield ceil(quota / period)


def _groups(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            yield from _upwards(mount / controllers, path)
        if "cpu" in controllers.split(","):
            yield from _upwards(mount / "cpu", path)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Give a group's folder and those above it: a container often sees its own group at the mount point."""
    folder = mount / path.lstrip("/")
    while folder != mount:
        yield folder
        folder = folder.parent
    yield mount


def _read_quota(folder: Path) -> tuple[float, float]:
    """Read quota and period [us]; a group without a limit has no number, or a negative one."""
    both = folder / "cpu.max"
    if both.exists():
        quota, period = both.read_text().split()
        return float(quota), float(period)
    return float((folder / "cpu.cfs_quota_us").read_text()), float((folder / "cpu.cfs_period_us").read_text())


P = ParamSpec("P")
T = TypeVar("T")
Content = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Outcome = tuple[object, BaseException | None]

_EXIT_PATIENCE = 1.0
"""How long the end of the interpreter waits for killed workers [s]."""

_log = logging.getLogger("parman")


class Call:
    """One submitted call and its future.

    Attributes
    ----------
    future
        What the caller of `submit` holds.
    """

    __slots__ = ("_alive", "_content", "future")

    def __init__(self, content: Content) -> None:
        self.future: Future[Any] = Future()
        self._content: Content | None = content
        self._alive: bool | None = None

    def unload(self) -> Content:
        """Hand the function and its arguments over; the call does not keep them."""
        content, self._content = self._content, None
        assert content is not None
        return content

    def begin(self) -> bool:
        """Make the future running, once; False if it was cancelled before. Under the lock of the crew."""
        if self._alive is None:
            self._alive = self.future.set_running_or_notify_cancel()
        return self._alive

    def finish(self, value: object, exception: BaseException | None) -> None:
        """Finish the future, unless it was given up meanwhile."""
        self._content = None
        try:
            if exception is None:
                self.future.set_result(value)
            else:
                self.future.set_exception(exception)
        except InvalidStateError:
            pass


class Lane:
    """How one thread of a crew runs its calls: here in place.

    Attributes
    ----------
    queue
        The calls of the crew that have no lane.
    """

    killable = False
    queue: SimpleQueue[Call | None] = SimpleQueue()

    @property
    def is_wanted(self) -> bool:
        """Whether a call waits for a lane."""
        return not self.queue.empty()

    def prepare(self) -> BaseException | None:
        """Get ready for a call that can still be cancelled; return why it can't be run."""
        return None

    def run(self, call: Call) -> Outcome:
        """Run a call and return its value, or its exception: never raise it."""
        function, args, kwargs = call.unload()
        # The exception keeps this frame alive, and the frame would keep the call, whose future has the exception.
        del call
        try:
            return function(*args, **kwargs), None
        except BaseException as exception:
            return None, exception.with_traceback(exception.__traceback__ and exception.__traceback__.tb_next)
        finally:
            del function, args, kwargs

    def kill(self) -> None:
        """Stop what runs, where that is possible. Called by other threads."""

    def end(self) -> None:
        """Release everything, as the last thing that the thread does."""


class Crew:
    """The lanes of one pool and the queue that they serve.

    `spare` is the number of lanes without a call minus the number of calls without a lane: one number that only
    `submit` and the end of a call change, so that it is exact and a lane is started only if a call would wait.
    """

    def __init__(self, size: int, name: str, make_lane: Callable[[], Lane]) -> None:
        self.size = size
        self.queue: SimpleQueue[Call | None] = SimpleQueue()
        self.owner: weakref.ref[Pool] | None = None
        self._name = name
        self._make_lane = make_lane
        # A finalizer of the user's that submits may run in any line that holds the lock.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._threads: dict[threading.Thread, Lane] = {}
        self._running: set[Call] = set()
        self._spare = 0
        self._closed = False
        self._interrupted = False
        _crews.add(self)

    @property
    def foreign(self) -> bool:
        """Is this the copy that a fork made? It has no threads, and its lock may be held for ever."""
        return self._pid != os.getpid()

    def submit(self, call: Call) -> None:
        """Queue a call; `put` comes last, since after it the call can't be taken back."""
        if self.foreign:
            raise RuntimeError("this pool belongs to the process that was forked; make a new one in the child")
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._spare -= 1
            if self._spare < 0 and len(self._threads) < self.size:
                self._hire()
            self.queue.put(call)

    def _hire(self) -> None:
        lane = self._make_lane()
        lane.queue = self.queue
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=_serve, args=(self, lane), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return
        self.enter(thread, lane)
        self._spare += 1

    def enter(self, thread: threading.Thread, lane: Lane) -> None:
        """Note a lane: by who started it and by itself, since Ctrl-C may hit the first."""
        with self._lock:
            self._threads[thread] = lane
            interrupted = self._interrupted
        if interrupted:
            lane.kill()

    def handle(self, call: Call, lane: Lane) -> None:
        """See one call through, on the thread of a lane."""
        try:
            if self._take(call):
                trouble = lane.prepare()
                if self._begin(call):
                    call.finish(*((None, trouble) if trouble else lane.run(call)))
        except BaseException as exception:
            # Callbacks may raise what the future does not catch; a lane outlives that, and mistakes of ours.
            _log.exception("exception in a worker thread")
            call.finish(None, exception)
        finally:
            self._release(call)
            del call  # as in `Lane.run`

    def _take(self, call: Call) -> bool:
        with self._lock:
            self._running.add(call)
            interrupted = self._interrupted
        if interrupted:
            self._give_up(call)
        return not interrupted

    def _begin(self, call: Call) -> bool:
        with self._lock:
            return not self._interrupted and call.begin()

    def _release(self, call: Call) -> None:
        with self._lock:
            self._running.discard(call)
            self._spare += 1

    def _give_up(self, call: Call) -> None:
        with self._lock:
            alive = call.begin()
        if alive:
            call.finish(None, Interrupted("the call was given up: its pool was stopped before the call had ended"))

    def close(self, *, cancel: bool) -> None:
        """Take no more calls; the lanes end when the queue is empty."""
        with self._lock:
            self._closed = True
        if cancel:
            for call in self._drain():
                call.future.cancel()
                with self._lock:
                    call.begin()
        self.queue.put(None)

    def interrupt(self) -> None:
        """Kill what runs and fail all futures, at once. Can be repeated, should Ctrl-C have hit the first time."""
        with self._lock:
            self._closed = self._interrupted = True
            lanes, running = list(self._threads.values()), list(self._running)
        for lane in lanes:
            lane.kill()
        for call in running:
            self._give_up(call)
        for call in self._drain():
            self._give_up(call)
        self.queue.put(None)

    def _drain(self) -> Iterator[Call]:
        with contextlib.suppress(Empty):
            while True:
                call = self.queue.get_nowait()
                if call is not None:
                    yield call

    def join(self, timeout: float | None = None, *, killable: bool = False) -> None:
        """Wait for the lanes (only those that can be killed) to end, at most `timeout` [s] for all of them."""
        end = None if timeout is None else time.monotonic() + timeout
        for thread, lane in list(self._threads.items()):
            if thread is not threading.current_thread() and (lane.killable or not killable):
                thread.join(None if end is None else max(0.0, end - time.monotonic()))


_crews: weakref.WeakSet[Crew] = weakref.WeakSet()


def _serve(crew: Crew, lane: Lane) -> None:
    """Be a lane. The call is forgotten before the next is waited for, which may take days."""
    crew.enter(threading.current_thread(), lane)
    try:
        while (call := crew.queue.get()) is not None:
            crew.handle(call, lane)
            del call
    finally:
        crew.queue.put(None)
        lane.end()


@at_exit(Stage.POOLS)
def _interrupt_all() -> None:
    """End everything with the interpreter; workers that were killed are waited for, lest they stay as zombies."""
    crews = [crew for crew in _crews if not crew.foreign]
    for crew in crews:
        crew.interrupt()
    end = time.monotonic() + _EXIT_PATIENCE
    for crew in crews:
        crew.join(max(0.0, end - time.monotonic()), killable=True)


class Pool(Executor):
    """A PEP 3148 executor on a crew of lanes.

    Parameters
    ----------
    workers
        How many calls may run at a time; by default the CPUs that this process may use. They are started when
        they are needed.
    """

    _name = "parman-pool"

    def __init__(self, workers: int | None = None) -> None:
        if workers is None:
            workers = available_cpus()
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        self._crew = Crew(workers, self._name, self._lanes(workers))
        put = self._crew.queue.put
        self._crew.owner = weakref.ref(self, lambda _: put(None))

    def _lanes(self, workers: int) -> Callable[[], Lane]:
        """Return what makes a lane; it must not refer to the pool."""
        raise NotImplementedError

    @property
    def workers(self) -> int:
        """How many calls may run at a time."""
        return self._crew.size

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call.

        Returns
        -------
        Future
            Pending until a worker takes the call, and as long `cancel()` works.

        Raises
        ------
        RuntimeError
            After the pool was shut down, and in the child of a fork.
        """
        call = Call((fn, args, kwargs))
        self._crew.submit(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls and end the workers when those are done that were submitted.

        Parameters
        ----------
        wait
            Return only when all workers have ended.
        cancel_futures
            Cancel the calls that no worker has taken yet.
        """
        if not self._crew.foreign:
            self._crew.close(cancel=cancel_futures)
            if wait:
                self._crew.join()

    def _interrupt(self) -> None:
        if not self._crew.foreign:
            self._crew.interrupt()


class ThreadPool(Pool):
    """Runs calls on daemon threads, which never keep the interpreter from ending.

    The threads end with `shutdown()`, or when nobody holds the pool any more and its calls are done.

    Parameters
    ----------
    workers
        How many threads there are at most; by default the CPUs that this process may use.
    """

    _name = "parman-thread"

    def _lanes(self, workers: int) -> Callable[[], Lane]:
        return Lane

    def abandon(self) -> None:
        """Give all calls up and take no more.

        The futures of queued and running calls fail at once with `Interrupted`. A thread can't be killed: running
        calls go on, and what becomes of them is ignored.
        """
        self._interrupt()
