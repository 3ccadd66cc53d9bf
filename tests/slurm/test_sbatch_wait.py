# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`parman-sbatch-wait` without Slurm: stand-ins for its programs do what the tests want of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import ROOT, TIMEOUT
from helpers.scripts import run_script

from parman.slurm import log as sbatch_log
from parman.slurm.log import Log
from parman.slurm.program import ProgramExit, locked
from parman.slurm.scontrol import (
    AnswerCache,
    exit_status,
    has_ended,
    of_job,
    parse_jobs,
    parse_submitted,
    status_of,
    summarize,
)
from parman.slurm.submit import comment_option, write_marker

FIRST_LINE = "Parman sbatch wait log format version 1\n"
RUN = [sys.executable, "-c", "import sys; from parman.slurm.sbatch_wait import main; sys.exit(main())"]
UNKNOWN = 75

RECORD = (
    "JobId={job} {more}JobName={name} UserId=me({user}) GroupId=me(100) MCS_label=N/A Priority=1 Nice=0 "
    "Account=(null) QOS=(null) JobState={state} Reason=None Dependency=(null) Requeue=1 Restarts={restarts} "
    "BatchFlag=1 Reboot=0 ExitCode={code} RunTime=00:00:00 SubmitTime={submitted} EligibleTime=Unknown "
    "AllocNode:Sid=localhost:{session} Command=/x/job.sh a b WorkDir={folder} Comment={comment}  StdErr=/x/e Power= \n"
)

SBATCH = r"""#!/bin/bash
# What each call does can be changed by a hook, which may call these functions or not.
echo "$*" >>"$FAKE/sbatch.calls"
make_job() {
    id=$(($(cat "$FAKE/next") + 1))
    echo "$id" >"$FAKE/next"
    read -r _ _ _ _ _ session _ </proc/self/stat
    all="$*"
    [[ $all != *--comment=* ]] || { comment=${all#*--comment=}; comment=${comment%% *}; }
    printf 'JobId=%s JobName=x UserId=me(%s) JobState=PENDING Restarts=0 ExitCode=0:0 SubmitTime=%s ' \
        "$id" "$UID" "$(date +%s)" >"$FAKE/new"
    printf 'AllocNode:Sid=localhost:%s WorkDir=%s Comment=%s  StdErr=/x\n' \
        "$session" "$PWD" "$comment" >>"$FAKE/new"
    mv "$FAKE/new" "$FAKE/jobs/$id"
}
answer() { echo "$id"; }
if [[ -e $FAKE/hook ]]; then . "$FAKE/hook"; else make_job "$@"; answer; fi
"""

SACCT = r"""#!/bin/bash
echo "$*" >>"$FAKE/sacct.calls"
cat "$FAKE/accounts" || exit 1
"""

SCONTROL = r"""#!/bin/bash
echo "$*" >>"$FAKE/scontrol.calls"
if [[ -e $FAKE/trouble ]]; then cat "$FAKE/trouble" >&2; exit 1; fi
last=${*: -1}
if [[ $last =~ ^[0-9]+$ ]]; then
    cat "$FAKE/jobs/$last" 2>/dev/null && exit
    echo "slurm_load_jobs error: Invalid job id specified" >&2
    exit 1
fi
cat "$FAKE"/jobs/* 2>/dev/null || echo "No jobs in the system"
"""


def record(job: int, state: str, code: str = "0:0", **values: object) -> str:
    """Make a line as `scontrol -o show job` writes it."""
    given = {
        "more": "",
        "name": "x",
        "user": os.getuid(),
        "restarts": 0,
        "submitted": int(time.time()),
        "session": 1,
        "folder": "/x",
        "comment": "",
    }
    return RECORD.format(job=job, state=state, code=code, **{**given, **values})


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.005)


class Fake:
    """A Slurm that does nothing by itself, a home, and a directory to call the program in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.home = folder / "home"
        self.running: list[subprocess.Popen[str]] = []
        for name in ("work", "home", "bin", "jobs"):
            (folder / name).mkdir()
        (folder / "next").write_text("11")
        for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL), ("sacct", SACCT)):
            self.program(name, text)

    def program(self, name: str, text: str) -> None:
        """Put a program on PATH."""
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """What the program sees."""
        return {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "FAKE": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PARMAN_SBATCH_CACHE_TIMEOUT": "0.05",
            "PARMAN_SBATCH_POLLING_INTERVAL": "0.02",
            "PARMAN_SBATCH_TIME_MARGIN": "0.01",
        }

    def start(self, *args: str, **more: str) -> subprocess.Popen[str]:
        """Start the program."""
        process = subprocess.Popen(
            [*RUN, *args],
            cwd=self.work,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def run(self, *args: str, **more: str) -> tuple[int, str]:
        """Run the program to its end; returns its exit status and what it wrote to stderr."""
        return finish(self.start(*args, **more))

    def hook(self, text: str) -> None:
        """Say what `sbatch` does."""
        (self.folder / "hook").write_text(text)

    def put(self, job: int, state: str, code: str = "0:0", **values: object) -> None:
        """Let a job be there."""
        new = self.folder / "new-record"
        new.write_text(record(job, state, code, folder=values.pop("folder", self.work), **values))
        new.replace(self.folder / "jobs" / str(job))

    def change(self, job: int, state: str, code: str = "0:0") -> None:
        """Let a job have another state."""
        path = self.folder / "jobs" / str(job)
        text = re.sub(r"JobState=\S+", f"JobState={state}", path.read_text())
        new = self.folder / "new-record"
        new.write_text(re.sub(r"ExitCode=\S+", f"ExitCode={code}", text))
        new.replace(path)

    def forget(self, job: int) -> None:
        """Let a job be gone."""
        (self.folder / "jobs" / str(job)).unlink()

    def trouble(self, text: str | None) -> None:
        """Let `scontrol` fail, or not."""
        path = self.folder / "trouble"
        if text is None:
            path.unlink()
        else:
            path.write_text(text)

    def calls(self, name: str) -> list[str]:
        """Return the arguments of all calls of a stand-in."""
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> Path:
        """The log."""
        return self.work / "sbatchwait.log"

    def steps(self) -> list[str]:
        """Return the steps in the log, without the times."""
        if not self.log.exists():
            return []
        return [line.partition(" ")[2] for line in self.log.read_text().splitlines()[1:]]

    def until_step(self, step: str) -> None:
        """Wait until the log says something last."""
        until(lambda: self.steps()[-1:] == [step], f"{step} in {self.steps()}")

    def until_asked(self, times: int = 2) -> None:
        """Wait until `scontrol` was called that often from now on."""
        before = len(self.calls("scontrol"))
        until(lambda: len(self.calls("scontrol")) >= before + times, "calls of scontrol")

    def files(self) -> set[str]:
        """Return the names of the files in the directory."""
        return {path.name for path in self.work.iterdir()}


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a program; returns its exit status and what it wrote to stderr."""
    _, errors = process.communicate(timeout=TIMEOUT)
    assert "Traceback" not in errors, errors
    return process.returncode, errors


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    """Make a Slurm of stand-ins."""
    fake = Fake(tmp_path)
    yield fake
    for process in fake.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


# --- What Slurm writes.

PARAGRAPHS = """\
JobId=7 ArrayJobId=6 ArrayTaskId=1 JobName=one
   UserId=me(500) GroupId=me(100) MCS_label=N/A
   JobState=FAILED Reason=NonZeroExitCode Dependency=(null)
   Requeue=1 Restarts=2 BatchFlag=1 Reboot=0 ExitCode=3:0
   DerivedExitCode=9:0
   SubmitTime=1700000000 EligibleTime=2026-11-22T19:05:45
   Partition=main AllocNode:Sid=login-1:7555
   WorkDir=/data/my results
   StdErr=/x

JobId=8 JobName=two
   UserId=me(500) GroupId=me(100) MCS_label=N/A
   JobState=RUNNING Reason=None Dependency=(null)
"""


def test_parses_paragraphs_and_lines_alike() -> None:
    """Both layouts of `scontrol show job` are read."""
    one_line = re.sub(r"\n +", " ", PARAGRAPHS).replace("\n\n", "\n")
    for text in (PARAGRAPHS, one_line):
        first, second = parse_jobs(text)
        assert (first.ids, first.state, first.status, first.restarts) == ((7, 6), "FAILED", 3, 2)
        assert (first.submitted, first.session, first.user) == (1700000000.0, 7555, 500)
        assert first.folder == "/data/my results"
        assert (second.ids, second.state, second.submitted) == ((8,), "RUNNING", None)


@pytest.mark.parametrize("name", ["a b=c", "x JobState=COMPLETED", "x JobId=9 ExitCode=0:0", "n\nJobState=COMPLETED"])
def test_names_of_users_are_not_taken_for_keys(name: str) -> None:
    """What a job's name holds says nothing of its state."""
    (found,) = parse_jobs(record(5, "FAILED", "4:0", name=name))
    assert (found.ids, found.state, found.status) == ((5,), "FAILED", 4)


@pytest.mark.parametrize("text", ["", "No jobs in the system\n", "slurm_load_jobs error: Invalid", "\0\0\0"])
def test_other_output_holds_no_jobs(text: str) -> None:
    """Messages are no jobs."""
    assert parse_jobs(text) == []


UNFINISHED = (
    "PENDING RUNNING COMPLETING CONFIGURING SUSPENDED REQUEUED REQUEUE_HOLD REQUEUE_FED SPECIAL_EXIT STOPPED "
    "RESIZING SIGNALING STAGE_OUT REVOKED UNHEARD_OF COMPLETED,COMPLETING"
)


@pytest.mark.parametrize("state", [*UNFINISHED.split(), ""])
def test_unfinished_states(state: str) -> None:
    """A job that may go on, or whose state is not known to us, has not ended."""
    assert not has_ended(state)


ENDED = "BOOT_FAIL CANCELLED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED TIMEOUT"


@pytest.mark.parametrize("state", ENDED.split())
def test_only_completed_is_a_success(state: str) -> None:
    """Any other end is none, even if Slurm gives the exit code 0."""
    assert has_ended(state)
    assert status_of(state, 0) == 1
    assert status_of(state, 7) == 7


def test_completed_is_a_success() -> None:
    """Exit status 0 stands for COMPLETED."""
    assert has_ended("COMPLETED")
    assert status_of("COMPLETED", 0) == 0


@pytest.mark.parametrize(
    ("code", "status"), [("0:0", 0), ("3:0", 3), ("0:9", 137), ("1:15", 143), ("300:0", 255), ("", 0), ("a:b", 0)]
)
def test_exit_codes(code: str, status: int) -> None:
    """A signal gives 128 and its number, as in a shell."""
    assert exit_status(code) == status


@pytest.mark.parametrize(
    ("text", "job"), [("12", (12, None)), ("12;c-1", (12, "c-1")), ("12;", None), ("12;../x", None), ("x", None)]
)
def test_what_sbatch_writes(text: str, job: tuple[int, str | None] | None) -> None:
    """A number, perhaps with a cluster, whose name can't lead anywhere else."""
    assert parse_submitted(text) == job


def test_array_has_ended_with_its_last_task() -> None:
    """The tasks of an array are one job: the worst exit status counts, and none before all have ended."""
    tasks = [record(10 + n, "COMPLETED", more=f"ArrayJobId=10 ArrayTaskId={n} ") for n in range(2)]
    failed = record(12, "FAILED", "2:0", more="ArrayJobId=10 ArrayTaskId=2 ")
    other = record(13, "FAILED", "5:0")
    running = record(14, "RUNNING", more="ArrayJobId=10 ArrayTaskId=3 ")

    def sum_up(*lines: str) -> tuple[str, int | None]:
        return tuple(summarize(of_job(parse_jobs("".join(lines)), 10)))

    assert sum_up(*tasks, other) == ("COMPLETED", 0)
    assert sum_up(*tasks, failed, other) == ("FAILED", 2)
    assert sum_up(*tasks, failed, running) == ("RUNNING", None)


# --- The log.


@pytest.mark.parametrize("text", ["", "Parman sbatch wa", FIRST_LINE, FIRST_LINE.rstrip()])
def test_log_without_a_job(tmp_path: Path, text: str) -> None:
    """An empty log, or one that was cut off in its first line, tells of no job and can be gone on with."""
    path = tmp_path / "log"
    path.write_text(text)
    log = Log(path)
    assert log.submitted is None
    log.add("Submitted 12;c1")
    assert re.fullmatch(re.escape(FIRST_LINE) + r"\d{4}-\d\d-\d\dT[\d:+-]+ Submitted 12;c1\n", path.read_text())
    assert Log(path).submitted == (12, "c1")


def test_log_cut_off_in_a_state(tmp_path: Path) -> None:
    """Half a line is not believed, and is gone with the next line."""
    path = tmp_path / "log"
    path.write_text(FIRST_LINE + "2026-01-01T00:00:00 Submitted 12\n2026-01-01T00:00:01 COMPLETED")
    log = Log(path)
    assert (log.state, log.status) == ("Submitted 12", None)
    log.add("RUNNING")
    assert [step.text for step in Log(path).entries] == ["Submitted 12", "RUNNING"]


def test_log_is_written_once(tmp_path: Path) -> None:
    """Of two programs that see the same change one writes it, and none writes after the end."""
    first, second = Log(tmp_path / "log"), Log(tmp_path / "log")
    first.add("Submitted 12")
    for log in (first, second):
        log.add("RUNNING")
        log.add("Exit 3", "FAILED")
        log.add("RUNNING")
    assert [step.text for step in Log(tmp_path / "log").entries] == ["Submitted 12", "RUNNING", "Exit 3", "FAILED"]
    assert second.status == 3


@pytest.mark.parametrize("text", ["something else\n", "Parman sbatch wait log format version 2\n"])
def test_foreign_log(tmp_path: Path, text: str) -> None:
    """A file that is no log of ours is refused and left as it is."""
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ProgramExit, match="first line"):
        Log(path)
    assert path.read_text() == text


# --- The mark.


@pytest.mark.parametrize(
    ("args", "script", "given"),
    [
        (["job.sh", "--n"], "#!/bin/bash\n#SBATCH --time=1\n", True),
        (["--wrap=true"], None, True),
        (["job.sh"], "#!/bin/bash\n#SBATCH --comment=mine\n", False),
        (["job.sh"], "#!/bin/bash\n#SBATCH -n 1 --comm mine\n", False),
        (["--comment", "mine", "job.sh"], "#!/bin/bash\n", False),
        (["--com=mine", "--wrap=true"], None, False),
        (["not_here.sh"], None, False),
        ([], None, False),
    ],
)
def test_comment_of_the_user_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], script: str | None, given: bool
) -> None:
    """The mark becomes the job's comment only where the user surely has none."""
    monkeypatch.chdir(tmp_path)
    if script is not None:
        Path("job.sh").write_text(script)
    mark = write_marker(tmp_path / "mark")
    assert comment_option(mark, args) == ([f"--comment={mark.name}"] if given else [])


# --- What all programs of a user share.


@pytest.fixture
def shared(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Let this process see the stand-ins."""
    for name in ("PATH", "HOME", "FAKE"):
        monkeypatch.setenv(name, fake.environment[name])
    fake.put(12, "RUNNING")
    return fake


def cache_file(fake: Fake) -> Path:
    """Return the file that is shared."""
    return fake.home / ".cache" / "parman" / "sbatch_wait.out"


def test_many_ask_once(shared: Fake) -> None:
    """Within the timeout one call is made, however many programs look."""
    shared.put(12, "RUNNING", submitted=5)
    answers = [AnswerCache(None, 30).read() for _ in range(20)]
    line = record(12, "RUNNING", folder=shared.work, submitted=5).strip()
    assert {answer.text for answer in answers if answer} == {line + "\n"}
    assert shared.calls("scontrol") == ["-o show job"]


def test_asks_again_after_the_timeout(shared: Fake) -> None:
    """Each looks anew when the answer has become old."""
    cache = AnswerCache(None, 0.0)
    assert cache.read() != cache.read()
    assert len(shared.calls("scontrol")) == 2


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_clock_that_jumps(shared: Fake, jump: float) -> None:
    """After a jump of the clock, forward or back, one more call is made: nothing freezes, nothing storms."""
    AnswerCache(None, 30).read()
    now = time.time()
    os.utime(cache_file(shared), (now + jump, now + jump))
    for _ in range(10):
        AnswerCache(None, 30).read()
    assert len(shared.calls("scontrol")) == 2


def test_clock_that_jumps_all_the_time(shared: Fake) -> None:
    """A program does not ask twice within the timeout, whatever the clock says."""
    cache = AnswerCache(None, 30)
    for _ in range(10):
        cache.read()
        os.utime(cache_file(shared), (1, 1))
    assert len(shared.calls("scontrol")) == 1


def test_failure_is_not_repeated_sooner(shared: Fake) -> None:
    """A call that failed counts as a call, for all."""
    shared.trouble("Unable to contact slurm controller\n")
    answers = [AnswerCache(None, 30).read() for _ in range(5)]
    assert [answer.failed for answer in answers if answer] == [True] * 5
    assert "Unable to contact" in str(answers[-1])
    assert len(shared.calls("scontrol")) == 1


def test_nobody_waits_for_another_who_asks(shared: Fake) -> None:
    """While one program asks, the others take what there is."""
    cache = AnswerCache(None, 0.0)
    before = cache.read()
    shared.put(12, "COMPLETED")
    with locked(cache_file(shared).with_suffix(".lock")):
        assert AnswerCache(None, 0.0).read() == before
        cache_file(shared).unlink()
        assert AnswerCache(None, 0.0).read() is None
    after = AnswerCache(None, 0.0).read()
    assert after is not None
    assert "COMPLETED" in after.text


@pytest.mark.parametrize("text", ["", "\0" * 60, "v1 datetime=2026", "rubbish\nJobId=12 JobState=COMPLETED\n"])
def test_broken_cache(shared: Fake, text: str) -> None:
    """What is not whole or not ours is asked for anew."""
    AnswerCache(None, 30).prepare()
    cache_file(shared).write_text(text)
    answer = AnswerCache(None, 30).read()
    assert answer is not None
    assert "RUNNING" in answer.text


def test_jobs_of_others_are_left_out(shared: Fake) -> None:
    """The shared file holds the jobs of this user."""
    shared.put(13, "RUNNING", user=os.getuid() + 1)
    answer = AnswerCache(None, 30).read()
    assert answer is not None
    assert [job.ids for job in parse_jobs(answer.text)] == [(12,)]


def test_full_disk_at_home(shared: Fake) -> None:
    """Where the answer can't be shared it is used all the same, and not asked for more often."""
    AnswerCache(None, 30).prepare()
    cache_file(shared).with_suffix(".tmp").symlink_to("/dev/full")
    cache = AnswerCache(None, 30)
    answers = [cache.read() for _ in range(3)]
    assert all(answer and "RUNNING" in answer.text for answer in answers)
    assert len(shared.calls("scontrol")) == 1


# --- The program.


def test_submits_and_waits(fake: Fake) -> None:
    """A job is submitted with the user's arguments; its states are in the log; the exit status is its own."""
    process = fake.start("--time=1", "--wrap", "exit 0")
    fake.until_step("PENDING")
    fake.change(12, "RUNNING")
    fake.until_step("RUNNING")
    fake.change(12, "COMPLETED")
    output, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, errors) == (0, "")
    (call,) = fake.calls("sbatch")
    assert re.fullmatch(r"--parsable --comment=parman-[0-9a-f]{32} --time=1 --wrap exit 0", call)
    text = fake.log.read_text()
    assert text.startswith(FIRST_LINE)
    assert fake.steps() == ["Submitted 12", "PENDING", "RUNNING", "COMPLETED"]
    assert "submitted job 12" in output
    assert "ended with exit status 0" in output


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [("COMPLETED", "0:0", 0), ("FAILED", "3:0", 3), ("FAILED", "0:9", 137), ("CANCELLED", "0:0", 1)],
)
def test_called_again_after_the_end(fake: Fake, state: str, code: str, status: int) -> None:
    """A job that has ended is neither submitted nor asked for again; the exit status is the same."""
    fake.hook(f"make_job; sed -i 's/PENDING/{state}/; s/0:0/{code}/' $FAKE/jobs/12; answer")
    assert fake.run("job.sh")[0] == status
    assert fake.steps()[-1] == state
    log, calls = fake.log.read_text(), fake.calls("scontrol")
    assert fake.run("job.sh")[0] == status
    assert (fake.log.read_text(), fake.calls("scontrol"), len(fake.calls("sbatch"))) == (log, calls, 1)


def test_ended_log_needs_nothing_else(fake: Fake) -> None:
    """A job that has ended is told of also where nothing can be written."""
    fake.log.write_text(f"{FIRST_LINE}2024-01-01T10:00:00 Submitted 5\n2024-01-01T10:00:31 COMPLETED\n")
    (fake.work / "sbatchwait.lock").mkdir()
    assert fake.run("job.sh", HOME="/proc") == (0, "")


@pytest.mark.parametrize(("state", "status"), [("COMPLETED", 0), ("FAILED", 1), ("TIMEOUT", 1)])
def test_logs_of_parman_0_4(fake: Fake, state: str, status: int) -> None:
    """An old log has states only, which tell the exit status as well as they can."""
    fake.log.write_text(
        f"{FIRST_LINE}2024-01-01T10:00:00.123456 Submitted 5\n2024-01-01T10:00:31.123456 RUNNING\n"
        f"2024-01-01T10:01:02.123456 {state}\n"
    )
    assert fake.run("job.sh") == (status, "")
    assert fake.calls("sbatch") == fake.calls("scontrol") == []


def test_goes_on_with_an_old_log(fake: Fake) -> None:
    """A job that Parman 0.4 submitted is waited for."""
    fake.put(5, "RUNNING")
    fake.log.write_text(f"{FIRST_LINE}{time.strftime('%Y-%m-%dT%H:%M:%S.000000')} Submitted 5\n")
    process = fake.start("job.sh")
    fake.until_step("RUNNING")
    fake.change(5, "FAILED", "4:0")
    assert finish(process) == (4, "")
    assert fake.calls("sbatch") == []


def test_requeued_and_completing_jobs_go_on(fake: Fake) -> None:
    """A job that is completing, or back in the queue with its number, has not ended."""
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    for state in ("RUNNING", "COMPLETING", "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STAGE_OUT"):
        fake.change(12, state)
        fake.until_step(state)
    assert process.poll() is None
    fake.change(12, "COMPLETED")
    assert finish(process)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_and_started_again(fake: Fake, number: signal.Signals) -> None:
    """A program that is stopped leaves the job alone, at once; the next one waits for the same job."""
    process = fake.start("job.sh", PARMAN_SBATCH_POLLING_INTERVAL="1000")
    fake.until_step("PENDING")
    process.send_signal(number)
    status, errors = finish(process)
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    assert number == signal.SIGKILL or "goes on" in errors
    again = fake.start("job.sh")
    fake.change(12, "COMPLETED")
    assert finish(again)[0] == 0
    assert fake.calls("sbatch") == [fake.calls("sbatch")[0]]
    assert fake.steps() == ["Submitted 12", "PENDING", "COMPLETED"]


KILL = "kill -KILL $PPID"


@pytest.mark.parametrize(
    ("hook", "args"),
    [
        (f'make_job "$@"; {KILL}; answer', ["job.sh"]),
        (f'make_job "$@"; {KILL}; answer', ["--comment=mine", "--wrap=x"]),
        (f'make_job "$@"; {KILL}', ["--wrap=x"]),
        (f'make_job "$@"; {KILL}; kill -KILL $$', ["--comment=mine", "--wrap=x"]),
        (f'make_job "$@"; sed -i "s/localhost:[0-9]*/other:1/" "$FAKE/jobs/12"; {KILL}', ["--wrap=x"]),
        (f'make_job; sed -i "s/localhost:[0-9]*/other:1/" "$FAKE/jobs/12"; {KILL}; answer', ["--wrap=x"]),
        ('make_job "$@"; kill -KILL $$', ["--comment=mine", "--wrap=x"]),
    ],
    ids=["all", "number and session", "mark and session", "session", "mark", "number", "only sbatch is killed"],
)
def test_killed_between_submission_and_log(fake: Fake, hook: str, args: list[str]) -> None:
    """The job is found again: by what `sbatch` wrote, by its mark, or by the session of `sbatch`."""
    fake.hook(hook)
    first = fake.start(*args)
    first.wait(TIMEOUT) if KILL in hook else fake.until_step("PENDING")
    again = fake.start(*args)
    fake.until_step("PENDING")
    assert fake.steps() == ["Submitted 12", "PENDING"]
    fake.change(12, "COMPLETED")
    assert finish(again)[0] == 0
    assert len(fake.calls("sbatch")) == 1
    assert "sbatchwait.mark" not in fake.files()


def test_killed_before_the_job_was_there(fake: Fake) -> None:
    """Without a job to be found nothing is submitted again, until the user says so."""
    fake.hook(f"{KILL}; kill -KILL $$")
    assert fake.run("job.sh")[0] == -9
    fake.hook('make_job "$@"; answer')
    for _ in range(2):
        status, errors = fake.run("job.sh")
        assert status == UNKNOWN
        assert "delete sbatchwait.mark" in errors
    assert len(fake.calls("sbatch")) == 1
    (fake.work / "sbatchwait.mark").unlink()
    again = fake.start("job.sh")
    fake.until_step("PENDING")
    fake.change(12, "COMPLETED")
    assert finish(again)[0] == 0


def test_jobs_of_others_don_t_bear_the_mark(fake: Fake) -> None:
    """A job with the same session is not taken for ours if it is older, or from another directory."""
    fake.hook(f'make_job "$@"; sed -i "s/WorkDir=[^ ]*/WorkDir=\\/else/" "$FAKE/jobs/12"; {KILL}')
    assert fake.run("--comment=mine", "--wrap=x")[0] == -9
    assert fake.run("--comment=mine", "--wrap=x")[0] == UNKNOWN
    session = re.search(r"session (\d+)", (fake.work / "sbatchwait.mark").read_text())
    assert session
    fake.put(12, "RUNNING", session=session[1], submitted=int(time.time()) - 3600)
    assert fake.run("--comment=mine", "--wrap=x")[0] == UNKNOWN
    fake.put(12, "COMPLETED", session=session[1])
    assert fake.run("--comment=mine", "--wrap=x")[0] == 0


def test_slurm_away_when_a_mark_was_left(fake: Fake) -> None:
    """Whether there is a job can't be said without Slurm; a later call finds out."""
    fake.hook(f'make_job "$@"; {KILL}')
    assert fake.run("--wrap=x")[0] == -9
    fake.trouble("Unable to contact slurm controller\n")
    status, errors = fake.run("--wrap=x")
    assert status == UNKNOWN
    assert "Unable to contact" in errors
    fake.trouble(None)
    fake.change(12, "COMPLETED")
    assert fake.run("--wrap=x")[0] == 0


def test_mark_of_a_submission_that_did_not_begin(fake: Fake) -> None:
    """Killed before `sbatch` was started, there surely is no job: it is submitted."""
    write_marker(fake.work / "sbatchwait.mark")
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    fake.change(12, "COMPLETED")
    assert finish(process)[0] == 0


def test_two_at_once(fake: Fake) -> None:
    """Of two programs in a directory one submits; both wait, and one log is written."""
    os.mkfifo(fake.folder / "gate")
    fake.hook('read -r < "$FAKE/gate"; make_job "$@"; answer')
    first = fake.start("job.sh")
    until(lambda: fake.calls("sbatch"), "sbatch")
    second = fake.start("job.sh")
    lock = str(fake.work / "sbatchwait.lock")
    until(lambda: lock in open_files(second.pid), "the lock")
    (fake.folder / "gate").write_text("go\n")
    fake.until_step("PENDING")
    fake.change(12, "FAILED", "3:0")
    assert finish(first)[0] == finish(second)[0] == 3
    assert len(fake.calls("sbatch")) == 1
    assert fake.steps() == ["Submitted 12", "PENDING", "Exit 3", "FAILED"]


def open_files(pid: int) -> list[str]:
    """Return the paths of the files that a process has open."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(path.readlink()))
        except FileNotFoundError:
            continue
    return found


def test_started_again_while_sbatch_is_still_there(fake: Fake) -> None:
    """A program that is killed during a slow submission is followed by one that waits for the end of that."""
    os.mkfifo(fake.folder / "gate")
    fake.hook('read -r < "$FAKE/gate"; make_job "$@"; answer')
    first = fake.start("--wrap=x")
    until(lambda: fake.calls("sbatch"), "sbatch")
    first.kill()
    finish(first)
    second = fake.start("--wrap=x")
    lock = str(fake.work / "sbatchwait.lock")
    until(lambda: lock in open_files(second.pid), "the lock")
    (fake.folder / "gate").write_text("go\n")
    fake.until_step("PENDING")
    fake.change(12, "COMPLETED")
    assert finish(second)[0] == 0
    assert len(fake.calls("sbatch")) == 1


def test_sbatch_that_refuses(fake: Fake) -> None:
    """Its exit status and message are passed on, and nothing is left that keeps the next call from submitting."""
    fake.hook("echo 'sbatch: error: Invalid partition name specified' >&2; exit 9")
    status, errors = fake.run("job.sh")
    assert status == 9
    assert "Invalid partition name specified" in errors
    assert fake.files() == {"sbatchwait.lock"}
    fake.hook('make_job "$@"; sed -i s/PENDING/COMPLETED/ "$FAKE/jobs/12"; answer')
    assert fake.run("job.sh")[0] == 0


LOST = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"


def test_sbatch_whose_answer_was_lost(fake: Fake) -> None:
    """A failure after which the job may be there: it is looked for, and waited for if there is one."""
    fake.hook(f'make_job "$@"; sed -i s/PENDING/COMPLETED/ "$FAKE/jobs/12"; {LOST}')
    status, errors = fake.run("--wrap=x")
    assert status == 0
    assert "timed out" in errors


def test_sbatch_whose_answer_was_lost_with_the_job(fake: Fake) -> None:
    """If no such job is to be seen, it may still come: the next call looks again and does not submit."""
    fake.hook(LOST)
    assert fake.run("--wrap=x")[0] == 1
    assert fake.run("--wrap=x")[0] == UNKNOWN
    assert len(fake.calls("sbatch")) == 1


@pytest.mark.parametrize("text", ["echo Welcome to the cluster; answer", "answer; exit 3"])
def test_sbatch_that_says_more(fake: Fake, text: str) -> None:
    """The number counts, whatever a site's own `sbatch` writes before it, and however it ends."""
    fake.hook(f'make_job "$@"; sed -i s/PENDING/COMPLETED/ "$FAKE/jobs/12"; {text}')
    assert fake.run("job.sh")[0] == 0


def test_no_sbatch(fake: Fake) -> None:
    """Without `sbatch` the status is that of a shell, and nothing is left."""
    (fake.folder / "bin" / "sbatch").unlink()
    status, errors = fake.run("job.sh", PATH=str(fake.folder / "bin"))
    assert status == 127
    assert "can't run sbatch: No such file" in errors
    assert fake.files() == {"sbatchwait.lock"}


def test_directory_that_can_t_be_written(fake: Fake) -> None:
    """Nothing is submitted where it could not be noted."""
    fake.work = Path("/proc")
    status, errors = fake.run("job.sh")
    assert status == 2
    assert "can't write" in errors
    assert fake.calls("sbatch") == []


def test_full_disk(fake: Fake) -> None:
    """Nothing is submitted where no mark can be written."""
    limited = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *RUN, "job.sh"]
    done = subprocess.run(limited, cwd=fake.work, env=fake.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "can't write" in done.stderr
    assert fake.calls("sbatch") == []


def test_log_taken_away_while_waiting(fake: Fake) -> None:
    """The exit status is that of the job, and no log is begun in the middle."""
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    fake.log.unlink()
    fake.change(12, "FAILED", "3:0")
    status, errors = finish(process)
    assert status == 3
    assert "it was taken away. Going on without" in errors
    assert not fake.log.exists()


def test_log_taken_away_right_after_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That there was a log is remembered."""

    def write_in_vain(fd: int, line: str) -> None:
        write(fd, line)
        if "RUNNING" in line:
            log.path.unlink()

    log = Log(tmp_path / "log")
    log.add("Submitted 12")
    write = sbatch_log._write
    monkeypatch.setattr(sbatch_log, "_write", write_in_vain)
    log.add("RUNNING")
    assert log.state == "RUNNING"
    with pytest.raises(FileNotFoundError, match="taken away"):
        log.add("FAILED")
    assert not log.path.exists()


def test_home_that_can_t_be_written(fake: Fake) -> None:
    """Nothing is submitted where it could not be waited for; the message names the place."""
    status, errors = fake.run("job.sh", HOME="/proc")
    assert status == 2
    assert "can't write /proc/.cache" in errors
    assert fake.calls("sbatch") == []


@pytest.mark.parametrize("name", ["CACHE_TIMEOUT", "POLLING_INTERVAL", "TIME_MARGIN"])
@pytest.mark.parametrize("value", ["ten", "-1", "nan", "inf", ""])
def test_bad_settings(fake: Fake, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A setting that is no sensible time is an error that names it, before anything is done."""
    from parman.slurm.sbatch_wait import Settings

    monkeypatch.setenv(f"PARMAN_SBATCH_{name}", value)
    with pytest.raises(ProgramExit, match=f"PARMAN_SBATCH_{name} should be a number of seconds.*not '{value}'") as info:
        Settings.from_environment()
    assert info.value.code == 2


def test_bad_setting_of_the_program(fake: Fake) -> None:
    """The program ends with status 2 and submits nothing."""
    status, errors = fake.run("job.sh", PARMAN_SBATCH_POLLING_INTERVAL="0")
    assert status == 2
    assert "POLLING_INTERVAL" in errors
    assert fake.calls("sbatch") == []


def test_scontrol_failing_now_and_then(fake: Fake) -> None:
    """An outage is told of once, and the waiting goes on."""
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    for _ in range(2):
        fake.trouble("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
        fake.until_asked(4)
        fake.trouble(None)
        fake.until_asked()
    fake.change(12, "COMPLETED")
    status, errors = finish(process)
    assert status == 0
    assert errors.count("Unable to contact") == len(errors.splitlines()) == 2


def test_job_that_vanished(fake: Fake) -> None:
    """A job that was seen running and is gone is asked for by number, then unknown; a later call may find it again."""
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    fake.change(12, "RUNNING")
    fake.until_step("RUNNING")
    fake.forget(12)
    status, errors = finish(process)
    assert status == UNKNOWN
    assert "unknown" in errors
    assert "-o show job 12" in fake.calls("scontrol")
    assert fake.steps()[-1] == "RUNNING"
    fake.put(12, "FAILED", "6:0")
    assert fake.run("job.sh")[0] == 6
    assert len(fake.calls("sbatch")) == 1


@pytest.mark.parametrize(
    ("account", "status"),
    [
        ("COMPLETED|0:0|{now}|{work}", 0),
        ("CANCELLED by 1000|0:0|{now}|{work}", 1),
        ("FAILED|3:0|{now}|{work}", 3),
        ("COMPLETED|0:0|{later}|{work}", 0),
        ("COMPLETED|0:0|{later}|/else", UNKNOWN),
        ("rubbish", UNKNOWN),
    ],
    ids=["completed", "cancelled", "failed", "requeued", "other job", "rubbish"],
)
def test_job_in_the_accounts(fake: Fake, account: str, status: int) -> None:
    """How a job ended that Slurm has forgotten is looked up in the accounts, where they are kept."""
    now = int(time.time())
    log = f"{FIRST_LINE}{time.strftime('%Y-%m-%dT%H:%M:%S')} Submitted 12\n"
    fake.log.write_text(log)
    account = account.format(now=now, later=now + 7200, work=fake.work)
    (fake.folder / "accounts").write_text(f"12|{account}\n")
    assert fake.run("job.sh")[0] == status
    assert len(fake.calls("sacct")) == 1
    assert fake.calls("sacct")[0].split()[-4:-2] == ["-j", "12"]


def test_job_that_only_the_closer_look_finds(fake: Fake) -> None:
    """A job that the list of all jobs lacks is not given up as long as Slurm knows it by its number."""
    fake.program("scontrol", SCONTROL.replace('cat "$FAKE"/jobs/* 2>/dev/null', "false"))
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    fake.change(12, "COMPLETED")
    assert finish(process)[0] == 0


def test_controller_away_when_the_job_is_missing(fake: Fake) -> None:
    """A job is gone only if Slurm says so, not because it can't be asked."""
    closer = 'if [[ $last =~ ^[0-9]+$ && -e $FAKE/away ]]; then echo "Unable to contact" >&2; exit 1; fi\nif [[ $last'
    fake.program("scontrol", SCONTROL.replace("if [[ $last", closer, 1))
    (fake.folder / "away").touch()
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    kept = (fake.folder / "jobs" / "12").rename(fake.folder / "kept")
    until(lambda: fake.calls("scontrol").count("-o show job 12") >= 2, "closer looks")
    assert process.poll() is None
    kept.rename(fake.folder / "jobs" / "12")
    fake.change(12, "COMPLETED")
    assert finish(process)[0] == 0


def test_stale_cache(fake: Fake) -> None:
    """An answer from before the submission says nothing of the job."""
    cache_file(fake).parent.mkdir(parents=True)
    cache_file(fake).write_text(f"v1 datetime=2026-01-01T00:00:00.000000 returncode=+000\n{record(3, 'RUNNING')}")
    process = fake.start("job.sh", PARMAN_SBATCH_CACHE_TIMEOUT="0.5")
    until(lambda: fake.steps(), "the submission")
    fake.until_step("PENDING")
    assert "-o show job 12" not in fake.calls("scontrol")
    fake.change(12, "COMPLETED")
    assert finish(process)[0] == 0


def test_recycled_number(fake: Fake) -> None:
    """Another job that was given the same number later is not taken for ours."""
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    process.kill()
    finish(process)
    fake.put(12, "COMPLETED", submitted=int(time.time()) + 7200, folder="/elsewhere")
    status, errors = fake.run("job.sh")
    assert status == UNKNOWN
    assert "a later job has the same number" in errors


def test_requeued_job_keeps_its_number(fake: Fake) -> None:
    """A requeued job may have a later time of submission and is ours all the same."""
    fake.put(5, "COMPLETED", submitted=int(time.time()), restarts=1)
    fake.log.write_text(f"{FIRST_LINE}2026-01-01T10:00:00+00:00 Submitted 5\n")
    assert fake.run("job.sh")[0] == 0


def test_array_tasks_that_slurm_forgets(fake: Fake) -> None:
    """A task that failed counts in the end, also if Slurm has forgotten it and the program was started again."""
    fake.hook(
        'make_job; for n in 12 13; do sed "s/ JobName/ ArrayJobId=12 ArrayTaskId=$n JobName/; s/JobId=12/JobId=$n/" '
        '"$FAKE/jobs/12" >"$FAKE/task.$n"; done; mv "$FAKE/task.12" "$FAKE/jobs/12"; mv "$FAKE/task.13" '
        '"$FAKE/jobs/13"; answer'
    )
    first = fake.start("--array=0-1", "job.sh")
    fake.until_step("PENDING")
    fake.change(13, "RUNNING")
    fake.until_step("RUNNING")
    fake.change(12, "FAILED", "3:0")
    until(lambda: "failed 12 3" in (fake.work / "sbatchwait.job").read_text(), "the note")
    first.kill()
    finish(first)
    fake.forget(12)
    fake.change(13, "COMPLETED")
    assert fake.run("--array=0-1", "job.sh")[0] == 3
    assert fake.steps()[-2:] == ["Exit 3", "FAILED"]


def test_array_task_that_is_run_again(fake: Fake) -> None:
    """A task that failed and was then run again with success does not count as failed."""
    fake.put(12, "PENDING", more="ArrayJobId=12 ArrayTaskId=0 ")
    fake.put(13, "FAILED", "3:0", more="ArrayJobId=12 ArrayTaskId=1 ")
    fake.log.write_text(f"{FIRST_LINE}{time.strftime('%Y-%m-%dT%H:%M:%S')} Submitted 12\n")
    process = fake.start("--array=0-1", "job.sh")
    note = fake.work / "sbatchwait.job"
    until(lambda: note.exists() and "failed 13 3" in note.read_text(), "the note")
    fake.change(13, "RUNNING")
    fake.until_step("RUNNING")
    fake.change(13, "COMPLETED")
    fake.change(12, "COMPLETED")
    assert finish(process)[0] == 0


def test_heterogeneous_job(fake: Fake) -> None:
    """The components of a heterogeneous job are one job."""
    fake.hook('make_job "$@"; sed -i "s/ JobName/ HetJobId=12 HetJobOffset=0 JobName/" "$FAKE/jobs/12"; answer')
    fake.put(13, "RUNNING", more="HetJobId=12 HetJobOffset=1 ")
    process = fake.start("job.sh")
    fake.until_step("RUNNING")
    fake.change(12, "COMPLETED")
    fake.until_asked()
    assert process.poll() is None
    fake.change(13, "FAILED", "2:0")
    assert finish(process)[0] == 2


def test_other_cluster(fake: Fake) -> None:
    """The states of a job on another cluster come from there, and are shared in a file of its own."""
    fake.hook('make_job "$@"; sed -i s/PENDING/COMPLETED/ "$FAKE/jobs/12"; echo "$id;big-1"')
    assert fake.run("-Mbig-1", "job.sh")[0] == 0
    assert fake.steps()[0] == "Submitted 12;big-1"
    assert set(fake.calls("scontrol")) == {"-o -M big-1 show job"}
    assert (cache_file(fake).parent / "sbatch_wait.big-1.out").exists()


@pytest.mark.parametrize("args", [["-M", "big-1"], ["-Mbig-1"], ["--clusters=big-1"]])
def test_job_is_looked_for_on_its_cluster(fake: Fake, args: list[str]) -> None:
    """A mark is looked for where the job was sent to."""
    fake.hook(f'make_job "$@"; {KILL}')
    assert fake.run(*args, "--wrap=x")[0] == -9
    fake.change(12, "COMPLETED")
    assert fake.run(*args, "--wrap=x")[0] == 0
    assert fake.steps()[0] == "Submitted 12;big-1"


@pytest.mark.parametrize("rest", ["2026-01-01T10:00:00 Submitted 1", "2026-01-"])
def test_log_cut_off_in_the_submission(fake: Fake, rest: str) -> None:
    """Half a number is not believed, and the job is not submitted again: the user is told what to do."""
    fake.log.write_text(FIRST_LINE + rest)
    status, errors = fake.run("job.sh")
    assert status == UNKNOWN
    assert "cut off" in errors
    assert fake.calls("sbatch") == []
    assert fake.log.read_text() == FIRST_LINE + rest


def test_log_that_makes_no_sense(fake: Fake) -> None:
    """A log whose first step is no submission is an error that quotes it."""
    fake.log.write_text(FIRST_LINE + "2026-01-01T10:00:00 RUNNING\n")
    status, errors = fake.run("job.sh")
    assert status == 2
    assert "'RUNNING'" in errors


def test_log_cut_off_and_mark(fake: Fake) -> None:
    """If the machine went down while the submission was written to the log, the mark has the number."""
    fake.hook(f'make_job "$@"; {KILL}; answer')
    assert fake.run("job.sh")[0] == -9
    fake.log.write_text(FIRST_LINE + "2026-01-01T10:00:00 Submitted 1")
    fake.change(12, "COMPLETED")
    until(lambda: "\n12\n" in (fake.work / "sbatchwait.mark").read_text(), "the number")
    assert fake.run("job.sh")[0] == 0
    assert fake.steps() == ["Submitted 12", "COMPLETED"]


def test_deleted_log_submits_again(fake: Fake) -> None:
    """Whoever deletes the log wants the job submitted again, and gets that."""
    fake.hook('make_job "$@"; sed -i s/PENDING/COMPLETED/ "$FAKE/jobs/$id"; answer')
    for _ in range(2):
        assert fake.run("job.sh")[0] == 0
        fake.log.unlink()
    assert len(fake.calls("sbatch")) == 2


def test_reader_that_is_gone(fake: Fake) -> None:
    """That nobody reads the output any more is no reason to stop waiting, or to end otherwise."""
    process = fake.start("job.sh")
    fake.until_step("PENDING")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    fake.change(12, "FAILED", "3:0")
    assert finish(process) == (3, "")


def test_help(fake: Fake) -> None:
    """`--help` explains this program rather than `sbatch`."""
    process = fake.start("--help")
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert "PARMAN_SBATCH_CACHE_TIMEOUT" in output


def test_starts_quickly() -> None:
    """The program loads the standard library and its own modules, nothing else."""
    script = (
        "import sys, parman.slurm.sbatch_wait; "
        "print([name for name in ('attrs', 'attr', 'wrapt', 'cloudpickle', 'numpy') if name in sys.modules], "
        "[name for name in sys.modules if name.startswith('parman.') and not name.startswith('parman.slurm')])"
    )
    assert run_script(script).stdout == "[] []\n"
