# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pools of threads and of processes: what a PEP 3148 executor promises, and what ours promise beyond."""

from __future__ import annotations

import gc
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from pickle import PicklingError, UnpicklingError

import cloudpickle
import pytest
from helpers import ROOT, TIMEOUT
from helpers.processes import children

from parman.errors import ArgumentError, Interrupted, WorkerDied
from parman.pool.processes import ProcessPool
from parman.pool.threads import ThreadPool, available_cpus
from parman.snapshots.buffers import Buffer

# Otherwise each worker would import this file, and with it pytest.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

MB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


def say(fifo, text="now"):
    """Say something at a gate to the only one who waits there, or will."""
    with Path(fifo).open("w") as file:
        file.write(text)


def hear(fifo):
    """Wait at a gate until something is said there."""
    with Path(fifo).open() as file:
        return file.read()


def hold(started, gate):
    """Tell where this runs, then wait for the gate."""
    say(started, str(os.getpid()))
    hear(gate)
    return os.getpid()


def wait_gone(pid, timeout=TIMEOUT):
    """Wait until a process of somebody else has ended; its zombie counts as ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(fd):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))


def eventually(condition):
    """Wait for what another thread or process does right after it has given a result; there is no gate for that."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        os.sched_yield()
    return condition()


def open_files():
    """Return the numbers of the open files, that of this look at them included."""
    return sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())


def memory(pid="self", field="RssAnon"):
    """Memory of a process that it shares with nobody [bytes]."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def mark(path, text="x"):
    """Leave one line that tells that a call ran."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


@pytest.fixture
def fifos(tmp_path):
    """Return a function that makes gates which work between processes."""

    def make(*names):
        for name in names:
            os.mkfifo(tmp_path / name)
        return [str(tmp_path / name) for name in names]

    return make


@pytest.fixture(params=[ThreadPool, ProcessPool], ids=["threads", "processes"])
def kind(request):
    return request.param


@pytest.fixture
def pool(kind):
    """Give a pool of either kind with two workers."""
    with kind(2) as pool:
        yield pool


@pytest.fixture
def processes():
    """Give a pool of two processes and check that it leaves nothing behind."""
    before = set(children())
    with ProcessPool(2) as pool:
        yield pool
    assert set(children()) <= before


@pytest.fixture
def single():
    """Give a pool of one process, so that it is known where a call runs."""
    with ProcessPool(1) as pool:
        yield pool


class Script:
    """A driver of its own, run from a file, with its output."""

    def __init__(self, path, text, *flags, **options):
        path.write_text(text)
        environ = os.environ | {"PYTHONPATH": f"{path.parent}:{ROOT}"}
        self.popen = subprocess.Popen(
            [sys.executable, *flags, str(path), str(path.parent)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def finish(self, timeout=TIMEOUT):
        with self.popen:
            try:
                out, err = self.popen.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.popen.kill()  # lest it is waited for, for ever
                raise
        return self.popen.returncode, out, err


@pytest.fixture
def script(tmp_path):
    """Return a function that starts a script."""
    return lambda text, *flags, **options: Script(tmp_path / "script.py", text, *flags, **options)


# --- how many CPUs ---


def fake_root(tmp_path, groups, files):
    proc = tmp_path / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def many_cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "500000 100000\n", "a/cpu.max": "900000 100000\n"}, 5),
        ("0::/not/seen/here\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "4:cpu,cpuacct:/j\n",
            {"cpu,cpuacct/j/cpu.cfs_quota_us": "150000", "cpu,cpuacct/j/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("4:cpuacct,cpu:/j\n", {"cpu/j/cpu.cfs_quota_us": "700000", "cpu/j/cpu.cfs_period_us": "100000"}, 7),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ("3:cpuset:/\n", {"cpu.max": "100000 100000"}, 64),
        ("0::/\n", {"cpu.max": "what is this"}, 64),
        ("0::/\n", {}, 64),
    ],
)
def test_cpus_quota(tmp_path, many_cpus, groups, files, count):
    """The CPU quota of any control group above the process counts, rounded up."""
    assert available_cpus(root=fake_root(tmp_path, groups, files), environ={}) == count


@pytest.mark.parametrize(("value", "count"), [("8", 8), ("1", 1), ("0", 1), ("100", 64), ("", 64), ("x", 64)])
def test_cpus_slurm(tmp_path, many_cpus, value, count):
    """Slurm's CPUs of this task count, where that is a number."""
    assert available_cpus(root=tmp_path, environ={"SLURM_CPUS_PER_TASK": value}) == count


def test_cpus_affinity(tmp_path, monkeypatch):
    """Without any limit there are as many CPUs as the affinity allows, wherever there is one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert available_cpus(root=tmp_path, environ={}) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus(root=tmp_path, environ={}) == 1


def test_cpus_are_the_default(kind):
    """A pool has as many workers as there are CPUs, and says how many."""
    assert kind().workers == available_cpus()
    assert kind(3).workers == 3


# --- any pool ---


def test_value(pool):
    """A call gets its arguments and gives its value."""
    assert pool.submit(divmod, 7, 2).result() == (3, 1)
    assert pool.submit(lambda *args, **kwargs: (args, kwargs), 1, fn=2, self=3).result() == ((1,), {"fn": 2, "self": 3})
    assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]


@pytest.mark.parametrize("exception", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), StopIteration(1)])
def test_exception(pool, exception):
    """Whatever a call raises is its exception, and the worker goes on."""

    def fail():
        raise exception

    caught = pool.submit(fail).exception()
    assert type(caught) is type(exception)
    assert caught.args == exception.args
    assert pool.submit(abs, -1).result() == 1


@pytest.mark.parametrize("workers", [0, -1])
def test_no_worker(kind, workers):
    """A pool without workers is refused, since its calls would wait for ever."""
    with pytest.raises(ValueError, match="at least one worker"):
        kind(workers)


def test_at_a_time(kind, fifos):
    """As many calls run at a time as there are workers, also after the workers had been idle."""
    started, gates = fifos("s1", "s2", "s3"), fifos("g1", "g2", "g3")
    with kind(3) as pool:
        for _ in range(5):
            pool.submit(abs, 1).result()
        futures = list(map(pool.submit, [hold] * 3, started, gates))
        extra = pool.submit(abs, -1)
        for fifo in started:
            hear(fifo)
        assert not extra.running()
        for gate in gates:
            say(gate)
        assert extra.result() == 1
        wait(futures)


def test_states(kind, fifos):
    """A future is running once a worker has its call; before that it can be cancelled, and `wait` sees that."""
    started, gate = fifos("started", "gate")
    with kind(1) as pool:
        running = pool.submit(hold, started, gate)
        queued, other = pool.submit(abs, -1), pool.submit(abs, -2)
        hear(started)
        assert running.running()
        assert not running.cancel()
        assert not queued.running()
        assert queued.cancel()
        say(gate)
        assert wait([running, queued, other], timeout=TIMEOUT).not_done == set()
        assert other.result() == 2


def test_shutdown(kind, fifos):
    """After `shutdown` nothing is taken, and what was submitted is done."""
    started, gate = fifos("started", "gate")
    pool = kind(1)
    futures = [pool.submit(hold, started, gate), pool.submit(abs, -1)]
    hear(started)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(abs, 1)
    assert not futures[0].done()
    say(gate)
    pool.shutdown()
    assert futures[0].done()
    assert futures[1].result(0) == 1
    pool.shutdown()


def test_shutdown_cancels(kind, fifos):
    """`cancel_futures` cancels what no worker has taken, and `wait` sees it."""
    started, gate = fifos("started", "gate")
    pool = kind(1)
    running = pool.submit(hold, started, gate)
    hear(started)
    queued = [pool.submit(abs, 1) for _ in range(10)]
    queued[3].cancel()
    pool.shutdown(wait=False, cancel_futures=True)
    assert wait(queued, timeout=0).not_done == set()
    assert all(future.cancelled() for future in queued)
    say(gate)
    running.result()
    pool.shutdown()


def test_shutdown_in_callback(kind):
    """A callback may shut the pool down that runs it."""
    pool = kind(1)
    done = threading.Event()

    def stop(future):
        pool.shutdown()
        done.set()

    pool.submit(abs, 1).add_done_callback(stop)
    assert done.wait(TIMEOUT)
    pool.shutdown()


def test_bad_callback(kind, fifos, caplog):
    """A callback that raises anything does no harm to its worker."""
    caplog.set_level(logging.CRITICAL + 1, "parman")
    started, gate = fifos("started", "gate")
    with kind(1) as pool:
        futures = [pool.submit(hold, started, gate), pool.submit(abs, 1)]
        hear(started)
        for future in futures:
            future.add_done_callback(lambda future: sys.exit(1))
        say(gate)
        assert list(pool.map(abs, range(4))) == [0, 1, 2, 3]


def test_submit_in_callback(pool):
    """A callback may submit to the pool that runs it, and even wait for the result."""
    inner = []
    ready = threading.Event()

    def again(future):
        inner.append(pool.submit(abs, -5).result())
        ready.set()

    pool.submit(abs, 1).add_done_callback(again)
    assert ready.wait(30)
    assert inner == [5]


def test_many(pool):
    """Ten thousand calls can be submitted at once, and come out right."""
    futures = [pool.submit(abs, -i) for i in range(10_000)]
    assert [future.result() for future in futures] == list(range(10_000))


def test_races(kind, tmp_path):
    """However submitting, cancelling and running mix: a call runs once if it was not cancelled, and never if it was."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    log = tmp_path / "log"
    futures = {}

    def submit(part):
        for i in range(part, 400, 4):
            futures[i] = pool.submit(mark, log, i)
            if i % 3 == 0:
                futures[i].cancel()

    try:
        with kind(3) as pool:
            threads = [threading.Thread(target=submit, args=(part,)) for part in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wait(futures.values(), timeout=0).not_done == set()
    finally:
        sys.setswitchinterval(interval)
    ran = sorted(int(line) for line in log.read_text().split())
    assert ran == [i for i in range(400) if not futures[i].cancelled()]


def test_stop_races(kind):
    """A pool that is stopped while others submit to it leaves no future pending."""
    for _ in range(5 if kind is ProcessPool else 50):
        pool = kind(2)
        futures = []
        go = threading.Barrier(3)

        def submit(pool=pool, futures=futures, go=go):
            go.wait()
            try:
                while True:
                    futures.append(pool.submit(abs, -1))
            except RuntimeError:
                pass

        threads = [threading.Thread(target=submit) for _ in range(2)]
        for thread in threads:
            thread.start()
        go.wait()
        stop = pool.kill if kind is ProcessPool else pool.abandon
        stop()
        for thread in threads:
            thread.join()
        assert wait(futures, timeout=TIMEOUT).not_done == set()
        assert {type(future.exception()) for future in futures} <= {type(None), Interrupted}
        pool.shutdown()


def test_forgotten(kind):
    """The threads of a pool that nobody holds end when its calls are done, and so do its processes."""
    before = set(children())
    pool = kind(2)
    futures = [pool.submit(abs, -i) for i in range(100)]
    threads = list(pool._pool_state._threads)
    del pool
    gc.collect()
    assert [future.result() for future in futures] == list(range(100))
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert set(children()) <= before


@pytest.mark.parametrize("name", ["ThreadPool", "ProcessPool"])
@pytest.mark.parametrize("state", ["idle", "running", "queued"])
def test_exit(script, name, state):
    """An interpreter that ends without shutting its pools down ends soon, whatever they do, and says nothing."""
    run = script(
        f"""
import sys, time
from parman.pool.threads import ThreadPool
from parman.pool.processes import ProcessPool

pool = {name}(1)
print(pool.submit(abs, -3).result(), flush=True)
if {state!r} != "idle":
    future = pool.submit(time.sleep, 1000)
    while not future.running():
        time.sleep(0.001)
if {state!r} == "queued":
    futures = [pool.submit(time.sleep, 1000) for _ in range(1000)]
""",
        "-X",
        "dev",
    )
    assert run.finish(timeout=10) == (0, "3\n", "")


@pytest.mark.parametrize("name", ["ThreadPool", "ProcessPool"])
def test_fork_of_the_driver(script, name):
    """In the child of a fork a pool refuses calls and harms nobody; in the parent it goes on."""
    run = script(
        f"""
import os, sys
from parman.pool.threads import ThreadPool
from parman.pool.processes import ProcessPool

pool = {name}(2)
pids = [future.result() for future in [pool.submit(os.getpid) for _ in range(10)]]
child = os.fork()
if not child:
    try:
        pool.submit(abs, 1)
    except RuntimeError as error:
        print(error, flush=True)
    pool.shutdown()
    pool.kill() if {name!r} == "ProcessPool" else pool.abandon()
    sys.exit()
os.waitpid(child, 0)
assert pool.submit(os.getpid).result() in pids
pool.shutdown()
print("done")
""",
        "-W",
        "ignore::DeprecationWarning",
    )
    code, out, err = run.finish()
    assert (code, err) == (0, "")
    assert out == "this pool belongs to the process that was forked; make a new one in the child\ndone\n"


# --- threads ---


class Thing:
    """Something that can be watched as it goes."""


@pytest.fixture
def no_gc():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_idle_thread_holds_nothing(no_gc):
    """While a thread waits for work it holds neither arguments nor result nor exception of its last call."""
    with ThreadPool(1) as pool:
        argument = Thing()
        result = pool.submit(lambda thing: Thing(), argument)
        watched = [weakref.ref(argument), weakref.ref(result.result()), weakref.ref(result)]
        del argument, result
        assert eventually(lambda: [ref() for ref in watched] == [None] * 3)


def test_failed_call_holds_nothing(no_gc):
    """A failure keeps the frames of the task only, and makes no reference cycle."""

    class Failure(Exception):
        pass

    def fail(thing):
        raise Failure

    with ThreadPool(1) as pool:
        argument = Thing()
        future = pool.submit(fail, argument)
        exception = future.exception()
        assert exception.__traceback__.tb_frame.f_code is fail.__code__
        watched = [weakref.ref(argument), weakref.ref(exception), weakref.ref(future)]
        pool.submit(abs, 1).result()
        del argument, future, exception
        assert [ref() for ref in watched] == [None] * 3


def test_abandon(caplog):
    """Abandoned calls fail at once, and what becomes of those that run is ignored, quietly."""
    started, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def task():
        started.set()
        gate.wait()
        ended.set()
        return 1

    pool = ThreadPool(1)
    futures = [pool.submit(task) for _ in range(3)]
    futures[2].cancel()
    started.wait()
    pool.abandon()
    assert isinstance(futures[0].exception(0), Interrupted)
    assert isinstance(futures[1].exception(0), Interrupted)
    assert wait(futures, timeout=0).not_done == set()
    with pytest.raises(CancelledError):
        futures[2].result(0)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)
    pool.abandon()
    gate.set()
    pool.shutdown()
    assert ended.is_set()
    assert isinstance(futures[0].exception(0), Interrupted)
    assert not caplog.records


def test_threads_are_daemons():
    """Neither the threads nor what they run keep an interpreter alive."""
    with ThreadPool(1) as pool:
        assert pool.submit(lambda: threading.current_thread().daemon).result()


# --- processes: what a worker is ---


def test_worker(single):
    """A worker is another process, leads a session of its own, has no input and runs calls on its main thread."""

    def look():
        main = threading.current_thread() is threading.main_thread()
        try:
            text = sys.stdin.read()
        except Exception as error:
            text = str(error)
        return os.getpid(), os.getpgrp(), os.getsid(0), text, main, sys.argv

    pid, group, session, text, main, argv = single.submit(look).result()
    assert pid == group == session != os.getpid()
    assert "no terminal and no standard input" in text
    assert (main, argv) == (True, ["-c"])
    assert single.submit(os.getpid).result() == pid


def test_path(single, tmp_path, monkeypatch):
    """A worker finds the modules that the driver finds."""
    (tmp_path / "only_here_h3.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert single.submit(lambda: __import__("only_here_h3").answer).result() == 42
    assert single.submit(lambda: sys.path).result() == sys.path


def test_on_demand():
    """No more workers are started than there are calls at a time."""
    with ProcessPool(8) as pool:
        assert pool._pool_state._threads == {}
        pool.submit(abs, 1).result()
        assert len(pool._pool_state._threads) == 1


def test_random(fifos):
    """Each worker has random numbers of its own."""
    started, gates = fifos("s1", "s2"), fifos("g1", "g2")

    def numbers(started, gate):
        import random

        import numpy as np

        hold(started, gate)
        return random.random(), float(np.random.random())

    with ProcessPool(2) as pool:
        futures = list(map(pool.submit, [numbers] * 2, started, gates))
        for fifo in started:
            hear(fifo)
        for gate in gates:
            say(gate)
        first, second = (future.result() for future in futures)
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_output(single, capfd):
    """What a task prints appears, at the latest when the call is done, and does not disturb the connection."""

    def talk():
        print("hello")  # noqa: T201
        os.write(1, b"\x00\xff" * 100)
        print("oh", file=sys.stderr)  # noqa: T201
        return 1

    assert single.submit(talk).result() == 1
    out, err = capfd.readouterr()
    assert "hello\n" in out
    assert err == "oh\n"


THREADS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS"]


@pytest.mark.parametrize(
    ("option", "user", "seen"),
    [
        ("auto", {}, ["4"] * 5),
        (3, {}, ["3"] * 5),
        (3, {"OMP_NUM_THREADS": "7"}, ["3"] * 5),
        (None, {}, [None] * 5),
        ("auto", {"MKL_NUM_THREADS": "7"}, ["4", "4", "7", "4", "4"]),
        ("auto", {"OMP_NUM_THREADS": "7"}, ["7", None, None, None, None]),
    ],
)
def test_inner_threads(many_cpus, monkeypatch, option, user, seen):
    """Numerical libraries share the CPUs among the workers, unless the user says otherwise."""
    monkeypatch.setattr("parman.pool.processes.available_cpus", lambda: 9)
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    with ProcessPool(2, inner_threads=option) as pool:
        assert pool.submit(lambda: [os.environ.get(name) for name in THREADS]).result() == seen


def test_interrupt_signal(single):
    """SIGINT does nothing to a worker, and what a task starts can be interrupted as ever."""

    def signals():
        os.kill(os.getpid(), signal.SIGINT)
        code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert single.submit(signals).result() == "True\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_in_task(single, method):
    """A task may start processes."""

    def task():
        import multiprocessing
        import operator

        with multiprocessing.get_context(method).Pool(2) as inner:
            return inner.map(operator.neg, [1, 2, 3])

    assert single.submit(task).result() == [-1, -2, -3]
    assert single.submit(abs, -1).result() == 1


def test_idle_worker_holds_nothing(single):
    """While a worker waits it holds neither arguments nor result of its last call, whatever came of it."""

    class Kept:
        pass

    def task(what):
        import gc

        gc.disable()
        result = Kept()
        sys.parman_test = [*getattr(sys, "parman_test", []), weakref.ref(what), weakref.ref(result)]
        if what.fails:
            raise ValueError(what)
        return result

    for fails in (False, True):
        argument = Kept()
        argument.fails = fails
        single.submit(task, argument).exception()
    assert single.submit(lambda: [ref() for ref in sys.parman_test]).result() == [None] * 4


@linux
def test_idle_worker_is_small(single):
    """While a worker waits it does not hold the messages of its last call."""
    pid = single.submit(os.getpid).result()
    base = memory(pid)
    for data, function in [(bytes(100 * MB), len), (100 * MB, bytes)]:
        single.submit(function, data).result()
        assert eventually(lambda: memory(pid) - base < 20 * MB)


# --- processes: what can't be sent ---


class Refusing:
    """Can be pickled or rebuilt only as the fields say."""

    def __init__(self, dump=True, load=True, home=None):
        self.dump, self.load, self.home = dump, load, home

    def __reduce__(self):
        if not self.dump:
            raise ValueError("not me")
        return rebuild, (self.load, self.home)


def rebuild(load, home):
    if not load and os.getpid() != home:
        raise LookupError("not here")
    return Refusing(load=load, home=home)


@pytest.mark.parametrize("value", [Refusing(dump=False), threading.Lock(), (i for i in [])])
def test_unpicklable_argument(single, value):
    """An argument that can't be pickled costs its own call, and the worker does not even notice."""
    pid = single.submit(os.getpid).result()
    error = single.submit(id, value).exception()
    assert isinstance(error, ArgumentError)
    assert str(error).startswith("the arguments of id can't be sent to a worker process: ")
    assert single.submit(os.getpid).result() == pid


def test_argument_that_cannot_be_rebuilt(single):
    """An argument that can't be rebuilt in the worker costs its own call."""
    pid = single.submit(os.getpid).result()
    error = single.submit(id, Refusing(load=False)).exception()
    assert isinstance(error, UnpicklingError)
    assert str(error) == "a call could not be rebuilt in the worker process: LookupError: not here"
    assert single.submit(os.getpid).result() == pid


def test_unpicklable_result(single):
    """A result that can't be pickled costs its own call, and the message names its type."""
    pid = single.submit(os.getpid).result()
    error = single.submit(Refusing, dump=False).exception()
    assert isinstance(error, PicklingError)
    assert str(error) == (
        "the result of Refusing, of type Refusing, can't be sent back from the worker process: ValueError: not me. "
        "Return something that can be pickled"
    )
    assert single.submit(os.getpid).result() == pid


def test_result_that_cannot_be_rebuilt(single):
    """A result that can't be rebuilt in the driver costs its own call."""
    pid = single.submit(os.getpid).result()
    error = single.submit(lambda: Refusing(load=False, home=os.getpid())).exception()
    assert isinstance(error, UnpicklingError)
    assert (
        str(error) == "the result of test_result_that_cannot_be_rebuilt.<locals>.<lambda> can't be rebuilt in this "
        "process: LookupError: not here"
    )
    assert single.submit(os.getpid).result() == pid


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
        self.two = two


class Unsendable(Exception):
    def __init__(self):
        super().__init__("locked", threading.Lock())


@pytest.mark.parametrize("exception", [TwoArguments(1, 2), Unsendable()])
def test_unpicklable_exception(single, exception):
    """An exception arrives, however strange its class, and tells where it was raised."""
    cls, args = type(exception), (1, 2) if isinstance(exception, TwoArguments) else ()

    def fail():
        raise cls(*args)

    error = single.submit(fail).exception()
    assert type(error).__name__ == cls.__name__
    assert "in fail" in error.__notes__[0]
    assert single.submit(abs, -1).result() == 1


# --- processes: death ---


DEATHS = {
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), r"was killed by SIGKILL \(out of memory\?\)"),
    "SIGSEGV": (lambda: os.kill(os.getpid(), signal.SIGSEGV), "was killed by SIGSEGV"),
    "SIGTERM": (lambda: os.kill(os.getpid(), signal.SIGTERM), "was killed by SIGTERM"),
    "exit": (lambda: os._exit(3), "ended with exit status 3"),
    "closed": (lambda: os.closerange(3, 1000), "ended with exit status 0"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_death(processes, fifos, death):
    """A worker's death fails the call that ran there, with a clear text, and no other."""
    started, gate, go = fifos("started", "gate", "go")
    die, text = DEATHS[death]

    def task():
        say(go, str(os.getpid()))
        die()

    other = processes.submit(hold, started, gate)
    hear(started)
    dying = processes.submit(task)
    queued = [processes.submit(abs, -i) for i in range(10)]
    pid = hear(go)
    error = dying.exception()
    assert isinstance(error, WorkerDied)
    assert error.args[0].startswith(f"worker process {pid} ")
    assert error.args[0].endswith(" while it ran test_death.<locals>.task")
    with pytest.raises(WorkerDied, match=text):
        raise error
    assert [future.result() for future in queued] == list(range(10))
    assert not other.done()
    say(gate)
    other.result()


def test_death_while_idle(single):
    """A worker that dies between calls costs no call."""
    pid = single.submit(os.getpid).result()
    for _ in range(10):
        os.kill(pid, signal.SIGKILL)
        pid, last = single.submit(os.getpid).result(), pid
        assert pid != last


def test_death_while_receiving(single, tmp_path):
    """A call whose worker dies before it has all of the message runs in another one, once."""
    log = tmp_path / "log"

    def task(data):
        mark(log, len(data))

    pid = single.submit(os.getpid).result()
    os.kill(pid, signal.SIGSTOP)
    future = single.submit(task, bytes(50 * MB))
    # The stopped worker reads nothing, so the message is stuck in the driver once it has begun.
    while not future.running():
        os.sched_yield()
    os.kill(pid, signal.SIGKILL)
    future.result()
    assert log.read_text() == f"{50 * MB}\n"


class Deadly:
    """Kills the process that rebuilds it."""

    def __init__(self, log):
        self.log = log

    def __reduce__(self):
        return die_once_more, (self.log,)


def die_once_more(log):
    mark(log)
    os._exit(7)


def test_death_while_unpickling(single, tmp_path):
    """A call that kills its worker before the function starts is not tried again."""
    error = single.submit(id, Deadly(tmp_path / "log")).exception()
    assert isinstance(error, WorkerDied)
    assert "exit status 7" in str(error)
    assert (tmp_path / "log").read_text() == "x\n"
    assert single.submit(abs, -1).result() == 1


class DeadlyResult:
    def __reduce__(self):
        os._exit(8)


def test_death_while_answering(single):
    """A worker that dies while it packs a result fails that call."""
    error = single.submit(DeadlyResult).exception()
    assert isinstance(error, WorkerDied)
    assert "exit status 8" in str(error)


def test_many_deaths(processes, tmp_path):
    """Among many calls exactly those fail that killed their worker; none runs twice, none is lost."""
    log = tmp_path / "log"

    def task(i):
        mark(log, i)
        if i % 10 == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    futures = [processes.submit(task, i) for i in range(100)]
    for i, future in enumerate(futures):
        if i % 10 == 7:
            assert isinstance(future.exception(), WorkerDied)
        else:
            assert future.result() == i
    assert sorted(map(int, log.read_text().split())) == list(range(100))


@linux
@pytest.mark.parametrize("way", ["os.fork", "fork"])
def test_grandchild_does_not_hide_death(single, fifos, way):
    """A process that a task forked, even behind Python's back, does not hide that its worker is dead."""
    (alive,) = fifos("alive")

    def task():
        import ctypes

        # A handle that keeps the GIL, which the child could not get again.
        libc = ctypes.PyDLL(None)
        read, write = os.pipe()
        pid = os.fork() if way == "os.fork" else libc.fork()
        if not pid:
            libc.setsid()  # out of the group that is killed with the worker
            libc.write(write, b"x", 1)
            libc.pause()
        os.read(read, 1)
        say(alive, str(pid))
        os._exit(9)

    future = single.submit(task)
    grandchild = int(hear(alive))
    assert "exit status 9" in str(future.exception(timeout=30))
    os.kill(grandchild, signal.SIGKILL)


@linux
def test_children_die_with_their_worker(single, fifos):
    """What a task started does not outlive a worker that was killed."""

    def task():
        child = subprocess.Popen(["sleep", "1000"])
        say(started, str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    (started,) = fifos("started")
    future = single.submit(task)
    child = int(hear(started))
    assert isinstance(future.exception(), WorkerDied)
    assert wait_gone(child)


@pytest.mark.parametrize("executable", ["/bin/false", "/no/such/python"])
def test_no_start(monkeypatch, executable):
    """Where no worker can start, all calls fail soon and tell why."""
    monkeypatch.setattr(sys, "executable", executable)
    with ProcessPool(2) as pool:
        futures = [pool.submit(abs, 1) for _ in range(1000)]
        errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {WorkerDied}
    reason = "exit status 1" if executable == "/bin/false" else "No such file"
    assert all(str(error).startswith("no worker process can be started: ") for error in errors)
    assert reason in str(errors[-1])


def test_start_that_dies_once(monkeypatch, tmp_path):
    """A worker that dies while it starts is replaced, and no call is lost."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nmkdir {tmp_path}/once 2>/dev/null && exit 5\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    with ProcessPool(1) as pool:
        assert pool.submit(abs, -1).result() == 1


# --- processes: stopping ---


@linux
def test_kill(fifos):
    """`kill` fails all futures at once and ends all that the workers run."""
    names = fifos("s1", "s2", "c1", "c2")

    def task(started, child):
        say(child, str(subprocess.Popen(["sleep", "1000"]).pid))
        hold(started, started + ".never")

    for started in names[:2]:
        os.mkfifo(started + ".never")
    before = set(children())
    pool = ProcessPool(2)
    futures = [pool.submit(task, *pair) for pair in zip(names[:2], names[2:], strict=True)]
    futures += [pool.submit(abs, 1) for _ in range(100)]
    grandchildren = [int(hear(child)) for child in names[2:]]
    workers = [int(hear(started)) for started in names[:2]]
    pool.kill()
    assert {type(future.exception(0)) for future in futures} == {Interrupted}
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)
    pool.shutdown()
    assert all(wait_gone(pid) for pid in workers + grandchildren)
    assert set(children()) <= before


def test_kill_while_starting(monkeypatch, tmp_path, fifos):
    """`kill` does not wait for a worker that is just being started."""
    started, never = fifos("started", "never")
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/sh\necho > {started}\nread line < {never}\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    pool = ProcessPool(1)
    future = pool.submit(abs, 1)
    hear(started)
    assert not future.running()
    pool.kill()
    assert isinstance(future.exception(0), Interrupted)
    pool.shutdown()


def test_end_in_good_order(tmp_path):
    """Workers that are shut down run their exit hooks."""

    def task():
        import atexit

        atexit.register(mark, tmp_path / "log")

    with ProcessPool(1) as pool:
        pool.submit(task).result()
    assert (tmp_path / "log").read_text() == "x\n"


def test_worker_that_does_not_end(monkeypatch):
    """A thread that a task left behind does not keep its worker alive for ever."""
    before = set(children())
    with ProcessPool(1) as pool:
        pool.submit(lambda: threading.Thread(target=threading.Event().wait).start()).result()
    assert set(children()) <= before


@linux
def test_no_descriptors_leak(no_gc):
    """A pool gives all its files back, and buffers go as soon as nobody holds them."""
    with ProcessPool(1) as pool:
        pool.submit(abs, 1).result()
    before = open_files()
    with ProcessPool(2) as pool:
        list(pool.map(abs, range(10)))
        pool.submit(os._exit, 1).exception()
        pool.submit(len, [Buffer.of(b"x") for _ in range(10)]).result()
        pool.submit(lambda n: [Buffer.of(b"y") for _ in range(n)], 10).result()
        list(pool.map(abs, range(10)))
    assert open_files() == before


# --- processes: buffers and big messages ---


def test_big_message(single):
    """A message may be far bigger than what a socket holds, both ways."""
    data = os.urandom(MB) * 80
    assert single.submit(bytes, data).result() == data


@linux
def test_buffers_are_not_copied(single):
    """A buffer of 200 MB goes to a worker and comes back without a copy anywhere."""
    single.submit(abs, 1).result()
    base, there = memory(), single.submit(memory).result()
    buffer = Buffer.of(bytes(200 * MB))

    def task(one, two):
        assert one is two
        view = one.readonly()
        return one, len(view), view[-1], memory(), Buffer.of(b"own")

    back, size, last, used, own = single.submit(task, buffer, buffer).result()
    assert (size, last, back.size, bytes(own.readonly())) == (200 * MB, 0, 200 * MB, b"own")
    assert os.fstat(back.fileno()).st_ino == os.fstat(buffer.fileno()).st_ino
    assert used - there < 20 * MB
    assert memory() - base < 20 * MB


@pytest.mark.parametrize("count", [1, 200, 201, 700])
def test_many_buffers(single, count):
    """Any number of buffers can be sent, both ways, and each stays what it is."""
    data = [str(i).encode() for i in range(count)]
    buffers = [Buffer.of(item) for item in data]
    back = single.submit(lambda buffers: buffers[::-1], buffers).result()
    assert [bytes(buffer.readonly()) for buffer in back] == data[::-1]


@contextmanager
def few_files(spare):
    """Let this process open only so many files more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = set(open_files())
    free = (number for number in range(limits[0]) if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, spare, None)), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@linux
def test_no_descriptors_left_in_the_worker(single):
    """A call whose buffers the worker can't take fails with a text that tells why; the worker goes on."""

    def limit(spare):
        import resource

        resource.setrlimit(
            resource.RLIMIT_NOFILE,
            (len(open_files()) + spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        )
        return os.getpid()

    pid = single.submit(limit, 10).result()
    buffers = [Buffer.of(b"x") for _ in range(450)]
    for _ in range(3):
        with pytest.raises(UnpicklingError, match="too many files open"):
            single.submit(len, buffers).result()
    assert single.submit(lambda buffers: (len(buffers), os.getpid()), buffers[:3]).result() == (3, pid)


@linux
def test_no_descriptors_left_in_the_driver(single):
    """A result whose buffers the driver can't take fails its own call."""
    pid = single.submit(os.getpid).result()
    with few_files(20):
        error = single.submit(lambda: [Buffer.of(b"x") for _ in range(450)]).exception()
        assert "too many files open" in str(error)
        assert len(single.submit(lambda: [Buffer.of(b"x") for _ in range(2)]).result()) == 2
    assert single.submit(os.getpid).result() == pid


# --- processes: whole scripts ---


def test_unguarded_main(script, tmp_path):
    """A script without a guard runs once, and its functions run in the workers."""
    run = script("""
from parman.pool.processes import ProcessPool

print("start", flush=True)
scale = 3
class Point:
    def __init__(self, x):
        self.x = x
def f(x):
    return Point(scale * x)
with ProcessPool(2) as pool:
    points = list(pool.map(f, range(3)))
print([point.x for point in points], isinstance(points[0], Point))
""")
    assert run.finish() == (0, "start\n[0, 3, 6] True\n", "")


HOLDING = """
import os, subprocess, sys, time
from parman.pool.processes import ProcessPool

def task():
    child = subprocess.Popen(["sleep", "1000"])
    with open(sys_argv_folder + "/started", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    time.sleep(1000)

sys_argv_folder = sys.argv[1]
pool = ProcessPool(2)
print(pool.submit(abs, -1).result(), flush=True)
future = pool.submit(task)
"""


@pytest.fixture(params=[True, False], ids=["pidfd", "no_pidfd"])
def pidfd(request, tmp_path):
    """Let scripts and their workers run as on a system without pidfds, too."""
    if not request.param:
        (tmp_path / "sitecustomize.py").write_text("import os\ndel os.pidfd_open\n")
    return request.param


@linux
@pytest.mark.parametrize("fork", [False, True])
def test_driver_is_killed(script, fifos, pidfd, fork):
    """When the driver is killed its workers are soon gone, and what they started; a fork of it hides nothing."""
    started, forked = fifos("started", "forked")
    child = f"if not os.fork():\n    open({forked!r}, 'w').close()\n    time.sleep(1000)\n" if fork else ""
    run = script(HOLDING + child + "future.result()\n", "-W", "ignore::DeprecationWarning", start_new_session=True)
    pids = list(map(int, hear(started).split()))
    if fork:
        hear(forked)
    run.popen.kill()
    assert all(wait_gone(pid) for pid in pids)
    os.killpg(run.popen.pid, signal.SIGKILL)
    run.finish()


@linux
def test_deaths_without_pidfd(script, pidfd):
    """The pool works where processes can be watched only by their sockets."""
    run = script("""
import os
from parman.pool.processes import ProcessPool

with ProcessPool(1) as pool:
    print(str(pool.submit(os._exit, 3).exception()).split(" ", 3)[3])
    print(str(pool.submit(lambda: os.kill(os.getpid(), 9)).exception()).split(" ", 3)[3])
    pid = pool.submit(os.getpid).result()
    os.kill(pid, 9)
    print(pool.submit(abs, -1).result())
print(hasattr(os, "pidfd_open"))
""")
    code, out, err = run.finish()
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "ended with exit status 3 while it ran _exit",
        "was killed by SIGKILL (out of memory?) while it ran <lambda>",
        "1",
        str(pidfd),
    ]


@linux
@pytest.mark.parametrize("group", [False, True])
def test_ctrl_c(script, fifos, group):
    """Ctrl-C interrupts the driver only, which may kill the workers and go on."""
    (started,) = fifos("started")
    run = script(
        HOLDING
        + """
from concurrent.futures import wait
try:
    while True:  # for CPython may overlook a Ctrl-C that comes just before a sleep
        wait([future], 0.5)
except KeyboardInterrupt:
    assert future.running()
    pool.kill()
    pool.shutdown()
print(type(future.exception()).__name__)
""",
        start_new_session=True,
    )
    pids = list(map(int, hear(started).split()))
    os.killpg(run.popen.pid, signal.SIGINT) if group else os.kill(run.popen.pid, signal.SIGINT)
    assert run.finish() == (0, "1\nInterrupted\n", "")
    assert all(wait_gone(pid) for pid in pids)


@linux
def test_exit_kills_workers(script, fifos):
    """A driver that ends while calls run takes the workers along, and what they started."""
    (started,) = fifos("started")
    run = script(HOLDING + "time.sleep(0) or open(sys_argv_folder + '/go').read()\n")
    (go,) = fifos("go")
    pids = list(map(int, hear(started).split()))
    say(go)
    assert run.finish(timeout=10) == (0, "1\n", "")
    assert all(wait_gone(pid) for pid in pids)


def test_a_thread_that_is_given_up():
    """Another thread takes its place at once; it ends with its call, and the pool is as big as before."""
    started, gate = threading.Event(), threading.Event()

    def run():
        started.set()
        return threading.current_thread(), gate.wait(TIMEOUT)

    with ThreadPool(1) as pool:
        long = pool.submit(run)
        assert started.wait(TIMEOUT)
        waiting = pool.submit(threading.current_thread)
        pool.replace_worker(long)
        other = waiting.result(TIMEOUT)
        assert pool.submit(threading.current_thread).result(TIMEOUT) is other
        assert not long.done()
        gate.set()
        thread, passed = long.result(TIMEOUT)
        assert passed
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        pool.replace_worker(long)
        assert {pool.submit(threading.current_thread).result(TIMEOUT) for _ in range(5)} == {other}
