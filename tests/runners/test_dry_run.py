# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dry run: all mistakes in one report, no task run, no script that goes on with made-up values."""

# ruff: noqa: PT012 (what raises is that the block is left)

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import multiprocessing
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, NamedTuple, NoReturn

import pytest
from helpers import ROOT, TIMEOUT
from helpers.waiting import hasty_switches, in_thread

from parman import (
    ConcurrentRunner,
    DryRunErrors,
    DryRunner,
    FutureTypeError,
    FutureUseError,
    Length,
    WaitGraph,
    as_future,
    as_resolved,
    cancel,
    resolve,
    share,
    task,
    workflow,
)
from parman.closures import Closure
from parman.runners.dry import DryRunEnded, DryRunStopped

# --- scripts ---

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from parman import *


@dataclass
class Model:
    size: int
    weights: list[float]


def _never(*args):
    Path("ran").touch()
    raise AssertionError("a task ran")


@task
def load(path: Path) -> list[float]: _never()


@task
def mean(numbers: list[float], weight: float = 1.0) -> float: _never()


@task
def split(n: int) -> tuple[int, str]: _never()


@task
def train(n: int) -> Model: _never()


@task(mock=lambda n: list(range(n)))
def seeds(n: int) -> list[int]: _never()

"""


def run(
    directory: Path, body: str, *options: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, int]]:
    """Run a script as a user would, in its directory; a comment `# name` marks a line. Return the lines besides."""
    text = HEAD + dedent(body)
    (directory / "script.py").write_text(text)
    lines = {
        match[1]: number for number, line in enumerate(text.splitlines(), 1) if (match := re.search(r"# (\w+)$", line))
    }
    result = subprocess.run(
        [sys.executable, "-W", "error", *options, "script.py"],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert not (directory / "ran").exists()
    return result, lines


def test_all_mistakes_are_in_one_report(tmp_path: Path) -> None:
    """Each mistake of a script is told with the user's file, relative to where they are, and line; status 1."""
    result, line = run(
        tmp_path,
        """
        with workflow("dry"):
            data = load()                           # missing
            load(Path("a"), 1, colour=2)            # wrong
            mean("text", weight=[1])                # values
            mean(load(Path("a")), split(1)[1])      # future
            mean([mean(data)], weight=mean)         # function
            mean({mean(data): 1.0})                 # hidden
            mean(x for x in [1.0])                  # iterator
            n, name = split(3)
            train(name)                             # chained
            with workflow("proceses"):              # runner
                model = train(n)
            mean(model.size)                        # field
            seeds(-1.5)                             # mock
        Path("after").touch()
        print("never")
        """,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert not (tmp_path / "after").exists()
    lines = result.stderr.splitlines()
    where = [match[1] for text in lines if (match := re.match(r"  script\.py:(\d+): ", text))]
    names = ["missing", "wrong", "wrong", "values", "values", "future", "function", "hidden", "hidden", "iterator"]
    names += ["iterator", "chained", "runner", "field", "mock"]
    assert where == [str(line[name]) for name in names]
    assert lines[0] == "Dry run: 15 mistakes"
    assert f"(from split(), called at script.py:{line['future']})" in result.stderr
    assert "Traceback" not in result.stderr


def test_report_says_what_would_run(tmp_path: Path) -> None:
    """Without mistakes the status is 0, and calls per task, longest chain and width are told in aligned columns."""
    result, _ = run(
        tmp_path,
        """
        with workflow("dry"):
            parts = [load(Path(str(i))) for i in range(12)]
            means = [mean(part) for part in parts]
            mean(means)
            train(split(3)[0])
        print("never")
        """,
    )
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == dedent(
        """\
        Dry run: no mistakes found
        Not checked: script.py:43, after the block
        27 calls would run:
          12 x load
          13 x mean
           1 x split
           1 x train
        Longest chain: 3 calls; width: 13
        """
    )


def test_no_file_is_written_behind_a_stop(tmp_path: Path) -> None:
    """A script that asks for a value ends there, with status 1 if there were mistakes before."""
    result, line = run(
        tmp_path,
        """
        with workflow("dry"):
            mean(1)              # mistake
            value = resolve(mean([1.0]))  # stop
            Path("after").touch()
        Path("after").touch()
        """,
    )
    assert result.returncode == 1
    assert f"  script.py:{line['mistake']}: mean(): argument numbers is 1 (int)" in result.stderr
    assert f"Checked up to script.py:{line['stop']}, which needs a value: give `mean` a mock" in result.stderr
    assert not (tmp_path / "after").exists()


def test_environment_makes_a_run_dry(tmp_path: Path) -> None:
    """PARMAN_RUNNER=dry makes every `workflow()` dry, and nothing of it is computed."""
    result, _ = run(tmp_path, "with workflow():\n    mean(load(Path('a')))\nprint('never')\n", PARMAN_RUNNER="dry")
    assert (result.returncode, result.stdout) == (0, "")
    assert "2 calls would run" in result.stderr


def test_misspelt_runner_in_the_environment_is_named(tmp_path: Path) -> None:
    """Who gave a runner that there is not in the environment is told where that came from."""
    result, _ = run(tmp_path, "with workflow():\n    pass\n", PARMAN_RUNNER="dyr")
    assert result.returncode == 1
    assert "there is no runner 'dyr' in the environment variable PARMAN_RUNNER: take serial, dry," in result.stderr


def test_block_without_calls_is_told(tmp_path: Path) -> None:
    """A dry run in which no task is called says so."""
    result, _ = run(tmp_path, "with workflow('dry'):\n    pass\n")
    assert (result.returncode, result.stderr) == (0, "Dry run: no mistakes found\nNo task would be called\n")


def test_exception_of_the_body_comes_with_the_report(tmp_path: Path) -> None:
    """An exception of the script's own keeps its traceback, after the report of the mistakes up to there."""
    result, line = run(
        tmp_path,
        """
        with workflow("dry"):
            mean(1)      # mistake
            {}["key"]    # end
        """,
    )
    assert result.returncode == 1
    assert f"  script.py:{line['mistake']}: mean()" in result.stderr
    assert f"Checked up to script.py:{line['end']}, where the block was left by KeyError: 'key'" in result.stderr
    assert result.stderr.endswith("KeyError: 'key'\n")


@pytest.mark.parametrize(
    ("code", "mistake", "status"), [("3", "", 3), ("3", "mean(1)", 3), ("", "", 0), ("", "mean(1)", 1)]
)
def test_exit_of_the_script_comes_with_the_report(tmp_path: Path, code: str, mistake: str, status: int) -> None:
    """A script that exits in the block keeps its status, but for a 0 that would hide mistakes."""
    result, _ = run(tmp_path, f"with workflow('dry'):\n    {mistake}\n    raise SystemExit({code})\n")
    assert result.returncode == status
    assert result.stderr.count("Dry run: ") == 1


def test_forgotten_close_still_gives_the_report(tmp_path: Path) -> None:
    """A dry block that was opened and never closed is reported when the interpreter ends."""
    result, _ = run(tmp_path, "w = workflow('dry').open()\nmean(1)\n")
    assert result.returncode == 1
    assert result.stderr.startswith("Dry run: 1 mistake\n  script.py:")
    assert "Traceback" not in result.stderr


def test_close_ends_the_script(tmp_path: Path) -> None:
    """`close()` ends a dry run as leaving the block does, also for calls from other threads."""
    result, _ = run(
        tmp_path,
        """
        import threading
        w = workflow("dry").open()
        thread = threading.Thread(target=mean, args=(1,))
        thread.start()
        thread.join()
        w.close()
        print("never")
        """,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "Dry run: 1 mistake\n" in result.stderr


def test_nothing_is_started(tmp_path: Path) -> None:
    """A dry run starts no process and no thread, whatever runners the blocks in it name."""
    result, _ = run(
        tmp_path,
        """
        import multiprocessing, threading
        with workflow("dry"), workflow("processes:2"):
            mean(load(Path("a")))
            print(threading.active_count(), multiprocessing.active_children())
        """,
    )
    assert (result.returncode, result.stdout) == (0, "1 []\n")


def test_prompt_is_left_as_it_is(tmp_path: Path) -> None:
    """At a prompt, where SystemExit would end the session, a dry run ends by an exception of its own."""
    session = (
        "from parman import *\n@task\ndef f(x: int) -> int: ...\n\nwith workflow('dry'):\n    a = f(1)\n\nprint('on')\n"
    )
    command = [sys.executable, "-i", "-c", ""]
    result = subprocess.run(
        command, cwd=ROOT, input=session, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    assert result.stdout == "on\n"
    assert "DryRunEnded: The dry run ends here." in result.stderr


def test_notebook_cell_ends_without_a_traceback() -> None:
    """In IPython the cell ends with a sentence, mistakes are named by cell and line, and the session goes on."""
    script = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        cells = ["from parman import *\\n@task\\ndef f(x: int) -> int: ...",
                 "with workflow('dry'):\\n    f('a')\\n    print(resolve(f(1)))", "print('on')"]
        for cell in cells:
            shell.run_cell(cell, store_history=True)
        """
    result = subprocess.run(
        [sys.executable, "-c", dedent(script).replace("\\\\", "\\")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert result.stdout.splitlines()[-2:] == ["The dry run ends here.", "on"]
    assert "  cell 2, line 2: f(): argument x is 'a' (str), but its annotation says int\n" in result.stderr
    assert "Checked up to cell 2, line 3, which needs a value: give `f` a mock" in result.stderr


STOPS = {
    "resolve": "resolve(model)",
    "result": "mean([1.0]).result()",
    "exception": "mean([1.0]).exception()",
    "resolve in a tree": "resolve({'a': [1, mean([1.0])]})",
    "as_resolved": "list(as_resolved([mean([1.0])]))",
    "as_future of a future": "as_future(mean([1.0])).result()",
    "as_future of a tree": "as_future([mean([1.0]), 2]).result()",
    "as_future of a placeholder": "as_future(model).result()",
    "item": "load(Path('a'))[0].result()",
}


@pytest.mark.parametrize("use", STOPS.values(), ids=STOPS)
def test_value_of_a_placeholder_ends_the_run_there(use: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asks a placeholder for its value ends the run at this line, and is told which mock would serve."""
    namespace: dict[str, Any] = {}
    exec(HEAD, namespace)  # as a script, of which only the last line counts here
    code = compile(f"with workflow('dry'):\n    model = train(1)\n    {use}\n    model = None\n", "script.py", "exec")
    with pytest.raises(DryRunStopped) as stopped:
        exec(code, namespace)
    assert stopped.value.code == 0
    assert namespace["model"] is not None
    name = re.search(r"mean|load|train", use.replace("model", "train"))
    assert name is not None
    assert f"Checked up to script.py:3, which needs a value: give `{name[0]}` a mock" in caplog.text


# --- in this process ---


def no_value() -> NoReturn:
    """Fail, as a task or default factory that a dry run must not call."""
    raise AssertionError("this must not be called in a dry run")


@dataclass
class Box:
    """A record whose default can't be made."""

    number: int
    name: str = field(default_factory=no_value)


class Pair(NamedTuple):
    """A named tuple."""

    number: int
    name: str


@task
def number(n: int = 0) -> int:
    """Return a number."""
    no_value()


@task
def box(n: int) -> Box:
    """Return a record."""
    no_value()


@task
def pair(n: int) -> Pair:
    """Return a named tuple."""
    no_value()


@task
def table(n: int) -> dict[str, float]:
    """Return a dict."""
    no_value()


@task
def boot(n: int) -> Annotated[list[int], Length("n")]:
    """Return a list of known length."""
    no_value()


@task
def take(n: int) -> int:
    """Take a number."""
    no_value()


@task
def text(name: str) -> str:
    """Take a text."""
    no_value()


@task
def anything(*args: Any) -> Any:
    """Take anything."""
    no_value()


def dry() -> Any:
    """Make a block that is left without the end of the script."""
    return workflow(DryRunner(proceed=True))


def mistakes(body: Callable[[], object]) -> list[Exception]:
    """Return what a dry run finds in a function."""
    try:
        with dry():
            body()
    except DryRunErrors as errors:
        return list(errors.exceptions)
    return []


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (lambda: take(number()), lambda: text(number())),
        (lambda: take(box(1).number), lambda: take(box(1).name)),
        (lambda: take(pair(1).number), lambda: take(pair(1).name)),
        (lambda: take(pair(1)[0]), lambda: take(pair(1)[1])),
        (lambda: [take(n) for n in boot(3)], lambda: [text(n) for n in boot(3)]),
        (lambda: anything(table(1)["a"]), lambda: text(table(1)["a"])),
        (lambda: anything(box(1)), lambda: take(box(1))),
    ],
    ids=["single", "record", "named tuple", "item", "list", "dict", "whole record"],
)
def test_placeholders_are_typed_as_annotated(good: Callable[[], object], bad: Callable[[], object]) -> None:
    """The wiring is checked through calls that never ran, whatever structure they return."""
    assert mistakes(good) == []
    found = mistakes(bad)
    assert found
    assert all(isinstance(error, FutureTypeError) for error in found)


def test_structures_are_those_of_a_real_run() -> None:
    """Placeholders have the shape of what other runners return, made without default factories."""
    with dry():
        assert isinstance(box(1), Box)
        assert isinstance(pair(1), Pair)
        assert len(boot(3)) == 3
        assert isinstance(boot(number()), concurrent.futures.Future)


def test_calls_after_a_mistake_are_checked() -> None:
    """A call with a mistake has the result that it would have, so that what follows is checked as well."""

    def body() -> None:
        numbers = boot(3, 4)  # type: ignore[call-arg]
        text(numbers)
        first, _, _ = boot(3)
        text(first)
        number_, _ = pair("a")
        text(number_)
        take(number_)

    found = [str(error).split(" is ")[0] for error in mistakes(body)]
    assert found == [
        "boot() takes 1 positional argument but 2 were given",
        "text(): argument name",
        "text(): argument name",
        "pair(): argument n",
        "text(): argument name",
    ]


def test_mistakes_have_notes_with_their_lines() -> None:
    """Under `proceed`, `DryRunErrors` holds each mistake with the place of its call in a note."""
    with pytest.raises(DryRunErrors, match="the dry run found 2 mistakes") as raised, dry():
        take("a")
        text(1)
    assert [type(error).__name__ for error in raised.value.exceptions] == ["ArgumentError", "ArgumentError"]
    for error in raised.value.exceptions:
        assert re.search(rf"{re.escape(__file__)}:\d+", "".join(error.__notes__))


def test_proceed_goes_on_after_a_block_without_mistakes() -> None:
    """Under `proceed` the script goes on, may enter the runner again, and still gets no made-up values."""
    runner = DryRunner(proceed=True)
    with workflow(runner):
        first = number()
    with workflow(runner):
        second = take(number())
    for make_placeholder in (first, second):
        with pytest.raises(DryRunStopped):
            resolve(make_placeholder)


def test_asking_for_a_value_after_the_block_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The line that asks for a value after the report was given is told as well."""
    with dry():
        value = number()
    caplog.clear()
    with pytest.raises(DryRunStopped):
        value.result()
    assert re.search(
        r"Dry run: Checked up to \S*test_dry_run\.py:\d+, which needs a value: give `number` a mock", caplog.text
    )


def test_one_runner_starts_anew_in_each_block() -> None:
    """What was found in one block is not told again in the next one."""
    runner = DryRunner(proceed=True)
    with pytest.raises(DryRunErrors), workflow(runner):
        take("a")
    with workflow(runner):
        take(1)


def test_inner_blocks_are_part_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """A block in a dry block is dry whatever its runner, does not end the script, and is in the same report."""
    done = []
    with pytest.raises(DryRunErrors) as raised, dry():
        take("outer")
        for runner in ("threads", "dry", "serial", None):
            with workflow(runner):
                take("inner")
            done.append(runner)
        take("last")
    assert len(raised.value.exceptions) == 6
    assert len(done) == 4
    assert caplog.text.count("Dry run: ") == 1


def test_dry_block_in_a_real_one_ends_the_script() -> None:
    """A dry block in a block of another runner ends the script, and the outer block is left as it should be."""
    with pytest.raises(DryRunStopped), workflow("threads:1"), workflow("dry"):
        number()


# --- mocks ---


@task(mock=lambda n: list(range(n)))
def count_to(n: int) -> list[int]:
    """Return numbers."""
    no_value()


@task(mock=lambda n: [0] * n)
def paths(n: int) -> list[Path]:
    """Return paths; the mock tells no more than how many."""
    no_value()


@task(mock=lambda n: 1 // n)
def inverse(n: int) -> int:
    """Have a mock that fails for 0."""
    no_value()


def test_values_of_mocks_go_on() -> None:
    """What a mock returns is a value: it can be resolved, decided on, and iterated over."""
    with dry():
        numbers = count_to(3)
        assert numbers == resolve(numbers) == [0, 1, 2]
        assert as_future(numbers[2]).result() == 2
        assert dict(as_resolved(numbers)) == {0: 0, 1: 1, 2: 2}
        assert not count_to(0)


def test_values_of_mocks_are_checked_where_they_go() -> None:
    """The value of a mock is checked against the parameter that it is passed to."""
    found = mistakes(lambda: text(count_to(3)[1]))
    assert [str(error) for error in found] == ["text(): argument name is 1 (int), but its annotation says str"]


def test_mock_of_other_types_is_taken_for_the_shape() -> None:
    """Values of a mock that are not of the annotated types are no promise: typed placeholders are in their places."""

    def body() -> None:
        first, _ = paths(2)
        take(first)

    assert [type(error) for error in mistakes(body)] == [FutureTypeError]


def test_value_that_a_mock_does_not_make_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """Asking for a value of which the mock makes only the shape tells that the mock should make it."""
    with pytest.raises(DryRunStopped), dry():
        resolve(paths(2))
    assert "let the mock of `paths` return values of the annotated types to check what follows" in caplog.text


def test_mock_of_a_placeholder_tells_which_mock_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    """A mock that needs the value of a call without a mock gives a placeholder; the cure names the other task."""
    with pytest.raises(DryRunStopped), dry():
        resolve(count_to(number()))
    assert "give `number` a mock" in caplog.text


def test_mock_that_raises_is_a_mistake() -> None:
    """A mock that fails is told with its own line, and the run goes on with a placeholder of the annotated type."""

    def body() -> None:
        text(inverse(0))

    failed, wired = mistakes(body)
    assert re.match(r"the mock of inverse\(\) failed: ZeroDivisionError: .* \(\S*test_dry_run\.py:\d+\)$", str(failed))
    assert isinstance(wired, FutureTypeError)


def test_chains_are_followed_through_mocks(caplog: pytest.LogCaptureFixture) -> None:
    """Lists that mocks made count as results of their calls; with numbers the chain can be longer than told."""
    with dry():
        anything(count_to(2))
    assert "Longest chain: at least 2 calls; width: 1" in caplog.text


def test_mocks_get_shared_values() -> None:
    """A mock is given the value of what is shared, as the task is."""
    with dry():
        assert count_to(share(2)) == [0, 1]


# --- uses of futures ---

USES: dict[str, Callable[[Any], object]] = {
    "truth": bool,
    "length": len,
    "iteration": list,
    "number": float,
    "format": lambda future: f"{future:.3f}",
    "comparison": lambda future: future == 1,
    "arithmetic": lambda future: future + 1,
    "attribute": lambda future: future.shape,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_use_of_a_placeholder_as_a_value_is_reported(
    use: Callable[[Any], object], caplog: pytest.LogCaptureFixture
) -> None:
    """It ends the run there, as one of the mistakes; those that were found before are not lost."""
    with pytest.raises(DryRunErrors) as raised, dry():
        take("a")
        use(number())
    assert isinstance(raised.value.exceptions[1], FutureUseError)
    assert "Dry run: 2 mistakes" in caplog.text
    assert re.search(r"Checked up to \S*test_dry_run\.py:\d+, where this ended the block", caplog.text)


def test_place_of_a_use_in_a_library_is_the_users_line(caplog: pytest.LogCaptureFixture) -> None:
    """A future that fails in numpy, or in the standard library, is told at the line of the user's file."""
    import numpy as np

    with pytest.raises(DryRunErrors), dry():
        np.mean(number())
    assert re.search(r"^  \S*test_dry_run\.py:\d+: the result of number\(\)", caplog.messages[0], re.MULTILINE)


def test_waiting_does_not_hang() -> None:
    """Placeholders count as done for whatever waits; cancelling them changes nothing."""
    with dry():
        futures = [number(), number()]
        assert len(concurrent.futures.wait(futures).done) == 2
        assert len(list(concurrent.futures.as_completed(futures, timeout=0))) == 2
        assert futures[0].done()
        assert not cancel(futures)
        assert not futures[0].cancelled()
        called = threading.Event()
        futures[0].add_done_callback(lambda _: called.set())
        assert called.is_set()


def test_asyncio_does_not_hang() -> None:
    """A placeholder that is awaited ends the run."""

    async def main() -> None:
        await asyncio.wrap_future(number())

    with pytest.raises(DryRunStopped), dry():
        asyncio.run(main())


def test_graph_of_placeholders_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """A digest that needs a placeholder's value ends the run at the line that made it wait for that."""
    with pytest.raises(DryRunStopped), dry():
        WaitGraph().submit([number()], lambda value: value).result(TIMEOUT)
    assert re.search(r"Checked up to \S*test_dry_run.py:\d+, which needs a value: give `number`", caplog.text)


def test_need_for_a_value_on_a_thread_of_the_library_names_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """Where no line of the user's asks for the value, the report names the call whose value is needed."""
    last: concurrent.futures.Future[int] = concurrent.futures.Future()
    with pytest.raises(DryRunStopped), dry():
        waiting = WaitGraph().submit([last, number()], lambda *values: values)
        last.set_result(1)
        waiting.result(TIMEOUT)
    assert re.search(r"Checked up to the need for a value of number\(\), called at \S*test_dry_run.py:\d+", caplog.text)


# --- the rest ---


def test_shared_values_are_checked() -> None:
    """`share(x)` is checked as x is."""
    assert mistakes(lambda: take(share(1))) == []
    assert len(mistakes(lambda: take(share("a")))) == 1


def test_calls_of_all_threads_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Between `open()` and `close()` calls come from any thread, and none is lost from the counts."""
    block = dry().open()
    start = threading.Barrier(4)

    def calls() -> None:
        start.wait(TIMEOUT)
        for _ in range(500):
            number()

    with hasty_switches():
        threads = [in_thread(calls) for _ in range(4)]
        for thread in threads:
            thread.join(TIMEOUT)
    block.close()
    assert "2000 calls would run:\n  2000 x number\n" in caplog.text


def test_hundreds_of_mistakes_in_a_loop_are_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Mistakes of one line of the script are cut after a few and counted; equal ones are one line."""
    with pytest.raises(DryRunErrors, match="500 mistakes"), dry():
        for i in range(400):
            text(i)
        for _ in range(100):
            take("a")
    report = caplog.messages[0]
    assert len(report.splitlines()) < 15
    assert "and 395 more mistakes" in report
    assert "(100 times)" in report


def test_level_of_the_report_tells_of_mistakes(caplog: pytest.LogCaptureFixture) -> None:
    """The report is a warning, which is shown by default, and an error if there are mistakes."""
    mistakes(lambda: take(1))
    mistakes(lambda: take("a"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


def test_check_of_the_block_and_the_task_is_kept() -> None:
    """What is no error in a real run is none in a dry run."""
    with workflow(DryRunner(proceed=True), check="off"):
        take("a")


def test_runner_takes_a_closure_of_its_own() -> None:
    """Outside of a block, a closure gives its placeholders."""
    result = DryRunner()(Closure(boot, (2,)))
    assert len(result) == 2
    with pytest.raises(DryRunStopped):
        resolve(result)


def test_prompt_exception_is_no_exception_that_scripts_catch() -> None:
    """`except Exception` in a script does not keep a dry run from ending."""
    assert not issubclass(DryRunEnded, Exception)
    assert not issubclass(DryRunStopped, Exception)


def test_dry_run_of_many_calls_is_cheap() -> None:
    """No futures pile up behind the calls: 20,000 of them leave no thread, and are made in a moment."""
    before = threading.active_count(), len(multiprocessing.active_children())
    with dry():
        value = number()
        for _ in range(20_000):
            value = take(value)
    assert (threading.active_count(), len(multiprocessing.active_children())) == before


# --- all mistakes of one call ---


@task
def weigh(values: list[float], weight: float = 1.0) -> float:
    """Take a list of numbers."""
    no_value()


@task
def look_up(table: dict[str, list[int]], pair: tuple[int, str]) -> int:
    """Take nested containers."""
    no_value()


@task
def boot_counted(n: int, count: int) -> Annotated[list[int], Length("count")]:
    """Return a list of known length, which has nothing to do with `n`."""
    no_value()


@task
def strict(a: int, b: int, *, c: int) -> int:
    """Have a parameter of each kind."""
    no_value()


def texts_of(body: Callable[[], object]) -> list[str]:
    """Return the texts of what a dry run finds in a function."""
    return [str(error) for error in mistakes(body)]


ONE_CALL: dict[str, tuple[Callable[[], object], list[str]]] = {
    "keyword and type": (
        lambda: weigh("a", w=3),  # type: ignore[call-arg,arg-type]
        ["weigh() got an unexpected keyword argument 'w'", "argument values is 'a' (str)"],
    ),
    "surplus, unknown and missing": (
        lambda: strict(1, 2, 3, d=4),  # type: ignore[call-arg,misc]
        ["takes 2 positional arguments but 3", "keyword argument 'd'", "keyword-only argument: 'c'"],
    ),
    "missing of both kinds": (
        lambda: strict(b="x"),  # type: ignore[call-arg,arg-type]
        ["positional argument: 'a'", "keyword-only argument: 'c'", "argument b is 'x' (str)"],
    ),
    "twice and missing": (
        lambda: strict(1, a="x"),  # type: ignore[call-arg,misc,arg-type]
        ["multiple values for argument 'a'", "positional argument: 'b'", "keyword-only argument: 'c'"],
    ),
    "several items": (
        lambda: weigh(["a", 1.0, None, 2.0], weight=[]),  # type: ignore[list-item,arg-type]
        ["values[0] is 'a' (str)", "values[2] is None", "weight is [] (list)"],
    ),
    "many items": (
        lambda: weigh([1.0, *["a"] * 50]),  # type: ignore[list-item]
        ["values[1] is 'a'", "values[2] is 'a'", "values[3] is 'a'", "values has 47 more items that do not fit"],
    ),
    "nested items, keys too": (
        lambda: look_up({"a": [1, "x"], "b": ["y"], 3: []}, (1, 2)),  # type: ignore[list-item,dict-item,arg-type]
        ["table['a'][1] is 'x'", "table['b'][0] is 'y'", "table[3] is 3 (int)", "pair[1] is 2 (int)"],
    ),
    "types and a future": (
        lambda: weigh([text("a"), "b"], weight=text("c")),  # type: ignore[list-item,arg-type]
        ["values[1] is 'b' (str)", "values[0] is a future of", "weight is a future of"],
    ),
    "type and length": (
        lambda: boot_counted("a", -1),  # type: ignore[arg-type]
        ["argument n is 'a' (str)", "Length('count') is -1 (int) here"],
    ),
    "type, hidden futures, locks, iterators": (
        lambda: anything({number()}, [threading.Lock(), {1: iter([])}], threading.Lock(), weigh),
        [
            "args[0].<item> is a future where it can't be found",
            "args[1][0] can't be pickled",
            "args[1][1][1] is a list_iterator, which is used up",
            "args[2] can't be pickled",
        ],
    ),
    "a length of a wrong argument is no further mistake": (lambda: boot("x"), ["argument n is 'x' (str)"]),  # type: ignore[arg-type]
    "a mock that stumbles over a wrong argument neither": (lambda: count_to("x"), ["argument n is 'x' (str)"]),  # type: ignore[arg-type]
    "a future in something wrong neither": (lambda: text([number()]), ["argument name is [<placeholder"]),  # type: ignore[arg-type,list-item]
}


@pytest.mark.parametrize(("body", "expected"), ONE_CALL.values(), ids=ONE_CALL)
def test_one_call_tells_all_its_mistakes(body: Callable[[], object], expected: list[str]) -> None:
    """Binding, types of each item, lengths, hidden futures and copies are looked at each on its own."""
    found = texts_of(body)
    assert len(found) == len(expected), found
    for one, part in zip(found, expected, strict=True):
        assert part in one


def test_mistakes_of_one_call_are_never_cut(caplog: pytest.LogCaptureFixture) -> None:
    """However many mistakes the first call of a line has, the report shows all of them."""
    locks = [threading.Lock() for _ in range(8)]
    assert len(mistakes(lambda: anything(*locks))) == 8
    assert len(mistakes(lambda: anything(locks))) == 4  # the last one says that there are more
    caplog.clear()
    assert len(mistakes(lambda: [strict(x, y, z=1, u=2, v=3, w=4) for x, y in [("a", "b")]])) == 7  # type: ignore
    assert len(re.findall(r"^  \S*test_dry_run\.py:\d+: ", caplog.text, re.MULTILINE)) == 7


def test_generators_passed_twice_are_told_beside_other_mistakes() -> None:
    """A random generator of an earlier call is a mistake of its own; the first call that is given it is right."""
    import numpy as np

    rng = np.random.default_rng(0)

    def body() -> None:
        anything(rng)
        anything(rng, [rng], threading.Lock())
        anything(np.random.default_rng(1), threading.Lock())

    assert [re.sub(r" (is a|can't).*", "", found) for found in texts_of(body)] == [
        "anything(): argument args[2]",
        "anything(): argument args[0]",
        "anything(): argument args[1]",
    ]


def test_calls_that_only_warn_have_no_mistakes_of_type() -> None:
    """Where types are not checked, a call with another mistake is not blamed for its types."""
    with pytest.raises(DryRunErrors) as raised, workflow(DryRunner(proceed=True), check="off"):
        take("a", 1)  # type: ignore[call-arg,arg-type]
    assert [str(error) for error in raised.value.exceptions] == ["take() takes 1 positional argument but 2 were given"]


# --- what processes refuse ---

UNPICKLABLE = """\
import sqlite3, socket, sys, threading
from dataclasses import dataclass
from parman import *

LOCK = threading.Lock()
DB = sqlite3.connect(":memory:")

@dataclass
class Settings:
    log: object

def helper(x):
    with LOCK:
        return x

@task
def plain(x) -> int: ...

@task
def direct(x: int) -> int:
    with LOCK:
        return DB.execute(x)

@task
def indirect(x: int) -> int:
    return helper(x)

@task
def default(x: int, *, lock=threading.Lock()) -> int: ...

def make():
    connection = socket.socket()
    @task
    def inner(x: int) -> int:
        return connection.fileno()
    return inner

def body():
    plain(LOCK)
    plain([1, {"a": DB}])
    plain(Settings(open(__file__)))
    plain(lambda: 1)
    for i in range(3):
        direct(i)
    indirect(1)
    default(1)
    make()(1)

"""
REFUSED = [
    "plain(): argument x can't be pickled",
    "plain(): argument x[1]['a'] can't be pickled",
    "plain(): argument x.log can't be pickled",
    "direct(): the variable DB can't be pickled",
    "direct(): the variable LOCK can't be pickled",
    "indirect(), which uses helper(): the variable LOCK can't be pickled",
    "default(): the default of lock can't be pickled",
    "inner(): the variable connection can't be pickled",
]


@pytest.mark.parametrize(
    ("block", "variables", "expected"),
    [
        ("workflow('dry')", {}, REFUSED),
        ("workflow()", {"PARMAN_RUNNER": "dry"}, REFUSED),
        ("workflow('dry'), workflow('processes:2')", {}, REFUSED),
        ("workflow('dry'), workflow('processes'), workflow()", {}, REFUSED),
        ("workflow('dry'), workflow('threads:2')", {}, []),
        ("workflow('dry'), workflow('serial'), workflow()", {}, []),
    ],
)
def test_a_dry_run_refuses_what_processes_refuse(
    tmp_path: Path, block: str, variables: dict[str, str], expected: list[str]
) -> None:
    """Arguments, functions, defaults and variables are pickled, unless a block in the dry one names threads."""
    script = tmp_path / "script.py"
    script.write_text(f"{UNPICKLABLE}with {block}:\n    body()\n")
    result = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    found = re.findall(r"^  script\.py:\d+: (.*?can't be pickled)", result.stderr, re.MULTILINE)
    assert (found, result.returncode) == (expected, 1 if expected else 0)


def test_executors_in_a_dry_block_say_where_calls_go() -> None:
    """A pool of threads takes locks, also in a dry block; a pool of processes does not."""
    lock = threading.Lock()

    def in_block(runner: Any) -> None:
        with workflow(runner):
            anything(lock)

    with concurrent.futures.ThreadPoolExecutor(1) as threads, concurrent.futures.ProcessPoolExecutor(1) as processes:
        assert mistakes(lambda: in_block(threads)) == []
        assert len(mistakes(lambda: in_block(processes))) == 1
    assert mistakes(lambda: in_block(ConcurrentRunner.threads(1))) == []
    assert len(mistakes(lambda: in_block(ConcurrentRunner.processes(1)))) == 1


def test_sharing_what_cannot_be_pickled_is_a_mistake_and_the_run_goes_on() -> None:
    """`share(lock)` is told at its line, and what follows is checked."""

    def body() -> None:
        anything(share(threading.Lock()))
        take("a")

    shared, wrong = texts_of(body)
    assert shared.startswith("share(x) can't be pickled")
    assert wrong.startswith("take(): argument n is 'a'")


# --- mocks of another structure ---


@task(mock=lambda n: (1, 2, 3))
def two(n: int) -> tuple[int, int]:
    """CallFuture two numbers, of which the mock makes three."""
    no_value()


@task(mock=lambda n: [0] * n)
def three(n: int) -> Annotated[list[int], Length(3)]:
    """CallFuture three numbers, where the mock makes n."""
    no_value()


@task(mock=lambda n: [0])
def one(n: int) -> int:
    """CallFuture a number, of which the mock makes a list."""
    no_value()


def test_mock_of_another_structure_is_a_mistake() -> None:
    """A mock that can't be an example of what is annotated is told; with as many as promised it is right."""
    assert texts_of(lambda: (two(1), three(3), three(2), one(1))) == [
        "the mock of two() returns a tuple of 3, (1, 2, 3), but the annotation promises a tuple of 2",
        "the mock of three() returns a list of 2, [0, 0], but the annotation promises a list of 3",
        "the mock of one() returns a list of 1, [0], but the annotation promises int",
    ]


# --- the headline ---

ENDED = (
    "Dry run: not finished: the script ended itself with exit status STATUS at script.py:{end}, "
    "after 0 calls without a mistake"
)
HEADLINES = {
    "own exception": (
        "with workflow('dry'):\n    mean([1.0])\n    1 / 0  # end\n    mean([2.0])  # next\nprint()  # last",
        1,
        "Dry run: not finished: the script failed at script.py:{end}, after 1 call without a mistake",
    ),
    "own exception after a mistake": (
        "with workflow('dry'):\n    mean(1)\n    1 / 0  # end\n    mean([2.0])  # next\nprint()  # last",
        1,
        "Dry run: 1 mistake up to script.py:{end}",
    ),
    "exit 0": (
        "import sys\nwith workflow('dry'):\n    sys.exit(0)  # end\n    mean(1)  # next\nprint()  # last",
        0,
        "Dry run: no mistakes found up to script.py:{end}",
    ),
    "exit 3": (
        "import sys\nwith workflow('dry'):\n    sys.exit(3)  # end\n    mean(1)  # next\nprint()  # last",
        3,
        ENDED.replace("STATUS", "3"),
    ),
    "exit with a text": (
        "import sys\nwith workflow('dry'):\n    sys.exit('no')  # end\n    mean(1)  # next\nprint()  # last",
        1,
        ENDED.replace("STATUS", "1"),
    ),
    "a value in a function": (
        (
            "def ask(x):\n    return x.result()  # end\n"
            "with workflow('dry'):\n    x = mean([1.0])\n    if ask(x) > 0:\n"
            "        mean(1)  # next\nprint()  # last"
        ),
        0,
        "Dry run: no mistakes found up to script.py:{end}",
    ),
    "a value in an inner block": (
        (
            "with workflow('dry'):\n    with workflow('threads'):\n        resolve(mean([1.0]))  # end\n"
            "        mean(1)  # next\n    mean(1)\nprint()  # last"
        ),
        0,
        "Dry run: no mistakes found up to script.py:{end}",
    ),
    "a placeholder in a function of Python": (
        "with workflow('dry'):\n    open(mean([1.0]))  # end\n    mean(1)  # next\nprint()  # last",
        1,
        "Dry run: not finished: the script failed at script.py:{end}, after 1 call without a mistake",
    ),
    "a block in a function": (
        (
            "def main():\n    with workflow('dry'):\n        mean(\n            [1.0]\n        )\n    a = 1  # next\n"
            "    print(a)  # last\nmain()\n"
        ),
        0,
        "Dry run: no mistakes found",
    ),
    "several blocks": (
        "with workflow('dry'):\n    mean([1.0])\nwith workflow('dry'):  # next\n    mean(1)\nprint()  # last",
        0,
        "Dry run: no mistakes found",
    ),
}


@pytest.mark.parametrize(("body", "status", "head"), HEADLINES.values(), ids=HEADLINES)
def test_headline_says_what_was_checked_and_what_was_not(tmp_path: Path, body: str, status: int, head: str) -> None:
    """The first line agrees with the exit status, and the lines that were not reached are named."""
    result, line = run(tmp_path, body)
    lines = result.stderr.splitlines()
    assert result.returncode == status
    assert lines[0] == head.format(**line)
    assert ("no mistakes found" in result.stderr) == (status == 0)
    after = "" if "end" in line else ", after the block"
    assert f"Not checked: script.py:{line['next']}-{line['last']}{after}" in lines


def test_block_at_the_end_of_the_script_leaves_nothing_unchecked(tmp_path: Path) -> None:
    """Where nothing follows the block, nothing is said of lines that were not checked."""
    result, _ = run(tmp_path, "with workflow('dry'):\n    mean([1.0])\n")
    assert "Not checked" not in result.stderr


def test_block_that_is_never_left_is_not_without_mistakes(tmp_path: Path) -> None:
    """A script that fails in an open block does not get a report that it is right."""
    result, _ = run(tmp_path, "w = workflow('dry').open()\nmean([1.0])\n1 / 0\n")
    assert result.returncode == 1
    assert "no mistakes found" not in result.stderr
    assert "Dry run: not finished: the block was never left, after 1 call without a mistake" in result.stderr


def test_class_of_placeholders_is_explained_where_python_names_it(tmp_path: Path) -> None:
    """An error of Python that names the class of a placeholder says what that is and what to do."""
    result, _ = run(tmp_path, "with workflow('dry'):\n    open(mean([1.0]))\n")
    assert "stands in for the result of a call: resolve() it, or pass it to a task" in result.stderr


def test_value_that_a_thread_asks_for_is_told(tmp_path: Path) -> None:
    """A need for a value in a thread of the user's, which only ends that thread, is in the headline."""
    body = (
        "import threading\nthreading.excepthook = lambda args: None\nwith workflow('dry'):\n    x = mean([1.0])\n"
        "    t = threading.Thread(target=x.result)\n    t.start()\n    t.join()\n"
    )
    result, _ = run(tmp_path, body)
    assert result.stderr.startswith("Dry run: no mistakes found up to the need for a value of mean(), called at")
