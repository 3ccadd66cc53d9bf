# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A pool of worker processes in which one death costs one call.

Each worker of the pool (see `threads`) has a worker process of its own and one connection to it, so that it is known
which call ran where. Calls of tasks come in batches, by `run_on_worker`: how these go to and fro stands in
`remote.exchange`. The picture shows what becomes of a function that was given to `submit`. A worker process is a fresh
interpreter, not a fork (the driver has threads, and locks that they hold) and not a child of `multiprocessing` (which
would run an unguarded `__main__` once more).

    driver: worker thread                              worker: main thread
    start ───────────── sys.path, socket ──────────▶ import parman
          ◀──────────── READY ──────────────────────
    pack  ───────────── CALL, descriptors ─────────▶
          ◀──────────── BEGUN ──────────────────────  the call may not be sent to another worker now
                                                      run
    load  ◀──────────── VALUE or FAILURE ───────────
    end   ───────────── socket closed ─────────────▶ flush, exit hooks, exit

A worker that dies before BEGUN has not run the call, which goes to a new one. A worker that dies after it takes the
call along. Each worker leads a process group, out of reach of a terminal's Ctrl-C; what tasks started is in it and is
killed with it when a worker is killed or dies. pidfds tell when a process has ended even if the socket does not; on
systems without them the socket has to do.

loky and Pebble were considered: loky loses all calls of the pool with one worker; Pebble starts its workers by
`multiprocessing`, and through one shared pipe.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple

from ..descriptors import inherited, lift_socket
from ..errors import ArgumentError, WorkerDied
from ..snapshots.share import EndedShares
from .channel import Channel, Kind, Message, Parcel, milliseconds, name_of, open_pidfd, pack
from .claims import ClaimPipe
from .threads import Pool, Worker, WorkItem, WorkItemOutcome, available_cpus

__all__ = ["ProcessPool", "ProcessWorker"]

InnerThreads = int | Literal["auto"] | None

_BOOT = """\
import sys
fd, claims, driver, *sys.path = sys.argv[1:]
del sys.argv[1:]
from parman.remote.worker import main
main(int(fd), int(claims), int(driver))
"""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

_STARTS = 3
"""After so many starts in a row that failed no worker will ever start."""
_GRACE = 1.0
"""How long a process that has closed its connection may take to end, so that its own status is seen [s]."""
_EXIT_WITHIN = 5.0
"""How long a worker may take to end in good order; longer than it gives itself [s]."""


class _Process:
    """One worker process, seen from the driver.

    Attributes
    ----------
    channel
        The connection to it.
    claims
        The claims of the calls in the batch that it has.
    known
        The tokens of tasks and the like that were sent to it.
    ended_shares
        Which of them are shares that no call will need any more.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        self.claims = ClaimPipe()
        self.known: set[str] = set()
        self.ended_shares = EndedShares()
        ours, theirs = map(lift_socket, socket.socketpair())
        try:
            with theirs:
                self._popen = _spawn(theirs.fileno(), self.claims.theirs, environ)
        except BaseException:
            ours.close()
            self.claims.close()
            raise
        self._lock = threading.Lock()
        self._pidfd = open_pidfd(self._popen.pid)
        self.channel = Channel(ours, open_pidfd(self._popen.pid))
        _processes.add(self)

    def note_sent(self, tokens: Collection[str]) -> None:
        """Note that it knows these from now on."""
        self.known.update(tokens)
        self.ended_shares.watch(tokens)

    def take_ended(self) -> tuple[str, ...]:
        """Return which shares it is to be told to drop, once."""
        ended = self.ended_shares.take()
        self.known.difference_update(ended)
        return tuple(ended)

    def alive(self) -> bool:
        return not self._wait(0)

    def kill(self) -> None:
        """Kill the process and all that its calls started. Not after it was waited for: the number may be reused."""
        with self._lock:
            if self._popen.returncode is None:
                try:
                    os.killpg(self._popen.pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass

    def bury(self) -> str:
        """See a process off that has died, or soon will, and tell how it ended."""
        self._wait(_GRACE)
        self.kill()
        self._reap()
        return f"worker process {self._popen.pid} {self._how()}"

    def end(self) -> None:
        """Let a process without a call end in good order."""
        self.channel.close()
        if not self._wait(_EXIT_WITHIN):
            self.kill()
        self._reap()

    def disown(self) -> None:
        """Forget the process in the child of a fork, which is not its parent."""
        self._popen.returncode = 0

    def _wait(self, timeout: float | None) -> bool:
        """Wait for the end of the process without taking its status, which would free its number."""
        if self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(milliseconds(timeout)))
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _reap(self) -> None:
        self._wait(None)
        with self._lock:
            self._popen.wait()
        self.channel.close()
        self.claims.close()
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            os.close(pidfd)

    def _how(self) -> str:
        code = self._popen.returncode
        if code >= 0:
            return f"ended with exit status {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


_processes: weakref.WeakSet[_Process] = weakref.WeakSet()


def _disown_in_child() -> None:
    for process in list(_processes):
        process.disown()


os.register_at_fork(after_in_child=_disown_in_child)


def _spawn(fd: int, claims: int, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    path = [entry for entry in sys.path if isinstance(entry, str)]
    return subprocess.Popen(
        [sys.executable, *flags, "-c", _BOOT, str(fd), str(claims), str(os.getpid()), *path],
        stdin=subprocess.DEVNULL,
        stdout=inherited(1),
        stderr=inherited(2),
        pass_fds=[fd, claims],
        start_new_session=True,  # without a terminal: who reads from one in the background is stopped
        env=environ,
    )


class _Starter:
    """Starts the workers of one pool, and knows when there is no point in trying again."""

    def __init__(self, workers: int, inner_threads: InnerThreads) -> None:
        self._workers = workers
        self._inner_threads = inner_threads
        self._failures: list[str] = []

    @property
    def hopeless(self) -> bool:
        return len(self._failures) >= _STARTS

    def environ(self) -> dict[str, str]:
        """Return the environment of a worker: ours, with the number of threads of numerical libraries."""
        environ = dict(os.environ)
        if self._inner_threads == "auto":
            if "OMP_NUM_THREADS" not in environ:  # the user's choice, which most of the others follow
                share = max(1, available_cpus() // self._workers)
                environ = dict.fromkeys(_THREAD_VARIABLES, str(share)) | environ
        elif self._inner_threads is not None:
            environ |= dict.fromkeys(_THREAD_VARIABLES, str(self._inner_threads))
        return environ

    def succeeded(self) -> None:
        self._failures = []

    def failed(self, how: str) -> None:
        self._failures = [*self._failures, how]

    def error(self) -> WorkerDied:
        """Tell why there is no worker."""
        how = self._failures[-1] if self._failures else "the pool was killed"
        return WorkerDied(
            f"no worker process can be started: {how} before it was ready. What it wrote to stderr says more; "
            f"try {Path(sys.executable).name} -c 'import parman.remote.worker'"
        )


class OnWorker(NamedTuple):
    """A function that is run on the thread of a worker, to use its worker by itself."""

    function: Callable[[ProcessWorker], None]


class ProcessWorker(Worker):
    """Runs the calls of one thread in a worker process, which is replaced when it is dead."""

    killable = True

    def __init__(self, starter: _Starter) -> None:
        self._starter = starter
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._killed = False

    def prepare(self) -> WorkerDied | None:
        """Have a living worker process."""
        if self._process is not None and not self._process.alive():
            self.bury()
        while self._process is None:
            if self._killed or self._starter.hopeless:
                return self._starter.error()
            self._start()
        return None

    def _start(self) -> None:
        try:
            process = _Process(self._starter.environ())
        except OSError as error:
            self._starter.failed(f"the system refused it ({error})")
            return
        with self._lock:
            self._process = process
            killed = self._killed
        if killed:
            process.kill()
        try:
            process.channel.receive()
        except EOFError:
            self._starter.failed(self.bury())
        else:
            self._starter.succeeded()

    def bury(self) -> str:
        """See the worker off, which has died, and tell how it ended."""
        with self._lock:
            process, self._process = self._process, None
        assert process is not None
        return process.bury()

    def run(self, call: WorkItem) -> WorkItemOutcome:
        """Send a call to the worker and wait for its answer."""
        content = call.unload()
        if isinstance(content[0], OnWorker):
            return self._run_on_worker(content[0])
        name = name_of(content[0])
        try:
            message = pack(Kind.CALL, content)
        except BaseException as error:
            return None, _unsent(name, error)
        del content
        trouble = self._deliver(message)
        del message
        return (None, trouble) if trouble else self._fetch(name)

    def _run_on_worker(self, item: OnWorker) -> WorkItemOutcome:
        try:
            return item.function(self), None
        except BaseException as exception:
            return None, exception

    @property
    def was_killed(self) -> bool:
        """Whether it was the pool that ended the worker."""
        return self._killed

    @property
    def process(self) -> _Process:
        """The worker process, which `prepare` has started."""
        assert self._process is not None
        return self._process

    def _deliver(self, message: Message) -> WorkerDied | None:
        """Send the call until a worker has it; one that dies before has not run it."""
        how = ""
        for _ in range(2):
            trouble = self.prepare()
            if trouble:
                return trouble
            assert self._process is not None
            try:
                self._process.channel.send(message)
                self._process.channel.receive()
                return None
            except EOFError:
                how = self.bury()
        return WorkerDied(f"{how} while the call was sent to it, as did another one; the call was not run")

    def _fetch(self, name: str) -> WorkItemOutcome:
        assert self._process is not None
        try:
            answer = self._process.channel.receive()
        except EOFError:
            return None, WorkerDied(f"{self.bury()} while it ran {name}")
        return _open(answer, name)

    def kill(self) -> None:
        """Kill the worker, also one that is just being started."""
        with self._lock:
            self._killed = True
            process = self._process
        if process is not None:
            process.kill()

    def replace(self) -> None:
        """Kill the worker process alone; there will be another one. In any thread."""
        with self._lock:
            process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """End the worker."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.end()


def _unsent(name: str, error: BaseException) -> ArgumentError:
    text = f"the arguments of {name} can't be sent to a worker process: {type(error).__qualname__}: {error}"
    wrapped = ArgumentError(text)
    # Its frames hold the arguments.
    wrapped.__cause__ = error.with_traceback(None)
    return wrapped


def _open(answer: Parcel, name: str) -> WorkItemOutcome:
    try:
        value = answer.load()
    except BaseException as error:
        text = f"the result of {name} can't be rebuilt in this process: {type(error).__qualname__}: {error}"
        wrapped = UnpicklingError(text)
        wrapped.__cause__ = error.with_traceback(None)
        return None, wrapped
    return (value, None) if answer.kind == Kind.VALUE else (None, value.load())


class ProcessPool(Pool):
    """Runs calls in processes of their own, on this machine.

    A worker is a fresh Python interpreter with the driver's `sys.path` and environment. It never runs the script
    again, guarded or not, and its `random` and `numpy.random` start from fresh seeds. Functions and values travel by
    cloudpickle. If a worker dies, the call that it ran fails with `WorkerDied`, which tells how it ended; the
    worker is replaced when it is needed. A terminal's Ctrl-C does not reach workers. They end with `shutdown()`,
    when nobody holds the pool any more and its calls are done, and when the driver is gone, however it ended.

    Parameters
    ----------
    workers
        How many processes there are at most; by default the CPUs that this process may use.
    inner_threads
        How many threads the numerical libraries (OpenMP, OpenBLAS, MKL, BLIS, Accelerate, numexpr) may use in each
        worker, lest all workers together use more than there are CPUs. `"auto"` shares the CPUs out evenly and
        leaves variables alone that the environment has; if it has `OMP_NUM_THREADS`, all of them. A number holds in
        any case, and with `None` nothing is set.

    Notes
    -----
    The number of threads is set by environment variables before a worker starts. threadpoolctl changes only
    libraries that are already loaded, and a worker loads them when the first task needs them.
    """

    _name = "parman-process"

    def __init__(self, workers: int | None = None, *, inner_threads: InnerThreads = "auto") -> None:
        self._inner_threads = inner_threads
        super().__init__(workers)

    def _workers(self, workers: int) -> Callable[[], Worker]:
        starter = _Starter(workers, self._inner_threads)
        return lambda: ProcessWorker(starter)

    def run_on_worker(self, function: Callable[[ProcessWorker], None]) -> Future[Any]:
        """Run a function on the thread of a worker, when one is free; it has the worker process for itself."""
        return self.submit(OnWorker(function))  # type: ignore[arg-type]

    def kill(self) -> None:
        """Kill all workers, with the processes that tasks started in them, and take no more calls.

        The futures of queued and running calls fail at once with `Interrupted`.
        """
        self._interrupt()
