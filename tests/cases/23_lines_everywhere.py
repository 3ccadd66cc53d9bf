# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
# KIND traceback-file
# RUNNERS serial threads:2 processes:2
# EXPECT same
"""Tracebacks, warnings, log records and inspect show the file and the line of the script in a task."""

import contextlib
import functools
import inspect
import linecache
import logging
import sys
import traceback
import warnings
from pathlib import Path

from parman import resolve, task, workflow


def block():
    return contextlib.nullcontext() if sys.argv[1] == "plain" else workflow(sys.argv[1])


def lines_of(error):
    """Return the frames of an error that are not Parman's."""
    frames = traceback.extract_tb(error.__traceback__)
    return [(Path(f.filename).name, f.lineno, f.name, f.line) for f in frames if "parman" not in f.filename]


def through(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def inverted(xs):
    return [1 / x for x in xs]


@task
def comprehension(x):
    try:
        inverted([x])
    except ZeroDivisionError as error:
        return lines_of(error)


@task
@through
def in_lambda(x):
    try:
        (lambda y: y / 0)(x)
    except ZeroDivisionError as error:
        return lines_of(error)


@task
def warned():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("hello", stacklevel=1)
    (one,) = caught
    return Path(one.filename).name, warnings.formatwarning(one.message, one.category, one.filename, one.lineno)[-40:]


@task
def logged():
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append((Path(record.pathname).name, record.lineno, record.funcName))

    logger, handler = logging.getLogger("x"), Handler()
    logger.addHandler(handler)
    logger.propagate = False
    logger.warning("hey")
    logger.removeHandler(handler)
    return found


@task
def sources(function):
    found = (inspect.currentframe(), inverted, through, function)
    return [inspect.getsource(one) for one in found], Path(inspect.getsourcefile(inverted)).name


class Owner:
    @task
    def generator(self):
        def nested():
            yield from (1 / z for z in [0])

        try:
            list(nested())
        except ZeroDivisionError as error:
            return lines_of(error)


@task
def printed():
    try:
        1 / 0
    except ZeroDivisionError:
        return traceback.format_exc().splitlines()[2]


@task
def fail(x):
    raise ValueError(x)  # the line


CELL = "\ndef in_cell(x):\n    return 1 / x  # the cell\n"
NAME = "<ipython-input-7-abc>"
linecache.cache[NAME] = (len(CELL), None, CELL.splitlines(keepends=True), NAME)
exec(compile(CELL, NAME, "exec"))


@task
def call(function, x):
    try:
        function(x)
    except ZeroDivisionError as error:
        return lines_of(error)


with block():
    results = [comprehension(0), in_lambda(1), warned(), logged(), sources(lambda x: x + 1), Owner().generator()]
    results += [printed(), call(in_cell, 0)]  # noqa: F821
    for result in results:
        print(resolve(result))
    try:
        resolve(fail(0))
    except ValueError as error:
        print("# the line" in "".join(traceback.format_exception(error)))
