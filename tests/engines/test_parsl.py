# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The runner for Parsl on this machine: it works out of the box, leaves nothing behind, and loses no call silently."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, TIMEOUT
from helpers.gates import ScriptGate, script_gate
from helpers.processes import MARK, all_gone, marked
from helpers.waiting import death, died, handled, in_thread

from parman import (
    Interrupted,
    JobSettings,
    ParslRunner,
    WorkerDied,
    WorkflowError,
    job_template,
    resolve,
    task,
    workflow,
)

parsl = pytest.importorskip("parsl", reason="Parsl is not installed")

from parsl.config import Config  # noqa: E402
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor  # noqa: E402

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("default"),  # Parsl leaves sockets and processes to the collector
]

DOCS = ROOT / "docs" / "clusters.md"


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have an empty directory for temporary files, with a short name: Parsl's workers make sockets there."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in an empty directory, by whose name all processes are marked; in the end, none is left."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv(MARK, str(folder))
    yield folder
    assert all_gone(str(folder), 2 * TIMEOUT)  # Parsl misses its interchange after ten seconds


@task
def double(x: int) -> int:
    return 2 * x


@task
def process(_: int = 0) -> tuple[int, str, str]:
    """Tell the process, its directory, and its label."""
    return os.getpid(), str(Path.cwd()), os.environ.get("COLOUR", "")


@task
def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@task
def hold(gate: Path) -> int:
    """Stop at a gate."""
    (gate / "here").write_text("here\n")
    with (gate / "open").open() as opened:
        opened.readline()
    return 1


@pytest.fixture
def gate(here: Path) -> Iterator[ScriptGate]:
    """Make a gate for calls of `hold`."""
    with script_gate(here / "gate") as gate:
        yield gate


def threads(*labels: str, **options: Any) -> Config:
    """Return a configuration of executors of threads."""
    executors = [ThreadPoolExecutor(label=label, max_threads=2, thread_name_prefix=label) for label in labels]
    return Config(executors=executors, run_dir="runinfo", usage_tracking=0, initialize_logging=False, **options)


@task(resources={"parsl_executors": ["b"]})
def thread_of_b() -> str:
    return threading.current_thread().name


@task(resources={"parsl_executors": ["nowhere"]})
def nowhere() -> str:
    return ""


@task(resources={"parsl_resource_specification": {"cores": 2}})
def greedy() -> str:
    return ""


def test_out_of_the_box(here: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name alone it runs calls in worker processes, without PATH, in the driver's directory and environment."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("COLOUR", "green")
    with workflow("parsl:2"):
        found = resolve([process(i) for i in range(8)])
        assert resolve(double(double(10))) == 40
        assert len(marked(str(here))) > 3
    assert {place for _, place, _ in found} == {str(here)}
    assert {colour for _, _, colour in found} == {"green"}
    assert os.getpid() not in {pid for pid, _, _ in found}
    assert len({pid for pid, _, _ in found}) <= 2
    assert list(here.iterdir()) == []
    assert [path.name for path in temporary.iterdir() if path.name.startswith("parman")] == []


def test_a_runner_can_be_used_again(here: Path) -> None:
    """Each block starts a kernel of its own, and cleans it up, where none is kept open."""
    runner = ParslRunner(workers=1)
    pids = []
    for _ in range(2):
        with workflow(runner):
            pids.append(resolve(process())[0])
            with workflow():  # the same runner, which serves the block around as well
                pids.append(resolve(process())[0])
            pids.append(resolve(process())[0])
        assert all_gone(str(here))
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert pids[2] != pids[3]
    with runner:
        for _ in range(2):
            with workflow(runner):
                pids.append(resolve(process())[0])
    assert pids[6] == pids[7]


def test_a_configuration_serves_once_and_a_function_more_often() -> None:
    """Parsl takes a configuration once: the second time is an error that says so; a function makes a new one."""
    once = ParslRunner(threads("a"))
    with once, workflow(once):
        assert resolve(double(1)) == 2
    with once, workflow(once), pytest.raises(WorkflowError, match="a function that makes one"):
        resolve(double(1))
    often = ParslRunner(lambda: threads("a"))
    for _ in range(2):
        with often, workflow(often):
            assert resolve(double(1)) == 2


@pytest.fixture
def loaded() -> Iterator[Any]:
    """Load a kernel, as a user does."""
    kernel = parsl.load(threads("a", "b"))
    yield kernel
    kernel.cleanup()


def test_a_kernel_of_the_users_stays(loaded: Any) -> None:
    """A kernel that the user has loaded is taken, by name or passed, and is left running."""
    for runner in (ParslRunner(loaded), ParslRunner(), "parsl"):
        with workflow(runner):
            assert resolve(double(1)) == 2
        assert not loaded.cleanup_called
    assert parsl.dfk() is loaded


def test_resources_choose_the_executor(loaded: Any) -> None:
    """`parsl_executors` names executors, an unknown one is an error that names those that there are."""
    with workflow("parsl"):
        assert {resolve(thread_of_b())[0] for _ in range(8)} == {"b"}
        with pytest.raises(WorkflowError, match=r"no executor 'nowhere', but: a, b"):
            resolve(nowhere())
        with pytest.raises(WorkerDied, match="InvalidResourceSpecification"):
            resolve(greedy())


def test_a_killed_worker_costs_its_call() -> None:
    """The call that ran in a killed worker fails, with what Parsl knows; the others run, in a new worker."""
    with workflow("parsl:1"):
        lost, others = die(), [double(i) for i in range(5)]
        with pytest.raises(WorkerDied, match=r"die\(\), called at .*test_parsl.py:\d+ was in flight .*WorkerLost"):
            resolve(lost)
        assert resolve(others) == [0, 2, 4, 6, 8]


def test_retries_run_a_lost_call_again(here: Path) -> None:
    """Where the configuration asks for it, Parsl runs what was lost once more."""
    from parman.runners.parsl import _local_config

    def config() -> Config:
        made = _local_config(1)
        made.retries = 1
        return made

    @task
    def die_once(mark: Path) -> str:
        if mark.exists():
            return "survived"
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    runner = ParslRunner(config, workers=1)
    with runner, workflow(runner):
        assert resolve(die_once(here / "mark")) == "survived"


def test_when_the_block_of_workers_is_gone_nothing_hangs() -> None:
    """When nobody is left to run them, calls fail that ran, that waited, and that are made later."""
    runner = ParslRunner(workers=1)
    with runner, workflow(runner):
        assert resolve(double(1)) == 2
        kernel: Any = runner.executor
        (executor,) = (one for one in kernel.dfk.executors.values() if one.label == "local")
        executor.provider.cancel(list(executor.blocks_to_job_id.values()))
        errors = resolve([double(i) for i in range(4)], TIMEOUT, return_exceptions=True)
        assert all(isinstance(error, WorkerDied) for error in errors)
        assert "no workers are left in Parsl's executor 'local' (block 0" in str(errors[-1])
        with pytest.raises(WorkerDied, match=r"can't run: no workers are left"):
            double(1).result(TIMEOUT)


def test_when_the_interchange_is_gone_nothing_hangs(gate: ScriptGate) -> None:
    """The call in flight fails, and the block is left, though somebody waits for the interchange to answer."""
    runner = ParslRunner(workers=1)
    with workflow(runner):
        held = hold(gate.folder)
        gate.arrival()
        kernel: Any = runner.executor
        executor = kernel.dfk.executors["local"]
        executor.interchange_proc.kill()
        executor.interchange_proc.wait()
        in_thread(executor.connected_managers)
        with pytest.raises(WorkerDied, match=r"hold\(.* interchange has ended \(exit status -9\)"):
            held.result(TIMEOUT)


def watches() -> set[threading.Thread]:
    """Return the threads that look after kernels."""
    return {thread for thread in threading.enumerate() if thread.name == "parman-parsl"}


def test_the_watch_over_a_kernel_of_the_users_ends(loaded: Any, gate: ScriptGate) -> None:
    """Nobody looks after a kernel where nothing is in flight; a later call has somebody look again."""
    before = watches()
    runner = ParslRunner(loaded)
    freed = death(runner)
    for _ in range(2):
        with workflow(runner):
            held = hold(gate.folder)
            gate.arrival()
            assert handled(runner.event_loop.post)
            (watch,) = watches() - before
            gate.open(1)
            assert held.result(TIMEOUT) == 1
        watch.join(TIMEOUT)
        assert not watch.is_alive()
    del held
    del runner
    assert died(freed)


def test_a_runner_that_is_left_serves_the_blocks_around(gate: ScriptGate) -> None:
    """The end of `with runner:` leaves the kernel to the blocks that still run on it; the last one cleans it up."""
    runner = ParslRunner(workers=1)
    with workflow(runner):
        held = hold(gate.folder)
        gate.arrival()
        with runner:
            pass
        gate.open()
        assert held.result(TIMEOUT) == 1


def test_jobs_take_no_worker(here: Path) -> None:
    """On this machine scripts are run by the driver, while the only worker computes."""
    template = here / "template"
    template.mkdir()
    (template / "jobinfo.py").write_text("def mock() -> int:\n    return 0\n")
    (template / "run").write_text("#!/bin/sh\necho $PPID > result.json\n")
    (template / "run").chmod(0o755)
    job = job_template(template)
    with workflow("parsl:1", jobs=JobSettings(at_once=3)):
        assert all(pid > 0 for pid in resolve([job(f"j{i}") for i in range(3)]))
        assert resolve(double(1)) == 2


# --- ends ---


def be_interrupted(runner: ParslRunner, gate: ScriptGate) -> None:
    """Get a Ctrl-C in a block whose call runs."""
    with workflow(runner):
        hold(gate.folder)
        gate.arrival()
        raise KeyboardInterrupt


def test_a_runner_serves_again_after_ctrl_c(here: Path, temporary: Path, gate: ScriptGate) -> None:
    """Workers and files are gone, and the calls of the next block don't wait for the slot of one that was given up."""
    runner = ParslRunner(workers=1)
    with pytest.raises(KeyboardInterrupt):
        be_interrupted(runner, gate)
    assert all_gone(str(here))
    assert [path.name for path in temporary.iterdir() if path.name.startswith("parman")] == []
    with workflow(runner):
        assert resolve(double(1), TIMEOUT) == 2


def test_ctrl_c_in_an_inner_block_leaves_the_calls_of_the_outer_one(gate: ScriptGate) -> None:
    """Their kernel stays: the calls of the inner block are given up, those of the outer one go on."""
    with workflow("parsl:2"):
        held = hold(gate.folder)
        gate.arrival()
        with pytest.raises(KeyboardInterrupt), workflow():  # noqa: PT012 (what raises is the end of the block)
            inner: Any = hold(gate.folder)
            gate.arrival()
            raise KeyboardInterrupt
        with pytest.raises(Interrupted, match=r"hold\("):
            inner.result(TIMEOUT)
        assert not held.done()
        gate.open()
        resolve(held, TIMEOUT)
        assert resolve(double(1), TIMEOUT) == 2


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from parman import *

@task
def wait(i: int) -> None:
    Path(f"started{{i}}").touch()
    time.sleep(600)

@task
def nothing() -> None: pass

w = workflow("parsl:1")
w.open()
resolve(nothing())
calls = [wait(i) for i in range(3)]
while not Path("started0").exists():
    time.sleep(0.01)
{end}
"""


@pytest.mark.parametrize(
    "end",
    ["", "os.kill(os.getpid(), signal.SIGKILL)", "w.close()"],
    ids=["exit", "killed", "interrupt"],
)
def test_no_process_outlives_the_driver(here: Path, end: str) -> None:
    """At the end of the interpreter, when the driver is killed, and on Ctrl-C, Parsl's processes end, too."""
    script = here / "script.py"
    script.write_text(SCRIPT.format(end=end))
    driver = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not (here / "started0").exists():
            assert time.monotonic() < deadline
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.01)
        if end == "w.close()":
            driver.send_signal(signal.SIGINT)
        start = time.monotonic()
        driver.communicate(timeout=TIMEOUT)
        assert time.monotonic() - start < 10
    finally:
        driver.kill()


# --- the documentation ---


def blocks() -> list[str]:
    """Return the pieces of Python in the documentation of clusters."""
    return re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)


def test_the_documented_configurations_are_taken_by_parsl() -> None:
    """Each configuration of the documentation is one that Parsl takes, and the first example runs."""
    configurations = [block for block in blocks() if "def cluster()" in block]
    assert len(configurations) == 2
    for block in configurations:
        names: dict[str, Any] = {}
        exec(block.split("\n\nwith workflow")[0], names)
        (executor,) = names["cluster"]().executors
        assert isinstance(executor, HighThroughputExecutor)


def test_the_first_example_runs(here: Path) -> None:
    """The example for this machine is a script that runs."""
    (here / "script.py").write_text(blocks()[0])
    ended = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=TIMEOUT, cwd=here, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "285\n"), ended.stderr
