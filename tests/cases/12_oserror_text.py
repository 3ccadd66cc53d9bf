# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND oserror-text
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""The text and the attributes of errors of the system that come from tasks."""

import contextlib
import sys

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


@task
def read(path: str) -> str:
    with open(path) as file:
        return file.read()


@task
def refuse(*args: object) -> None:
    raise OSError(*args)


cases = [("busy",), (16, "busy"), (16, "busy", "a.txt"), (18, "far", "a.txt", None, "b.txt")]
for call in (lambda: read("absent.txt"), *[lambda args=args: refuse(*args) for args in cases]):
    try:
        with block():
            resolve(call())
    except OSError as error:
        print(type(error).__name__, "|", error, "|", error.args, error.filename, error.filename2)
