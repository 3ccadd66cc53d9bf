# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Template jobs and crashes: drivers, scripts and shells that are killed, and several drivers at a time."""

from __future__ import annotations

import os
import random
import signal

import pytest
from helpers import TIMEOUT
from helpers.drivers import Campaign
from helpers.processes import ended, kill_all, marked
from helpers.scripts import filled, script
from helpers.templates import held_up, is_free, job_directory, job_with, logged, staging
from helpers.waiting import Told

from parman import JobFailed, JobSettings, job_template, resolve, workflow
from parman.jobs.clean_results import main as clean_results
from parman.jobs.directory import JobDirectory, State


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Make a template whose script stops at a gate."""
    with held_up(tmp_path, monkeypatch) as gate:
        yield gate


stagings = pytest.mark.parametrize("kind", ["inplace", "scratch"])


# --- at random moments ---


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Run a campaign that nobody disturbs; return it, and how long it took."""
    campaign = Campaign(tmp_path_factory.mktemp("undisturbed") / "c", "threads:2", "inplace")
    return campaign, campaign.finish()


@pytest.mark.slow
@pytest.mark.parametrize("alone", [True, False], ids=["driver", "all"])
@pytest.mark.parametrize(
    ("kind", "runner", "rerun"),
    [("inplace", "threads:2", True), ("inplace", "processes:2", False), ("scratch", "serial", True)],
)
def test_a_driver_killed_at_random_moments(tmp_path, undisturbed, kind, runner, rerun, alone):
    """After kills and restarts the results are those of an undisturbed run, and no finished job ran twice."""
    whole, longest = undisturbed
    campaign = Campaign(tmp_path / "c", runner, kind, rerun)
    campaign.be_killed(random.Random(f"{kind}{runner}{alone}"), 2, longest, alone)
    campaign.check(whole)


# --- one process alone ---


def failure_after(hold, kind, victim):
    """Run the job and kill its script, or the shell that watches that; return the failure when both have ended."""
    job = job_template(hold.template)
    with workflow("threads:1", jobs=JobSettings(staging=staging(kind))):
        future = job("a")
        script, shell = hold.arrival()
        os.kill(int({"script": script, "shell": shell}[victim]), signal.SIGKILL)
        failure = future.exception(TIMEOUT)
        assert ended(script)
    assert isinstance(failure, JobFailed)
    return failure


@stagings
def test_only_the_script_is_killed(hold, kind):
    """A script that was killed has failed, and the error names the signal and shows what it wrote."""
    failure = failure_after(hold, kind, "script")
    assert failure.status == 128 + signal.SIGKILL
    assert "SIGKILL" in str(failure)
    assert "complaint" in str(failure)
    assert JobDirectory(job_directory("a")).state() is State.FAILED
    hold.open()
    assert job_with(hold, kind, rerun="failed")("a") == 7


@stagings
def test_only_the_watching_shell_is_killed(hold, kind):
    """With the shell that watches it, a script ends: nobody would know how it ended. The job is unfinished."""
    failure = failure_after(hold, kind, "shell")
    assert "shell that watches it" in str(failure)
    assert "rerun={'unfinished'}" in str(failure)
    assert JobDirectory(job_directory("a")).state() is State.UNFINISHED
    assert is_free(job_directory("a"))
    hold.open()
    assert job_with(hold, kind, rerun="unfinished")("a") == 7
    assert logged(hold.folder.parent, "end") == ["a"]


# --- several drivers ---

DRIVER = """
import os, sys
from pathlib import Path
from parman import InPlace, JobSettings, Scratch, job_template, resolve, workflow

os.chdir({folder})
job = job_template({template})
chosen = InPlace("results") if {kind} == "inplace" else Scratch("results", "scratch")
with workflow({runner}, jobs=JobSettings(staging=chosen)):
    future = job("a")
    print("VALUE", resolve(future), flush=True)
"""


def driver_text(hold, kind, runner="threads:1"):
    """Return the text of a driver that runs the job."""
    return filled(DRIVER, folder=str(hold.folder.parent), template=str(hold.template), kind=kind, runner=runner)


@stagings
@pytest.mark.parametrize("runner", ["serial", "threads:1", "processes:1"])
def test_two_drivers(hold, tmp_path, kind, runner):
    """Of two drivers on the same results, one runs a job, and the other says that it waits, and loads the result."""
    job = job_template(hold.template)
    with script(tmp_path, driver_text(hold, kind, runner)) as other:
        hold.arrival()
        with Told("waiting for the job a") as told, workflow("threads:1", jobs=JobSettings(staging=staging(kind))):
            future = job("a")
            assert told.event.wait(TIMEOUT)
            assert not future.done()
            hold.open()
            assert resolve(future, TIMEOUT) == 7
        assert other.wait_for("VALUE") == "7"
        assert other.end() == 0
    assert "its script 'run' is still running" in told.message
    assert f"process {other.process.pid}" in told.message
    assert logged(tmp_path) == ["a"]


@stagings
def test_the_script_of_a_killed_driver_is_waited_for(hold, tmp_path, kind):
    """A script that goes on after its driver was killed is waited for, also by the cleaning program, and not run."""
    with script(tmp_path, driver_text(hold, kind)) as other:
        hold.arrival()
        other.process.kill()
        other.process.wait()
    assert not is_free(job_directory("a"))
    clean_results(["results"])
    assert not is_free(job_directory("a"))
    job = job_template(hold.template)
    with Told("waiting for the job a") as told, workflow("threads:1", jobs=JobSettings(staging=staging(kind))):
        future = job("a")
        assert told.event.wait(TIMEOUT)
        assert not future.done()
        hold.open()
        assert resolve(future, TIMEOUT) == 7
    assert "its script 'run' is still running" in told.message
    assert logged(tmp_path) == ["a"]


@stagings
def test_the_lock_of_a_killed_driver(hold, tmp_path, kind, caplog):
    """A lock left behind by a driver that was killed with its scripts holds nobody up."""
    with script(tmp_path, driver_text(hold, kind)) as other:
        hold.arrival()
        other.process.kill()
        kill_all(str(tmp_path))
    assert JobDirectory(job_directory("a")).lock_file.exists()
    hold.open()
    assert job_with(hold, kind, rerun="unfinished")("a") == 7
    assert "waiting" not in caplog.text
    assert logged(tmp_path) == ["a", "a"]


FORKED = """
import multiprocessing, os, sys, warnings
from concurrent.futures import ProcessPoolExecutor
from parman import InPlace, JobSettings, job_template, resolve, workflow

warnings.simplefilter("ignore", DeprecationWarning)
os.chdir({folder})
job = job_template({template})
with workflow("threads:1"):
    future = job("a")
    sys.stdin.readline()  # the script is at the gate
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    print("FORKED", pool.submit(os.getpid).result(), flush=True)
    print("VALUE", resolve(future), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_a_forked_child_holds_no_lock(hold, tmp_path, how):
    """A child that was forked while a job ran does not keep its lock, neither after the job's end nor the driver's."""
    with script(tmp_path, filled(FORKED, folder=str(tmp_path), template=str(hold.template))) as other:
        pid, shell = hold.arrival()
        other.go()
        child = int(other.wait_for("FORKED"))
        assert not is_free(job_directory("a"))
        if how == "ends":
            hold.open()
            assert other.wait_for("VALUE") == "7"
        else:
            other.process.kill()
            other.process.wait()
            os.killpg(int(shell), signal.SIGKILL)
            assert ended(pid)
            assert ended(shell)
        assert child in marked(str(tmp_path))
        assert is_free(job_directory("a"))


# --- cleaning ---


def test_cleaning_spares_what_has_just_finished(hold, tmp_path, monkeypatch):
    """A job that finishes while the cleaning program is at work is not removed."""
    with script(tmp_path, driver_text(hold, "inplace")) as other:
        hold.arrival()
        as_before = JobDirectory.lock

        def lock_after_the_end(record):
            monkeypatch.setattr(JobDirectory, "lock", as_before)
            hold.open()
            other.end()
            return record.lock()

        monkeypatch.setattr(JobDirectory, "lock", lock_after_the_end)
        assert clean_results(["results"]) == 0
    assert JobDirectory(job_directory("a")).state() is State.FINISHED


def test_cleaning_spares_a_result_that_is_still_to_be_copied(hold, tmp_path):
    """A job that finished in its scratch directory, and was being copied when its driver was killed, is not removed."""
    hold.open()
    job = job_with(hold, "scratch")
    assert job("a") == 7
    home = JobDirectory(job_directory("a"))
    fresh = tmp_path / "scratch" / "parman-x" / job_directory("a").relative_to("/")
    fresh.mkdir(parents=True)
    for path in home.path.iterdir():
        (fresh / path.name).write_bytes(path.read_bytes())
    home.result.unlink()
    home.write_prepared(fresh)
    assert clean_results(["results"]) == 0
    assert job("a") == 7
    assert logged(tmp_path) == ["a"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_cleaning_that_is_cut_off(hold, monkeypatch):
    """Wherever the cleaning of a failed job is cut off, what is left is no result, and is removed by the next one."""
    hold.open()
    job_with(hold, "inplace")("a")
    record = JobDirectory(job_directory("a"))
    kept = {path.name: path.read_bytes() for path in record.path.iterdir()}
    failed = record.status.read_bytes().replace(b" 0\n", b" 3\n")
    for count in range(len(kept) + 1):
        record.path.mkdir(exist_ok=True)
        for name, content in kept.items():
            (record.path / name).write_bytes(content)
        record.status.write_bytes(failed)
        assert record.state() is State.FAILED
        with monkeypatch.context() as patch:
            cut_off(patch, count)
            with pytest.raises(KeyboardInterrupt):
                clean_results(["results"])
        assert record.state() not in (State.FINISHED, State.BROKEN)
        if record.kwargs.exists():
            assert clean_results(["results"]) == 0
            assert not record.path.exists()
    assert count > 6


def cut_off(patch, count):
    """Raise an interrupt in place of the next file that is removed after so many."""
    left = iter(range(count))

    def act(original):
        def instead(self, *args, **kwargs):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original(self, *args, **kwargs)

        return instead

    for name in ("unlink", "rmdir"):
        original = getattr(type(job_directory("a")), name)
        patch.setattr(f"pathlib.Path.{name}", act(original))


# --- drivers with habits of their own ---

REAPING = """
import os, signal
from parman import JobFailed, job_template, resolve, workflow

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.chdir({folder})
job = job_template({template})
with workflow({name}):
    print("VALUE", resolve(job("good")), flush=True)
    bad = resolve([job("bad", number=3)], return_exceptions=True)[0]
    print("STATUS", bad.status, flush=True)
"""


@pytest.mark.parametrize("name", ["serial", "threads:1"])
def test_a_driver_that_does_not_wait_for_its_children(hold, tmp_path, name):
    """How a script ended is known from its status file, where the system has seen off the process before us."""
    (hold.template / "run").write_text("#!/bin/sh\ngrep -q 3 kwargs.json && exit 3\necho 7 >result.json\n")
    with script(tmp_path, filled(REAPING, folder=str(tmp_path), template=str(hold.template), name=name)) as driver:
        assert driver.wait_for("VALUE") == "7"
        assert driver.wait_for("STATUS") == "3"
        assert driver.end() == 0
