# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pools that fork beside our threads: where they do it, and that no lock is held in the child for ever."""

from __future__ import annotations

import pytest
from helpers.scripts import run_script

HEAD = """
import dataclasses, multiprocessing, os, sys, threading, warnings
from concurrent.futures import Executor, ProcessPoolExecutor
import parman
from parman import ConcurrentRunner, Closure, resolve, task, workflow
warnings.simplefilter("ignore", DeprecationWarning)
CONTEXT = multiprocessing.get_context("fork")

@task
def same(x: int) -> int:
    return x
"""

PLACES = {
    "a block": "with workflow(pool): resolve(same(1))",
    "a second block": "with workflow(pool): pass\nwith workflow(pool): resolve(same(1))",
    "an inner block": "with workflow('threads:2'):\n    resolve(same(1))\n    with workflow(pool): resolve(same(1))",
    "an open block": "w = workflow(pool).open()\nresolve(same(1))\nw.close()",
    "an executor": "with parman.executor(pool) as e: e.submit(abs, 1).result()",
    "no block": "ConcurrentRunner(pool)(Closure(same, (1,))).result()",
    "a pool that was used": "pool.submit(abs, 1).result()\nwith workflow(pool): resolve(same(1))",
}
POOLS = {
    "standard": "pool = ProcessPoolExecutor(2, CONTEXT)",
    "wrapped": """
class Wrapping(Executor):
    def __init__(self, inner):
        self.inner = inner
    def submit(self, function, /, *args, **kwargs):
        return self.inner.submit(function, *args, **kwargs)
pool = Wrapping(Wrapping(ProcessPoolExecutor(2, CONTEXT)))
""",
    "loky": "import loky\npool = loky.ProcessPoolExecutor(2, context=loky.backend.get_context('fork'))",
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("place", PLACES)
def test_pools_fork_on_the_thread_of_the_script(place: str, pool: str) -> None:
    """All processes of a pool that forks are started by the thread that enters the block."""
    text = f"""{HEAD}
forks = []
{POOLS[pool]}
os.register_at_fork(before=lambda: forks.append(threading.current_thread() is threading.main_thread()))
{PLACES[place]}
print(forks, flush=True)
for child in multiprocessing.active_children():
    child.kill()
os._exit(0)
"""
    result = run_script(text)
    assert result.stdout == "[True, True]\n", result.stderr


def test_a_fork_finds_no_lock_held() -> None:
    """A child that was forked while other threads held the locks of cloudpickle, logging and ours has them free."""
    text = f"""{HEAD}
import cloudpickle, logging, parman.remote.batch, parman.engine.calls, parman.descriptors
all_locks = lambda: [cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK, logging._lock,
    parman.remote.batch._memory.lock, parman.engine.calls._moving, parman.descriptors._filling]
held, go = threading.Event(), threading.Event()

def hold(lock):
    with lock:
        held.set()
        go.wait()

for lock in all_locks():
    held.clear(), go.clear()
    thread = threading.Thread(target=hold, args=(lock,), daemon=True)
    thread.start()
    held.wait()
    if lock is logging._lock:  # its own hook waits for it, for as long as it takes
        threading.Timer(0.1, go.set).start()
    pid = os.fork()
    if not pid:
        os._exit(not all(lock.acquire(timeout=1) for lock in all_locks()))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    go.set()
    thread.join()
    assert lock.acquire(timeout=5)
    lock.release()
"""
    result = run_script(text)
    assert result.stdout.split() == ["0"] * 5, result.stderr


def test_results_of_classes_of_the_script_from_fresh_pools() -> None:
    """Pool after pool, with threads that switch all the time, gives instances of classes that the script made."""
    text = f"""{HEAD}
sys.setswitchinterval(1e-6)

def quantity(name):
    kind = dataclasses.make_dataclass(name, [("value", float), ("error", float)])
    kind.__module__ = "__main__"

    @task
    def measure(x: float) -> kind:
        return kind(x, x / 10)

    return measure

for _ in range(15):
    with ProcessPoolExecutor(2, CONTEXT) as pool, workflow(pool):
        measures = [quantity(name) for name in "abcdefgh"]
        print(sum(one.value for one in resolve([measure(1.0) for measure in measures])), flush=True)
"""
    result = run_script(text)
    assert result.stdout.split() == ["8.0"] * 15, result.stderr


def test_a_pool_that_is_shut_down_says_so_at_the_call() -> None:
    """A pool that can't start its processes is no error of the block: its calls tell."""
    text = f"""{HEAD}
pool = ProcessPoolExecutor(2, CONTEXT)
pool.shutdown()
with workflow(pool):
    print(type(same(1).exception()).__name__)
"""
    assert run_script(text).stdout == "RuntimeError\n"
