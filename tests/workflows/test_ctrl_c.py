# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later

"""Ctrl-C: to the script and to its whole group, idle and at work, wherever the script is, once and twice."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future

import pytest
from helpers import TIMEOUT
from helpers.scripts import BLOCK, LIMIT, filled, script
from helpers.waiting import interrupt_at

from parman import ConcurrentRunner, SerialRunner, resolve, task, workflow

WORK = (
    BLOCK
    + """
error, name, where = None, {name}, {where}
chosen = runner(name)
running, pending, made = None, None, []
try:
    with workflow(chosen) as w:
        running = hold()
        pending = [quick(running) for _ in range(3)]
        say("MADE")
        if where == "body":
            idle()
        elif where == "resolve":
            resolve(pending)
        elif where == "as_future":
            as_future([pending]).result()
        elif where == "raising":
            sys.stdin.readline()
            threading.Timer(0.3, say, ["RAISED"]).start()
            raise KeyError("mine")
except KeyboardInterrupt as exc:
    error = exc
done = all(how(f) != "open" for f in [running, *(pending or [])] if f is not None)
again = None
if not name.startswith("user") and name != "unknown":
    with workflow(name):
        again = resolve(quick(5))
left(error, running, *(pending or []), done=done, again=again, calls=[c.state for c in w.calls])
if name.startswith("user") or name == "unknown":
    os._exit(0)
"""
)


@pytest.mark.parametrize("group", [False, True], ids=["script", "group"])
@pytest.mark.parametrize("where", ["body", "resolve", "exit"])
@pytest.mark.parametrize("name", ["serial", "threads", "processes", "user-threads", "user-processes"])
def test_ctrl_c_at_work(tmp_path, name, where, group):
    """Ctrl-C leaves the block within 3 s: what is pending is cancelled, what runs fails at once."""
    if name == "serial" and where != "exit":
        pytest.skip("the script is in the task")
    with script(tmp_path, filled(WORK, name=name, where=where)) as running:
        running.wait_for("RUNNING")
        if name != "serial":
            running.wait_for("MADE")
        begin = time.monotonic()
        running.interrupt(group)
        report = running.report(LIMIT + 10)
        taken = time.monotonic() - begin
        assert report["error"] == "KeyboardInterrupt"
        assert report["done"]
        if name != "serial":
            own = not name.startswith("user")
            first, *rest = report["futures"]
            # a worker of the user's executor gets the Ctrl-C of a terminal itself
            assert first == "Interrupted" or (not own and group and first in ("KeyboardInterrupt", "WorkerDied"))
            assert rest == ["cancelled"] * 3 or (not own and group and set(rest) <= {first, "cancelled"})
            assert "running" not in report["calls"]
            assert "pending" not in report["calls"]
        assert report["again"] == (None if name.startswith("user") else 5)
        assert taken < LIMIT
        assert running.end() == 0
        if not name.startswith("user"):
            assert running.all_gone()
            assert "Traceback" not in running.errors


OVERLOOKED = (
    BLOCK
    + """
import signal
from parman import as_resolved

def receive():
    say("READY")
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

error, where = None, {where}
threading.Thread(target=receive, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
try:
    with workflow({name}):
        pending = hold()
        if where == "resolve":
            resolve(pending)
        elif where == "as_future":
            as_future([pending]).result()
        elif where == "as_resolved":
            next(as_resolved([pending]))
except KeyboardInterrupt as exc:
    error = exc
left(error)
"""
)


@pytest.mark.parametrize("where", ["resolve", "as_future", "as_resolved", "exit"])
@pytest.mark.parametrize("name", ["threads", "processes"])
def test_ctrl_c_that_wakes_nobody(tmp_path, name, where):
    """A signal that came while the main thread was about to sleep is noticed all the same.

    Here another thread is given it: that is the same to the main thread, which sleeps and is not woken.
    """
    with script(tmp_path, filled(OVERLOOKED, name=name, where=where)) as running:
        running.wait_for("READY")
        running.wait_for("RUNNING")
        begin = time.monotonic()
        running.go()
        assert running.report(LIMIT + 10)["error"] == "KeyboardInterrupt"
        assert time.monotonic() - begin < LIMIT


@pytest.mark.parametrize("name", ["threads", "processes", "unknown"])
def test_ctrl_c_while_an_exception_waits_for_running_calls(tmp_path, name):
    """Ctrl-C ends the waiting of a block that an exception ends."""
    with script(tmp_path, filled(WORK, name=name, where="raising")) as running:
        running.wait_for("RUNNING")
        running.go()
        running.wait_for("RAISED")
        begin = time.monotonic()
        running.interrupt()
        report = running.report(LIMIT + 10)
        assert time.monotonic() - begin < LIMIT
        assert report["error"] == "KeyboardInterrupt"
        assert report["futures"][0] == "Interrupted"
        assert report["done"]


def test_ctrl_c_without_a_handler(tmp_path):
    """A script that does not catch the interrupt ends with its traceback, and takes its workers along."""
    text = (
        BLOCK
        + """
with workflow("processes:2"):
    futures = [hold(), hold(), hold()]
"""
    )
    with script(tmp_path, text) as running:
        for _ in range(2):
            running.wait_for("RUNNING")
        begin = time.monotonic()
        running.interrupt(group=True)
        assert running.end() in (-2, 130, 1)
        assert time.monotonic() - begin < LIMIT
        assert running.errors.count("KeyboardInterrupt") == 1
        assert running.all_gone()


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_ctrl_c_when_idle(tmp_path, name):
    """Ctrl-C in the body of a block without work leaves it, and workers outlive one that goes to the group."""
    text = (
        BLOCK
        + """
error = None
try:
    with workflow({name}) as w:
        done = quick(3)
        resolve(done)
        try:
            say("IDLE")
            idle()
        except KeyboardInterrupt:
            again = resolve(quick(4))
        say("AGAIN")
        idle()
except KeyboardInterrupt as exc:
    error = exc
left(error, done, again=again)
"""
    )
    with script(tmp_path, filled(text, name=name)) as running:
        running.wait_for("IDLE")
        running.interrupt(group=True)
        running.wait_for("AGAIN")
        begin = time.monotonic()
        running.interrupt(group=True)
        report = running.report(LIMIT + 10)
        assert time.monotonic() - begin < LIMIT
        assert report == {"error": "KeyboardInterrupt", "futures": ["finished"], "again": 4}
        assert running.end() == 0
        assert running.all_gone()
        assert running.errors == ""


STUCK = (
    BLOCK
    + """
error = None
stuck = threading.Event()
def block(_future):
    say("STUCK")
    stuck.wait()
try:
    with workflow({name}) as w:
        first = quick(1)
        waiting = hold()
        as_before = w.runner.interrupt
        def interrupt(registry):
            as_before(registry)
            say("FIRST")
        w.runner.interrupt = interrupt
        first.add_done_callback(block)
        idle()
except KeyboardInterrupt as exc:
    error = exc
left(error)
"""
)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_ctrl_c_when_a_callback_is_stuck(tmp_path, name):
    """A callback of the user's that never returns does not hold up the block for more than 3 s."""
    with script(tmp_path, filled(STUCK, name=name)) as running:
        running.wait_for("STUCK")
        begin = time.monotonic()
        running.interrupt()
        assert running.report(LIMIT + 10)["error"] == "KeyboardInterrupt"
        assert time.monotonic() - begin < LIMIT


def test_a_second_ctrl_c(tmp_path):
    """A second Ctrl-C leaves the block at once."""
    with script(tmp_path, filled(STUCK, name="processes")) as running:
        running.wait_for("STUCK")
        running.interrupt()
        running.wait_for("FIRST")
        begin = time.monotonic()
        running.interrupt()
        assert running.report(LIMIT + 10)["error"] == "KeyboardInterrupt"
        assert time.monotonic() - begin < 1
        assert running.end() == 0
        assert running.all_gone()


# --- an interrupt at any point ---


@task
def pair(x: int) -> tuple[int, int]:
    return x, x


@task
def add(x: int, y: list[int]) -> int:
    return x + sum(y)


@pytest.fixture(scope="module")
def runners():
    with SerialRunner() as serial, ConcurrentRunner.threads(1) as threads, ConcurrentRunner.processes(1) as processes:
        yield {"serial": serial, "threads": threads, "processes": processes}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one in a generator that is closed
@pytest.mark.parametrize("name", ["serial", "threads", "processes"])
def test_an_interrupt_at_any_point_of_a_call(runners, name):
    """An interrupt while a call is made leaves no call, or a cancelled one; what else is in the block goes on."""
    with workflow(runners[name]) as w:
        count, missed = 1, 0
        while missed < 5:
            before = {id(call) for call in w._registry.pending()}
            outer: Future[int] = Future()
            if name == "serial":
                outer.set_result(1)
            made = []
            cut_off = interrupt_at(count, lambda: made.append(add(outer, [1])))  # noqa: B023
            missed = 0 if cut_off else missed + 1
            new = [call for call in w._registry.pending() if id(call) not in before]
            if made:
                if name != "serial":
                    outer.set_result(1)
                assert resolve(made[0], TIMEOUT) == 2
            for call in [] if made else new:
                for leaf in call.leaves:
                    with pytest.raises(CancelledError):
                        leaf.result(TIMEOUT)
            if not outer.done():
                outer.set_result(1)
            assert w._registry.wait(TIMEOUT), count
            count += 1
        assert count > 50
    assert w.failed == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["threads", "processes"])
@pytest.mark.parametrize("act", ["cancel", "resolve", "wait"])
def test_an_interrupt_at_any_point_of_a_decision(runners, name, act):
    """An interrupt while the script cancels or waits harms no call."""
    acts = {
        "cancel": lambda f: f.cancel(),
        "resolve": lambda f: resolve([f], TIMEOUT),
        "wait": lambda f: f.exception(TIMEOUT),
    }
    with workflow(runners[name]) as w:
        count, missed = 1, 0
        while missed < 5:
            outer: Future[int] = Future()
            left, right = pair(outer)
            if act != "cancel":
                outer.set_result(3)
            missed = 0 if interrupt_at(count, lambda: acts[act](left)) else missed + 1  # noqa: B023
            if act == "cancel":
                outer.set_result(3)
            assert right.result(TIMEOUT) == 3
            assert left.cancelled() or left.result(TIMEOUT) == 3
            assert w._registry.wait(TIMEOUT), count
            count += 1


STORM = (
    BLOCK
    + """
import random, signal
from parman.context import in_force
from parman.futures.loop import SlimCondition
rng = random.Random({seed})
signal.signal(signal.SIGALRM, signal.default_int_handler)

@task
def add(x, y):
    return x + y

@task
def split(x) -> tuple[int, int]:
    return x, x

chosen = ConcurrentRunner.threads(2) if {name} == "threads" else ConcurrentRunner.processes(1)
with workflow(chosen):
    resolve(quick(1))
interrupted, broken = 0, []
for i in range({rounds}):
    made, outer = [], Future()
    outer._condition = SlimCondition()  # that of the standard library is lost by an interrupt at the wrong moment
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, {longest}))
        with workflow(chosen) as w:
            while True:
                made.append(add(1, outer))
                made.extend(split(made[-1]))
                made.append(quick([1, 2]))
                if rng.random() < 0.3:
                    made[-1].cancel()
                if rng.random() < 0.3:
                    resolve(made[-1], return_exceptions=True)
                if rng.random() < 0.05:
                    cancel(made)
                if rng.random() < 0.05:
                    break
            outer.set_result(1)
            resolve(made, return_exceptions=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    except Exception as exc:
        broken.append(repr(exc) + repr(exc.__context__))
    signal.setitimer(signal.ITIMER_REAL, 0)
    if in_force.get() is not None:  # it came just before `__exit__`, which never ran
        in_force.set(None)
    if not outer.done():
        outer.set_result(1)
    if wait(made, 20).not_done:
        broken.append("open: " + repr(wait(made, 0).not_done)[:500])
left(None, interrupted=interrupted, broken=broken)
"""
)


@pytest.mark.parametrize(
    ("name", "rounds", "longest"), [("threads", 300, 0.01), ("processes", 30, 0.05)], ids=["threads", "processes"]
)
def test_a_storm_of_interrupts(tmp_path, name, rounds, longest):
    """Interrupts at random moments of blocks, calls and decisions never leave a future open, nor a lock taken."""
    text = filled(STORM, seed=1, name=name, rounds=rounds, longest=longest)
    with script(tmp_path, text) as running:
        report = running.report(50)
        assert report["broken"] == []
        assert report["interrupted"] > rounds // 4
        assert running.end() == 0
        assert running.all_gone()
