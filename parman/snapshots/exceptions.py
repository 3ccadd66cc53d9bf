# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Exceptions of tasks: told where they come from, stripped of frames, and carried between processes.

Pickle rebuilds an exception by calling its class with `args`, which fails for every class whose `__init__` takes
something else, and loses causes, contexts and attributes. Here an exception is made by the `__new__` of its built-in
base and its state is set afterwards, so that no code of the user runs. What can't be carried even so becomes a
`RemoteError`, built from texts that travel beside the pickle. An exception that is a value, an argument or a result, is
made in the same way.
"""

from __future__ import annotations

import copyreg
import io
import logging
import pickle
import traceback
from collections.abc import Iterator
from types import BuiltinFunctionType, GetSetDescriptorType, MemberDescriptorType, TracebackType
from typing import Any

from ..context import is_ours
from ..errors import ParmanError, RemoteError
from .buffers import Buffer
from .code import ScriptPickler
from .snapshot import FILED

__all__ = [
    "PackedException",
    "annotate",
    "chain",
    "duplicate",
    "is_made_again",
    "reduce_exception",
    "safe_text",
    "shorten",
    "strip",
    "traceback_text",
]

logger = logging.getLogger("parman")

_SET_BY_PYTHON = {
    "args",
    "__traceback__",
    "__context__",
    "__cause__",
    "__suppress_context__",
    "__dict__",
    "__weakref__",
    "message",
    "exceptions",
}


def chain(exception: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all that hang on it: causes, contexts and members of groups, each once."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [exception]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo.extend(_members(one))


def strip(exception: BaseException) -> None:
    """Drop the tracebacks of the exception and of all that hang on it, since frames keep their locals alive."""
    for one in chain(exception):
        BaseException.with_traceback(one, None)  # an assignment would ask the class, and frozen ones refuse


def _members(group: BaseExceptionGroup[BaseException]) -> tuple[BaseException, ...]:
    members: tuple[BaseException, ...] = BaseExceptionGroup.exceptions.__get__(group)
    return members


def duplicate(exception: BaseException) -> BaseException:
    """Return a copy of an exception, with a list of notes of its own; the very exception if it can't be copied.

    The same object may be raised by many calls, and be held by the futures of others.
    """
    try:
        state = _state(exception)
        notes = state["attributes"].get("__notes__")
        if isinstance(notes, list):
            state["attributes"]["__notes__"] = list(notes)
        copy = _new(type(exception), _arguments_of_new(exception))
        _set_state(copy, state)
    except BaseException:  # it may be any code of the user's class
        return exception
    return BaseException.with_traceback(copy, exception.__traceback__) if type(copy) is type(exception) else exception


def safe_text(exception: BaseException) -> str:
    """Write the type and the text of an exception, also of one whose text can't be had."""
    name = type(exception).__name__
    try:
        return f"{name}: {exception}"
    except Exception as error:
        return f"{name} (its text can't be shown: {type(error).__name__})"


def shorten(error: Exception) -> None:
    """Drop the frames up to where an error is caught, unless code of the user is among them; then a `raise` goes on.

    Likewise for its cause, which is dropped if the error says what that was. What the library met before is dropped.
    """
    if isinstance(error, ParmanError):
        cause = error.__cause__
        if cause is not None and _without_ours(cause.__traceback__) is None:
            strip(cause)
            if safe_text(cause).partition(": ")[2] in str(error):
                error.__cause__, error.__suppress_context__ = None, False
        while error.__context__ is not None and _without_ours(error.__context__.__traceback__) is None:
            error.__context__ = error.__context__.__context__
    BaseException.with_traceback(error, _without_ours(error.__traceback__))


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback, or nothing if all its frames are the library's or those of picklers."""
    rest = trace
    while rest is not None and (is_ours(rest.tb_frame) or "pickle" in rest.tb_frame.f_globals.get("__name__", "")):
        rest = rest.tb_next
    return None if rest is None else trace


def traceback_text(exception: BaseException, skip: int = 0) -> str:
    """Format the exception with its traceback, leaving out the outermost `skip` frames, which are ours."""
    trace = exception.__traceback__
    for _ in range(skip):
        trace = trace.tb_next if trace is not None else None
    try:
        return "".join(traceback.format_exception(type(exception), exception, trace)).rstrip()
    except Exception as error:  # an exception whose own text raises must not hide that the task failed
        return f"{type(exception).__qualname__} (its traceback can't be shown: {type(error).__qualname__})"


def annotate(exception: BaseException, note: str) -> None:
    """Add a note where the exception takes one; a failure is never lost because it refuses."""
    try:
        exception.add_note(note)
    except Exception:
        logger.debug("%s takes no notes; this one was: %s", type(exception).__qualname__, note)


class PackedException:
    """An exception as bytes, with the texts that stand for it where the bytes can't be loaded.

    Parameters
    ----------
    exception
        The exception. Tracebacks do not travel, so the text has to be made before.
    text
        What a `RemoteError` says if the exception can't be rebuilt.
    """

    __slots__ = ("stream", "text")

    def __init__(self, exception: BaseException, text: str) -> None:
        self.text = text
        self.stream: bytes | Buffer | None = _dump(exception)

    def put_beside(self) -> None:
        """Put the bytes, if they are many, into a memory file: each call that is given the exception gets that."""
        if isinstance(self.stream, bytes) and len(self.stream) >= FILED:
            self.stream = Buffer.of(self.stream)

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The big pieces of memory."""
        return (self.stream,) if isinstance(self.stream, Buffer) else ()

    def load(self) -> BaseException:
        """Rebuild the exception, or a `RemoteError` that stands for it."""
        if self.stream is not None:
            try:
                stream = self.stream.readonly() if isinstance(self.stream, Buffer) else self.stream
                exception = pickle.loads(stream)
            except BaseException as error:  # whatever the user's classes raise while they are imported or rebuilt
                annotated = RemoteError(self.text)
                annotate(annotated, f"It can't be rebuilt here: {safe_text(error)}")
                return annotated
            if isinstance(exception, BaseException):
                return exception
        return RemoteError(self.text)


def _dump(exception: BaseException) -> bytes | None:
    for pickler in (_ExceptionPickler, _LenientPickler):
        file = io.BytesIO()
        try:
            pickler(file).dump(exception)
        except BaseException:  # from code of the user's classes
            continue
        return file.getvalue()
    return None


class _ExceptionPickler(ScriptPickler):
    """Pickles exceptions without regard to their `__init__` and `__reduce__`."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            if not _is_made_by_python(type(obj)):
                return super().reducer_override(obj)
            state = self.keep(_state(obj))
            return _new, (type(obj), self.keep_args(_arguments_of_new(obj))), state, None, None, _set_state
        return super().reducer_override(obj)

    def keep_args(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args

    def keep(self, state: dict[str, Any]) -> dict[str, Any]:
        return state


class _LenientPickler(_ExceptionPickler):
    """Replaces what can't be pickled in an exception by its `repr`, so that at least the type is kept."""

    def keep_args(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(arg if _travels(arg) else _safe_repr(arg) for arg in args)

    def keep(self, state: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {
            part: {name: value if _travels(value) else _safe_repr(value) for name, value in values.items()}
            if isinstance(values, dict)
            else values
            for part, values in state.items()
        }
        return kept | {"args": self.keep_args(state["args"])}


def is_made_again(cls: type[BaseException]) -> bool:
    """Tell whether `reduce_exception` is for instances of a class: not if the class says itself how it is pickled."""
    own = (vars(base) for base in cls.__mro__ if base.__module__ != "builtins")
    return _is_made_by_python(cls) and cls not in copyreg.dispatch_table and not any(map(_SAID.intersection, own))


_SAID = {"__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"}


def reduce_exception(exception: BaseException) -> Any:
    """Reduce an exception that is a value; what hangs on it travels as failures do, without what can't be."""
    state = _state(exception)
    if state["cause"] is not None or state["context"] is not None:
        hook = BaseException()
        hook.__cause__, hook.__context__ = state["cause"], state["context"]
        state["cause"] = state["context"] = None
        state["hook"] = PackedException(hook, "")
    return _new, (type(exception), _arguments_of_new(exception)), state, None, None, _set_whole_state


def _set_whole_state(exception: BaseException, state: dict[str, Any]) -> None:
    if "hook" in state:
        hook = state["hook"].load()
        state |= {"cause": hook.__cause__, "context": hook.__context__}
    _set_state(exception, state)


def _travels(value: Any) -> bool:
    if isinstance(value, BaseException):
        return True  # pickled by the same lenient pickler
    if isinstance(value, list | tuple) and any(isinstance(item, BaseException) for item in value):
        return True  # the members of a group
    try:
        _ExceptionPickler(io.BytesIO()).dump(value)
    except BaseException:
        return False
    return True


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return object.__repr__(value)


def _builtin_base(cls: type[BaseException]) -> type[BaseException]:
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def _is_made_by_python(cls: type[BaseException]) -> bool:
    """Whether the innermost class that is written in C is one of Python's; others have a state that only they know."""
    before = cls.__mro__[: cls.__mro__.index(_builtin_base(cls))]
    return not any(isinstance(vars(base).get("__new__"), BuiltinFunctionType) for base in before)


def _arguments_of_new(exception: BaseException) -> tuple[Any, ...]:
    """Return what the `__new__` of the built-in base is given; groups have to be made with their members."""
    if isinstance(exception, BaseExceptionGroup):
        return BaseExceptionGroup.message.__get__(exception), _members(exception)
    return exception.args


def _descriptors(cls: type) -> dict[str, Any]:
    """Return what reads and sets the members that are written in C, and slots; what a class puts over them is not."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        for name, descriptor in vars(base).items():
            if name not in _SET_BY_PYTHON and isinstance(descriptor, MemberDescriptorType | GetSetDescriptorType):
                found.setdefault(name, descriptor)
    return found


def _members_of(exception: BaseException) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, descriptor in _descriptors(type(exception)).items():
        try:
            members[name] = descriptor.__get__(exception)
        except AttributeError:  # not set
            continue
    return members


def _state(exception: BaseException) -> dict[str, Any]:
    return {
        "args": exception.args,
        "members": _members_of(exception),
        "attributes": dict(getattr(exception, "__dict__", {})),
        "cause": exception.__cause__,
        "context": exception.__context__,
        "suppress": exception.__suppress_context__,
    }


def _new(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return _builtin_base(cls).__new__(cls, *args)


def _set_state(exception: BaseException, state: dict[str, Any]) -> None:
    """Set everything by the descriptors of Python's classes: a class may refuse assignments, as frozen ones do.

    A member that was never set reads as None, and is another thing than one set to None: the text of an `OSError`
    shows the latter. So nothing is set that reads as it should.
    """
    descriptors, has = _descriptors(type(exception)), _members_of(exception)
    for name, value in state["members"].items():
        if name not in descriptors or (name in has and has[name] is value):
            continue
        try:
            descriptors[name].__set__(exception, value)
        except (AttributeError, TypeError):
            continue  # read-only members are set by __new__
    vars(BaseException)["args"].__set__(exception, state["args"])
    getattr(exception, "__dict__", {}).update(state["attributes"])
    for part in ("cause", "context"):
        vars(BaseException)[f"__{part}__"].__set__(exception, state[part])
    vars(BaseException)["__suppress_context__"].__set__(exception, state["suppress"])
