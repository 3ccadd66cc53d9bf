# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can be a task, what it still is, and how it travels."""

from __future__ import annotations

import functools
import inspect
import logging
import operator
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from helpers import ROOT
from shapes import Fit

from parman import ConcurrentRunner, ThreadPool, Workflow, resolve, task, workflow

Block = Callable[..., Workflow]


@task
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@task
def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


@task
def calls_others(n: int) -> int:
    return add(n) + factorial(3)


class Counter:
    """A class with tasks of every kind."""

    step = 2

    def __init__(self, start: int) -> None:
        self.start = start

    @task
    def up(self, by: int) -> int:
        return self.start + by

    @classmethod
    @task
    def steps(cls, n: int) -> int:
        return cls.step * n

    @task
    @classmethod
    def steps_below(cls, n: int) -> int:
        return cls.step * n

    @staticmethod
    @task
    def twice(n: int) -> int:
        return 2 * n

    @task
    @staticmethod
    def twice_below(n: int) -> int:
        return 2 * n


class Wider(Counter):
    step = 3


@dataclass
class Scale:
    factor: int

    def __call__(self, x: int) -> int:
        return self.factor * x


scale = task(Scale(3))
from_partial = task(functools.partial(operator.mul, 4))
builtin = task(len)
shortest = task(lambda x: x + 100)


@pytest.mark.core
def test_every_kind_of_callable(block: Block) -> None:
    """Functions, methods of all kinds, objects, partials, builtins, lambdas and nested functions run everywhere."""
    offset = 1000

    @task
    def nested(x: int) -> int:
        return x + offset

    with block():
        found = [
            add(1),
            Counter(10).up(5),
            Counter(10).up(by=6),
            Counter.up(Counter(20), 7),
            Counter.steps(4),
            Wider.steps(4),
            Wider(1).steps(5),
            Wider.steps_below(2),
            Counter.twice(3),
            Counter(1).twice_below(4),
            scale(5),
            from_partial(6),
            builtin([1, 2, 3]),
            shortest(7),
            nested(8),
            factorial(5),
        ]
        assert resolve(found) == [2, 15, 16, 27, 8, 12, 15, 6, 6, 8, 15, 24, 3, 107, 1008, 120]


def test_futures_as_arguments_of_methods(block: Block) -> None:
    """Methods take futures as functions do."""
    with block():
        assert resolve(Counter(1).up(Counter.steps(add(1)))) == 5


def test_outside_of_a_block_it_is_the_function() -> None:
    """Without a block a call runs in place and returns the plain value."""
    assert (add(1, 2), Counter(1).up(1), Wider.steps(1), Counter.twice(2), scale(2)) == (3, 2, 3, 4, 6)


def test_a_task_looks_like_its_function() -> None:
    """Signature, docstring, names, annotations and `isinstance` are those of the function."""
    plain = add.__wrapped__  # type: ignore[attr-defined]
    assert add.__name__ == "add"
    assert add.__doc__ == "Add two numbers."
    assert add.__module__ == __name__
    assert add.__annotations__ == plain.__annotations__
    assert inspect.signature(add) == inspect.signature(plain)
    assert inspect.isfunction(add)
    assert isinstance(add, type(plain))
    assert inspect.getsource(add) == inspect.getsource(plain)
    assert inspect.signature(Counter(1).up) == inspect.signature(lambda by: 0).replace(
        parameters=[inspect.Parameter("by", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="int")],
        return_annotation="int",
    )
    assert inspect.ismethod(Counter(1).up)


@pytest.mark.parametrize("module", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_an_importable_task_is_pickled_by_reference(module: Any) -> None:
    """What can be imported is itself after a round exchange, bound methods belong to the same object again."""
    assert pickle.loads(module.dumps(add)) is add
    assert pickle.loads(module.dumps(Counter.steps))(2) == 4
    assert pickle.loads(module.dumps(Counter(5).up))(1) == 6


@pytest.mark.parametrize("module", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_another_task_is_pickled_by_value(module: Any) -> None:
    """Nested and recursive tasks, lambdas and tasks that refer to others survive a round exchange as tasks."""
    two = 2

    @task
    def inner(x: int) -> int:
        return two * x

    @task
    def outer(x: int) -> int:
        return 1 if x == 0 else inner(x) + outer(x - 1)

    for function in (outer, inner, task(lambda x: x + two)):
        again = pickle.loads(module.dumps(function))
        assert again(3) == function(3)
        if module is pickle:  # cloudpickle takes by value what looks like a function, and so leaves the decorator out
            assert type(again) is type(function)
        with workflow("serial"):
            assert again(3) == function(3)


@pytest.mark.core
def test_nested_tasks_that_refer_to_others(block: Block) -> None:
    """A nested task that is recursive and calls another nested task runs on every runner."""

    @task
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    @task
    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    with block():
        assert resolve([even(10), odd(10), even(7)]) == [True, False, False]


def new_fit(x: float) -> Fit:
    """Make a fit for a task that does not name the class."""
    return Fit(x, "new")


@pytest.mark.core
def test_annotations_of_nested_tasks_hold_everywhere(block: Block) -> None:
    """Names in an annotation that are nowhere else in a function tell the structure and the checks in workers too."""

    @task
    def make(x: float) -> tuple[Fit, float]:
        return new_fit(x), x

    @task
    def take(x: Fit) -> float:
        return x.slope

    @task
    def anything(x: Any) -> Any:
        return x

    with block():
        fit, x = make(3)
        assert resolve([take(fit), fit.label, x]) == [3, "new", 3]
        with pytest.raises(TypeError, match=r"take\(\): argument x"):
            resolve(take(anything("no Fit")))


@pytest.mark.core
def test_a_task_that_calls_tasks_runs_them_in_place(block: Block, caplog: pytest.LogCaptureFixture) -> None:
    """Calls inside of a running task are plain calls, and the user is told once, with the line."""
    caplog.set_level(logging.WARNING)
    with block():
        assert resolve([calls_others(1), calls_others(2)]) == [8, 9]
    told = [r.getMessage() for r in caplog.records if "calls_others()" in r.getMessage()]
    assert len(told) == 1
    assert "add, factorial" in told[0]
    assert __file__ in told[0]


def test_calls_are_plain_at_any_depth_inside_a_task(block: Block) -> None:
    """What a task calls in a helper function is a plain call too."""

    def helper(x: int) -> int:
        return add(x) + 1

    @task
    def user(x: int) -> int:
        return helper(x)

    with block():
        assert resolve(user(1)) == 3


SCRIPT = """
import sys
from dataclasses import dataclass
from parman import resolve, task, workflow

SCALE = 3
print("start", flush=True)

@dataclass
class Made:
    x: int

@task
def scaled(x: int) -> int:
    return SCALE * x

@task
def make(x: int) -> Made:
    return Made(scaled(x))

@task
def total(xs: list[Made]) -> int:
    assert all(type(x) is Made for x in xs)
    return sum(x.x for x in xs)

def main():
    with workflow(sys.argv[1]):
        found = resolve([total([make(i) for i in range(4)]), scaled(1), make(2)])
    assert found == [18, 3, Made(6)], found
    print("end")

GUARD
"""


@pytest.mark.parametrize("name", ["serial", "threads:2", "processes:2"])
@pytest.mark.parametrize("guard", ["main()", "if __name__ == '__main__':\n    main()"], ids=["bare", "guarded"])
def test_functions_and_classes_of_a_script(tmp_path: Path, name: str, guard: str) -> None:
    """A script with tasks and classes of its own runs once, guarded or not, on our own runners by their names."""
    script = tmp_path / "script.py"
    script.write_text("from __future__ import annotations\n" + SCRIPT.replace("GUARD", guard))
    command = [sys.executable, "-W", "error", str(script), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=_with_parman())
    assert done.stderr == "" or "ran in place" in done.stderr
    assert done.stdout.split() == ["start", "end"]


STDLIB = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from parman import resolve, task, workflow

@task
def double(x: int) -> int:
    return 2 * x

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(1, context) as pool, workflow(pool):
        print(resolve(double(double(2))))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_functions_of_a_script_on_other_pools(tmp_path: Path, method: str) -> None:
    """Functions of `__main__` travel by value to any pool."""
    script = tmp_path / "script.py"
    script.write_text(STDLIB)
    command = [sys.executable, str(script), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=_with_parman())
    assert done.stdout.split() == ["8"], done.stderr


def _with_parman() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_pickled_task_is_a_task_in_another_block(block: Block) -> None:
    """A task may be an argument: the other task calls it as a plain function."""

    @task
    def apply(function: Callable[[int], int], x: int) -> int:
        return function(x)

    with block():
        assert resolve([apply(add, 3), apply(Counter(2).up, 3), apply(shortest, 1)]) == [4, 5, 101]


def test_a_block_on_the_same_runner_inside_a_task_is_an_error() -> None:
    """It could wait for itself for ever; a block on another runner works."""
    with ConcurrentRunner(ThreadPool(1)) as runner:

        @task
        def inner(same: bool) -> int:
            with workflow(runner if same else "serial"):
                return resolve(add(1))

        with workflow(runner):
            with pytest.raises(RuntimeError, match="same runner"):
                resolve(inner(True))
            assert resolve(inner(False)) == 2


def test_a_block_inside_of_a_task(block: Block) -> None:
    """On every runner a task may open a block on a runner of its own."""

    @task
    def inner(n: int) -> int:
        with workflow("threads:2"):
            return sum(resolve([add(i) for i in range(n)]))

    with block():
        assert resolve(inner(3)) == 6


@task
def note(path: str) -> int:
    with open(path, "a") as file:  # noqa: PTH123
        file.write("x")
    return 1


@pytest.mark.core
def test_calls_that_look_the_same_are_run_each(block: Block, tmp_path: Path) -> None:
    """A call that is made five times with the same arguments is run five times: it may have effects, or draw."""
    path = tmp_path / "notes"
    with block():
        assert resolve([note(str(path)) for _ in range(5)]) == [1] * 5
    assert path.read_text() == "xxxxx"
