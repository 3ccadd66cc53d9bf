# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scripts that end in a block that was never closed: what they say, and their exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, TIMEOUT

SCRIPT = """
import atexit, logging, os, sys, threading
atexit.register(lambda: print("the first hook", flush=True))
from concurrent.futures import ThreadPoolExecutor, wait
from parman import executor, resolve, task, workflow
atexit.register(lambda: print("the last hook", flush=True))

@task
def invert(x: float) -> float:
    return 1 / x

@task
def hold(name: str) -> None:
    threading.Event().wait()

runner = sys.argv[1]
{before}
w = workflow(ThreadPoolExecutor(2) if runner == "pool" else runner)
w.open()
{calls}
{end}
"""
LINE = SCRIPT[: SCRIPT.index("{calls}")].count("\n") + 1
FAILED = "result = invert(0.0)\nwait([result])"
PENDING = "result = hold('a')"


def run(
    folder: Path, calls: str, end: str = "", before: str = "", runner: str = "threads:2", options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the script; it has no input."""
    path = folder / "script.py"
    path.write_text(SCRIPT.format(calls=calls, end=end, before=before))
    return subprocess.run(
        [sys.executable, *options, str(path), runner],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


@pytest.mark.parametrize("runner", ["serial", "threads:2", "processes:2", "pool"])
def test_a_failure_that_nobody_saw(tmp_path: Path, runner: str) -> None:
    """The call is named on stderr, the exit status is 1, and all hooks run."""
    result = run(tmp_path, FAILED, runner=runner)
    assert result.returncode == 1
    assert result.stderr.count("the interpreter ends in an open workflow: 1 call failed") == 1
    assert f"failed: invert(), called at {tmp_path}/script.py:{LINE}: ZeroDivisionError" in result.stderr
    assert result.stdout == "the last hook\nthe first hook\n"


@pytest.mark.parametrize("runner", ["threads:2", "processes:2"])
def test_a_call_that_is_dropped(tmp_path: Path, runner: str) -> None:
    """So is a call that has not finished, running or not, whose result nobody will ever have."""
    result = run(tmp_path, "results = [hold(name) for name in 'abc']", runner=runner)
    assert result.returncode == 1
    assert result.stderr.count("dropped: hold(), called at") == 3


ENDS = {
    "success": ("sys.exit(0)", 1),
    "no status": ("sys.exit()", 1),
    "another status": ("sys.exit(3)", 3),
    "from a function": ("def main():\n    sys.exit(3)\nmain()", 3),
    "words": ("sys.exit('words')", 1),
    "an exit that was caught": ("try:\n    sys.exit(3)\nexcept SystemExit:\n    pass", 1),
    "an exit without sys": ("raise SystemExit(0)", 1),
    "an exception": ("raise KeyError('mine')", 1),
    "Ctrl-C": ("raise KeyboardInterrupt", -2),
    "a thread that goes on": ("threading.Thread(target=threading.Event().wait, args=[0.1]).start()", 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_status_of_the_script(tmp_path: Path, end: str) -> None:
    """A status of success becomes 1; another one, an exception and Ctrl-C are what they are; hooks run in any case."""
    text, status = ENDS[end]
    result = run(tmp_path, FAILED, text)
    assert result.returncode == status
    assert result.stderr.count("failed: invert()") == 1
    assert ("KeyError: 'mine'" in result.stderr) == (end == "an exception")
    assert result.stdout == "the last hook\nthe first hook\n"


CLEAN = {
    "all was well": ("result = invert(1.0)\nwait([result])", ""),
    "the failure was seen": (FAILED, "result.exception()"),
    "the block was closed": (FAILED, "try:\n    w.close()\nexcept Exception:\n    pass"),
    "the block is closed by a hook": (FAILED, "atexit.register(lambda: (result.exception(), w.close()))"),
    "a call of an executor": ("e = executor('threads:2')\nwait([e.submit(int, 'x')])", ""),
}


@pytest.mark.parametrize("case", CLEAN)
def test_nothing_was_lost(tmp_path: Path, case: str) -> None:
    """Failures that were retrieved, and blocks that were closed, are nobody's concern any more."""
    result = run(tmp_path, *CLEAN[case])
    assert result.returncode == 0
    assert "interpreter ends" not in result.stderr


LEFT = """
{before}
caught = None
try:
    with workflow("threads:2") as inside:
        {calls}
        {end}
except SystemExit as error:
    caught = error.code
print(repr(caught))
"""
LEFT_BY = {
    "success, and a failure": ("result = invert(0.0); wait([result])", "sys.exit(0)", "1", "failed: invert()"),
    "no status, and a failure": ("result = invert(0.0); wait([result])", "raise SystemExit", "1", "failed: invert()"),
    "success, and a call that waits": ("results = LATE()", "sys.exit(0)", "1", "dropped: invert()"),
    "another status": ("result = invert(0.0); wait([result])", "sys.exit(3)", "3", "failed: invert()"),
    "words": ("results = LATE()", "sys.exit('words')", "'words'", "dropped: invert()"),
    "all was well": ("result = invert(1.0); wait([result])", "sys.exit(0)", "0", ""),
    "the failure was seen": ("result = invert(0.0); result.exception()", "sys.exit()", "None", ""),
    "what waits was cancelled": ("results = LATE(); cancel(results)", "sys.exit()", "None", ""),
    "the block was cancelled": ("results = LATE(); inside.cancel()", "sys.exit()", "None", ""),
}


@pytest.mark.parametrize("case", LEFT_BY)
def test_exit_in_a_block(tmp_path: Path, case: str) -> None:
    """A block that `sys.exit` leaves names what failed unseen and what will not run; success is none with that."""
    calls, end, status, told = LEFT_BY[case]
    before = (
        "from concurrent.futures import Future\nfrom parman import cancel\nlate = Future()\n"
        "LATE = lambda: [invert(late), invert(late)]"
    )
    result = run(tmp_path, "w.close()", LEFT.format(before=before, calls=calls, end=end))
    assert result.stdout.startswith(f"{status}\n")
    assert result.returncode == 0
    assert result.stderr.count("sys.exit() ends a workflow") == bool(told)
    assert told in result.stderr


LOGGING = {
    "into a file": "logging.basicConfig(filename='log')",
    "off": "logging.disable(logging.CRITICAL)",
    "other words": "logging.basicConfig(format='%(levelname)s %(message)s')",
    "errors alone": "logging.getLogger('parman').setLevel(logging.ERROR)",
}


@pytest.mark.parametrize("how", LOGGING)
def test_it_is_said_on_stderr_once(tmp_path: Path, how: str) -> None:
    """Whatever becomes of log records, what is lost is named on stderr, and once."""
    result = run(tmp_path, PENDING, before=LOGGING[how])
    assert result.returncode == 1
    assert result.stderr.count("dropped: hold()") == 1


def test_stderr_is_closed(tmp_path: Path) -> None:
    """Where there is no stderr the status tells alone."""
    assert run(tmp_path, PENDING, "sys.stderr.close()").returncode == 1
    assert run(tmp_path, PENDING, "sys.stderr = None").returncode == 1


def test_several_blocks(tmp_path: Path) -> None:
    """Each block names its own calls."""
    result = run(tmp_path, f"{FAILED}\nanother = workflow('threads:2')\nanother.__enter__()\n{PENDING}")
    assert result.returncode == 1
    assert result.stderr.count("interpreter ends") == 2
    assert "failed: invert()" in result.stderr
    assert "dropped: hold()" in result.stderr


def test_very_many_calls(tmp_path: Path) -> None:
    """Some are named, the others counted."""
    result = run(tmp_path, "results = [hold(name) for name in 'a' * 100]")
    assert "100 unfinished calls" in result.stderr
    assert result.stderr.count("dropped: hold()") == 20
    assert "and 80 more" in result.stderr


def test_a_session_keeps_its_status(tmp_path: Path) -> None:
    """Who works at a prompt is told; the status is that of the session."""
    result = run(tmp_path, FAILED, options=("-i",))
    assert result.returncode == 0
    assert "failed: invert()" in result.stderr


def test_sys_exit_is_as_it_was_afterwards(tmp_path: Path) -> None:
    """`sys.exit` is replaced while a block is open, and put back; another one that came meanwhile stays."""
    text = """
exits = [sys.exit]
w.close()
exits.append(sys.exit)
w = workflow("serial").open()
sys.exit = mine = lambda *args: None
w.close()
assert sys.exit is mine
assert exits[0] is not exits[1] and exits[1].__module__ == "sys" and type(exits[1]) is type(len)
os.write(1, b"fine\\n")
"""
    assert run(tmp_path, "", text).stdout.startswith("fine\n")


def test_a_test_suite(tmp_path: Path) -> None:
    """Under pytest the block that a test has left open is named, and the run does not count as a success."""
    (tmp_path / "test_it.py").write_text(
        "from parman import task, workflow\n@task\ndef invert(x: float) -> float:\n    return 1 / x\n"
        "def test_it():\n    workflow('threads:2').open()\n    invert(0.0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert "1 passed" in result.stdout
    assert result.returncode == 1
    assert "interpreter ends in an open workflow" in result.stderr


def test_a_call_that_is_about_to_fail(tmp_path: Path) -> None:
    """A call that fails while the interpreter ends is told as a failure, and not as dropped besides."""
    for _ in range(5):
        result = run(tmp_path, "result = invert(0.0)", runner="threads:2")
        assert result.returncode == 1
        assert "the interpreter ends in an open workflow: 1 call failed; " in result.stderr
        assert "dropped" not in result.stderr


def test_one_and_several(tmp_path: Path) -> None:
    """One call is, several are."""
    result = run(tmp_path, PENDING, runner="threads:2")
    assert "open workflow: 1 unfinished call is dropped; " in result.stderr
    result = run(tmp_path, "results = [hold(name) for name in 'ab']", runner="threads:2")
    assert "open workflow: 2 unfinished calls are dropped; " in result.stderr


POOL_SCRIPT = """
import logging, multiprocessing, os, sys
{before}
from parman import resolve, task, workflow
{after}

@task
def hold(gate: str) -> int:
    with open(gate) as file:  # until somebody opens it for writing
        return len(file.read())

@task
def step(x: int) -> int:
    return x + 1

class Opening(logging.Handler):
    def emit(self, record):
        open("gate", "w").close()

def pool(kind):
    if kind == "loky":
        from loky import ProcessPoolExecutor
        return ProcessPoolExecutor(1)
    if kind == "threads":
        from concurrent.futures import ThreadPoolExecutor
        return ThreadPoolExecutor(1)
    from concurrent.futures import ProcessPoolExecutor
    return ProcessPoolExecutor(1, multiprocessing.get_context(kind))

if __name__ == "__main__":
    logging.getLogger("parman").addHandler(Opening())
    logging.getLogger("parman").addHandler(logging.StreamHandler())
    workflow(pool(sys.argv[1])).open()
    assert resolve(step(1)) == 2
    results = [hold("gate")]
    for _ in range(3):
        results.append(step(results[-1]))
"""


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["fork", "spawn", "loky", "threads"])
def test_calls_on_a_pool_are_dropped_before_it_is_closed(tmp_path: Path, kind: str, first: bool) -> None:
    """They are told as dropped, not as failed, whichever was imported first: the module of the pool or Parman."""
    if kind == "loky":
        pytest.importorskip("loky", reason="loky comes with the demos: make test-all has it")
    module = {"loky": "loky", "threads": "concurrent.futures.thread"}.get(kind, "concurrent.futures.process")
    lines = ("import " + module, "") if first else ("", "import " + module)
    script = tmp_path / "script.py"
    script.write_text(POOL_SCRIPT.format(before=lines[0], after=lines[1]))
    os.mkfifo(tmp_path / "gate")
    ended = subprocess.run(
        [sys.executable, str(script), kind],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert ended.returncode == 1, ended.stderr
    assert "unfinished calls are dropped" in ended.stderr
    assert "failed" not in ended.stderr
