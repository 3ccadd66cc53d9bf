# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Descriptors and maps are scarce: how many are in use does not depend on how many results or arguments there are."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from helpers import TIMEOUT

HEAD = """
import json
import os
import resource
import sys
from pathlib import Path

import numpy as np
from parman import resolve, share, task, workflow

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
runner, count = sys.argv[1], int(sys.argv[2])


def used() -> list[int]:
    return [len(os.listdir("/proc/self/fd")), len(Path("/proc/self/maps").read_text().splitlines())]


@task
def look(after: object) -> list[int]:
    return used()


@task
def make(number: int) -> np.ndarray:
    return np.full(140_000, float(number))


@task
def first(array: np.ndarray) -> float:
    return float(array[0])


@task
def many(count: int) -> list[np.ndarray]:
    return [np.full(140_000, float(number)) for number in range(count)]


@task
def total(arrays: list[np.ndarray]) -> float:
    return float(sum(array[0] for array in arrays))


with workflow(runner):
"""

WAYS = {
    "results": """
        arrays = [make(number) for number in range(count)]
        found = sum(resolve([first(array) for array in arrays]))
    """,
    "resolved": """
        arrays = resolve([make(number) for number in range(count)])
        for number, array in enumerate(arrays):
            array += 1
        found = float(sum(array[-1] for array in arrays)) - count
    """,
    "arguments": """
        heads = [first(np.full(140_000, float(number))) for number in range(count)]
        found = sum(resolve(heads))
    """,
    "shares": """
        handles = [share(np.full(140_000, float(number))) for number in range(count)]
        found = sum(resolve([first(handle) for handle in handles]))
    """,
    "a list": """
        arrays = many(count)
        found = resolve(total(arrays))
        values = resolve(arrays)
        assert [float(array[0]) for array in values] == list(range(count))
    """,
    "lists": """
        lists = [many(20) for _ in range(count // 20)]
        found = sum(resolve([total(arrays) for arrays in lists]))
        values = resolve(lists)
        found = found * (count - 1) / 19  # as if all numbers were in one list
    """,
}
TAIL = """
        open(os.devnull).close()
        print(json.dumps([found, used(), resolve([look(found) for _ in range(4)])]))
"""


def run(way: str, runner: str, count: int) -> Any:
    script = HEAD + textwrap.indent(textwrap.dedent(WAYS[way]) + textwrap.dedent(TAIL), "    ")
    done = subprocess.run(
        [sys.executable, "-c", script, runner, str(count)], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found, *used = json.loads(done.stdout)
    assert found == sum(range(count))
    return used


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["threads:2", "processes:2"])
@pytest.mark.parametrize("way", WAYS)
def test_descriptors_and_maps_do_not_grow(way: str, runner: str) -> None:
    """With 256 files allowed, five times the arrays are no error, and take no more, in the driver and in workers."""
    few, few_in_tasks = run(way, runner, 80)
    many, many_in_tasks = run(way, runner, 400)
    # A system library, a thread or a region of the heap may come on top.
    assert many[0] <= few[0] + 10
    assert many[1] <= few[1] + 50
    assert max(files for files, _ in many_in_tasks) <= max(files for files, _ in few_in_tasks) + 10
    assert max(maps for _, maps in many_in_tasks) <= max(maps for _, maps in few_in_tasks) + 50
