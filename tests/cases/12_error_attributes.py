# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND oserror-text
# RUNNERS serial threads:2 processes:2
# EXPECT same
# LIMIT 180
"""Text, repr, args and attributes of exceptions of many kinds, as tasks raise them."""

import contextlib
import io
import json
import subprocess
import sys
import urllib.error

import numpy as np

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


class KeywordOnly(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


class OwnText(Exception):
    def __init__(self, a, b):
        self.a, self.b = a, b

    def __str__(self):
        return f"<{self.a}|{self.b}>"


class OwnSystemError(OSError):
    def __init__(self, path, extra):
        super().__init__(5, "bad", path)
        self.extra = extra


class Unset(OSError):
    def __init__(self, extra):
        self.extra = extra


class Named(OSError):
    @property
    def filename(self):
        return "a property"


def caught(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return error


def chained(cause):
    try:
        try:
            raise ValueError("first")
        except ValueError as first:
            raise KeyError("second") from (first if cause else None)
    except KeyError as error:
        return error


def changed(error, **attributes):
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


MAKE = {
    "no arguments": lambda: OSError(),
    "one": lambda: OSError("busy"),
    "two": lambda: OSError(16, "busy"),
    "three": lambda: OSError(16, "busy", "a.txt"),
    "four": lambda: OSError(18, "far", "a.txt", None),
    "five": lambda: OSError(18, "far", "a.txt", None, "b.txt"),
    "six": lambda: OSError(1, 2, 3, 4, 5, 6),
    "none": lambda: OSError(2, "x", None),
    "bytes": lambda: OSError(2, "x", b"a"),
    "changed": lambda: changed(OSError(2, "x"), filename="z", filename2="y", errno=None),
    "blocking": lambda: BlockingIOError(1, "x", 3),
    "timeout": lambda: TimeoutError(),
    "own init": lambda: OwnSystemError("p", 1),
    "unset": lambda: Unset(1),
    "property": lambda: Named(1, "b", "c"),
    "keyword only": lambda: KeywordOnly(code=3),
    "own text": lambda: OwnText(1, 2),
    "cause": lambda: chained(True),
    "suppressed": lambda: chained(False),
    "added": lambda: changed(ValueError("q"), extra=[1], args=(1, 2)),
    "key": lambda: KeyError("a"),
    "import": lambda: caught(exec, "from math import nothing_like_it"),
    "module": lambda: caught(exec, "import nothing.like_it"),
    "name": lambda: caught(exec, "nothing_like_it"),
    "attribute": lambda: caught(exec, "(1).nothing_like_it"),
    "syntax": lambda: caught(compile, "a b", "f.py", "exec"),
    "decode": lambda: caught(bytes.decode, b"a\xff"),
    "encode": lambda: caught(str.encode, "\xff", "ascii"),
    "json": lambda: caught(json.loads, "{x"),
    "process": lambda: caught(subprocess.run, ["false"], check=True, capture_output=True),
    "linalg": lambda: caught(np.linalg.inv, np.zeros((2, 2))),
    "axis": lambda: caught(np.zeros(2).sum, axis=3),
    "stop": lambda: StopIteration(5),
    "exit": lambda: SystemExit(3),
    "group": lambda: ExceptionGroup("g", [OwnText(1, 2), OSError(2, "x", "f")]),
    "http": lambda: urllib.error.HTTPError("http://a", 404, "not found", {}, io.BytesIO(b"abc")),
}
ATTRIBUTES = (
    "errno strerror filename filename2 characters_written name path name_from encoding object start end reason msg "
    "lineno offset text end_lineno end_offset code value exceptions axis ndim returncode cmd output stderr doc pos "
    "colno extra"
)


@task
def fail(which: str) -> None:
    raise MAKE[which]()


def show(error, depth=0):
    if error is None or depth > 2:
        return None
    found = [(name, repr(getattr(error, name))) for name in ATTRIBUTES.split() if hasattr(error, name)]
    hanging = show(error.__cause__, depth + 1), show(error.__context__, depth + 1), error.__suppress_context__
    return (
        type(error).__name__,
        str(error),
        repr(error),
        error.args,
        sorted(set(vars(error)) - {"__notes__"}),
        found,
        hanging,
    )


for which in MAKE:
    try:
        with block():
            resolve(fail(which))
    except BaseException as error:
        print(which, show(error))
