# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls on threads, processes, or any other executor of the kind of PEP 3148."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from ..engine.calls import Call
from ..engine.execute import Outcome, perform
from ..engine.pull import Drain, DrainRunner
from ..engine.queue import Aside
from ..engine.registry import Journal
from ..engine.runner import PLACES, Traits, Where, check_submit, is_process_pool, tells_of_death, traits_of
from ..errors import WorkerDied, WorkflowError
from ..lifecycle import start_forks
from ..pool.threads import ThreadPool, available_cpus
from ..snapshots.failures import safe_text
from ..snapshots.take import in_process, is_plain, pickled

if TYPE_CHECKING:
    from ..closures import Closure
    from ..remote.exchange import Feeder
    from ..remote.requirements import BlockStates
    from ..remote.submit import Courier

__all__ = ["ConcurrentRunner"]

_PLAIN_THREADS = (ThreadPool, ThreadPoolExecutor)
_PATIENCE = 1.5
"""How long leaving a block after Ctrl-C waits for the scripts of jobs to end [s]; they are killed before."""

InnerThreads = int | Literal["auto"] | None


class ConcurrentRunner(DrainRunner):
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
        self._set_up(traits_of(executor, where, workers), executor=executor, schedule=schedule)

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
        runner._set_up(traits_of(executor), executor=executor, factory=factory)
        return runner

    def _set_up(
        self,
        traits: Traits,
        *,
        executor: Executor | None = None,
        factory: Callable[[], Executor] | None = None,
        schedule: bool = True,
    ) -> None:
        """Note which executor there is, or how one of the runner's own is made, and what it is like."""
        super().__init__(traits.workers, schedule)
        # Held while a call is given to the executor, so that nobody takes it away and closes it meanwhile.
        self._lock = threading.RLock()
        self._executor = executor
        self._factory = factory
        self.carrier = in_process
        self._states: BlockStates | None = None
        self._courier: Courier | None = None
        self._feeder: Feeder | None = None
        if traits.where != "inside":
            self._set_up_couriers(traits, executor)
        # On machines of their own, workers run jobs as well: there, such a call takes a worker.
        self._aside = Aside() if traits.where in ("inside", "machine") else None

    def _set_up_couriers(self, traits: Traits, executor: Executor | None) -> None:
        # Much has to be imported for calls that leave the process: scripts on threads start sooner without.
        from ..pool.processes import ProcessPool
        from ..remote.batching import Bundler
        from ..remote.exchange import Feeder
        from ..remote.requirements import BlockStates
        from ..remote.submit import Courier

        self.carrier = pickled
        self._states = BlockStates(traits.where)
        if type(executor) is ProcessPool and self._queue.bounded:
            self._feeder = Feeder(Bundler(self._queue, self._states.requirements_of))
        else:
            self._courier = Courier(self._states, traits.workers)

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
        """Close the executor if the runner opened it; it is opened again when the runner is used again."""
        self._close(self._take_own())

    def _close(self, executor: Executor | None) -> None:
        if self._aside is not None:
            self._aside.shutdown()
        if executor is not None:
            executor.shutdown()

    def stop_running(self) -> None:
        if self._aside is not None:
            self._aside.stop()
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
        if self._aside is not None:
            self._aside.wait(_PATIENCE)

    def _take_own(self) -> Executor | None:
        if self._factory is None:
            return None
        with self._lock:
            executor, self._executor = self._executor, None
        return executor

    # --- calls ---

    def __call__(self, closure: Closure) -> Any:
        if self._factory is None:
            start_forks(self._executor)
        return super().__call__(closure)

    def begin(self, journal: Journal) -> None:
        if self._factory is None:
            start_forks(self._executor)
        if self._states is not None:
            self._states.begin(journal)

    def end(self, journal: Journal) -> None:
        if self._feeder is not None:
            self._feeder.rest()

    @property
    def has_drains(self) -> bool:
        if self._feeder is not None:
            return True
        if self._courier is not None:
            return False
        # Not a subclass, which may want to see each call.
        return self._queue.bounded and (self._factory is not None or type(self._executor) in _PLAIN_THREADS)

    @property
    def is_open(self) -> bool:
        return not getattr(self._executor, "_shutdown", False)  # of the standard library

    def submit_drain(self, drain: Drain) -> Future[Any]:
        with self._lock:
            executor = self.executor
            if self._feeder is not None:
                assert is_process_pool(executor)
                return executor.attend(partial(self._feeder.feed, self, drain))
            return executor.submit(self.run_drain, drain)

    def perform(self, call: Call) -> Outcome:
        context = call.context
        if context is None:
            return Outcome(None, None)  # it was given up meanwhile
        return context.run(_perform, call)

    def _perform_boxed(self, box: list[Call]) -> Outcome:
        """Run a call in this thread; it is taken out of its box, since some executors hold on to those."""
        return self.perform(box.pop())

    def slots_aside(self, at_once: int | None) -> float:
        slots = super().slots_aside(at_once)
        return slots if slots != math.inf or self._aside is None else available_cpus()

    def submit(self, call: Call) -> Future[Any]:
        if call.closure.definition.waits and self._aside is not None:
            return self._aside.submit(self.perform, call)
        if self._courier is None:
            return self._submit(call, self._perform_boxed, [call])
        return self._submit(call, self._courier.function, self._courier.pack(call))

    def _submit(self, call: Call, function: Callable[..., Any], argument: Any) -> Future[Any]:
        if self._factory is None:
            return self.executor.submit(function, argument)
        with self._lock:
            return self.executor.submit(function, argument)

    def conclude(self, call: Call, answer: Any) -> bool:
        courier = self._courier
        if courier is not None and isinstance(answer, bytes):  # else it ran on a thread of this process
            found = courier.read(answer)
            if not isinstance(found, Outcome):
                if call.is_over:
                    return True  # it was given up meanwhile
                self.launch(call, lambda: self._submit(call, courier.function, courier.supply(call, found)))
                return False
            answer = found
        return super().conclude(call, answer)

    def explain(self, call: Call, exception: BaseException, *, in_flight: bool = True) -> BaseException:
        if isinstance(exception, WorkerDied):
            return self.died(call, f"{exception}, while it was running {call}")
        if tells_of_death(exception):
            what = "was in flight when its worker died" if in_flight else "can't run any more: the executor is broken"
            return self.died(call, f"{call}, {what}: {safe_text(exception)}", exception)
        return super().explain(call, exception, in_flight=in_flight)


def _perform(call: Call) -> Outcome:
    closure = call.closure
    leaves = call.leaves
    outcome = perform(
        closure.definition,
        lambda: closure.arguments(call.take_values()),
        closure.structure,
        closure.site,
        late=closure.late,
        check=closure.check,
        runner=call.runner,
        stop=call.stop,
    )
    if outcome.values is not None:
        closure.release()  # before results are copied, so that the arguments don't stand beside two copies of those
        values = outcome.values
        for i, leaf in enumerate(leaves):
            if not is_plain(values[i]) and leaf.awaited:
                values[i] = call.freeze_own(values, i)
    return outcome
