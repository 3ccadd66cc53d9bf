# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The mistakes that newcomers make: what is wrong, where in their file, what to do, and little of the library's own."""

from __future__ import annotations

import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, lru_cache, partial, wraps
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, ParamSpec, TypeVar

import pytest
from helpers.scripts import run_script

import parman
from parman import (
    ArgumentError,
    ConcurrentRunner,
    DryRunErrors,
    DryRunner,
    FutureTypeError,
    FutureUseError,
    HiddenFutureError,
    Length,
    MissingExtra,
    ParslRunner,
    Runner,
    SerialRunner,
    StructureError,
    TaskError,
    WorkflowError,
    WorkflowFailed,
    resolve,
    task,
    workflow,
)
from parman.runners import parsl

P = ParamSpec("P")
R = TypeVar("R")
LIBRARY = str(Path(parman.__file__).parent)


# --- tasks ---


@task
def number(n: int) -> int:
    """Return a number."""
    return n


@task
def numbers(n: int) -> list[int]:
    """Return numbers."""
    return [n]


@task
def text(name: str, times: int = 1) -> str:
    """Return a text."""
    return name * times


@task
def anything(x: Any) -> Any:
    """Return what comes."""
    return x


@task
def inverse(n: int) -> float:
    """Fail for 0."""
    return 1 / n


@task
def repeated(n: int) -> Annotated[list[int], Length("n")]:
    """Return numbers, but too few."""
    return [0]


@task(mock=lambda n: [0] * (6 // n))
def mocked(n: int) -> list[int]:
    """Have a mock that fails for 0."""
    return [0] * (6 // n)


class Sample:
    """A class with methods of all kinds."""

    size = 3

    @task
    def scaled(self, factor: int) -> int:
        """Return a multiple."""
        return self.size * factor

    @property
    @task
    def doubled(self) -> int:
        """Return the double."""
        return self.size * 2


# --- runners ---


@pytest.fixture(params=["serial", "threads", "processes"], scope="module")
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """Give a runner of each kind, warm for the whole module."""
    makers: dict[str, Callable[[], Runner]] = {
        "serial": SerialRunner,
        "threads": lambda: ConcurrentRunner.threads(2),
        "processes": lambda: ConcurrentRunner.processes(2),
    }
    with makers[request.param]() as made:
        yield made


@pytest.fixture(params=["threads", "processes"], scope="module")
def parallel(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """Give a runner that returns futures."""
    makers = {"threads": ConcurrentRunner.threads, "processes": ConcurrentRunner.processes}
    with makers[request.param](2) as made:
        yield made


@pytest.fixture(scope="module")
def processes() -> Iterator[Runner]:
    """Give a runner with processes."""
    with ConcurrentRunner.processes(1) as made:
        yield made


# --- what is seen of an error ---


def failure(runner: Any, mistake: Callable[[], object]) -> BaseException:
    """Return what a mistake in a block raises."""
    try:
        with workflow(runner):
            mistake()
    except BaseException as error:
        return error
    raise AssertionError("the mistake was not noticed")


def frames(error: BaseException) -> list[FrameType]:
    """Return the frames of the traceback, the outermost first."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def is_library(frame: FrameType) -> bool:
    """Tell whether a frame is one of Parman's."""
    return frame.f_code.co_filename.startswith(LIBRARY)


def check_place(error: BaseException, mistake: Callable[[], object]) -> None:
    """Check that the last frame of the user's is the mistake, with at most two of the library's below it."""
    names = [frame.f_code for frame in frames(error)]
    own = names.index(mistake.__code__)  # type: ignore[attr-defined]
    assert len(names) - own - 1 <= 2, "".join(traceback.format_exception(error))
    shown = "".join(traceback.format_exception(error))
    assert "direct cause" not in shown
    assert "During handling" not in shown


# --- mistakes in a call ---

IN_CALLS: dict[str, tuple[Callable[[], object], type[BaseException], str]] = {
    "missing": (
        lambda: number(),  # type: ignore[call-arg]
        TypeError,
        r"^number\(\) missing 1 required positional argument: 'n'$",
    ),
    "surplus": (
        lambda: number(1, 2),  # type: ignore[call-arg]
        TypeError,
        r"^number\(\) takes 1 positional argument but 2 were given$",
    ),
    "misspelt": (
        lambda: text("a", time=3),  # type: ignore[call-arg]
        TypeError,
        r"^text\(\) got an unexpected keyword argument 'time'",
    ),
    "type": (
        lambda: number("3"),  # type: ignore[arg-type]
        ArgumentError,
        r"^number\(\): argument n is '3' \(str\), but its annotation says int$",
    ),
    "method": (
        lambda: Sample().scaled("3"),  # type: ignore[arg-type]
        ArgumentError,
        r"^Sample\.scaled\(\): argument factor is '3' \(str\), but its annotation says int$",
    ),
    "generator": (
        lambda: anything(i for i in range(3)),
        ArgumentError,
        r"^anything\(\): argument x is a generator, which is used up by the first to read it.*; pass a list$",
    ),
    "iterator in a tree": (
        lambda: anything({"io": [map(abs, [1])]}),
        ArgumentError,
        r"^anything\(\): argument x\['io'\]\[0\] is a map, which is used up .*; pass a list$",
    ),
    "negative length": (
        lambda: repeated(-1),
        StructureError,
        r"^repeated\(\): Length\('n'\) is -1 \(int\) here; it has to be a whole number, 0 or larger",
    ),
}


@pytest.mark.parametrize(("mistake", "cls", "message"), IN_CALLS.values(), ids=IN_CALLS)
def test_mistake_in_a_call(
    runner: Runner, mistake: Callable[[], object], cls: type[BaseException], message: str
) -> None:
    """It is raised at the user's line, on every runner in the same words."""
    error = failure(runner, mistake)
    assert isinstance(error, cls)
    assert re.search(message, str(error))
    check_place(error, mistake)


def test_mistake_in_an_except_clause_keeps_what_was_handled(runner: Runner) -> None:
    """Only what the library met on its way is dropped from an error, not what the user's code was handling."""

    def mistake() -> None:
        try:
            {}["key"]
        except KeyError:
            anything(i for i in range(3))

    error = failure(runner, mistake)
    assert isinstance(error, ArgumentError)
    assert isinstance(error.__context__, KeyError)
    assert error.__context__.__context__ is None


def test_mock_that_fails_is_shown_with_its_line(runner: Runner) -> None:
    """What a mock raises is told with the line of the mock, and is the cause of the error."""
    error = failure(runner, lambda: mocked(0))
    assert isinstance(error, StructureError)
    assert re.search(
        r"^the mock of mocked\(\) failed: ZeroDivisionError: .* \(\S*test_mistakes_of_newcomers\.py:\d+\)$", str(error)
    )
    assert isinstance(error.__cause__, ZeroDivisionError)


# --- futures ---

USES: dict[str, tuple[Callable[[], object], str]] = {
    "if": (lambda: "yes" if number(1) else "no", "asked for its truth"),
    "arithmetic": (lambda: number(1) + 1, "used in arithmetic"),
    "comparison": (lambda: number(1) == 1, "compared with =="),
    "order": (lambda: sorted([number(1), number(2)]), "ordered"),
    "loop": (lambda: [n for n in numbers(3)], "iterated over"),  # noqa: C416
    "len": (lambda: len(numbers(3)), r"measured with len\(\)"),
    "float": (lambda: float(number(1)), "used as a number"),
    "format": (lambda: f"{number(1):.3f}", "formatted"),
    "in": (lambda: 1 in numbers(3), "searched with `in`"),
    "item": (lambda: numbers(3).__setitem__(0, 1), "changed"),
}


@pytest.mark.parametrize(("mistake", "use"), USES.values(), ids=USES)
def test_future_used_as_a_value(parallel: Runner, mistake: Callable[[], object], use: str) -> None:
    """The message names the call, its line, and the cure: resolve, or a task."""
    error = failure(parallel, mistake)
    assert isinstance(error, FutureUseError)
    line = mistake.__code__.co_firstlineno  # type: ignore[attr-defined]
    pattern = (
        rf"^the result of \w+\(\), called at {re.escape(__file__)}:{line}, can't be {use}: "
        r"it is a future, not its value; resolve\(\) it, or pass it to a task in the block$"
    )
    assert re.search(pattern, str(error))
    check_place(error, mistake)


def test_attribute_of_a_future(parallel: Runner) -> None:
    """An attribute of the value that is asked of the future is named; `hasattr` works as for any object."""

    def mistake() -> None:
        assert not hasattr(numbers(1), "shape")
        numbers(1).shape  # type: ignore[attr-defined]  # noqa: B018

    error = failure(parallel, mistake)
    assert isinstance(error, FutureUseError)
    assert isinstance(error, AttributeError)
    assert re.search(
        r"^the result of numbers\(\), called at .*, has no attribute 'shape' yet: .*; resolve\(\) it, or pass",
        str(error),
    )
    check_place(error, mistake)


def test_future_of_another_type(parallel: Runner) -> None:
    """The message names the call whose result does not fit, and its line."""
    error = failure(parallel, lambda: text(number(1)))  # type: ignore[arg-type]
    assert isinstance(error, FutureTypeError)
    assert re.search(
        rf"^text\(\): argument name is a future of int \(from number\(\), called at {re.escape(__file__)}:\d+\), "
        "but its annotation says str$",
        str(error),
    )


HIDDEN: dict[str, tuple[Callable[[], object], str]] = {
    "key": (lambda: anything({number(1): 2}), r"x\.<key>"),
    "set": (lambda: anything([{number(1)}]), r"x\[0\]\.<item>"),
    "partial": (lambda: anything(partial(text, times=number(1))), r"x\..*times"),
    "default": (lambda: anything(lambda n=number(1): n), r"x\.__defaults__\[0\]"),  # noqa: B008
}


@pytest.mark.parametrize(("mistake", "place"), HIDDEN.values(), ids=HIDDEN)
def test_hidden_future(parallel: Runner, mistake: Callable[[], object], place: str) -> None:
    """The message says where the future is, and where to put it instead."""
    error = failure(parallel, mistake)
    assert isinstance(error, HiddenFutureError)
    assert re.search(rf"^anything\(\): argument {place}", str(error))
    assert str(error).endswith("resolve() it, or pass it as an argument or in a list, tuple or dict value")
    check_place(error, mistake)


def test_message_of_a_forgotten_resolve_in_an_array(parallel: Runner) -> None:
    """A future that is given to numpy says so, rather than to become an array of objects."""
    import numpy as np

    error = failure(parallel, lambda: np.mean(number(1)))
    assert isinstance(error, FutureUseError)
    assert "can't be made an array" in str(error)


# --- what can't travel ---


def test_lock_for_a_process(processes: Runner) -> None:
    """What can't be pickled is named with its place, and with what to do; on other runners it is passed."""

    def mistake() -> None:
        anything({"io": [threading.Lock()]})

    error = failure(processes, mistake)
    assert isinstance(error, ArgumentError)
    assert re.search(
        r"^anything\(\): argument x\['io'\]\[0\] can't be pickled, so it can't travel to another process: "
        r"cannot pickle '_thread\.lock' object; create or open it inside the task$",
        str(error),
    )
    check_place(error, mistake)


def test_own_error_of_pickling_is_the_cause(processes: Runner) -> None:
    """If code of the user's says why an object can't be pickled, its traceback is not lost."""

    class Stubborn:
        def __reduce__(self) -> Any:
            raise ValueError("I stay here")

    error = failure(processes, lambda: anything(Stubborn()))
    assert isinstance(error, ArgumentError)
    assert "I stay here" in str(error)
    assert isinstance(error.__cause__, ValueError)


def test_lambda_is_no_mistake(runner: Runner) -> None:
    """Lambdas and nested functions go everywhere, as arguments and as tasks."""
    with workflow(runner):
        result = task(lambda f: f(2))(lambda n: n + 1)
    assert resolve(result) == 3


# --- failures ---


def test_failure_of_a_task_is_short(parallel: Runner) -> None:
    """`resolve` adds nothing to the user's line, `result` one frame; notes name task, arguments, line, traceback."""
    for ask in (lambda: resolve(inverse(0)), lambda: inverse(0).result()):  # type: ignore[attr-defined]
        error = failure(parallel, ask)
        assert isinstance(error, ZeroDivisionError)
        own = [frame for frame in frames(error) if not is_library(frame)]
        assert own[-1].f_code is ask.__code__
        assert sum(map(is_library, frames(error))) <= 1
        notes = "\n".join(error.__notes__)
        line = ask.__code__.co_firstlineno
        assert f"In the task inverse(n=0), called at {__file__}:{line}." in notes
        assert "return 1 / n" in notes


def test_traceback_of_resolve_does_not_grow(parallel: Runner) -> None:
    """A failure that is raised again and again shows each time the same few frames."""
    lengths = set()
    with workflow(parallel):
        result = inverse(0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError) as raised:
                resolve(result)
            lengths.add(len(frames(raised.value)))
    assert lengths == {1}


def test_result_of_another_structure(parallel: Runner) -> None:
    """A result that is not as promised is shown, with what to do."""
    error = failure(parallel, lambda: resolve(repeated(2)))
    assert isinstance(error, StructureError)
    assert re.search(r"^repeated\(\) promised a list of 2, but returned a list of 1: \[0\]; return what", str(error))


def test_unseen_failures_name_their_calls(runner: Runner) -> None:
    """Leaving a block with failures raises a short group, each member of which has its notes."""
    error = failure(runner, lambda: inverse(0))
    assert isinstance(error, WorkflowFailed)
    assert str(error).startswith("1 call failed")
    assert f"called at {__file__}:" in error.exceptions[0].__notes__[0]
    assert sum(map(is_library, frames(error))) <= 1


# --- tasks that can't be ---


async def coroutine() -> None:
    """Be no task."""


def generator() -> Iterator[int]:
    """Be no task."""
    yield 1


class Generating:
    """A callable that generates."""

    def __call__(self) -> Iterator[int]:
        """Generate."""
        yield 1


class Plain:
    """Any class."""


def plain(n: int, k: int = 1) -> int:
    """Be a plain function."""
    return n * k


NO_TASKS: dict[str, tuple[Callable[[], object], str]] = {
    "async": (lambda: task(coroutine), "^coroutine can't be a task: it is an async def function; make it a plain"),
    "generator": (lambda: task(generator), "^generator can't be a task: it is a generator function; return a list"),
    "wrapped generator": (lambda: task(lru_cache(generator)), "it is a generator function; return a list instead"),
    "partial generator": (lambda: task(partial(generator)), "it is a generator function; return a list instead"),
    "callable generator": (lambda: task(Generating()), "it is a generator function; return a list instead"),
    "class method": (lambda: task(classmethod(generator)), "it is a generator function"),  # type: ignore[arg-type]
    "class": (lambda: task(Plain), "^the class Plain can't be a task, .*: write a function that makes the object"),
    "twice": (lambda: task(task(plain)), "^plain is a task already: decorate it once$"),
    "property": (lambda: task(property(plain)), "^@task goes below @property, next to the function$"),  # type: ignore
    "cached": (lambda: task(cached_property(plain)), "^@task goes below @cached_property"),  # type: ignore
    "number": (lambda: task(3), "^@task is for functions and other callables, not for the int 3$"),  # type: ignore
    "check": (lambda: task(check="eror")(plain), r"^@task\(check=...\) for plain\(\): it is 'error', 'warn' or 'off'"),  # type: ignore
    "snapshot": (
        lambda: task(snapshot="m")(plain),
        r"^@task\(snapshot=...\) for plain\(\): there is no parameter 'm', but: n, k$",
    ),
    "snapshot of a number": (lambda: task(snapshot=3)(plain), r"is True, False, or names of parameters, not 3$"),  # type: ignore
    "mock": (
        lambda: task(mock=lambda n: 0)(plain),
        r"^@task\(mock=...\) for plain\(\): the mock has to take \(n, k=1\), as the function does, but takes \(n\)$",
    ),
    "mock without default": (lambda: task(mock=lambda n, k: 0)(plain), r"but takes \(n, k\)$"),
    "mock with other names": (lambda: task(mock=lambda *, n, k=1: 0)(plain), r"but takes \(\*, n, k=1\)$"),
    "mock that is a value": (lambda: task(mock=[0])(plain), "a mock is a function that returns an example result"),  # type: ignore
}


@pytest.mark.parametrize(("decorate", "message"), NO_TASKS.values(), ids=NO_TASKS)
def test_what_can_be_no_task(decorate: Callable[[], object], message: str) -> None:
    """It is told where it is decorated, before anything is called, with what to do instead."""
    with pytest.raises(TaskError, match=message) as raised:
        decorate()
    assert isinstance(raised.value, TypeError)


@pytest.mark.parametrize(
    "mock",
    [lambda n, k=2: 0, lambda *args, **kwargs: 0, lambda a, b=0, c=0: 0],
    ids=["same", "any", "other names"],
)
def test_mocks_that_take_what_the_task_takes(mock: Callable[..., int]) -> None:
    """A mock needs no annotations and not the same names, as long as it can be called as the task can."""
    with workflow("serial"):
        assert task(mock=mock)(plain)(3) == 3


def test_empty_parentheses() -> None:
    """`@task()` is `@task`."""

    @task()
    def double(n: int) -> int:
        return 2 * n

    with workflow("serial"):
        assert double(2) == 4


def passing_on(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function as decorators do."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


@task
@passing_on
def wrapped(n: int) -> int:
    """Stand on another decorator."""
    return n


@passing_on
@task
def around(n: int) -> int:
    """Stand under another decorator."""
    return n


@task
@lru_cache
def remembered(n: int) -> int:
    """Stand on a cache."""
    return n


@pytest.mark.parametrize("stacked", [wrapped, around, remembered], ids=["wraps", "around", "lru_cache"])
def test_tasks_on_other_decorators(runner: Runner, stacked: Callable[[Any], int]) -> None:
    """Signature and annotations are those of the function below, and the whole stack runs."""
    with workflow(runner):
        result = stacked(3)
    assert resolve(result) == 3
    error = failure(runner, lambda: stacked("3"))
    assert str(error) == f"{stacked.__name__}(): argument n is '3' (str), but its annotation says int"


def test_cached_functions_of_a_script_go_to_processes() -> None:
    """A function under `lru_cache` in a script runs on processes, under its own or another name, with a fresh cache."""
    script = """
        import functools
        from parman import *

        @task
        @functools.lru_cache(maxsize=3)
        def f(n): return n, f.__wrapped__.cache_parameters()["maxsize"]

        @functools.lru_cache
        def g(n): return n

        with workflow("processes:1"):
            results = [f(1), task(g)(2), task(lambda h: h(3))(g)]
        print(resolve(results))
        """
    result = run_script("\n".join(line[8:] for line in script.splitlines()))
    assert result.stdout == "[(1, 3), 2, 3]\n", result.stderr


def test_property_of_a_task(runner: Runner) -> None:
    """`@property` above `@task` makes a property that is a call."""
    with workflow(runner):
        result = Sample().doubled
    assert resolve(result) == 6


# --- blocks ---


def enter(*args: Any, **kwargs: Any) -> None:
    """Enter a block, and leave it."""
    with workflow(*args, **kwargs):
        pass


def twice() -> None:
    """Use a block twice."""
    block = workflow("serial")
    for _ in range(2):
        with block:
            pass


BLOCKS: dict[str, tuple[Callable[[], object], str]] = {
    "name": (
        lambda: enter("proceses"),
        "^there is no runner 'proceses': take serial, dry, threads, processes or parsl",
    ),
    "number": (lambda: enter("processes:many"), "^there is no runner 'processes:many': .* as in 'processes:4'"),
    "nothing": (lambda: enter("threads:0"), "^there is no runner 'threads:0'"),
    "number of serial": (lambda: enter("serial:2"), "^there is no runner 'serial:2'"),
    "object": (lambda: enter(3), "^3 is no runner: take serial, .*, or pass a Runner or an executor$"),
    "class": (
        lambda: enter(SerialRunner),
        r"^SerialRunner is a class, no runner: pass what it makes, SerialRunner\(...\)$",
    ),
    "executor class": (lambda: enter(ThreadPoolExecutor), r"^ThreadPoolExecutor is a class, no runner"),
    "no executor": (lambda: ConcurrentRunner(3), "^3 is no executor: pass an object with a method submit"),  # type: ignore
    "check": (lambda: workflow(check="of"), "^check must be 'error', 'warn' or 'off', not 'of'$"),  # type: ignore
    "twice": (twice, r"^a workflow serves for a single block: call workflow\(\) again for another one$"),
    "not open": (lambda: workflow("serial").close(), r"^close\(\) ends what open\(\) began: this block is not open$"),
    "not entered": (lambda: workflow("serial").runner, "^the block has not been entered"),
}


@pytest.mark.parametrize(("mistake", "message"), BLOCKS.values(), ids=BLOCKS)
def test_misused_blocks(mistake: Callable[[], object], message: str) -> None:
    """The message says what a block or a runner can be used for."""
    with pytest.raises(WorkflowError, match=message):
        mistake()


def test_runner_whose_engine_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Parsl its runner says what to install, and is an `ImportError`; its name can be imported all the same."""
    monkeypatch.setitem(sys.modules, "parsl", None)
    parsl._names.cache_clear()
    for use in (lambda: enter("parsl"), ParslRunner):
        with pytest.raises(MissingExtra, match=r"pip install 'parman\[parsl\]'") as raised:
            use()
        assert isinstance(raised.value, ImportError)


def test_block_inside_of_a_task_on_its_own_runner() -> None:
    """A task that would wait for the runner that runs it fails with the cure, rather than to hang."""
    with SerialRunner() as serial, ConcurrentRunner.threads(1) as threads:
        for own in (serial, threads):

            @task
            def inside(own: Any = own) -> None:
                enter(own)

            error = failure(own, lambda inside=inside: resolve(inside()))
            assert isinstance(error, WorkflowError)
            assert "give it a runner of its own, such as workflow('serial')" in str(error)


def test_call_after_the_block_is_a_plain_call(runner: Runner) -> None:
    """A call behind a block runs in place, and a future of the block that it is given says what to do."""
    with workflow(runner):
        result = number(2)
    assert number(3) == 3
    if isinstance(result, Future):
        with pytest.raises(FutureUseError, match=r"resolve\(\) it, or pass it to a task in the block"):
            inverse(result)  # type: ignore[unreachable]


def test_warnings_of_types_name_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """Under `check="warn"` the same sentence is a warning, with the line of the call."""
    with workflow("serial", check="warn"):
        number("3")  # type: ignore[arg-type]
    assert re.search(rf"{re.escape(__file__)}:\d+: number\(\): argument n is '3' \(str\), but its", caplog.text)


# --- the dry run finds the same ---


@pytest.mark.parametrize(("mistake", "cls", "message"), IN_CALLS.values(), ids=IN_CALLS)
def test_dry_run_uses_the_same_words(mistake: Callable[[], object], cls: type[BaseException], message: str) -> None:
    """A dry run reports what the other runners raise."""
    with pytest.raises(DryRunErrors) as raised:
        enter_and(mistake)
    first = raised.value.exceptions[0]
    assert isinstance(first, cls)
    assert re.search(message, str(first))


def enter_and(mistake: Callable[[], object]) -> None:
    """Make a mistake in a dry block."""
    with workflow(DryRunner(proceed=True)):
        mistake()
