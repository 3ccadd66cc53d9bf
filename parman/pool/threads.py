# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What pools have in common, and the pool of threads.

The standard library's pools keep an interpreter alive until their calls have ended, and can't give a running call up.
Ours can do both, with little: a queue, and *workers*, each on a daemon thread, that take items of work from it.

    caller                    queue                         worker (a daemon thread each)
    submit ── WorkItem ──────▶ SimpleQueue ──── get ──▶ take ─ prepare ─ begin ─ run ─ finish
    shutdown, garbage ── None ─▶                     └▶ None: put back for the next worker, end

The workers know the `PoolState`, never the pool: a pool that the user forgets becomes garbage, and the callback of a
weak reference puts the `None`. That callback runs wherever the collector runs, so it may take no lock: a `put` is all
it does.

Who may touch a future is settled by the lock of the state: an item *begins* under it (by its worker, or by whoever
interrupts the pool), and after that an outcome that comes too late finds the future finished and is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import operator
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

__all__ = ["Pool", "ThreadPool", "WorkItem", "WorkItemOutcome", "Worker", "available_cpus"]


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
WorkItemOutcome = tuple[object, BaseException | None]

_KILLED_WITHIN = 1.0
"""How long the end of the interpreter waits for killed workers [s]."""

_log = logging.getLogger("parman")


class WorkItem:
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
        """Make the future running, once; False if it was cancelled before. Under the lock of the pool."""
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


class Worker:
    """How one thread of a pool runs its calls: here in place.

    Attributes
    ----------
    queue
        The calls of the pool that have no worker.
    """

    killable = False
    queue: SimpleQueue[WorkItem | None] = SimpleQueue()

    @property
    def is_wanted(self) -> bool:
        """Whether a call waits for a worker."""
        return not self.queue.empty()

    def prepare(self) -> BaseException | None:
        """Get ready for a call that can still be cancelled; return why it can't be run."""
        return None

    def run(self, call: WorkItem) -> WorkItemOutcome:
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


class PoolState:
    """The workers of one pool and the queue that they serve.

    `_idle` is the number of workers without a call minus the number of calls without a worker: one number that only
    `submit` and the end of a call change, so that it is exact and a worker is started only if a call would wait.
    """

    def __init__(self, size: int, name: str, make_worker: Callable[[], Worker]) -> None:
        self.size = size
        self.queue: SimpleQueue[WorkItem | None] = SimpleQueue()
        self.owner: weakref.ref[Pool] | None = None
        self._name = name
        self._make_worker = make_worker
        # A finalizer of the user's that submits may run in any line that holds the lock.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._threads: dict[threading.Thread, Worker] = {}
        # With the thread that runs it; not those whose thread was given up with them.
        self._running: dict[WorkItem, threading.Thread] = {}
        self._idle = 0
        self._closed = False
        self._interrupted = False
        _pool_states.add(self)

    @property
    def foreign(self) -> bool:
        """Is this the copy that a fork made? It has no threads, and its lock may be held for ever."""
        return self._pid != os.getpid()

    def submit(self, call: WorkItem) -> None:
        """Queue a call; `put` comes last, since after it the call can't be taken back."""
        if self.foreign:
            raise RuntimeError("this pool belongs to the process that was forked; make a new one in the child")
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._idle -= 1
            if self._idle < 0 and len(self._threads) < self.size:
                self._hire()
            self.queue.put(call)

    def _hire(self) -> None:
        worker = self._make_worker()
        worker.queue = self.queue
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=_serve, args=(self, worker), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return
        self.enter(thread, worker)
        self._idle += 1

    def enter(self, thread: threading.Thread, worker: Worker) -> None:
        """Note a worker: by who started it and by itself, since Ctrl-C may hit the first."""
        with self._lock:
            self._threads[thread] = worker
            interrupted = self._interrupted
        if interrupted:
            worker.kill()

    def handle(self, call: WorkItem, worker: Worker) -> bool:
        """See one call through, on the thread of a worker; false if the thread was given up meanwhile."""
        try:
            with self._lock:
                self._running[call] = threading.current_thread()
                is_stopped = self._interrupted
            trouble = None if is_stopped else worker.prepare()
            with self._lock:
                has_begun = not self._interrupted and call.begin()
            if has_begun:
                call.finish(*((None, trouble) if trouble else worker.run(call)))
            elif is_stopped:
                self._give_up(call)
        except BaseException as exception:
            # Callbacks may raise what the future does not catch; a worker outlives that, and mistakes of ours.
            _log.exception("exception in a worker thread")
            call.finish(None, exception)
        finally:
            with self._lock:
                is_kept = self._running.pop(call, None) is not None
                self._idle += is_kept
            del call  # as in `Worker.run`
        return is_kept

    def replace_worker(self, future: Future[Any]) -> None:
        """Give the thread up that runs a call: it ends with that, and another one may be started in its place."""
        with self._lock:
            found = next((call for call in self._running if call.future is future), None)
            if found is None:
                return  # it has ended, or not begun
            self._threads.pop(self._running.pop(found), None)
            if self._idle < 0:
                with contextlib.suppress(RuntimeError):  # no thread can be started: the next call tries again
                    self._hire()

    def _give_up(self, call: WorkItem) -> None:
        with self._lock:
            alive = call.begin()
        if alive:
            call.finish(None, Interrupted("the call was given up: its pool was stopped before the call had ended"))

    def close(self, *, cancel: bool) -> None:
        """Take no more calls; the workers end when the queue is empty."""
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
            workers, running = list(self._threads.values()), list(self._running)
        for worker in workers:
            worker.kill()
        for call in running:
            self._give_up(call)
        for call in self._drain():
            self._give_up(call)
        self.queue.put(None)

    def _drain(self) -> Iterator[WorkItem]:
        with contextlib.suppress(Empty):
            while True:
                call = self.queue.get_nowait()
                if call is not None:
                    yield call

    def join(self, timeout: float | None = None, *, killable: bool = False) -> None:
        """Wait for the workers (only those that can be killed) to end, at most `timeout` [s] for all of them."""
        end = None if timeout is None else time.monotonic() + timeout
        for thread, worker in list(self._threads.items()):
            if thread is not threading.current_thread() and (worker.killable or not killable):
                thread.join(None if end is None else max(0.0, end - time.monotonic()))


_pool_states: weakref.WeakSet[PoolState] = weakref.WeakSet()


def _serve(pool_state: PoolState, worker: Worker) -> None:
    """Be a worker. The call is forgotten before the next is waited for, which may take days."""
    pool_state.enter(threading.current_thread(), worker)
    is_kept = True
    try:
        while is_kept and (call := pool_state.queue.get()) is not None:
            is_kept = pool_state.handle(call, worker)
            del call
    finally:
        if is_kept:
            pool_state.queue.put(None)
        worker.end()


@at_exit(Stage.POOLS)
def _interrupt_all() -> None:
    """End everything with the interpreter; workers that were killed are waited for, lest they stay as zombies."""
    pool_states = [pool_state for pool_state in _pool_states if not pool_state.foreign]
    for pool_state in pool_states:
        pool_state.interrupt()
    end = time.monotonic() + _KILLED_WITHIN
    for pool_state in pool_states:
        pool_state.join(max(0.0, end - time.monotonic()), killable=True)


def _whole(workers: object) -> int:
    try:
        count = operator.index(workers)  # type: ignore[arg-type]
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"a pool needs at least one worker, and a whole number of them, not {workers!r}")
    return count


class Pool(Executor):
    """A PEP 3148 executor on a pool of workers.

    Parameters
    ----------
    workers
        How many calls may run at a time; by default the CPUs that this process may use. They are started when
        they are needed.
    """

    _name = "parman-pool"

    def __init__(self, workers: int | None = None) -> None:
        workers = available_cpus() if workers is None else _whole(workers)
        self._pool_state = PoolState(workers, self._name, self._workers(workers))
        put = self._pool_state.queue.put
        self._pool_state.owner = weakref.ref(self, lambda _: put(None))

    def _workers(self, workers: int) -> Callable[[], Worker]:
        """Return what makes a worker; it must not refer to the pool."""
        raise NotImplementedError

    @property
    def workers(self) -> int:
        """How many calls may run at a time."""
        return self._pool_state.size

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
        call = WorkItem((fn, args, kwargs))
        self._pool_state.submit(call)
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
        if not self._pool_state.foreign:
            self._pool_state.close(cancel=cancel_futures)
            if wait:
                self._pool_state.join()

    def _interrupt(self) -> None:
        if not self._pool_state.foreign:
            self._pool_state.interrupt()


class ThreadPool(Pool):
    """Runs calls on daemon threads, which never keep the interpreter from ending.

    The threads end with `shutdown()`, or when nobody holds the pool any more and its calls are done.

    Parameters
    ----------
    workers
        How many threads there are at most; by default the CPUs that this process may use.
    """

    _name = "parman-thread"

    def _workers(self, workers: int) -> Callable[[], Worker]:
        return Worker

    def replace_worker(self, future: Future[Any]) -> None:
        """Let another thread take the place of the one that runs the call of this future, which goes on beside it."""
        self._pool_state.replace_worker(future)

    def abandon(self) -> None:
        """Give all calls up and take no more.

        The futures of queued and running calls fail at once with `Interrupted`. A thread can't be killed: running
        calls go on, and what becomes of them is ignored.
        """
        self._interrupt()
