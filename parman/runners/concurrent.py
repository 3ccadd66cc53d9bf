# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The runner of all calls on threads, processes and executors: from a closure to its outcome.

    caller's thread                  event loop (one thread at a time)
    ---------------                  ---------------------------------
    run(closure)
      Call, futures
      registry.added ──post──> admit ──> waiting for dependencies ──> enqueue: values collected
      returns the tree                                                   │  a failure or cancellation: finished
                                                                         v
    cancel() of a future                              ready queue: calls that use results first
      sets the future's state                            │  a free worker, and a future not cancelled
           └─────────post──> leaf_cancelled              ├─▶ WorkerLoops: a worker takes call after call (threads,
                                                         │   our processes: `engine.worker_loops`, `remote.exchange`)
                                                         └─▶ Submission: each call is submitted (executors of others,
                                                             jobs: `engine.submission`, `remote.submitter`)
                                                                         │
    any thread: outcome ──post──> Call.conclude: futures settled, registry.finished, dependents woken

Invariants

* A call leaves each of these places by exactly one of: outcome, failure, cancellation. Each ends in `Call._end`, and
  tells the registry. Nothing else removes a call.
* No event waits for anything. User code in the event loop: `__reduce__` and the like while a snapshot is taken, and the
  done-callbacks of the user's futures.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from ..engine.calls import Call
from ..engine.execute import Outcome
from ..engine.ready_queue import ReadyQueue
from ..engine.registry import CallRegistry
from ..engine.runner import (
    PLACES,
    ExecutorInfo,
    Runner,
    Where,
    check_submit,
    check_workers,
    executor_info,
    is_process_pool,
    tells_of_death,
)
from ..engine.submission import BlockingThreads, Submission
from ..engine.worker_loops import WorkerLoop, WorkerLoops
from ..errors import WorkerDied, WorkflowError
from ..futures.loop import CALLBACK_WAITS, CALLBACKS_RUN, EventLoop
from ..futures.placeholders import make_placeholder
from ..futures.wait_graph import wait_for
from ..lifecycle import come_before_joins, start_forks
from ..pool.threads import ThreadPool, available_cpus
from ..snapshots.exceptions import annotate, duplicate, safe_text, strip
from ..snapshots.take import in_process, pickled

if TYPE_CHECKING:
    from ..closures import Closure
    from ..pool.processes import ProcessWorker
    from ..remote.exchange import BatchExchange
    from ..remote.requirements import BlockStates
    from ..remote.submitter import RemoteSubmitter

__all__ = ["ConcurrentRunner"]

_PLAIN_THREADS = (ThreadPool, ThreadPoolExecutor)
_SCRIPTS_TO_END = 1.5
"""How long leaving a block after Ctrl-C waits for the scripts of jobs to end [s]; they are killed before."""

InnerThreads = int | Literal["auto"] | None


class ConcurrentRunner(Runner):
    """Runs calls on an executor.

    Parameters
    ----------
    executor
        Any executor. It stays open: who opened it closes it.
    schedule
        False: a call waits in place until the futures among its arguments are done, and is then submitted.
    where
        Where the executor runs functions; known for those of Parman, the standard library, loky, executorlib, mpi4py.

        - "inside" of this very process: nothing is pickled.
        - On this "machine", in processes: tasks find the directory, environment variables, import path and filters of
          warnings that the block was entered with. The scripts of template jobs are started by the driver.
        - On a "cluster" of machines with the same files: the same but for the environment variables. The scripts of
          jobs are started by the workers.
        - "unknown", for all others: tasks find the import path alone. Say more only if a worker runs one call at a
          time, since a directory is that of a whole process.
    workers
        How many calls the executor runs at a time. If neither given nor known, calls are submitted as soon as they
        are ready, and the executor decides on their order.

    See Also
    --------
    threads, processes : runners with a pool of their own.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        schedule: bool = True,
        where: Where | None = None,
        workers: int | None = None,
    ) -> None:
        check_submit(executor)
        if where not in (None, *PLACES):
            raise WorkflowError(f"where must be one of {', '.join(map(repr, PLACES))}, not {where!r}")
        self._set_up(executor_info(executor, where, check_workers(workers)), executor=executor, schedule=schedule)

    @classmethod
    def threads(cls, workers: int | None = None) -> Self:
        """Return a runner with threads of its own; by default as many as there are CPUs for this process."""
        return cls._with_own(partial(ThreadPool, workers))

    @classmethod
    def processes(cls, workers: int | None = None, *, inner_threads: InnerThreads = "auto") -> Self:
        """Return a runner with worker processes of its own; by default as many as there are CPUs for this process.

        Parameters
        ----------
        workers
            The number of processes.
        inner_threads
            The number of threads of numerical libraries in each of them; see `ProcessPool`.
        """
        from ..pool.processes import ProcessPool

        return cls._with_own(partial(ProcessPool, workers, inner_threads=inner_threads))

    @classmethod
    def _with_own(cls, factory: Callable[[], Executor]) -> Self:
        runner = cls.__new__(cls)
        executor = factory()
        runner._set_up(executor_info(executor), executor=executor, factory=factory)
        return runner

    def _set_up(
        self,
        info: ExecutorInfo,
        *,
        executor: Executor | None = None,
        factory: Callable[[], Executor] | None = None,
        schedule: bool = True,
    ) -> None:
        """Note which executor there is, or how one of the runner's own is made, and what it is like."""
        self.event_loop = EventLoop()
        self._schedule = schedule
        self._queue = self.make_queue(info.workers)
        self._blocking_queues: dict[tuple[Hashable, int | None], ReadyQueue] = {}
        # Calls that were made, for `admit`, which is posted once for all that come until it begins: it takes the flag
        # back first, so that who finds it set can rely on being seen.
        self._arrivals: deque[Call] = deque()
        self._is_summoned = False
        self._registry = CallRegistry()
        # Held while a call is given to the executor, so that nobody takes it away and closes it meanwhile.
        self._lock = threading.RLock()
        # Those that use the runner, under the lock.
        self._blocks: weakref.WeakSet[CallRegistry] = weakref.WeakSet()
        self._is_released = False
        self._executor = executor
        self._factory = factory
        self.serializer = in_process
        self._states: BlockStates | None = None
        self._submitter: RemoteSubmitter | None = None
        self._exchange: BatchExchange | None = None
        if info.where != "inside":
            self._set_up_remote(info, executor)
        # On machines of their own, workers run jobs as well: there, such a call takes a worker.
        self._blocking = BlockingThreads() if info.where in ("inside", "machine") else None
        self._submission = Submission(self)
        self._loops = WorkerLoops(self, self._queue) if self.has_loops else None

    def _set_up_remote(self, info: ExecutorInfo, executor: Executor | None) -> None:
        # Much has to be imported for calls that leave the process: scripts on threads start sooner without.
        from ..pool.processes import ProcessPool
        from ..remote.batcher import Batcher
        from ..remote.exchange import BatchExchange
        from ..remote.requirements import BlockStates
        from ..remote.submitter import RemoteSubmitter

        self.serializer = pickled
        self._states = BlockStates(info.where)
        if type(executor) is ProcessPool and self._queue.bounded:
            self._exchange = BatchExchange(Batcher(self._queue, self._states.requirements_of))
        else:
            self._submitter = RemoteSubmitter(self._states, info.workers)

    # --- the executor ---

    @property
    def executor(self) -> Executor:
        """The executor; one of the runner's own is opened when it is needed."""
        with self._lock:
            if self._executor is None:
                assert self._factory is not None
                self._executor = self._factory()
            return self._executor

    @property
    def joined_at_exit(self) -> bool:
        return self._factory is None

    def shutdown(self) -> None:
        """Close the executor if the runner opened it; it is opened again when the runner is used again.

        Raises
        ------
        WorkflowError
            In a callback of a future, which may not wait for that.
        """
        self.refuse_to_wait("the end of its runner's executor")
        self._close(self._take_own())

    def _close(self, executor: Executor | None) -> None:
        if self._blocking is not None:
            self._blocking.shutdown()
        if executor is not None:
            executor.shutdown()

    def stop_running(self) -> None:
        """End what is running, as far as that is the runner's to end."""
        if self._blocking is not None:
            self._blocking.stop()
        executor = self._take_own()
        if executor is not None:
            self._stop(executor)

    def _stop(self, executor: Executor) -> None:
        """End at once what an executor of the runner's own runs, which nobody else has in hands any more."""
        if is_process_pool(executor):
            executor.kill()
        elif isinstance(executor, ThreadPool):
            executor.abandon()

    def wait_for_end(self) -> None:
        if self._blocking is not None:
            self._blocking.wait(_SCRIPTS_TO_END)

    def _take_own(self) -> Executor | None:
        if self._factory is None:
            return None
        with self._lock:
            executor, self._executor = self._executor, None
        return executor

    # --- calls, in the thread that makes them ---

    def __call__(self, closure: Closure) -> Any:
        if self._factory is None:
            start_forks(self._executor)
        return super().__call__(closure)

    def run(self, closure: Closure, registry: CallRegistry) -> Any:
        self.event_loop.start()
        if not self._schedule:
            wait_for(closure.dependencies)
        call = Call(self, closure, registry)
        try:
            structure = closure.structure
            if structure.is_leaf:
                tree = call.make_leaf(structure.tree.declared)  # type: ignore[attr-defined]
            else:
                tree = structure.unflatten(call.make_leaf, make_placeholder)
            if closure.dependencies:
                call.capture()
            registry.added(call)
            if registry.closed_to_calls:
                call.cancel()
            self._arrivals.append(call)
            if not self._is_summoned:
                self._is_summoned = True
                self.event_loop.post(self.admit)
        except BaseException:  # Ctrl-C at any point leaves no call, or a cancelled one
            self.event_loop.post(self.admit)  # it may have struck between the flag and the post
            call.cancel()
            self.event_loop.post(call.drop)
            raise
        return tree

    # --- blocks ---

    @property
    def workers(self) -> int:
        slots = self._queue.slots
        return available_cpus() if slots == math.inf else int(slots)

    @property
    def own_registry(self) -> CallRegistry:
        return self._registry

    def begin(self, registry: CallRegistry) -> None:
        if self._factory is None:
            start_forks(self._executor)
            come_before_joins()
        if self._states is not None:
            self._states.begin(registry)
        with self._lock:
            self._blocks.add(registry)

    def end(self, registry: CallRegistry) -> None:
        if self._exchange is not None:
            self._exchange.release_spares()
        with self._lock:
            self._blocks.discard(registry)
            is_over = self._is_released and not self._blocks
            own = self._take_own() if is_over else None
        if own is not None:  # it was opened for a block that outlived the one that the runner was made for
            own.shutdown(wait=False)
        if is_over:
            self.event_loop.stop()

    def release(self) -> None:
        self._is_released = True

    def refuse_to_wait(self, what: str) -> None:
        if self.event_loop.is_current():
            raise WorkflowError(
                f"{CALLBACK_WAITS} {what}: {CALLBACKS_RUN} the runner's futures; do that in a thread of its own, or "
                "give the block another runner"
            )

    def cancel_pending(self, registry: CallRegistry) -> None:
        for call in registry.pending():
            call.cancel()

    def interrupt(self, registry: CallRegistry) -> None:
        self.event_loop.post(partial(self._interrupt, registry))
        if self._blocking is not None:
            self._blocking.ask_to_end(registry.pending())  # type: ignore[arg-type]

    def _interrupt(self, registry: CallRegistry) -> None:
        """Give up the calls of one block; nobody else's, however late this comes."""
        running = set()
        for call in registry.pending():
            assert isinstance(call, Call)
            call.cancel()
            if any(leaf.is_open() for leaf in call.leaves):
                running.add(call)
        if self._loops is not None and running:
            self._loops.replace_workers_of(running)
        for call in running:
            call.give_up()

    # --- calls, in the event loop ---

    def admit(self) -> None:
        """Let the calls that were made begin to wait for their dependencies."""
        self._is_summoned = False
        while self._arrivals:
            call = self._arrivals.popleft()
            try:
                call.enter()
            except BaseException as exception:  # no thread can be started any more, say: the others go on
                call.fail(exception, None)

    def enqueue(self, call: Call) -> None:
        if self._loops is None or call.closure.definition.is_blocking:
            self._submission.push(call)
        else:
            self._loops.push(call)

    def queue_of(self, call: Call) -> ReadyQueue:
        """Return the queue that a call waits in; calls that only wait for something have others."""
        definition = call.closure.definition
        if not definition.is_blocking:
            return self._queue
        key = (definition.limit_key, definition.at_once)
        if key not in self._blocking_queues:
            self._blocking_queues[key] = ReadyQueue(definition.at_once or self._blocking_slots())
        return self._blocking_queues[key]

    def _blocking_slots(self) -> float:
        slots = self._queue.slots
        return slots if slots != math.inf or self._blocking is None else available_cpus()

    def make_queue(self, slots: float) -> ReadyQueue:
        """Make the queue of calls for the executor's workers."""
        return ReadyQueue(slots)

    # --- calls on their way ---

    @property
    def has_loops(self) -> bool:
        """Whether the executor takes loops that run one call after another."""
        if self._exchange is not None:
            return True
        if self._submitter is not None:
            return False
        # Not a subclass, which may want to see each call.
        return self._queue.bounded and (self._factory is not None or type(self._executor) in _PLAIN_THREADS)

    @property
    def is_open(self) -> bool:
        """Whether the executor would take another loop, as far as can be told."""
        return not getattr(self._executor, "_shutdown", False)  # of the standard library

    def start_loop(self, loop: WorkerLoop) -> Future[Any]:
        """Have a worker run a loop."""
        assert self._loops is not None
        with self._lock:
            executor = self.executor
            if self._exchange is not None:
                assert is_process_pool(executor)
                return executor.run_on_worker(partial(self._run_exchange, loop))
            future = executor.submit(self._run_loop, loop)
        come_before_joins()
        if self._factory is not None and isinstance(executor, ThreadPool):
            loop.replace = partial(executor.replace_worker, future)
        return future

    # Methods of the runner, which they hold while they run.

    def _run_loop(self, loop: WorkerLoop) -> None:
        assert self._loops is not None
        self._loops.run_loop(loop)

    def _run_exchange(self, loop: WorkerLoop, worker: ProcessWorker) -> None:
        assert self._loops is not None
        assert self._exchange is not None
        if self._factory is not None:
            loop.replace = worker.replace
        self._exchange.run_loop(self._loops, loop, worker)

    def submit(self, call: Call) -> Future[Any]:
        """Give a call to its executor."""
        if call.closure.definition.is_blocking and self._blocking is not None:
            return self._blocking.submit(call)
        if self._submitter is None:
            return self._submit(call, _perform_boxed, [call])
        return self._submit(call, self._submitter.function, self._submitter.pack(call))

    def _submit(self, call: Call, function: Callable[..., Any], argument: Any) -> Future[Any]:
        if self._factory is None:
            future = self.executor.submit(function, argument)
            come_before_joins()
            return future
        with self._lock:
            return self.executor.submit(function, argument)

    def outcome_of(self, call: Call, answer: Any) -> Outcome | Callable[[], Future[Any]]:
        """Read an answer; or return what submits the call again, with what its worker lacked."""
        submitter = self._submitter
        if submitter is None or not isinstance(answer, bytes):  # it ran on a thread of this process
            outcome: Outcome = answer
            return outcome
        found = submitter.read(answer)
        if isinstance(found, Outcome):
            return found
        return lambda: self._submit(call, submitter.function, submitter.supply(call, found))

    def explain(self, call: Call, exception: BaseException, *, in_flight: bool = True) -> BaseException:
        """Say what an exception of the executor, rather than of the task, means for the call."""
        if isinstance(exception, WorkerDied):
            return self.died(call, f"{exception}, while it was running {call}")
        if tells_of_death(exception):
            what = "was in flight when its worker died" if in_flight else "can't run any more: the executor is broken"
            return self.died(call, f"{call}, {what}: {safe_text(exception)}", exception)
        failure = duplicate(exception)
        strip(failure)
        annotate(failure, f"In the call of {call}.")
        return failure

    def died(self, call: Call, text: str, cause: BaseException | None = None) -> WorkerDied:
        """Make the failure of a call that was with a worker that died, or that no worker is left for."""
        failure = WorkerDied(text)
        if cause is not None:
            failure.__cause__ = cause.with_traceback(None)
        annotate(failure, f"In the task {call.describe()}, called at {call.closure.site}.")
        return failure


def _perform_boxed(box: list[Call]) -> Outcome:
    """Run a call in this thread; it is taken out of its box, since some executors hold on to those."""
    return box.pop().perform()
