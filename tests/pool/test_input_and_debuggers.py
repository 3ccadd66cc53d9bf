# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tasks that ask for input or a debugger: in a worker process they are told what to do, elsewhere it works."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, TIMEOUT

from parman.errors import WorkflowError
from parman.pool.terminal import refusing_input

SCRIPT = """\
import code, getpass, pdb, sys
from concurrent.futures import ProcessPoolExecutor
from parman import *

@task
def ask(how: str) -> str:
    if how == "input":
        return input("name? ")
    if how == "breakpoint":
        breakpoint()
    if how == "pdb":
        pdb.set_trace()
    if how == "read":
        return sys.stdin.read()
    if how == "lines":
        return "".join(sys.stdin)
    if how == "buffer":
        return sys.stdin.buffer.readline().decode()
    if how == "getpass":
        return getpass.getpass("word: ")
    if how == "interact":
        code.interact(local={})
    if how == "embed":
        import IPython
        IPython.embed()
    return "went on"

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1) if sys.argv[1] == "pool" else None
    with workflow(pool or sys.argv[1]):
        print("got", resolve(ask(sys.argv[2])))
"""
WAYS = ["input", "breakpoint", "pdb", "read", "lines", "buffer", "getpass", "interact", "embed"]


def run(tmp_path: Path, runner: str, how: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a line on its standard input."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, script, runner, how],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environment},
        input="Ada\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        start_new_session=True,  # without a terminal, which getpass would find
    )


@pytest.mark.parametrize("runner", ["processes:1", pytest.param("pool", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", WAYS)
def test_worker_process_says_that_it_has_no_input(tmp_path: Path, runner: str, how: str) -> None:
    """Whatever asks for input or a debugger in a worker process fails, and names the serial runner."""
    result = run(tmp_path, runner, how)
    assert result.returncode == 1
    assert "got" not in result.stdout
    assert "use the serial runner, workflow('serial')" in result.stderr


@pytest.mark.parametrize("runner", ["serial", "threads:1"])
@pytest.mark.parametrize("how", ["input", "read", "buffer"])
def test_input_reaches_tasks_in_the_process_of_the_script(tmp_path: Path, runner: str, how: str) -> None:
    """On serial and threads a task reads what was piped into the script, as without a block."""
    result = run(tmp_path, runner, how)
    assert result.returncode == 0
    assert "got Ada" in result.stdout


@pytest.mark.parametrize("runner", ["processes:1", "pool"])
def test_breakpoints_that_are_switched_off_stay_off(tmp_path: Path, runner: str) -> None:
    """PYTHONBREAKPOINT=0, and debuggers that need no terminal, work in a worker as elsewhere."""
    assert "got went on" in run(tmp_path, runner, "breakpoint", PYTHONBREAKPOINT="0").stdout
    assert "got went on" in run(tmp_path, runner, "breakpoint", PYTHONBREAKPOINT="builtins.dict").stdout


def test_no_worker_is_stopped_by_a_terminal(tmp_path: Path) -> None:
    """In a terminal, a task that asks for a password fails; a worker in the background would be stopped for ever."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        arguments = ["timeout", "-k", "5", "60", sys.executable, str(script), "processes:1", "getpass"]
        os.execvpe("timeout", arguments, environment)
    shown = b""
    try:
        while piece := os.read(terminal, 10_000):
            shown += piece
    except OSError:  # how a terminal says that nobody is there any more
        pass
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 1, shown.decode()
    assert b"use the serial runner" in shown


# --- in this process, as if it were a worker ---


def test_standard_input_is_back_after_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pool of others, what is no task reads as before, also if calls overlapped on threads of the worker."""
    before = io.StringIO("text")
    monkeypatch.setattr(sys, "stdin", before)
    first, second = refusing_input(), refusing_input()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(WorkflowError, match="serial runner"):
        input()
    with pytest.raises(WorkflowError, match="serial runner"):
        breakpoint()
    second.__exit__(None, None, None)
    assert sys.stdin is before
    assert input() == "text"


def test_input_that_a_task_makes_itself_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that puts a text in place of the standard input reads that."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("driver"))
    with refusing_input():
        sys.stdin = io.StringIO("own")
        assert input() == "own"
    assert sys.stdin.read() == ""


def test_closed_and_asked_standard_input_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libraries ask of a standard input without reading works, also where there is none."""
    monkeypatch.setattr(sys, "stdin", None)
    with refusing_input():
        assert not sys.stdin.isatty()
        sys.stdin.close()
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with refusing_input():
            assert sys.stdin.fileno() == nothing.fileno()
            assert sys.stdin.encoding == nothing.encoding
            sys.stdin.close()
        assert nothing.closed
