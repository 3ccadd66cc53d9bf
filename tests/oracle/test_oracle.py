# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whole scripts, drawn at random, end on every runner as they do without a block; see `oracle`.

These are the same ones each time; `make soak` draws others for as long as it is told to. A script that failed is kept
in `oracle-failures`; what it was about stays in `oracle/found`.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from oracle.examining import examine
from oracle.headers import Header
from oracle.judging import differences
from oracle.plans import Plan, simpler
from oracle.strategies import THEMES, draw_plans
from oracle.writing import script

COUNTS = {
    "mixed": 6,
    "values": 6,
    "big": 4,
    "many": 2,
    "swarm": 2,
    "pools": 3,
    "failures": 5,
    "deaths": 3,
    "cancels": 4,
}
QUICK = {"mixed": 1, "values": 1, "failures": 1, "deaths": 1, "cancels": 1}
"""How many of these the quick suite has: the own runners see all kinds of ends there."""

SEED = 1
SCRIPTS = [
    pytest.param(theme, number, marks=[pytest.mark.slow] * (number >= QUICK.get(theme, 0)))
    for theme, count in COUNTS.items()
    for number in range(count)
]
FOUND = sorted((Path(__file__).parent / "found").glob("*.py"))


@cache
def drawn(theme: str) -> list[Plan]:
    """Draw all plans of a theme that the tests need."""
    return draw_plans(theme, SEED, COUNTS[theme])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("theme", "number"), SCRIPTS)
def test_a_script_ends_alike_on_every_runner(theme: str, number: int) -> None:
    """Values, failures, prints and exit status are those of plain Python, in time, and nothing is left behind."""
    found = examine(drawn(theme)[number], f"{theme}_{SEED}_{number}")
    assert found is None, found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_failed_once_is_right(path: Path) -> None:
    """A script that the oracle found ends alike on every runner."""
    assert differences(path) == []


@pytest.mark.parametrize("theme", THEMES)
def test_scripts_are_drawn_alike_each_time(theme: str) -> None:
    """A theme and a seed give the same scripts, so that one that failed can be run again."""
    first, again, other = (draw_plans(theme, seed, 3) for seed in (11, 11, 12))
    assert [script(plan) for plan in first] == [script(plan) for plan in again]
    assert [script(plan) for plan in first] != [script(plan) for plan in other]


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_smaller_scripts_are_scripts(theme: str) -> None:
    """What a failing script is made into can be run, and has fewer calls or simpler ones."""
    for plan in draw_plans(theme, 13, 3):
        smaller = [each for each in simpler(plan) if each.waves]
        assert all(len(script(each)) <= len(script(plan)) for each in smaller)
        assert all(ast.parse(script(each)) for each in smaller)


# --- the judge: it sees what is wrong, and nothing else ---

HEAD = """{head}
import os, sys, time
runner = sys.argv[1]
plain = runner == "plain"
"""


def judged(folder: Path, text: str, head: str = "", runner: str = "threads:2") -> list[str]:
    """Judge a script that only pretends to have a runner."""
    path = folder / "pretended.py"
    path.write_text(HEAD.replace("{head}", f"# RUNNERS {runner}\n{head}") + text)
    return differences(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('1000 a[0] =', 1.0 if plain else 1.5)", "call 1000: the result is '= 1.5', not '= 1.0'"),
        ("print('1000 a[0] !', 'A  |  B' if plain else 'C')", "call 1000: the result is '! C', not '! A' or '! B'"),
        ("if plain: print('1000 a[0] = 1')", "call 1000: the result is None, not '= 1'"),
        ("print('[1000] one\\n' * (1 if plain else 2))", "call 1000: it printed ['one', 'one'], not ['one']"),
        ("print(*(['[1] a', '[1] b'] if plain else ['[1] b', '[1] a']), sep='\\n')", "call 1: it printed"),
        ("print('left:', 'nothing' if plain else '3 files')", "a line is 'left: 3 files', not 'left: nothing'"),
        ("if not plain: print('? held files 900 maps 10')", "with all results there are 900 more files"),
        ("sys.exit(0 if plain else 3)", "exit status 3, not 0"),
        ("if not plain: sys.stderr.write('Exception ignored in: x')", "standard error says 'Exception ignored in'"),
        ("if not plain: open(os.environ['TMPDIR'] + '/more', 'w').close()", "left behind: file more"),
        ("print('the block failed: ' + ('A' if plain else 'B'))", "the block failed with {'B': 1}, not with {'A': 1}"),
        ("if plain: print('the block failed: A')", "that the block failed is said in 1 of 2 runs"),
    ],
)
def test_the_judge_sees_a_difference(tmp_path: Path, text: str, said: str) -> None:
    """What a script prints, leaves and ends with has to be what it is without a block."""
    assert [found for found in judged(tmp_path, text) if found.startswith(f"threads:2: {said}")]


@pytest.mark.parametrize(
    "text",
    [
        "print('1000 a[0] !', 'A  |  B' if plain else 'B')",
        "for line in (['[1] a', '[2] b'] if plain else ['[2] b', '[1] a']): print(line)",
        "print('? held files', len(runner), 'maps 3')",
    ],
)
def test_the_judge_allows_what_may_differ(tmp_path: Path, text: str) -> None:
    """Any of the failures that a call depends on is right, and prints of several calls have no order."""
    assert judged(tmp_path, text) == []


CANCELS = "# NEEDS 10\n# NEEDS 20 10\n# NEEDS 30 20"


@pytest.mark.parametrize(
    ("ends", "answer", "said"),
    [
        ("xxx", "True", None),
        ("=xx", "True", None),
        ("===", "False", None),
        ("===", "True", "call 20: cancel() said True, but it was not cancelled"),
        ("=xx", "False", "call 20: cancel() said False, but it was cancelled"),
        ("=x=", "True", "call 30: it has a result, but it needs [20], which were cancelled"),
        ("x==", "False", "call 10: it was cancelled, though nobody asked for it"),
        ("==x", "False", "call 30: it was cancelled, though nobody asked for it"),
    ],
)
def test_the_judge_knows_what_may_be_cancelled(tmp_path: Path, ends: str, answer: str, said: str | None) -> None:
    """Of a chain of three calls the second is cancelled, and the last with it; the first if nobody else needs it."""
    text = f"""
for number, end in zip((10, 20, 30), "===" if plain else "{ends}"):
    print(number, "a[0]", "= 1" if end == "=" else "! CancelledError")
print("? cancel 20 {answer}")
"""
    assert judged(tmp_path, text, CANCELS)[:1] == ([f"threads:2: {said}"] if said else [])


def test_the_judge_sees_that_a_cancelled_call_ran(tmp_path: Path) -> None:
    """What was cancelled has printed nothing."""
    text = "print('[10] ran'); print('10 a[0]', '= 1' if plain else '! CancelledError'); print('? cancel 10 True')"
    (found,) = judged(tmp_path, text, "# NEEDS 10")
    assert found == "threads:2: call 10: it was cancelled, but it printed ['ran']"


def test_the_judge_allows_a_dying_call_to_lose_its_last_prints(tmp_path: Path) -> None:
    """A call whose process is killed may have printed less than without a block, but nothing else."""
    assert judged(tmp_path, "print('[10] a' + ('\\n[10] b' if plain else ''))", "# DIES 10") == []
    assert judged(tmp_path, "print('[10] a' if plain else '[10] b')", "# DIES 10") != []


def test_the_judge_sees_a_process_that_stays(tmp_path: Path) -> None:
    """A process that outlives its script is found, in whatever session it is."""
    text = """
import subprocess
if not plain: subprocess.Popen([sys.executable, "-c", "input()"], start_new_session=True, stdin=subprocess.PIPE)
"""
    text = text.replace("input()", "import signal; signal.pause()")
    (found,) = judged(tmp_path, text)
    assert found.startswith("threads:2: left behind: process ")


def test_the_judge_sees_a_hang(tmp_path: Path) -> None:
    """A script that does not end in time is ended."""
    (found,) = judged(tmp_path, "if not plain: __import__('signal').pause()", "# LIMIT 1")
    assert found.startswith("threads:2: not done after ")


def test_the_judge_sees_a_waste_of_the_processor(tmp_path: Path) -> None:
    """A runner that uses many times the processor time of another one is found."""
    text = "if runner == 'threads:64':\n    while time.process_time() < 1.5: pass"
    (found,) = judged(tmp_path, text, "# CPU threads:16 3 0.5", "threads:16 threads:64")
    assert found.startswith("threads:64: 1.")


def test_a_header_ends_with_the_first_line_of_code() -> None:
    """Words in capitals further down are no part of it."""
    header = Header("# RUNNERS serial\n# LIMIT 5\nx = 1\n# EXIT 3\n")
    assert (header.runners, header.limit, header.one("EXIT")) == (["serial"], 5.0, "")
