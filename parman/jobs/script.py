# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Running the script of a job: a process group of its own, which is watched by a shell and ended on demand.

    driver ── Popen ──▶ sh (leads session and group) ── runs ──▶ ./SCRIPT and whatever it starts
                        holds the lock, writes job.status         hold the lock as well

The shell outlives a driver that is killed: it still writes down how the script ended, so that no finished job runs
twice. A terminal's Ctrl-C does not reach the group. The driver ends it, with SIGTERM and a little later with SIGKILL.

The shell survives the SIGTERM. A script that was told to end, and ends badly, has not failed: the shell writes down its
status only if it ended well all the same. Else the shell ends by that signal, too. From that the driver knows that
nothing is missing in the status file.

When the shell alone is killed, nobody can know any more when the script ends, and how. So the driver kills the script.

Invariant, under a lock: a process is reaped after the last signal to its group. Until then no other has its number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue

from ..descriptors import opener
from ..errors import Interrupted
from ..lifecycle import Stage, Stop, at_exit, interruptible_get
from .directory import JobDirectory, is_shell_name

__all__ = ["Script"]

_SHELL = """\
unset _parman_script _parman_record _parman_result _parman_told _parman_began _parman_status _parman_signal
_parman_script=$1 _parman_record=$2 _parman_result=$3
shift 3
for _parman_signal in HUP INT TERM; do trap "_parman_told=$_parman_signal" "$_parman_signal"; done
_parman_obey() { trap - "$_parman_told"; kill -s "$_parman_told" "$$"; exit 143; }
_parman_now() { command -p date -u +%Y-%m-%dT%H:%M:%SZ; }
_parman_began=$(_parman_now)
if [ -n "$_parman_told" ]; then _parman_obey; fi
printf 'started %s %s\\n' "$_parman_began" "$_parman_script" >>"$_parman_record" || exit 125
if [ "$#" -eq 0 ]; then "./$_parman_script"; else /usr/bin/env "$@" "./$_parman_script"; fi
_parman_status=$?
if [ -n "$_parman_told" ] && [ "$_parman_status" -ne 0 ]; then _parman_obey; fi
command -p rm -f ".$_parman_record.new"
command -p cat "$_parman_record" >".$_parman_record.new" &&
    printf 'exited %s %s\\n' "$(_parman_now)" "$_parman_status" >>".$_parman_record.new" && {
    command -p sync "$_parman_result" ".$_parman_record.new" 2>/dev/null
    command -p mv ".$_parman_record.new" "$_parman_record"
}
exit "$_parman_status"
"""
"""Runs the script, and writes down how it ended.

Its own variables have names that no script uses, and are not passed on. The shell drops environment variables whose
names are no identifiers, such as functions that bash exports (`module` on many clusters): they are arguments here.
"""

_TERM_TO_KILL = 1.0
"""How long a script may take to end after SIGTERM, before SIGKILL [s]. Leaving a block after Ctrl-C waits for it."""

_running: set[Script] = set()
_end = Stop()


class Script:
    """One run of a script.

    Parameters
    ----------
    directory
        The directory in which it runs.
    name
        The name of the script there.
    environment
        All of its environment variables.
    stop
        Asks to end it.
    """

    def __init__(self, directory: JobDirectory, name: str, environment: Mapping[str, str], stop: Stop) -> None:
        self._directory = directory
        self._name = name
        self._environment = environment
        self._stop = stop
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False
        self._is_ending = False

    def run(self, lock: int | None, append: bool) -> int:
        """Run the script to its end.

        Parameters
        ----------
        lock
            A file descriptor that the script is to inherit.
        append
            Keep what an earlier run wrote, and go on behind it.

        Returns
        -------
        int
            The exit status; negative for the signal that killed the watching shell.

        Raises
        ------
        OSError
            It could not be started.
        """
        if threading.current_thread() is not threading.main_thread():
            return self._run(lock, append)
        # Beside the main thread, where Ctrl-C could strike after the script was started and before that is known here.
        answers: SimpleQueue[int | BaseException] = SimpleQueue()

        def run() -> None:
            try:
                answers.put(self._run(lock, append))
            except BaseException as exception:
                answers.put(exception)

        try:
            threading.Thread(target=run, daemon=True).start()
            answer = interruptible_get(answers)
        except BaseException:
            self.terminate()
            with contextlib.suppress(Empty):
                interruptible_get(answers, 2 * _TERM_TO_KILL)
            raise
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _run(self, lock: int | None, append: bool) -> int:
        _running.add(self)  # before it is started, so that the end of the interpreter can't miss it
        try:
            process = self._start(lock, "ab" if append else "wb")
            self._stop.on_ask(self.terminate)
            return self._wait(process)
        finally:
            self._stop.forget(self.terminate)
            _running.discard(self)

    def _start(self, lock: int | None, mode: str) -> subprocess.Popen[bytes]:
        directory = self._directory
        odd = [f"{name}={value}" for name, value in self._environment.items() if not is_shell_name(name)]
        command = [
            "/bin/sh",
            "-c",
            _SHELL,
            "parman-job",
            self._name,
            directory.status.name,
            directory.result.name,
            *odd,
        ]
        for path in (directory.output(self._name), directory.errors(self._name)):
            if path.is_symlink():  # it may lead anywhere
                path.unlink()
        with (
            open(directory.output(self._name), mode, opener=opener) as output,
            open(directory.errors(self._name), mode, opener=opener) as errors,
            self._lock,
        ):
            if self._is_ending or _end.is_asked():
                raise Interrupted(f"the script {self._name!r} was told to end before it started")
            self._process = subprocess.Popen(
                command,
                cwd=directory.path,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
            return self._process

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        was_killed = False
        try:
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            was_killed = ended is not None and ended.si_code != os.CLD_EXITED
        except ChildProcessError:  # somebody else in this process has reaped it; the status file says how it ended
            pass
        with self._lock:
            if self._is_ending or was_killed:  # its children have had their time, or nobody watches them any more
                _signal_group(process.pid, signal.SIGKILL)
            self._is_over = True
            return process.wait()

    def terminate(self) -> None:
        """End the script and what it has started, in any thread and without waiting for it."""
        with self._lock:
            if self._is_ending or self._is_over:
                return
            self._is_ending = True
            if self._process is not None:
                _signal_group(self._process.pid, signal.SIGTERM)
        timer = threading.Timer(_TERM_TO_KILL, self.kill)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the interpreter ends, and takes no more threads: what is left is killed there
            pass

    def kill(self) -> None:
        """Kill the script and what it has started."""
        with self._lock:
            if self._process is not None and not self._is_over:
                _signal_group(self._process.pid, signal.SIGKILL)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended, as far as is known here."""
        return self._process is not None and not self._is_over

    def cancel(self) -> None:
        """End it, and let its job know that this was asked for."""
        self._stop.ask()
        self.terminate()


def _signal_group(number: int, what: signal.Signals) -> None:
    try:
        os.killpg(number, what)
    except (ProcessLookupError, PermissionError):  # all of them have ended, or belong to somebody else by now
        pass


@at_exit(Stage.SCRIPTS)
def _end_all() -> None:
    """End all scripts with the interpreter, and start no more."""
    _end.ask()
    scripts = list(_running)
    for script in scripts:
        script.cancel()
    deadline = time.monotonic() + _TERM_TO_KILL
    while time.monotonic() < deadline and any(script.is_running for script in scripts):
        time.sleep(0.01)
    for script in scripts:
        script.kill()


os.register_at_fork(after_in_child=_running.clear)
