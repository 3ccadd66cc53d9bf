# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The scripts of `cases/`: each holds one kind of fault, and runs on each runner that its first lines name.

    # KIND word                      what it is about
    # RUNNERS serial threads:2       one run each; unless given, serial threads:2 processes:2
    # EXPECT same                    ends well, and prints what it prints without a block
    # EXPECT same or says=TEXT       that, or TEXT is on standard error
    # EXPECT out=LINE                ends well, and prints this
    # EXPECT error contains=A|B      each of these texts is on standard output or standard error
    # EXPECT fails or says=TEXT      does not end well, or TEXT is on standard error
    # EXIT 1                         the exit status
    # LIMIT 30                       how long a run may take [s]
    # WITHOUT A|B                    texts that are on neither output
    # STDERR empty                   nothing is on standard error
    # PYTHON 3.12                    the oldest Python that can run it

A new kind of fault becomes a new file.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest
from oracle.headers import Header
from oracle.running import Run, run

CASES = sorted(Path(__file__).parent.glob("[0-9][0-9]_*.py"))
HEADERS = {path: Header.of(path) for path in CASES}
LONG = {"12_error_attributes", *(path.stem for path in CASES if path.stem.startswith("15_"))}
"""Many arrays, and many errors: that takes a while."""
DEMANDING = {"30_given_back"}
"""They need ASE, which the quick suite's environment does not have."""


def is_slow(path: Path, runner: str) -> bool:
    """Tell what the quick suite leaves out: it runs each case that is not long once, on processes if it may."""
    runners = HEADERS[path].runners
    return path.stem in LONG | DEMANDING or runner != ("processes:2" if "processes:2" in runners else runners[0])


RUNS = [
    pytest.param(
        path,
        runner,
        id=f"{path.stem}-{runner}",
        marks=[pytest.mark.timeout(2 * header.limit + 60), *[pytest.mark.slow] * is_slow(path, runner)],
    )
    for path, header in HEADERS.items()
    for runner in header.runners
    if sys.version_info >= header.python
]


@cache
def plain(path: Path) -> str:
    """Return what a case prints without a block."""
    alone = run(path, "plain", limit=HEADERS[path].limit)
    assert alone.status == 0, f"the case itself is broken: {alone.status}\n{alone.err}"
    return alone.out


def check_output(expected: str, ended: Run, path: Path) -> None:
    """Check what a case expects, but for the words that go with it."""
    kind, _, text = expected.partition("=")
    if kind == "error contains":
        lacking = [part for part in text.split("|") if part not in ended.out + ended.err]
        assert not lacking
    elif kind == "fails or says":
        assert ended.status != 0 or text in ended.err
    elif kind == "same or says":
        if text not in ended.err:
            check_output("same", ended, path)
    else:
        assert kind in ("same", "out"), f"no such expectation: {expected}"
        assert ended.status == 0, ended.err
        assert ended.out.strip() == (plain(path) if kind == "same" else text).strip()


@pytest.mark.parametrize(("path", "runner"), RUNS)
def test_a_case_ends_as_it_says(path: Path, runner: str) -> None:
    """A case does on the runner what it does without a block, or what its first lines say."""
    header = HEADERS[path]
    ended = run(path, runner, limit=header.limit)
    assert ended.status is not None, f"not done after {header.limit} s\n{ended.out}{ended.err}"
    check_output(header.one("EXPECT", "same"), ended, path)
    assert ended.status == int(header.one("EXIT", str(ended.status)))
    assert [text for text in header.one("WITHOUT").split("|") if text and text in ended.out + ended.err] == []
    if header.one("STDERR") == "empty":
        assert ended.err.strip() == ""
    assert [line for line in ended.left if line.startswith("process")] == []


def test_each_case_says_what_it_is_about() -> None:
    """Each case names its kind, and no word that nobody reads."""
    words = {"KIND", "RUNNERS", "EXPECT", "EXIT", "LIMIT", "WITHOUT", "STDERR", "PYTHON"}
    for path, header in HEADERS.items():
        assert header.one("KIND"), path
        assert {word for word, _ in header.lines} <= words, path
