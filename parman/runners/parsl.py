# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls through Parsl, from this machine to clusters: the only module that imports Parsl.

A call travels to Parsl as to any executor of processes: as bytes, with a function that runs them. What is special here
makes up for what Parsl leaves open.

* What was submitted waits for ever if nobody is left to run it: a block of workers that was cancelled is reported as
  completed. So a watch looks at the blocks, and fails the calls that nobody is going to run.
* Its futures can't be cancelled. So calls are given to Parsl when they can be started, where the number of workers is
  known.
* Its errors tell of managers and workers; the user knows of calls.
* It finds its own programs on PATH only, which is not set in a notebook or a cron job.
* Its clean-up leaves futures open for ever, and asks an interchange that is dead. So what is in flight is failed here,
  and blocks are cancelled without the interchange.
"""

from __future__ import annotations

import logging
import math
import random
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, InvalidStateError
from functools import cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from ..engine.calls import Call
from ..engine.ready_queue import ReadyQueue
from ..engine.registry import CallRegistry
from ..engine.runner import ExecutorInfo, Where, check_workers
from ..errors import Interrupted, MissingExtra, WorkerDied, WorkflowError
from ..pool.threads import available_cpus
from ..remote.batch import run_bytes
from ..snapshots.exceptions import safe_text
from .concurrent import ConcurrentRunner

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel

__all__ = ["ParslRunner"]

# ruff: noqa: F401 (the imports that `_names` hands out)


logger = logging.getLogger("parman")


@cache
def _names() -> Any:
    """Return what is needed of Parsl, which is imported when it is first asked for."""
    try:
        import parsl
        from parsl.config import Config
        from parsl.dataflow.dflow import DataFlowKernel
        from parsl.errors import NoDataFlowKernelError
        from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
        from parsl.executors.errors import BadStateException, ExecutorError
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
        from parsl.executors.high_throughput.executor import DEFAULT_INTERCHANGE_LAUNCH_CMD, DEFAULT_LAUNCH_CMD
        from parsl.providers import LocalProvider
    except ImportError as error:
        raise MissingExtra(f"the runner 'parsl' needs Parsl: pip install 'parman[parsl]' ({error})") from error
    return SimpleNamespace(**locals())


_HEARTBEAT, _LOST = 2, 10
"""How often manager and interchange of our own executor tell that they are there, and when one is lost [s]."""
_RUN_BYTES = {"f": f"{run_bytes.__module__}.{run_bytes.__qualname__}"}
"""How a worker of Parsl's is told what to do with the bytes of a call."""
_PROGRAMS = f"{__package__}.parsl_programs"
_PERIOD = 1.0
"""How often the watch looks at the blocks of workers [s]."""
_FUTILE = 3
"""After so many blocks that ended before a worker came, no more are waited for."""
_THREADS_TO_END = 2.0
"""How long an end waits for a thread that may hang [s]."""
_STOPPED = "the runner was stopped"


class ParslRunner(ConcurrentRunner):
    """Runs calls through Parsl, on this machine or on clusters.

    The `resources` of a task or job say where it runs: `{"parsl_executors": ["gpu"]}` names executors (by default
    "all"), `{"parsl_resource_specification": {...}}` is what Parsl is told of a call.

    Parameters
    ----------
    kernel
        A configuration of Parsl: its kernel is started with the first call, and cleaned up when the block is left; in
        `with ParslRunner(...) as runner:`, when that is left, so that it serves for several blocks. Since Parsl takes a
        configuration once only, give a function that makes one where each block starts its own. Or a kernel that runs:
        it stays. By default the kernel that was loaded with `parsl.load`, if there is one; else a
        `HighThroughputExecutor` on this machine, whose files are temporary.
    workers
        How many calls Parsl is given at a time. By default the greatest number of workers that the configuration allows
        (of calls that take a few milliseconds, twice as many); without a limit, where that has none. For the executor
        on this machine: how many worker processes it has, by default the CPUs that this process may use.

    Raises
    ------
    MissingExtra
        Parsl is not installed.
    """

    def __init__(
        self,
        kernel: Config | DataFlowKernel | Callable[[], Config] | None = None,
        *,
        workers: int | None = None,
    ) -> None:
        self._workers = workers = check_workers(workers)
        self._broken: dict[tuple[str, ...], str] = {}
        self._in_flight: dict[Call, tuple[str, ...]] = {}
        self._label_queues: dict[tuple[str, ...], ReadyQueue] = {}
        # Under the runner's lock. A kernel that the runner has started is cleaned up when neither these
        # nor blocks are left.
        self._holders = 0
        self._ending: threading.Thread | None = None
        names = _names()
        found = _loaded_kernel() if kernel is None else kernel
        self._is_limited = found is not None and workers is not None
        if isinstance(found, names.DataFlowKernel):
            self._set_up(_executor_info(found.config), executor=_Kernel(found))
        elif found is None:
            count = workers or available_cpus()
            self._set_up(
                ExecutorInfo("machine", count), factory=partial(_OwnKernel, partial(_local_config, count), own=True)
            )
        elif isinstance(found, names.Config):
            self._set_up(_executor_info(found), factory=partial(_OwnKernel, _Once(found)))
        elif callable(found):
            self._set_up(ExecutorInfo("cluster"), factory=partial(_OwnKernel, found))
        else:
            raise WorkflowError(f"ParslRunner takes a configuration or a kernel of Parsl's, not {found!r}")

    # --- what it is open for ---

    def __enter__(self) -> Self:
        with self._lock:
            self._holders += 1
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        with self._lock:
            self._holders -= 1
        self._close_if_idle()

    def begin(self, registry: CallRegistry) -> None:
        self._broken.clear()
        super().begin(registry)

    def end(self, registry: CallRegistry) -> None:
        super().end(registry)
        self._close_if_idle()

    def interrupt(self, registry: CallRegistry) -> None:
        super().interrupt(registry)
        with self._lock:
            is_shared = any(other is not registry for other in self._blocks)
        if (
            not is_shared
        ):  # a worker of Parsl's can't be ended alone: what others use goes on with calls that are given up
            self.cancel_pending(registry)  # lest one of them starts another kernel
            self.stop_running()

    def _close_if_idle(self) -> None:
        with self._lock:  # who begins a block from here on starts a kernel anew
            if self._holders > 0 or self._blocks:
                return
            kernel = self._take_own()
        self._close(kernel)

    # --- what Parsl is given ---

    def queue_of(self, call: Call) -> ReadyQueue:
        definition = call.closure.definition
        if definition.is_blocking and (self._blocking is not None or definition.at_once is not None):
            return super().queue_of(call)
        labels = _labels_of(call)
        if not labels:
            return self._queue
        if labels not in self._label_queues:
            self._label_queues[labels] = self.make_queue(self._slots_of(labels))
        return self._label_queues[labels]

    def make_queue(self, slots: float) -> ReadyQueue:
        # The way to Parsl's workers and back is long, but for a limit that the user has set.
        return ReadyQueue(slots, 0 if self._is_limited else slots)

    def _slots_of(self, labels: tuple[str, ...]) -> float:
        executors = self._kernel.dfk.executors
        found = [executors[label] for label in labels if label in executors]
        return self._workers or sum(map(_workers_of, found)) or math.inf

    @property
    def _kernel(self) -> _Kernel:
        kernel = self.executor
        assert isinstance(kernel, _Kernel)
        return kernel

    @property
    def has_loops(self) -> bool:
        return False  # resources are those of a call, so that each call has to be submitted

    def _submit(self, call: Call, function: Callable[..., Any], argument: Any) -> Future[Any]:
        labels = _labels_of(call)
        with self._lock:
            kernel = self._kernel
            if labels in self._broken:
                raise WorkerDied(self._broken[labels])
            inner = kernel.run(function, argument, labels, _specification_of(call))
        self._in_flight[call] = labels
        inner.add_done_callback(partial(self._landed, [call]))  # in a box: the future lives on in a cycle
        kernel.watch(self)
        return inner

    def _landed(self, box: list[Call], _inner: Future[Any]) -> None:
        self._in_flight.pop(box.pop(), None)

    def explain(self, call: Call, exception: BaseException, *, in_flight: bool = True) -> BaseException:
        names = _names()
        if isinstance(exception, names.ExecutorError) and getattr(exception, "reason", None) == _STOPPED:
            return Interrupted(f"{call} was given up while it was running")
        if isinstance(exception, names.ManagerLost | names.WorkerLost | names.ExecutorError | WorkerDied):
            when = "was in flight when Parsl lost it" if in_flight else "can't run"
            if isinstance(exception, WorkerDied):
                return self.died(call, f"{call} {when}: {exception}")
            return self.died(call, f"{call} {when}: {safe_text(exception)}", exception)
        return super().explain(call, exception, in_flight=in_flight)

    # --- when nobody is left ---

    def look(self, kernel: _Kernel) -> bool:
        """Fail the calls that nobody is going to run; in the thread of the watch. Tell whether calls are in flight."""
        for labels in set(self._in_flight.values()):
            reasons = kernel.reasons_for_loss(labels)
            if reasons is not None:
                self.event_loop.post(partial(self._lose, kernel, labels, reasons))
        return self.has_in_flight()

    def has_in_flight(self) -> bool:
        """Tell whether Parsl has calls that have not ended."""
        return bool(self._in_flight)

    def _lose(self, kernel: _Kernel, labels: tuple[str, ...], reasons: str) -> None:
        if kernel is not self._executor:
            return  # it was taken away meanwhile: what is in flight now is another one's
        self._broken[labels] = reasons
        lost = [call for call, others in list(self._in_flight.items()) if others == labels]
        for call in lost:
            self._in_flight.pop(call, None)
            call.fail(self.explain(call, WorkerDied(reasons)), None)
            self._submission.free_slot(call)

    # --- the end ---

    def _stop(self, executor: Executor) -> None:
        assert isinstance(executor, _OwnKernel)
        self._ending = executor.kill()

    def wait_for_end(self) -> None:
        super().wait_for_end()
        if self._ending is not None:  # the end of the interpreter would cut it off
            self._ending.join(_THREADS_TO_END)


def _give_directly(
    executor: Any, function: Callable[..., Any], argument: Any, specification: dict[str, Any]
) -> Future[Any]:
    """Give a call to one of Parsl's executors; bytes go to the workers of its main one as they are."""
    inner: Future[Any]
    if function is run_bytes and isinstance(executor, _names().HighThroughputExecutor):
        executor.validate_resource_spec(specification)
        context = {"task_executor": _RUN_BYTES, **({"resource_spec": specification} if specification else {})}
        inner = executor.submit_payload(context, argument)
    else:
        inner = executor.submit(function, specification, argument)
    return inner


def _labels_of(call: Call) -> tuple[str, ...]:
    """Return the labels of the executors that a call may go to; none for all of them."""
    labels = (call.closure.definition.options.resources or {}).get("parsl_executors", "all")
    if labels == "all":
        return ()
    return (labels,) if isinstance(labels, str) else tuple(labels)


def _specification_of(call: Call) -> Mapping[str, Any]:
    found = (call.closure.definition.options.resources or {}).get("parsl_resource_specification", {})
    return dict(found)


# --- kernels ---


class _Kernel(Executor):
    """A kernel of Parsl's, as an executor."""

    def __init__(self, dfk: DataFlowKernel) -> None:
        self.dfk = dfk
        self._random = random.Random()  # the user's own numbers stay as they are
        self._labels = [label for label in dfk.executors if not label.startswith("_")]
        # The kernel does for a call what our own runner has done already. Past it, a call costs a good deal less.
        self._is_direct = dfk.config.retries == 0 and dfk.config.monitoring is None
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._has_complained = False
        self._is_over = threading.Event()

    def run(
        self,
        function: Callable[..., Any],
        argument: Any,
        labels: tuple[str, ...] = (),
        specification: Mapping[str, Any] | None = None,
    ) -> Future[Any]:
        """Give a call to Parsl."""
        unknown = [label for label in labels if label not in self.dfk.executors]
        if unknown:
            known = ", ".join(label for label in self.dfk.executors if not label.startswith("_"))
            raise WorkflowError(f"Parsl has no executor {unknown[0]!r}, but: {known}")
        if self._is_direct:
            executor = self.dfk.executors[self._random.choice(labels or self._labels)]
            return _give_directly(executor, function, argument, dict(specification or {}))
        kwargs = {"parsl_resource_specification": dict(specification)} if specification else {}
        future: Future[Any] = self.dfk.submit(function, (argument,), list(labels) or "all", False, None, kwargs)
        return future

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Give a call to Parsl, as PEP 3148 has it."""
        return self.run(partial(fn, *args[:-1], **kwargs) if kwargs or args[1:] else fn, *args[-1:])

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Look after it no more; it belongs to the user."""
        self._is_over.set()

    # --- the watch ---

    def watch(self, runner: ParslRunner) -> None:
        """See to it that somebody looks whether there is anybody left to run calls."""
        with self._lock:
            if self._watch is None:
                watch = threading.Thread(target=self._look, args=(runner,), name="parman-parsl", daemon=True)
                watch.start()
                self._watch = watch

    def _look(self, runner: ParslRunner) -> None:
        while not self._is_over.wait(_PERIOD):
            try:
                runner.look(self)
            except Exception:
                if not (self._has_complained or self._is_over.is_set()):
                    logger.exception("the watch over Parsl's blocks failed")
                self._has_complained = True
            with self._lock:  # who gives Parsl a call asks for a watch afterwards
                if not runner.has_in_flight():
                    self._watch = None
                    return

    def reasons_for_loss(self, labels: tuple[str, ...]) -> str | None:
        """Say why none of these executors will run anything any more; None if one may."""
        executors = [self.dfk.executors[label] for label in labels or self.dfk.executors if not label.startswith("_")]
        reasons = [self._reason_for_loss(executor) for executor in executors]
        return None if None in reasons else "; ".join(str(reason) for reason in reasons)

    def _reason_for_loss(self, executor: Any) -> str | None:
        provider = getattr(executor, "provider", None)
        if not isinstance(executor, _names().HighThroughputExecutor) or executor.bad_state_is_set:
            return None  # threads, or Parsl says it itself
        status = _interchange_status(executor)
        if status is not None:  # it would never answer
            return f"Parsl's interchange has ended (exit status {status})"
        if provider is None:
            return None  # workers that the user starts
        if executor.connected_managers():
            self._seen.add(executor.label)
            return None
        statuses = executor.status()
        if not statuses or not all(status.terminal for status in statuses.values()):
            return None
        scales = self.dfk.config.strategy not in (None, "none") and provider.max_blocks > 0
        if scales and (executor.label in self._seen or len(statuses) < _FUTILE):
            return None
        blocks = ", ".join(_described(number, status) for number, status in statuses.items())
        return f"no workers are left in Parsl's executor {executor.label!r} ({blocks})"


def _interchange_status(executor: Any) -> int | None:
    """Return the exit status of an executor's interchange; None as long as it runs."""
    process = getattr(executor, "interchange_proc", None)
    return None if process is None else process.poll()


def _described(number: str, status: Any) -> str:
    more = [status.state.name, *([status.message] if status.message else [])]
    if status.exit_code is not None:
        more.append(f"exit status {status.exit_code}")
    return f"block {number}: {', '.join(more)}"


class _OwnKernel(_Kernel):
    """A kernel that the runner starts and cleans up."""

    def __init__(self, make_config: Callable[[], Config], own: bool = False) -> None:
        logging.getLogger("parsl").addHandler(logging.NullHandler())  # each failed call would be printed
        config = make_config()
        self._directory = config.run_dir if own else None
        self._is_given_up = False
        for executor in config.executors:
            _find_programs(executor)
        super().__init__(_names().DataFlowKernel(config))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Clean it up, and remove its temporary files."""
        super().shutdown()
        with self._lock:
            watch = self._watch
        if watch is not None:  # it asks the interchange
            watch.join(_THREADS_TO_END)
        if not self._is_given_up and any(map(_is_hopeless, self._main_executors())):
            self._give_up()
        try:
            if not self.dfk.cleanup_called:
                self.dfk.cleanup()
        finally:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> threading.Thread | None:
        """End it at once, in the background: its blocks may be on other machines. Return the thread that does it."""
        self._is_over.set()
        thread = threading.Thread(target=self._kill, name="parman-parsl-end", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, and takes no more threads
            self._kill()
            return None
        return thread

    def _kill(self) -> None:
        try:
            try:
                self._give_up()
            finally:
                self.shutdown()
        except Exception:
            logger.debug("Parsl could not be cleaned up", exc_info=True)

    def _main_executors(self) -> list[Any]:
        kind = _names().HighThroughputExecutor
        return [executor for executor in self.dfk.executors.values() if isinstance(executor, kind)]

    def _give_up(self) -> None:
        """Fail what is in flight, and cancel all blocks without the interchange."""
        self._is_given_up = True
        executors = self._main_executors()
        cancelled: set[str] = set()
        for executor in executors:
            _fail_all(executor)
            _cancel_blocks(executor, cancelled)
            if _interchange_status(executor) is not None and hasattr(executor, "command_client"):
                # Who asks it nevertheless gets an exception; who waits for its answer already does so for ever, on a
                # socket that can't be closed meanwhile.
                del executor.command_client
        poller: Any = self.dfk.job_status_poller
        poller.close(_THREADS_TO_END)
        poller.close = lambda _timeout=None: None  # it may wait for ever, and Parsl's clean-up would wait for it
        for executor in executors:  # the poller may have started one meanwhile
            _cancel_blocks(executor, cancelled)


def _is_hopeless(executor: Any) -> bool:
    """Tell whether Parsl's own clean-up would leave calls open, leave blocks behind, or hang."""
    return bool(executor.tasks) or executor.bad_state_is_set or _interchange_status(executor) is not None


def _fail_all(executor: Any) -> None:
    """Fail what an executor has in flight, while others may bring results."""
    try:
        if not executor.bad_state_is_set:
            executor.set_bad_state_and_fail_all(Interrupted(_STOPPED))
    except (InvalidStateError, RuntimeError):  # a result has come meanwhile
        pass
    for future in list(executor.tasks.values()):
        try:
            if not future.done():
                future.set_exception(_names().BadStateException(executor, Interrupted(_STOPPED)))
        except InvalidStateError:
            pass


def _cancel_blocks(executor: Any, cancelled: set[str]) -> None:
    """Cancel the blocks of an executor, but for those that are known to have ended or are among the cancelled ones."""
    provider, statuses = executor.provider, executor.status_facade
    if provider is None:
        return
    jobs = dict(executor.blocks_to_job_id)
    ended = {jobs[block] for block, status in statuses.items() if status.terminal and block in jobs}
    left = [job for job in jobs.values() if job not in ended | cancelled]
    cancelled.update(left)
    try:
        if left:
            provider.cancel(left)
    except Exception:
        logger.warning("blocks of Parsl's executor %r could not be cancelled", executor.label, exc_info=True)


class _Once:
    """A configuration, which Parsl takes once only."""

    def __init__(self, config: Config) -> None:
        self._config: Config | None = config

    def __call__(self) -> Config:
        config, self._config = self._config, None
        if config is None:
            raise WorkflowError(
                "Parsl takes a configuration once only: for several blocks, give ParslRunner a function that makes one"
            )
        return config


def _loaded_kernel() -> DataFlowKernel | None:
    names = _names()
    try:
        return names.parsl.dfk()
    except names.NoDataFlowKernelError:
        return None


# --- configurations ---


def _local_config(workers: int) -> Config:
    """Return a configuration for worker processes on this machine that leaves nothing behind."""
    names = _names()
    executor = names.HighThroughputExecutor(
        label="local",
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        max_workers_per_node=workers,
        cores_per_worker=0.001,  # as many as were asked for, however many cores there are
        heartbeat_period=_HEARTBEAT,
        heartbeat_threshold=_LOST,
        provider=names.LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )
    return names.Config(
        executors=[executor],
        run_dir=tempfile.mkdtemp(prefix="parman-parsl-"),
        strategy="none",
        strategy_period=0.5,
        usage_tracking=0,
        initialize_logging=False,
    )


def _find_programs(executor: Any) -> None:
    """See that an executor finds Parsl's programs, which it looks for on PATH."""
    names = _names()
    if not isinstance(executor, names.HighThroughputExecutor):
        return
    if executor.interchange_launch_cmd == names.DEFAULT_INTERCHANGE_LAUNCH_CMD:
        executor.interchange_launch_cmd = [sys.executable, "-m", _PROGRAMS, "interchange"]
    if executor.launch_cmd == names.DEFAULT_LAUNCH_CMD and isinstance(executor.provider, names.LocalProvider):
        pool = f"{shlex.quote(sys.executable)} -m {_PROGRAMS} process_worker_pool"
        executor.launch_cmd = names.DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", pool, 1)


def _executor_info(config: Config) -> ExecutorInfo:
    """Tell where the workers of a configuration are, and how many there can be."""
    names = _names()
    executors = list(config.executors)
    where: Where = "cluster"
    if all(isinstance(executor, names.ThreadPoolExecutor) for executor in executors):
        where = "inside"
    elif all(isinstance(getattr(executor, "provider", None), names.LocalProvider) for executor in executors):
        launchers = {type(executor.provider.launcher).__name__ for executor in executors}
        where = "machine" if launchers <= {"SingleNodeLauncher", "SimpleLauncher"} else "cluster"
    return ExecutorInfo(where, sum(map(_workers_of, executors)))


def _workers_of(executor: Any) -> float:
    """Return how many calls an executor runs at a time at most; infinity if that is not known."""
    if isinstance(executor, _names().ThreadPoolExecutor):
        return executor.max_threads or math.inf
    provider = getattr(executor, "provider", None)
    per_node = getattr(executor, "max_workers_per_node", None)
    if provider is None or per_node is None:
        return math.inf
    return float(provider.max_blocks * provider.nodes_per_block * per_node)
