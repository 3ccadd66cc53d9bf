# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The runners as fixtures.

Each is opened once, when a test first asks for it, and stays warm to the end of the session. That also shows whether
a test leaves something behind that the next one stumbles over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from backends import BACKENDS, Backend
from helpers.gates import Gate

from parman import Runner, Workflow, workflow


def _params(backends: list[Backend]) -> list[Any]:
    return [pytest.param(backend, id=backend.name) for backend in backends]


def _backends(item: pytest.Item) -> list[Backend]:
    params = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    return [param for param in params if isinstance(param, Backend)]


def _can_run(item: pytest.Item) -> bool:
    needed = {name for marker in item.iter_markers("needs") for name in marker.args}
    return not any(needed & backend.lacks for backend in _backends(item))


def _is_quick(item: pytest.Item, backend: Backend) -> bool:
    """Whether a test on a pool of others is in the quick suite: the core is, on two of them."""
    return backend.name in ("stdlib-threads", "spawn") and item.get_closest_marker("core") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a backend can't do; mark what repeats, on pools of others, what the quick suite sees on ours."""
    for item in items:
        if any(backend.foreign and not _is_quick(item, backend) for backend in _backends(item)):
            item.add_marker("foreign")
    chosen = [(item, _can_run(item)) for item in items]
    config.hook.pytest_deselected(items=[item for item, can_run in chosen if not can_run])
    items[:] = [item for item, can_run in chosen if can_run]


@pytest.fixture(scope="session")
def opened_runners() -> Iterator[Callable[[Backend], Runner]]:
    """Open runners when they are first asked for."""
    runners: dict[str, Runner] = {}
    with ExitStack() as stack:

        def get(backend: Backend) -> Runner:
            if backend.name not in runners:
                runners[backend.name] = backend.open(stack)
            return runners[backend.name]

        yield get


@pytest.fixture(params=_params(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    """Give each backend in turn."""
    found: Backend = request.param
    return found


@pytest.fixture
def runner(backend: Backend, opened_runners: Callable[[Backend], Runner]) -> Runner:
    """Give the runner of the backend."""
    return opened_runners(backend)


@pytest.fixture
def block(runner: Runner) -> Callable[..., Workflow]:
    """Make a block on the runner."""
    return lambda **options: workflow(runner, **options)


@pytest.fixture(params=_params([b for b in BACKENDS if not b.serial]))
def parallel(request: pytest.FixtureRequest, opened_runners: Callable[[Backend], Runner]) -> Callable[..., Workflow]:
    """Make a block on each runner that goes on while a call runs."""
    runner = opened_runners(request.param)
    return lambda **options: workflow(runner, **options)


@pytest.fixture(params=_params([b for b in BACKENDS if b.processes]))
def remote(request: pytest.FixtureRequest, opened_runners: Callable[[Backend], Runner]) -> Callable[..., Workflow]:
    """Make a block on each runner whose tasks run in other processes."""
    runner = opened_runners(request.param)
    return lambda **options: workflow(runner, **options)


@pytest.fixture(params=_params([b for b in BACKENDS if not b.processes]))
def local(request: pytest.FixtureRequest, opened_runners: Callable[[Backend], Runner]) -> Callable[..., Workflow]:
    """Make a block on each runner whose tasks run in this process."""
    runner = opened_runners(request.param)
    return lambda **options: workflow(runner, **options)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Give a gate that is open at the end, whatever happens."""
    with Gate(tmp_path / "gate") as gate:
        yield gate
