# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# ruff: noqa: PT012 (what raises is the end of the block)
"""Template jobs that are told to end, and what can be seen of them while they run."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from helpers import TIMEOUT
from helpers.processes import ended
from helpers.scripts import BLOCK, LIMIT, filled, script
from helpers.templates import held_up, is_free, job_directory, job_with, logged, write_template
from helpers.waiting import Told, handled, hasty_switches, in_thread

from parman import Interrupted, JobFailed, JobSettings, WorkflowFailed, cancel, job_template, resolve, task, workflow
from parman.jobs.directory import JobDirectory, State
from parman.lifecycle import Stop

STUBBORN = """
case "$number" in
    1) trap 'echo told >told; exit 1' TERM ;;
    2) trap 'echo told >told; echo told >"$GATE/here"' TERM ;;
    3) trap 'echo 30 >result.json; exit 0' TERM ;;
esac
(trap - TERM; sleep 1000) &
echo $$ $PPID $! >"$GATE/here"
if [ "$number" -eq 4 ]; then exec cat "$GATE/open"; fi
while :; do wait $!; done
"""
"""A script that never ends by itself, with a child. Told to end, it does what its number says:

0 ends, 1 says so and ends, 2 says so and goes on, 3 ends well.
"""


MOCK = "def mock(number: int = 0):\n    return 1"


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Make a template whose script stops at a gate."""
    with held_up(tmp_path, monkeypatch) as gate:
        yield gate


@pytest.fixture
def stubborn(hold):
    """Make a template whose script runs until it is told to end, or longer."""
    hold.template = write_template(hold.folder.parent / "stubborn", MOCK, STUBBORN)
    return hold


RUNNERS = ["serial", "threads:2", "processes:2", "user-threads", "user-processes"]

DRIVER = (
    BLOCK
    + """
from parman import InPlace, JobSettings, job_template
os.chdir({folder})
job = job_template({template})
chosen, error, futures, how_many = runner({name}), None, [], {how_many}
try:
    with workflow(chosen, jobs=JobSettings(at_once=2, staging=InPlace("results"))) as w:
        for i, number in enumerate({numbers}):
            futures.append(job(f"j{i}", number=number))
        resolve(futures)
except KeyboardInterrupt as exc:
    error = exc
pids = [int(pid) for pid in sys.stdin.readline().split()] if {asks} else []
left(error, *futures, calls=[c.state for c in w.calls], alive=[os.path.exists(f"/proc/{pid}") for pid in pids])
if {name}.startswith("user"):
    os._exit(0)
"""
)


def driver_text(gate, name, numbers, asks=False):
    """Return the text of a driver that runs a job for each number."""
    values = {"folder": str(gate.folder.parent), "template": str(gate.template), "how_many": len(numbers)}
    return filled(DRIVER, name=name, numbers=numbers, asks=asks, **values)


# --- Ctrl-C ---


@pytest.mark.parametrize("group", [False, True], ids=["script", "group"])
@pytest.mark.parametrize("name", RUNNERS)
def test_ctrl_c_ends_the_scripts(stubborn, tmp_path, name, group):
    """Ctrl-C leaves the block within 3 s; running scripts and their children get SIGTERM, and SIGKILL if need be."""
    numbers = [2] if name == "serial" else [2, 1, 0]
    with script(tmp_path, driver_text(stubborn, name, numbers)) as driver:
        pids = [pid for _ in numbers[:2] for pid in stubborn.arrival()]
        begin = time.monotonic()
        driver.interrupt(group)
        report = driver.report(LIMIT + 10)
        assert time.monotonic() - begin < LIMIT
        assert all(ended(pid) for pid in pids)
        assert driver.end() == 0
        if name != "user-processes":  # whose workers get the Ctrl-C of a terminal themselves
            assert "Traceback" not in driver.errors
    assert report["error"] == "KeyboardInterrupt"
    assert report["futures"] == ([] if name == "serial" else ["Interrupted", "Interrupted", "cancelled"])
    assert "running" not in report["calls"]
    for i, _ in enumerate(numbers[:2]):
        directory = job_directory(f"j{i}")
        assert (directory / "told").read_text() == "told\n"
        assert JobDirectory(directory).state() is State.UNFINISHED
        assert is_free(directory)
    assert logged(tmp_path) in ([f"j{i}" for i, _ in enumerate(numbers[:2])], ["j1", "j0"])


@pytest.mark.parametrize("name", ["serial", "threads:2", "processes:2"])
def test_a_second_ctrl_c(stubborn, tmp_path, name):
    """A second Ctrl-C leaves the block at once; a script that does not listen is killed a little later."""
    with script(tmp_path, driver_text(stubborn, name, [2], asks=True)) as driver:
        pids = stubborn.arrival()
        driver.interrupt()
        assert stubborn.arrival() == ["told"]
        driver.interrupt()
        assert driver.process.stdin is not None
        driver.process.stdin.write(" ".join(pids[:1]) + "\n")
        driver.process.stdin.flush()
        report = driver.report()
        assert report["error"] == "KeyboardInterrupt"
        assert report["alive"] == [True]
        assert all(ended(pid) for pid in pids)
        assert driver.end() == 0
    assert JobDirectory(job_directory("j0")).state() is State.UNFINISHED


def test_ctrl_c_while_a_lock_is_waited_for(hold, tmp_path):
    """Ctrl-C ends the waiting for a job that another driver runs, and leaves that one alone."""
    lock = JobDirectory(job_directory("j0")).lock()
    job_directory("j0").mkdir(parents=True)
    assert lock.try_to_take()
    for name in ("serial", "threads:2"):
        with script(tmp_path, "import logging; logging.basicConfig()" + driver_text(hold, name, [0])) as driver:
            wait_for_errors(driver, "waiting for the job j0")
            begin = time.monotonic()
            driver.interrupt()
            report = driver.report(LIMIT + 10)
            assert time.monotonic() - begin < LIMIT
            assert report["error"] == "KeyboardInterrupt"
            assert driver.end() == 0
    lock.release()
    assert logged(tmp_path) == []


def wait_for_errors(driver, text):
    """Wait until another process has written a text to stderr."""
    end = time.monotonic() + TIMEOUT
    while text not in driver.errors:
        assert time.monotonic() < end, driver.errors
        threading.Event().wait(0.01)


# --- the end of the interpreter ---

OPEN = (
    BLOCK
    + """
import logging
logging.basicConfig()
from parman import InPlace, JobSettings, job_template
os.chdir({folder})
job = job_template({template})
w = workflow(runner({name}), jobs=JobSettings(at_once=2, staging=InPlace("results"))).open()
futures = [job(f"j{i}", number=number) for i, number in enumerate({numbers})]
sys.stdin.readline()
"""
)


@pytest.mark.parametrize("name", ["threads:2", "processes:2", "user-threads", "user-processes"])
def test_the_interpreter_ends_in_an_open_block(stubborn, tmp_path, name):
    """With the interpreter all scripts end, also those that do not listen, and no further one is started."""
    folder, template = str(tmp_path), str(stubborn.template)
    with script(tmp_path, filled(OPEN, name=name, numbers=[2, 1, 0, 0], folder=folder, template=template)) as driver:
        pids = [*stubborn.arrival(), *stubborn.arrival()]
        begin = time.monotonic()
        driver.go()
        assert driver.end() == 1
        assert time.monotonic() - begin < LIMIT
        assert all(ended(pid) for pid in pids)
        assert "4 unfinished calls are dropped" in driver.errors
        assert "Traceback" not in driver.errors
        assert "ERROR" not in driver.errors
    assert sorted(logged(tmp_path)) == ["j0", "j1"]
    assert (job_directory("j0") / "told").exists()
    assert not job_directory("j2").exists()
    assert not JobDirectory(job_directory("j3")).kwargs.exists()


def test_the_interpreter_ends_in_a_plain_call(stubborn, tmp_path):
    """A script that was started without a block, in another thread, ends with the interpreter."""
    text = (
        BLOCK
        + """
from parman import job_template
os.chdir({folder})
job = job_template({template})
threading.Thread(target=job, args=["a"], kwargs={"number": 2}, daemon=True).start()
sys.stdin.readline()
"""
    )
    text = filled(text, folder=str(tmp_path), template=str(stubborn.template))
    with script(tmp_path, text) as driver:
        pids = stubborn.arrival()
        driver.go()
        assert driver.end() == 0
        assert all(ended(pid) for pid in pids)
    assert (job_directory("a") / "told").exists()


# --- cancelling ---


@pytest.mark.parametrize("how", ["w.cancel", "cancel"])
@pytest.mark.parametrize("name", ["threads:2", "processes:2"])
def test_cancelling_ends_running_scripts(stubborn, tmp_path, name, how):
    """Cancelling ends running scripts and what they have started; that they failed is not raised by the block."""
    job = job_template(stubborn.template)
    with workflow(name) as w:
        futures = [job(f"j{i}", number=i) for i in (1, 2)]
        waiting = job("later", number=0)
        pids = [*stubborn.arrival(), *stubborn.arrival()]
        w.cancel() if how == "w.cancel" else cancel([*futures, waiting])
        assert waiting.cancelled()
        for future in futures:
            with pytest.raises(Interrupted):
                future.result(TIMEOUT)
    assert all(ended(pid) for pid in pids)
    for i in (1, 2):
        assert (job_directory(f"j{i}") / "told").exists()
        assert JobDirectory(job_directory(f"j{i}")).state() is State.UNFINISHED
    assert sorted(logged(tmp_path)) == ["j1", "j2"]


def test_nothing_starts_in_place_of_what_is_ended(stubborn, monkeypatch):
    """When a tree is cancelled, no script is ended before all that waits is cancelled, lest it starts instead."""
    ask, seen = Stop.ask, []

    def look_and_ask(stop):
        seen.append(waiting.cancelled())
        ask(stop)

    monkeypatch.setattr(Stop, "ask", look_and_ask)
    job = job_template(stubborn.template)
    with workflow("threads:1"):
        running, waiting = job("a"), job("b")
        stubborn.arrival()
        cancel([running, waiting])
    assert seen == [True]


def test_cancelled_jobs_that_nobody_looks_at(stubborn):
    """A block in which running jobs were cancelled is left without an error, though nobody looked at their futures."""
    job = job_template(stubborn.template)
    with workflow("threads:2") as w:
        left, right = job("left"), job("right")
        stubborn.arrival()
        stubborn.arrival()
        cancel(left)
        w.cancel()
        del left, right


def test_an_uncancelled_failure_is_raised(stubborn):
    """Cancelling one running job does not hide the failure of another one."""
    job = job_template(stubborn.template)
    with pytest.raises(WorkflowFailed) as caught, workflow("threads:2"):
        left = job("left")
        pid, *_ = stubborn.arrival()
        right = job("right")
        stubborn.arrival()
        cancel(right)
        os.kill(int(pid), signal.SIGKILL)
        del left, right
    assert [failure.exception.locator for failure in caught.value.failed] == ["left"]


def test_a_script_that_ends_well_in_spite_of_it(stubborn):
    """A script that is told to end, and ends well with its result, has finished."""
    job = job_template(stubborn.template)
    with workflow("threads:1") as w:
        future = job("a", number=3)
        pids = stubborn.arrival()
        w.cancel()
        assert resolve(future, TIMEOUT) == 30
    assert all(ended(pid) for pid in pids)
    assert JobDirectory(job_directory("a")).state() is State.FINISHED
    assert job("a", number=3) == 30


@pytest.mark.parametrize("name", ["threads:1", "processes:1"])
def test_cancelling_while_a_lock_is_waited_for(hold, tmp_path, name):
    """A job that waits for another driver gives up waiting when it is cancelled."""
    job_directory("a").mkdir(parents=True)
    lock = JobDirectory(job_directory("a")).lock()
    assert lock.try_to_take()
    with Told("waiting for the job a") as told, workflow(name) as w:
        future = job_template(hold.template)("a")
        assert told.event.wait(TIMEOUT)
        w.cancel()
        assert isinstance(future.exception(TIMEOUT), Interrupted)
    assert logged(tmp_path) == []
    lock.release()


@pytest.mark.parametrize("kind", ["inplace", "scratch"])
def test_a_stopped_job_goes_on(hold, tmp_path, kind):
    """A job that was told to end is unfinished: with can_resume it goes on where it was."""
    with (hold.template / "jobinfo.py").open("a") as stream:
        stream.write("can_resume = True\n")
    job = job_with(hold, kind)
    with workflow("threads:1") as w:
        future = job("a")
        hold.arrival()
        w.cancel()
        future.exception(TIMEOUT)
    hold.open()
    assert job("a") == 7
    runs = [path for path in tmp_path.rglob("run.out") if path.parent.name == "a"]
    assert [path.read_text() for path in runs] == ["begun\nbegun\n"]


def test_a_stopped_job_is_run_again(hold, tmp_path):
    """Without can_resume, a job that was told to end is an error that says how to go on, and `rerun` goes on."""
    with workflow("threads:1") as w:
        future = job_with(hold, "inplace")("a")
        hold.arrival()
        w.cancel()
        future.exception(TIMEOUT)
    hold.open()
    with pytest.raises(RuntimeError, match="started before and did not finish"):
        job_with(hold, "inplace")("a")
    assert job_with(hold, "inplace", rerun="unfinished")("a") == 7
    assert (job_directory("a.old.1") / "run.out").read_text() == "begun\n"


# --- other ends ---


@pytest.mark.parametrize("name", ["threads:1", "processes:1"])
def test_an_exception_in_the_body(hold, name):
    """An exception of the body cancels jobs that have not started, and lets running scripts finish."""
    futures = []
    with pytest.raises(KeyError), workflow(name):
        job = job_template(hold.template)
        futures += [job("a"), job("b")]
        hold.arrival()
        futures[1].add_done_callback(lambda _: hold.open())
        raise KeyError
    assert futures[0].result(0) == 7
    assert futures[1].cancelled()


def test_fail_fast(hold):
    """Under `fail_fast` a failure cancels jobs that have not started; running scripts finish."""
    futures = []
    with pytest.raises(WorkflowFailed), workflow("threads:2", fail_fast=True):
        job = job_template(hold.template)
        futures.append(job("a"))
        pid, _ = hold.arrival()
        futures.append(job("b"))
        hold.arrival()
        futures += [job("c"), job("d")]
        futures[3].add_done_callback(lambda _: hold.open())
        os.kill(int(pid), signal.SIGTERM)
    assert futures[1].result(0) == 7
    assert [future.cancelled() for future in futures] == [False, False, True, True]
    assert isinstance(futures[0].exception(0), JobFailed)
    assert futures[0].exception(0).status == 128 + signal.SIGTERM


def test_fail_fast_in_place(hold):
    """On the serial runner, `fail_fast` raises the failure of a job at its call."""
    (hold.template / "run").write_text("#!/bin/sh\necho why >&2\nexit 3\n")
    with pytest.raises(JobFailed, match="why"), workflow("serial", fail_fast=True):
        job_template(hold.template)("a")
        pytest.fail("the call did not raise")


def test_a_sigterm_from_elsewhere(hold):
    """A script whose whole group is sent SIGTERM by somebody else is unfinished, and the error says what happened."""
    with workflow("threads:1"):
        future = job_template(hold.template)("a")
        _, shell = hold.arrival()
        os.killpg(int(shell), signal.SIGTERM)
        failure = future.exception(TIMEOUT)
    assert isinstance(failure, JobFailed)
    assert "SIGTERM" in str(failure)
    assert JobDirectory(job_directory("a")).state() is State.UNFINISHED


# --- what can be seen ---


def test_output_can_be_followed(hold):
    """What a script writes is in its files while it still runs."""
    with workflow("threads:1"):
        future = job_template(hold.template)("a")
        hold.arrival()
        assert (job_directory("a") / "run.out").read_text() == "begun\n"
        assert (job_directory("a") / "run.err").read_text() == "complaint\n"
        assert not future.done()
        hold.open()


@pytest.mark.parametrize("name", ["serial", "threads:1"])
def test_stdin_is_empty(hold, tmp_path, name):
    """A script that reads stdin gets nothing, rather than what is typed to the driver."""
    (hold.template / "run").write_text("#!/bin/sh\nwc -c >result.json\n")
    text = "import os, sys\nfrom parman import *\nos.chdir({folder})\nwith workflow({name}):\n"
    text += "    print('VALUE', resolve(job_template({template})('a')), sys.stdin.readline())"
    with script(tmp_path, filled(text, folder=str(tmp_path), name=name, template=str(hold.template))) as driver:
        driver.go()
        assert driver.wait_for("VALUE") == "0 go"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("echo some words >&2", "some words"),
        ("echo on stdout", "on stdout"),
        ("true", "It wrote nothing"),
        ("yes 'a line that is repeated' | head -c 20000000 >&2; echo the end >&2", "the end"),
        ("head -c 3000000 /dev/zero | tr '\\0' x >&2", "xxxx"),
        ("printf 'bytes \\377\\376\\000\\033[31m\\007\\r end' >&2", "end"),
    ],
    ids=["plain", "stdout", "nothing", "huge", "one line", "binary"],
)
def test_the_error_of_a_failed_job(hold, written, shown):
    """The error of a failed job shows the end of what it wrote, in short and printable, and names the files."""
    (hold.template / "run").write_text(f"#!/bin/sh\n{written}\nexit 3\n")
    with pytest.raises(JobFailed) as caught:
        job_template(hold.template)("g/a")
    text = str(caught.value)
    assert shown in text
    assert "exit status 3" in text
    assert str(job_directory("g/a") / "run.err") in text
    assert len(text) < 4000
    assert all(character.isprintable() or character in "\n\t" for character in text)


# --- places ---


@task
def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize("name", ["threads:2", "processes:2"])
def test_jobs_take_no_worker(hold, name):
    """Five jobs that wait leave both workers to the tasks."""
    job = job_template(hold.template)
    with workflow(name, jobs=JobSettings(at_once=5)):
        futures = [job(f"j{i}") for i in range(5)]
        for _ in futures:
            hold.arrival()
        assert resolve([double(i) for i in range(10)], TIMEOUT) == [2 * i for i in range(10)]
        assert not any(future.done() for future in futures)
        hold.open()
        assert resolve(futures, TIMEOUT) == [7] * 5


def how_many_run(w, name):
    """Return how many jobs have started, when all that can have."""
    assert handled(w.runner.event_loop.post)
    return sum(call.state == "running" for call in w.calls if call.task.__parman_task__.name == name)


@pytest.mark.parametrize(
    ("block", "own", "expected"), [(None, None, 2), (3, None, 3), (None, 1, 1), (3, 1, 1), (1, 3, 3)]
)
@pytest.mark.parametrize("name", ["threads:2", "processes:2", "user-threads"])
def test_how_many_at_once(hold, name, block, own, expected):
    """As many jobs run at a time as the template says, else the block, else as the runner has workers."""
    with ThreadPoolExecutor(2) as pool:
        job = job_template(hold.template, JobSettings(at_once=own))
        with workflow(pool if name == "user-threads" else name, jobs=JobSettings(at_once=block)) as w:
            futures = [job(f"j{i}") for i in range(5)]
            for _ in range(expected):
                hold.arrival()
            assert how_many_run(w, "hold") == expected
            hold.open(1)
            hold.arrival()
            assert how_many_run(w, "hold") == expected
            assert hold.is_quiet()
            hold.open()
            assert resolve(futures, TIMEOUT) == [7] * 5


def test_templates_are_counted_together(hold, tmp_path):
    """What a block says of `at_once` holds for all its jobs together; what a template says, for that one alone."""
    other = tmp_path / "other"
    shutil.copytree(hold.template, other)
    one, two = job_template(hold.template), job_template(other)
    alone = job_template(other, JobSettings(at_once=1))
    with workflow("threads:4", jobs=JobSettings(at_once=2)) as w:
        futures = [job(f"{name}{i}") for i in range(2) for name, job in (("one", one), ("two", two), ("alone", alone))]
        for _ in range(3):
            hold.arrival()
        assert how_many_run(w, "hold") + how_many_run(w, "other") == 3
        assert hold.is_quiet()
        hold.open()
        assert resolve(futures, TIMEOUT) == [7] * 6


# --- many, in haste ---


def test_a_storm_of_cancels(hold, tmp_path):
    """Whenever a job is cancelled, it is cancelled, interrupted or finished, leaves no process, and can run again."""
    (hold.template / "run").write_text('#!/bin/sh\necho start >>"$LOG"\necho 7 >result.json\n')
    job = job_with(hold, "inplace", rerun={"unfinished"})
    outcomes = set()
    with hasty_switches():
        for turn in range(15):
            with workflow("threads:3") as w:
                futures = [job(f"{turn}/{i}") for i in range(6)]
                cancellers = [in_thread(lambda some=futures[i::2]: cancel(some)) for i in range(2)]
                if turn % 3 == 0:
                    w.cancel()
                for canceller in cancellers:
                    canceller.join(TIMEOUT)
            for future in futures:
                try:
                    outcomes.add(type(future.exception(0)))
                except CancelledError:
                    outcomes.add(CancelledError)
            again = [job(f"{turn}/{i}") for i in range(6)]
            assert again == [7] * 6
    assert outcomes <= {CancelledError, Interrupted, type(None)}


def test_a_stop_is_made_once_and_for_all():
    """Who registers an action before or after the request has it called, and who waits goes on."""
    stop, called = Stop(), []
    waiting = in_thread(lambda: called.append(stop.wait(TIMEOUT)))
    stop.on_ask(lambda: called.append("before"))
    stop.ask()
    stop.on_ask(lambda: called.append("after"))
    waiting.join(TIMEOUT)
    assert sorted(map(str, called)) == ["True", "after", "before"]
    assert stop.is_asked()
    assert stop.wait(0)
    assert stop.wait(0)
    stop.ask()
    assert len(called) == 3


def test_a_stop_that_is_interrupted():
    """An action that Ctrl-C has kept from being called is called by the next request."""
    stop, called = Stop(), []

    def interrupted():
        raise KeyboardInterrupt

    stop.on_ask(interrupted)
    stop.on_ask(lambda: called.append("second"))
    with pytest.raises(KeyboardInterrupt):
        stop.ask()
    stop.forget(interrupted)
    stop.ask()
    assert called == ["second"]
