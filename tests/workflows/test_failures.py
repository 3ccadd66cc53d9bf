# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# ruff: noqa: PT012 (what raises is the end of the block)
"""How a failed call is seen: the exception, its notes, what depends on it, and that it can't be missed."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from helpers import TIMEOUT

from parman import (
    ConcurrentRunner,
    RemoteError,
    ResultError,
    SerialRunner,
    WaitGraph,
    WorkflowError,
    WorkflowFailed,
    as_future,
    as_resolved,
    cancel,
    resolve,
    task,
    workflow,
)
from parman.engine.ready_queue import ReadyQueue
from parman.snapshots.exceptions import PackedException, duplicate

# --- exceptions of many kinds ---


class TwoArguments(Exception):
    def __init__(self, name, code):
        super().__init__(f"{name} ended with {code}")
        self.name = name
        self.code = code


class KeywordOnly(ValueError):
    def __init__(self, *, reason):
        super().__init__()
        self.reason = reason

    def __str__(self):
        return f"because {self.reason}"


class Slotted(Exception):
    __slots__ = ("number",)

    def __init__(self, number):
        super().__init__("slotted")
        self.number = number


@dataclass(frozen=True)
class Frozen(Exception):
    text: str


@attrs.frozen
class FrozenAttrs(Exception):
    text: str


class Refusing(Exception):
    def add_note(self, note):
        raise RuntimeError("no notes please")


class Untouchable(Exception):
    def __setattr__(self, name, value):
        raise RuntimeError("can't touch this")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Group(ExceptionGroup):
    def __new__(cls, errors, code):
        self = super().__new__(cls, f"group with code {code}", errors)
        self.code = code
        return self

    def derive(self, excs):
        return Group(excs, self.code)


class Locked(Exception):
    """Has an attribute and an argument that can't be pickled."""

    def __init__(self, text):
        super().__init__(text, threading.Lock())
        self.lock = threading.Lock()
        self.size = 3


class Unloadable(Exception):
    """Can be pickled, but not be rebuilt."""

    def __init__(self):
        super().__init__("see the text")
        self.bomb = Bomb()


class Bomb:
    def __reduce__(self):
        return _explode, ()


def _explode():
    raise ValueError("bomb")


class Evil:
    """Ends the process of who pickles it, if that is not careful."""

    def __reduce__(self):
        raise SystemExit(5)


CONSTANT = ValueError("always the same object")


def unreadable_file():
    Path("/no/such/file").read_text()


def a_group():
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ExceptionGroup("several", [error, TwoArguments("inner", 2)]) from error


def with_cause():
    try:
        raise TwoArguments("cause", 1)
    except TwoArguments as error:
        raise KeywordOnly(reason="the cause") from error


def with_context():
    try:
        raise Slotted(1)
    except Slotted:
        raise KeyError("second")  # noqa: B904


def raiser(exception: BaseException) -> Callable[[], None]:
    def function():
        raise exception

    return function


KINDS: dict[str, tuple[Callable[[], object], Callable[[Any], bool]]] = {
    "builtin": (lambda: 1 / 0, lambda e: type(e) is ZeroDivisionError),
    "two arguments": (
        raiser(TwoArguments("it", 3)),
        lambda e: type(e) is TwoArguments and (e.name, e.code, str(e)) == ("it", 3, "it ended with 3"),
    ),
    "keyword only": (raiser(KeywordOnly(reason="x")), lambda e: type(e) is KeywordOnly and str(e) == "because x"),
    "slots": (raiser(Slotted(7)), lambda e: type(e) is Slotted and e.number == 7 and e.args == ("slotted",)),
    "frozen dataclass": (raiser(Frozen("ice")), lambda e: type(e) is Frozen and e.text == "ice"),
    "frozen attrs": (raiser(FrozenAttrs("ice")), lambda e: type(e) is FrozenAttrs and e.text == "ice"),
    "refuses notes": (raiser(Refusing("x")), lambda e: type(e) is Refusing and e.args == ("x",)),
    "refuses all": (raiser(Untouchable("x")), lambda e: type(e) is Untouchable and e.args == ("x",)),
    "has no text": (raiser(Mute(1)), lambda e: type(e) is Mute and e.args == (1,)),
    "OSError": (
        unreadable_file,
        lambda e: type(e) is FileNotFoundError and (e.errno, e.filename) == (2, "/no/such/file"),
    ),
    "unicode": (lambda: b"\xff".decode(), lambda e: type(e) is UnicodeDecodeError and (e.start, e.end) == (0, 1)),
    "json": (lambda: json.loads("{"), lambda e: type(e) is json.JSONDecodeError and e.pos == 1),
    "subprocess": (
        raiser(subprocess.CalledProcessError(3, ["cmd"], b"out")),
        lambda e: type(e) is subprocess.CalledProcessError and (e.returncode, e.output) == (3, b"out"),
    ),
    "import": (lambda: __import__("no_such_module"), lambda e: type(e) is ModuleNotFoundError and e.name),
    "stop iteration": (lambda: next(iter(())), lambda e: type(e) is StopIteration),
    "group": (
        a_group,
        lambda e: (
            type(e) is ExceptionGroup
            and [type(x) for x in e.exceptions] == [KeyError, TwoArguments]
            and e.__cause__ is e.exceptions[0]
        ),
    ),
    "own group": (
        raiser(Group([ValueError(1), Slotted(2)], 9)),
        lambda e: type(e) is Group and e.code == 9 and e.exceptions[1].number == 2 and e.message.endswith("code 9"),
    ),
    "cause": (with_cause, lambda e: type(e) is KeywordOnly and e.__cause__.code == 1),
    "context": (with_context, lambda e: e.__context__.number == 1 and not e.__suppress_context__),
    "exit": (lambda: exit(4), lambda e: type(e) is SystemExit and e.code == 4),
}


@task
def fail_with(kind: str, payload: object = None):
    return KINDS[kind][0]()


@task
def fail(text: str = "boom", payload: object = None) -> int:
    raise ValueError(text)


@task
def double(x: int) -> int:
    return 2 * x


@task
def pair(x: int) -> tuple[int, int]:
    return x, x


@task
def accepting(x: int | Exception) -> str:
    return type(x).__name__


@task
def accepting_many(xs: list[int | Exception]) -> list[str]:
    return [type(x).__name__ for x in xs]


@task
def same_object(i: int):
    raise CONSTANT


@task
def raise_again(x: int | Exception):
    assert isinstance(x, Exception)
    raise x


@task
def raise_interrupt():
    raise KeyboardInterrupt("from the task")


@task
def divide(x: int, y: int) -> float:
    return x / y


@task
def returns(kind: str) -> Any:
    return {"bomb": Bomb, "evil": Evil, "lock": threading.Lock}[kind]()


@task
def raises_oddly(kind: str) -> None:
    raise {"locked": Locked, "unloadable": Unloadable}[kind](*(["text"] if kind == "locked" else []))


@task
def use(x: Any) -> Any:
    return x


@pytest.fixture(scope="module")
def runners():
    """Open each kind of runner once."""
    with SerialRunner() as serial, ConcurrentRunner.threads(2) as threads, ConcurrentRunner.processes(2) as processes:
        yield {"serial": serial, "threads": threads, "processes": processes}


@pytest.fixture(params=["serial", "threads", "processes"])
def runner(request, runners):
    return runners[request.param]


@pytest.fixture(params=["threads", "processes"])
def parallel(request, runners):
    return runners[request.param]


@pytest.fixture
def processes(runners):
    return runners["processes"]


def caught(future: Future[Any]) -> BaseException:
    exception = future.exception(TIMEOUT)
    assert exception is not None
    return exception


def notes(exception: BaseException) -> str:
    return "\n".join(getattr(exception, "__notes__", []))


# --- the exception ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_and_content_are_kept(runner, kind):
    """An exception of any kind arrives as the same type, with what it holds, and without a call of its __init__."""
    with workflow(runner):
        exception = caught(fail_with(kind))
    assert KINDS[kind][1](exception), repr(exception)


REFUSE_NOTES = {"frozen dataclass", "frozen attrs", "refuses notes", "refuses all"}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - REFUSE_NOTES))
def test_notes_tell_what_failed_and_where(runner, kind):
    """The notes name the task, its arguments in short, the line of the call and the task's own traceback."""
    with workflow(runner):
        exception = caught(fail_with(kind, payload="x" * 10000))
        text = notes(exception)
    line = test_notes_tell_what_failed_and_where.__code__.co_firstlineno + 4
    assert f"{__file__}:{line}" in text
    assert "fail_with(kind=" in text
    assert len(text) < 5000
    assert "in fail_with" in text


def test_result_and_resolve_raise_it(runner):
    """`result()` and `resolve()` raise the exception with its notes."""
    with workflow(runner):
        future = fail("once")
        for read in (future.result, lambda: resolve([future]), lambda: resolve({"a": (future,)}, timeout=TIMEOUT)):
            with pytest.raises(ValueError, match="once") as info:
                read()
            assert len(info.value.__notes__) == 2


def test_a_traceback_does_not_grow(parallel):
    """Raising the failure again and again does not make its traceback longer."""
    with workflow(parallel):
        future = fail()
        lengths = set()
        for _ in range(5):
            with pytest.raises(ValueError, match="boom") as info:
                future.result(TIMEOUT)
            lengths.add(len(info.traceback))
    assert len(lengths) == 1


def test_notes_do_not_pile_up(runner):
    """An exception object that many calls raise has in each future the notes of that call alone."""
    with workflow(runner):
        futures = [same_object(i) for i in range(20)]
        exceptions = [caught(future) for future in futures]
    for i, exception in enumerate(exceptions):
        assert len(exception.__notes__) == 2
        assert f"same_object(i={i})" in notes(exception)
    assert not hasattr(CONSTANT, "__notes__")
    assert CONSTANT.__traceback__ is None


def test_a_failure_raised_again_by_another_call(runner):
    """A task that raises the exception it was given leaves the one of the first call as it was."""
    with workflow(runner):
        first = fail()
        second = raise_again(first)
        assert "raise_again(" in notes(caught(second))
        assert "fail(" in notes(caught(second))
    assert "raise_again" not in notes(caught(first))


@pytest.mark.parametrize("kind", ["locked", "unloadable"])
def test_what_cannot_be_pickled_in_an_exception(processes, kind):
    """What can't travel in an exception is replaced by its text; one that can't be rebuilt becomes a RemoteError."""
    with workflow(processes):
        exception = caught(raises_oddly(kind))
        assert resolve(double(1)) == 2
    if kind == "locked":
        assert type(exception) is Locked
        assert exception.size == 3
        assert "lock" in exception.lock
        assert exception.args[0] == "text"
    else:
        assert type(exception) is RemoteError
        assert re.search("Unloadable.*see the text", str(exception))
        assert "in raises_oddly" in str(exception)
    assert "test_failures.py" in str(exception) + notes(exception)


def test_packing_survives_hostile_exceptions():
    """An exception whose parts end the process when they are pickled still travels."""
    exception = ValueError("x", Evil())
    loaded = PackedException(exception, "the text").load()
    assert type(loaded) is ValueError
    assert loaded.args[0] == "x"


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_an_exception(kind):
    """A copy has the type, the content and the traceback of the exception, and notes of its own."""
    with pytest.raises(BaseException) as info:  # noqa: PT011
        KINDS[kind][0]()
    copy = duplicate(info.value)
    assert copy is not info.value
    assert KINDS[kind][1](copy)
    assert copy.__traceback__ is info.value.__traceback__
    if kind == "builtin":
        info.value.add_note("a")
        again = duplicate(info.value)
        again.add_note("b")
        assert info.value.__notes__ == ["a"]


def test_interrupt_and_exit_of_a_task_are_its_failures(parallel):
    """KeyboardInterrupt and SystemExit that a task raises end neither the worker nor the driver."""
    with workflow(parallel) as w:
        interrupted, ended = raise_interrupt(), fail_with("exit")
        assert type(caught(interrupted)) is KeyboardInterrupt
        assert type(resolve(ended, return_exceptions=True)) is SystemExit
        assert resolve(double(2)) == 4
    assert len(w.failed) == 2


def test_exit_in_the_group(runner):
    """An exit that nobody retrieved is told in the group as a RemoteError, and in `failed` as it is."""
    with pytest.raises(WorkflowFailed) as info, workflow(runner):
        fail_with("exit")
        fail("other")
    assert {type(e) for e in info.value.exceptions} == {RemoteError, ValueError}
    assert {type(f.exception) for f in info.value.failed} == {SystemExit, ValueError}
    rest = info.value.subgroup(RemoteError)
    assert [type(f.exception) for f in rest.failed] == [SystemExit]


# --- results and arguments that can't travel ---


def test_an_unpicklable_result(processes):
    """A result that can't be pickled costs only its own call."""
    with workflow(processes):
        lock, evil, good = returns("lock"), returns("evil"), double(4)
        assert isinstance(caught(lock), ResultError)
        assert "returns()" in str(caught(lock))
        assert isinstance(caught(evil), ResultError)
        assert resolve(good) == 8


def test_an_unpicklable_argument(processes):
    """An argument that can't be pickled is an error at the call, and nothing else suffers."""
    with workflow(processes):
        good = double(4)
        with pytest.raises(TypeError, match="x"):
            use([1, threading.Lock()])
        with pytest.raises((SystemExit, TypeError)):
            use(Evil())
        assert resolve(good) == 8


def test_a_result_that_cannot_be_rebuilt(processes):
    """A result whose rebuilding raises is an error wherever it is asked for, and for its dependents alone."""
    with workflow(processes) as w:
        bad, good = returns("bomb"), double(1)
        dependent = use(bad)
        with pytest.raises(ValueError, match="bomb") as info:
            bad.result(TIMEOUT)
        assert "returns()" in notes(info.value)
        assert str(caught(bad)) == "bomb"
        assert "use(): argument x can't be copied" in str(caught(dependent))
        assert "ValueError: bomb" in str(caught(dependent))
        assert str(caught(dependent).__cause__) == "bomb"
        assert resolve(good) == 2
    assert [failure.exception for failure in w.failed] == [caught(dependent)]


def test_asyncio_and_a_result_that_cannot_be_rebuilt(processes):
    """`asyncio.wrap_future` ends too when the result can't be rebuilt."""

    async def main(future):
        with pytest.raises(ValueError, match="bomb"):
            await asyncio.wait_for(asyncio.wrap_future(future), TIMEOUT)

    with workflow(processes):
        asyncio.run(main(returns("bomb")))


# --- what depends on a failed call ---


def test_dependents_finish_with_the_same_exception(runner):
    """What depends on a failed call does not run and has its very exception."""
    with workflow(runner) as w:
        first = fail()
        second = double(first)
        third, other = pair(second)
        assert caught(third) is caught(other) is caught(second) is caught(first)
        assert resolve(double(3)) == 6
    assert len(w.failed) == 1
    assert w.failed[0].closure.name == "fail"


def test_exceptions_are_admitted(runner):
    """A parameter whose annotation admits exceptions receives the exception."""
    with workflow(runner):
        assert resolve(accepting(fail())) == "ValueError"
        assert resolve(accepting_many([1, fail(), double(fail())])) == ["int", "ValueError", "ValueError"]


def test_the_first_failed_dependency_counts(runner):
    """Of several failed dependencies the first in the order of the arguments gives the exception."""
    with workflow(runner):
        first, second = fail("first"), fail("second")
        assert str(caught(second)) == "second"
        assert caught(divide(first, second)) is caught(first)


# --- failures can't be missed ---


def test_an_unseen_failure_is_raised(runner):
    """Leaving a block in which a call failed raises one group with the root failures."""
    with pytest.raises(WorkflowFailed, match="2 calls failed") as info, workflow(runner) as w:
        double(double(fail("a")))
        fail("b")
    assert sorted(str(e) for e in info.value.exceptions) == ["a", "b"]
    assert [f.closure.name for f in info.value.failed] == ["fail", "fail"]
    assert [f.exception for f in info.value.failed] == [f.exception for f in w.failed]


def test_except_star_takes_the_group_apart(runner):
    """`except*` takes the failures apart, and each part knows its calls."""
    seen = []
    try:
        with workflow(runner):
            fail("a")
            divide(1, 0)
    except* ZeroDivisionError as group:
        seen += [f.closure.name for f in group.failed]
    except* ValueError as group:
        seen += [f.closure.name for f in group.failed]
    assert seen == ["divide", "fail"]


def _asyncio(future):
    async def main():
        await asyncio.wait_for(asyncio.wrap_future(future), TIMEOUT)

    asyncio.run(main())


READS: dict[str, Callable[[Any], object]] = {
    "result": lambda f: f.result(TIMEOUT),
    "exception": lambda f: f.exception(TIMEOUT),
    "resolve": resolve,
    "resolve a tree": lambda f: resolve([{"x": f}]),
    "return_exceptions": lambda f: resolve(f, return_exceptions=True),
    "item": lambda f: f["a"].exception(TIMEOUT),
    "item of an item": lambda f: f[0]["b"].exception(TIMEOUT),
    "dependent": lambda f: double(f).exception(TIMEOUT),
    "item of a dependent": lambda f: use(double(f))[0].exception(TIMEOUT),
    "admitting": lambda f: resolve(accepting(f)),
    "admitting unseen": accepting,
    "admitting a dependent": lambda f: accepting(double(f)),
    "as_future": lambda f: as_future(f).result(TIMEOUT),
    "as_future of a tree": lambda f: as_future([f]).result(TIMEOUT),
    "exception of as_future": lambda f: as_future([f]).exception(TIMEOUT),
    "as_resolved": lambda f: list(as_resolved([f])),
    "as_resolved with exceptions": lambda f: list(as_resolved({"a": f}, return_exceptions=True)),
    "asyncio": _asyncio,
}


@pytest.mark.parametrize("way", READS)
def test_a_failure_that_was_retrieved_is_not_raised(runner, way):
    """Whoever asked how a call ended, or one that failed because of it, has seen its failure."""
    with workflow(runner) as w:
        future = fail()
        try:
            READS[way](future)
        except ValueError:
            pass
    assert len(w.failed) == 1


IGNORES: dict[str, Callable[[Any], object]] = {
    "nothing": lambda f: None,
    "done": lambda f: f.done(),
    "repr": repr,
    "a callback": lambda f: f.add_done_callback(lambda _: None),
    "dependents": double,
    "a graph": lambda f: WaitGraph().submit([f]),
    "a failed wait for as_future": lambda f: as_future([f]),
    "an item": lambda f: f["a"],
}


@pytest.mark.parametrize("way", IGNORES)
def test_what_the_library_reads_does_not_count(runner, way):
    """What only looks at a future, or waits for it, does not hide its failure."""
    with pytest.raises(WorkflowFailed), workflow(runner):
        IGNORES[way](fail())


def test_each_root_is_retrieved_by_itself(runner):
    """Having seen one failure says nothing of another."""
    with pytest.raises(WorkflowFailed, match="1 call failed") as info, workflow(runner):
        seen, _ = fail("seen"), fail("unseen")
        caught(seen)
    assert [str(e) for e in info.value.exceptions] == ["unseen"]


def test_the_exception_of_the_body_wins(runner):
    """An exception of the body leaves the block, with the failures that nobody retrieved in its notes."""
    with pytest.raises(KeyError) as info, workflow(runner):
        seen, unseen = fail("seen"), fail("unseen")
        seen.exception(TIMEOUT)
        unseen_done = threading.Event()
        unseen.add_done_callback(lambda _: unseen_done.set())
        assert unseen_done.wait(TIMEOUT)
        raise KeyError("mine")
    assert "unseen" in notes(info.value)
    assert "ValueError: seen" not in notes(info.value)


def test_the_exception_of_the_body_may_refuse_notes(runner):
    """An exception of the body that refuses notes, and a failure without a text, still leave the block as they are."""
    with pytest.raises(Refusing), workflow(runner):
        done = threading.Event()
        fail_with("has no text").add_done_callback(lambda _: done.set())
        assert done.wait(TIMEOUT)
        raise Refusing


def test_a_failure_of_the_body_by_resolve(runner):
    """A failure that `resolve` raises in the body leaves the block as itself."""
    with pytest.raises(ValueError, match="boom"), workflow(runner):
        resolve(fail())


def test_failures_are_logged_once_for_each_kind(runner, caplog):
    """The first failure of each task and type is logged in full, the others are counted at the end."""
    with caplog.at_level(logging.ERROR, "parman"), workflow(runner):
        resolve([fail(str(i)) for i in range(5)] + [divide(1, 0)], return_exceptions=True)
    full = [r.getMessage() for r in caplog.records if "Traceback" in r.getMessage()]
    assert len(full) == 2
    assert any("test_failures.py" in text for text in full)
    assert [r.getMessage() for r in caplog.records if "5 times" in r.getMessage()] == [
        "fail failed 5 times with ValueError"
    ]


def test_a_log_handler_that_raises(parallel, capsys):
    """A handler of the user's that raises leaves no future pending."""

    class Handler(logging.Handler):
        def emit(self, record):
            raise RuntimeError("handler")

    logger, handler = logging.getLogger("parman"), Handler()
    logger.addHandler(handler)
    try:
        with workflow(parallel):
            failed, good = fail(), double(1)
            assert str(caught(failed)) == "boom"
            assert good.result(TIMEOUT) == 2
    finally:
        logger.removeHandler(handler)


def test_a_callback_that_raises(parallel, caplog):
    """A done-callback of the user's that raises anything harms nobody."""
    number = Future()  # or a call may be done already when it is given its callback, which is then called in place
    with workflow(parallel):
        first = double(number)
        first.add_done_callback(raiser_of(SystemExit(3)))
        first.add_done_callback(raiser_of(KeyError(3)))
        second = double(first)
        second.add_done_callback(raiser_of(KeyboardInterrupt()))
        number.set_result(1)
        assert double(second).result(TIMEOUT) == 8


def raiser_of(exception):
    def callback(_future):
        raise exception

    return callback


# --- fail_fast ---


def test_fail_fast_in_place(runners):
    """On the serial runner fail_fast raises at the call, with the frames of the task."""
    with pytest.raises(ValueError, match="boom") as info, workflow(runners["serial"], fail_fast=True):
        fail()
        pytest.fail("the block goes on")
    assert info.traceback[-1].name == "fail"


def test_fail_fast_cancels_what_is_pending(parallel):
    """Under fail_fast a failure cancels what has not started, and calls made afterwards come back cancelled."""
    with pytest.raises(WorkflowFailed, match="1 call failed"), workflow(parallel, fail_fast=True):
        outer: Future[int] = Future()
        waiting = double(outer)
        dependent = double(waiting)
        failed = fail()
        with pytest.raises(CancelledError):
            dependent.result(TIMEOUT)
        assert waiting.cancelled()
        wait([failed], TIMEOUT)
        assert double(3).cancelled()


def test_fail_fast_and_a_call_that_would_admit_the_failure(parallel):
    """A failure that nobody was given, since the call that admits it was cancelled, leaves the block."""
    with pytest.raises(WorkflowFailed, match="1 call failed"), workflow(parallel, fail_fast=True):
        outer: Future[int] = Future()
        accepts_exceptions = accepting(divide(1, outer))
        outer.set_result(0)
        with pytest.raises(CancelledError):
            accepts_exceptions.result(TIMEOUT)


def test_an_admitting_call_that_was_cancelled_has_seen_nothing():
    """Neither has one that the user cancelled while it was ready and waited for a worker."""
    go = threading.Event()

    @task(snapshot=False)
    def hold(go):
        assert go.wait(TIMEOUT)

    with pytest.raises(WorkflowFailed, match="1 call failed"), workflow("threads:1"):
        failed = fail()
        wait([failed], TIMEOUT)
        hold(go)
        accepts_exceptions = accepting(failed)
        assert cancel(accepts_exceptions)
        go.set()


# --- rerun ---


def test_rerun_runs_the_call_again_with_its_arguments(runner):
    """`rerun` runs a failed call in place, with its full arguments and the values of its dependencies."""
    with workflow(runner) as w:
        caught(divide(double(21), y=0))
    (failure,) = w.failed
    with pytest.raises(ZeroDivisionError) as info:
        failure.closure.rerun()
    assert info.traceback[-1].name == "divide"
    frame = info.traceback[-1].frame
    assert frame.f_locals == {"x": 42, "y": 0}


def test_rerun_of_an_admitting_call(runner):
    """`rerun` hands over the exceptions that the call was given."""
    with workflow(runner) as w:
        caught(raise_again(fail()))
    closures = [f.closure for f in w.failed if f.closure.name == "raise_again"]
    with pytest.raises(ValueError, match="boom"):
        closures[0].rerun()


def test_rerun_in_an_open_block(runners):
    """In an open block `rerun` runs the plain function: the tasks that it calls are plain calls too."""
    w = workflow(runners["threads"]).open()
    try:
        caught(outer_task(0))
        with pytest.raises(AssertionError, match="2"):
            w.failed[0].closure.rerun()
    finally:
        w.close()


@task
def outer_task(x: int) -> None:
    raise AssertionError(double(1))


def test_a_hundred_failed_calls_keep_their_arguments(runners):
    """Up to a hundred failed calls of a task can be run again; the others say that their arguments are gone."""
    with workflow(runners["threads"]) as w:
        resolve([fail("x" * i) for i in range(120)], return_exceptions=True)
        caught(divide(1, 0))
    outcomes = []
    for failure in w.failed:
        try:
            failure.closure.rerun()
        except ValueError:
            outcomes.append(True)
        except WorkflowError:
            outcomes.append(False)
        except ZeroDivisionError:
            outcomes.append(None)
    assert (outcomes.count(True), outcomes.count(False), outcomes.count(None)) == (100, 20, 1)


# --- executors that misbehave ---


class Odd(ThreadPoolExecutor):
    """An executor that misbehaves at each second call, in one of many ways."""

    def __init__(self, way):
        super().__init__(1)
        self.way = way
        self.count = 0

    def submit(self, fn, /, *args, **kwargs):
        self.count += 1
        if self.count % 2:
            return super().submit(fn, *args, **kwargs)
        return getattr(self, self.way)()

    def raises(self):
        raise RuntimeError("odd")

    def exits(self):
        raise SystemExit("odd")

    def returns_none(self):
        return None

    def cancels(self):
        future = Future()
        future.cancel()
        return future

    def cancels_and_notifies(self):
        future = self.cancels()
        future.set_running_or_notify_cancel()
        return future

    def fails(self):
        future = Future()
        future.set_exception(CONSTANT)
        return future

    def answers_garbage(self):
        future = Future()
        future.set_result("garbage")
        return future

    def answers_nothing(self):
        future = Future()
        future.set_result(None)
        return future

    def refuses_callbacks(self):
        class Stubborn(Future):
            def add_done_callback(self, fn):
                raise RuntimeError("odd")

        return Stubborn()


WAYS = [name for name in vars(Odd) if not name.startswith("_") and name != "submit"]


@pytest.mark.parametrize("where", ["inside", "unknown"])
@pytest.mark.parametrize("workers", [1, None])
@pytest.mark.parametrize("way", WAYS)
def test_an_odd_executor_leaves_no_future_pending(way, workers, where):
    """Whatever an executor does with a call, its futures end, and so do those of the other calls."""
    with Odd(way) as executor:
        del executor._max_workers  # so that the number of workers is not known
        executor._max_workers = workers if workers else 1
        runner = ConcurrentRunner(executor, where=where)
        if workers is None:
            runner._queue = ReadyQueue(float("inf"))
        with workflow(runner):
            futures = [double(double(i)) for i in range(6)]
            ended = [resolve(as_future(f), TIMEOUT, return_exceptions=True) for f in futures]
        assert all(future.done() for future in futures)
        assert any(isinstance(e, BaseException) for e in ended) or where == "unknown"
    assert not hasattr(CONSTANT, "__notes__")


def test_an_executor_that_is_shut_down_under_us(parallel):
    """After the user has shut the executor down, calls fail or are cancelled, and nothing is left pending."""
    started, gate = threading.Event(), threading.Event()
    executor = ThreadPoolExecutor(1)

    @task
    def hold() -> None:
        started.set()
        assert gate.wait(TIMEOUT)

    with workflow(executor):
        first = hold()
        assert started.wait(TIMEOUT)
        rest = [double(i) for i in range(5)]
        executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
        first.result(TIMEOUT)
        for future in rest:
            with pytest.raises((RuntimeError, CancelledError)):
                future.result(TIMEOUT)


def test_queued_calls_of_an_executor_that_is_shut_down():
    """Where the number of workers is not known, the calls that the executor drops end as cancelled."""
    started, gate = threading.Event(), threading.Event()

    class Counted(ThreadPoolExecutor):
        workers = None

    executor = Counted(1)
    executor._max_workers = _Unknown(1)

    @task
    def hold() -> None:
        started.set()
        assert gate.wait(TIMEOUT)

    runner = ConcurrentRunner(executor)
    assert not runner._queue.bounded
    with workflow(runner):
        first = hold()
        assert started.wait(TIMEOUT)
        rest = [double(i) for i in range(5)]
        last = double(6)
        last_inner_known = threading.Event()
        runner.event_loop.post(last_inner_known.set)
        assert last_inner_known.wait(TIMEOUT)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
        first.result(TIMEOUT)
        for future in [*rest, last]:
            with pytest.raises(CancelledError):
                future.result(TIMEOUT)


class _Unknown:
    """A number of workers that is none for who looks for an `int`."""

    def __init__(self, number):
        self.number = number

    def __gt__(self, other):
        return self.number > other


# --- what an exception says after it has travelled ---


def set_later(error: Any, **attributes: object) -> BaseException:
    for name, value in attributes.items():
        setattr(error, name, value)
    assert isinstance(error, BaseException)
    return error


class OverMember(OSError):
    """Has something of its own over a member of its base."""

    @property
    def filename(self) -> str:  # type: ignore[override]
        return "of its own"


TOLD: dict[str, Callable[[], BaseException]] = {
    "none": lambda: OSError(),
    "one": lambda: OSError("busy"),
    "two": lambda: OSError(16, "busy"),
    "file": lambda: OSError(16, "busy", "a.txt"),
    "no file": lambda: OSError(16, "busy", None),
    "both": lambda: OSError(18, "far", "a.txt", None, "b.txt"),
    "six": lambda: OSError(1, 2, 3, 4, 5, 6),
    "unnumbered": lambda: set_later(OSError(2, "x"), errno=None, filename="late"),
    "over a member": lambda: OverMember(1, "b", "c"),
    "axis": lambda: np.exceptions.AxisError(3, 2),
    "syntax": lambda: SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)),
    "changed": lambda: set_later(ValueError("a"), args=(1, 2), extra=[1]),
}


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("way", ["copied", "packed"])
def test_the_text_of_an_exception_stays(kind: str, way: str) -> None:
    """What was never set is not set to None on the way: text, repr, args and attributes are what they were."""
    error = TOLD[kind]()
    told = duplicate(error) if way == "copied" else PackedException(error, "").load()
    assert told is not error
    assert (str(told), repr(told), told.args, vars(told)) == (str(error), repr(error), error.args, vars(error))
    for name in ("errno", "strerror", "filename", "filename2", "axis", "msg", "lineno", "end_offset"):
        assert getattr(told, name, "unset") == getattr(error, name, "unset")
