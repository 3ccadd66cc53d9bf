# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Calls that run in another process: what is sent, what is done there, what comes back.

There is one format, whoever carries it. Our own processes get several calls in one message, which are begun one after
another; an executor of others gets one call, as bytes. A message names what its calls need by tokens: the tasks, the
state of the block (directory, environment, ...), shares. A worker that does not know a token answers `MissingAssets`
before it runs anything, and gets what it lacks. So each of these travels once to each worker, whichever pool it belongs
to. What the driver notes of a worker of its own saves the question mostly; it need not be right: the worker may have
forgotten what it was sent, and asks again. All that a call needs is taken out of what the worker remembers before the
call begins, and held by it: other calls, of other blocks too, may begin meanwhile, on threads of the same process.

What comes back is made of bytes and texts of our own making, so that a pool never meets an exception or a result that
can't be pickled: such a thing costs its own call and no other.

On our own processes the worker takes a claim before each call; when there is none left, the driver has taken back the
rest. Each outcome is sent at once, so that it waits in the system rather than here, where the next call may be long, or
the last one of this process. The results that later calls of the message need are kept until the last of those has
run.
"""

from __future__ import annotations

import os
import pickle
import random
import sys
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from ..annotations.spec import ResultSpec
from ..assets import TaskSpec
from ..engine.execute import Outcome, TaskWarning, perform
from ..errors import ResultError
from ..pool.channel import Kind, Message, pack
from ..pool.terminal import refusing_input
from ..snapshots.attributes import Forgotten
from ..snapshots.buffers import Buffer
from ..snapshots.cache import SnapshotCache
from ..snapshots.code import dumps
from ..snapshots.exceptions import PackedException, annotate, traceback_text
from ..snapshots.load_errors import explain
from ..snapshots.memory import Traces, drop_spares
from ..snapshots.share import InstalledShare, install_share
from ..snapshots.snapshot import AtomSnapshot, Snapshot
from ..snapshots.take import is_plain, pickled, take_snapshot, what_is_lost

if TYPE_CHECKING:
    from ..closures import Closure
    from ..engine.runner import Where

__all__ = [
    "Batch",
    "BlockState",
    "Item",
    "MissingAssets",
    "Reply",
    "Result",
    "dump_batch",
    "item_of",
    "read_reply",
    "run_batch",
    "run_bytes",
]


@attrs.frozen
class BlockState:
    """The state of the driver's process when a block was entered, as far as it reaches its workers.

    Attributes
    ----------
    directory
        None if there is none, or if it is not known where the workers are.
    environment
        None on other machines, where each has its own.
    filters
        The filters of warnings; None if it is not known where the workers are.
    driver
        The driver's process id.
    """

    directory: str | None
    environment: dict[str, str] | None
    path: list[str]
    filters: list[Any] | None
    driver: int = attrs.field(factory=os.getpid)

    @classmethod
    def current(cls, where: Where = "machine") -> BlockState:
        """Return what of the state of this process is for workers there."""
        if where == "unknown":  # they may even be threads of this process, so nothing that it could harm
            return cls(None, None, list(sys.path), None)
        try:
            directory = os.getcwd()  # noqa: PTH109
        except FileNotFoundError:  # it was removed
            directory = None
        environment = dict(os.environ) if where == "machine" else None
        return cls(directory, environment, list(sys.path), list(warnings.filters))

    def apply(self, keep: Mapping[str, str]) -> None:
        """Bring this process into the state; `keep` are variables of its own where the driver has none."""
        if self.directory is not None and (self.environment is not None or Path(self.directory).is_dir()):
            os.chdir(self.directory)
        if self.environment is None:
            sys.path.extend(entry for entry in self.path if entry not in sys.path)
        else:
            wanted = {**keep, **self.environment}
            for name in os.environ.keys() - wanted.keys():
                del os.environ[name]
            os.environ.update(wanted)
            sys.path[:] = self.path
        if self.filters is not None:
            warnings.filters[:] = self.filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]


class Result(NamedTuple):
    """A result that a call needs of one that is before it in the same batch."""

    call: int
    leaf: int


class Item(NamedTuple):
    """One call.

    Attributes
    ----------
    task, site
        Numbers of those in the batch.
    arguments
        The snapshot; or the arguments themselves, if these are plain.
    values
        For each dependency its value, plain or a snapshot, or which result it is.
    structure
        Its digest if it is the same for all calls of the task.
    """

    task: int
    site: int
    arguments: Snapshot | dict[str, Any]
    values: list[Any]
    structure: ResultSpec | str
    late: tuple[str, ...]
    check: str


class Batch(NamedTuple):
    """Calls that are sent together.

    Attributes
    ----------
    state, tasks, shares
        Tokens of what the worker has to know.
    assets
        What it may not know, by token.
    sites
        The lines in the user's files that made the calls.
    spares
        Memory files to be filled with results.
    number
        Tells calls apart: some executors run what they take for the same once only.
    ended
        Tokens of shares that no call will need any more.
    """

    state: str | None
    tasks: tuple[str, ...]
    shares: tuple[str, ...]
    sites: tuple[str, ...]
    items: list[Item]
    assets: Mapping[str, Snapshot] | None = None
    spares: list[Buffer] | None = None
    number: int = 0
    ended: tuple[str, ...] = ()

    @property
    def tokens(self) -> list[str]:
        """All that a worker has to know, in the order in which it is loaded."""
        return [*([self.state] if self.state else []), *self.tasks, *self.shares]


class MissingAssets(NamedTuple):
    """The answer of a worker that does not know some tokens; nothing was run."""

    tokens: list[str]


class Reply(NamedTuple):
    """The answer of a worker: an outcome in bytes."""

    values: list[Any] | None
    """Snapshots, or plain numbers and the like."""
    failure: PackedException | None
    warnings: tuple[TaskWarning, ...]


def read_reply(reply: Reply) -> Outcome:
    """Make an outcome of what a worker answered."""
    failure = None if reply.failure is None else reply.failure.load()
    return Outcome(reply.values, failure, None, reply.warnings)


# --- in the worker ---

_KNOWN = 500
"""Small assets that a worker remembers in any case; others are asked for again."""
_SMALL = 1 << 16
"""Up to which size an asset is a small one [bytes]."""
_ROOM = 1 << 26
"""How big those may be all together that are not needed just now, before it forgets any [bytes]."""
_ONCE_KNOWN = 10_000
"""Forgotten assets of which a worker remembers that it knew them."""
_AROUND = 4
"""Of how many blocks a worker remembers tasks and shares: some may be around others."""
_BLOCKS = 64
"""Of how many it remembers what it was sent twice."""
_OWN = "_NUM_THREADS"
"""How variables end that the pool sets for a worker."""


class _Needed(NamedTuple):
    """What the calls of a batch need of what the worker remembers, and hold until they have run."""

    specs: list[TaskSpec]
    shares: list[InstalledShare]
    forgotten: Forgotten
    is_another_process: bool
    """Whether this is not the driver itself, whose threads an executor may use."""


class _WorkerMemory:
    """What a worker process remembers.

    Executors may run several calls of one process on threads of its own: what is remembered is changed, and what a
    call needs of it is taken out, under the lock.

    What has been needed least recently is forgotten when all that is not needed just now gets big. What is asked for
    again after that is kept until the block is over, or no call will need it any more: so nothing is sent more than
    twice, however big it is, and however many calls need it in turns.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.assets: OrderedDict[str, Any] = OrderedDict()
        self.sizes: dict[str, int] = {}
        self.size = 0  # of those that may be forgotten
        self.kept: set[str] = set()
        self.once_known: OrderedDict[str, None] = OrderedDict()
        self.state: str | None = None
        self.blocks: deque[str] = deque(maxlen=_BLOCKS)
        self.owners: dict[str, str | None] = {}
        self.seeded = os.getpid()
        self.own_environment: dict[str, str] | None = None
        self.forgotten = Forgotten()

    def learn(self, batch: Batch) -> list[str]:
        """Load what is brought along; return the tokens that are still missing."""
        tokens = batch.tokens
        if batch.state is not None and batch.state not in self.assets:
            self._forget_old_blocks()
        if batch.state is not None and (not self.blocks or self.blocks[-1] != batch.state):
            if batch.state in self.blocks:
                self.blocks.remove(batch.state)
            self.blocks.append(batch.state)
        for token in tokens:
            if token in self.assets:
                self.assets.move_to_end(token)
                continue
            if batch.assets is None or token not in batch.assets:
                return [t for t in tokens if t not in self.assets]
            self._load(token, batch)
        if batch.state is not None and batch.state != self.state:
            self._enter(batch.state)
        if self.size > _ROOM:
            self._make_room(set(tokens))
        return []

    def needed_by(self, batch: Batch) -> _Needed:
        """Take out what the calls of a batch need; all of it is known."""
        state = None if batch.state is None else self.assets[batch.state]
        is_another_process = isinstance(state, BlockState) and state.driver != os.getpid()
        specs, shares = ([self.assets[token] for token in tokens] for tokens in (batch.tasks, batch.shares))
        return _Needed(specs, shares, self.forgotten, is_another_process)

    def _load(self, token: str, batch: Batch) -> None:
        if token in batch.tasks and batch.state is not None:
            self._enter(batch.state)  # the task may have to be imported from the block's sys.path
        assert batch.assets is not None
        snapshot = batch.assets[token]
        self.owners[token] = batch.state
        self.assets[token] = install_share(token, snapshot) if token in batch.shares else snapshot.load()
        self.sizes[token] = snapshot.nbytes
        if token in self.once_known:
            self.kept.add(token)
        else:
            self.size += snapshot.nbytes

    def _make_room(self, needed: set[str]) -> None:
        """Forget what was not needed for longest."""
        left = self.size - sum(self.sizes[token] for token in needed - self.kept)
        for token in list(self.assets):
            if left <= _ROOM:
                break
            is_small = self.sizes[token] <= _SMALL and len(self.assets) <= _KNOWN
            if not (is_small or token in needed or token in self.kept):
                left -= self.sizes[token]
                self.forget(token)
                self.once_known[token] = None
        while len(self.once_known) > _ONCE_KNOWN:
            self.once_known.popitem(last=False)

    def _forget_old_blocks(self) -> None:
        """Drop tasks and shares of blocks when others begin: a warm worker would pile them up.

        Not of those that were at work last, which may be around the one that begins, and go on with its end. What was
        sent once more since is kept longer.
        """
        around = list(self.blocks)[1 - _AROUND :]
        for token in [t for t, owner in self.owners.items() if owner not in around]:
            is_kept = token in self.kept and self.owners[token] in self.blocks
            if not is_kept and not isinstance(self.assets.get(token), BlockState):
                self.forget(token)
                self.once_known[token] = None
        self.forgotten = Forgotten()

    def forget(self, token: str) -> None:
        """Forget an asset, if it is known."""
        self.once_known.pop(token, None)
        if token not in self.assets:
            return
        del self.assets[token]
        self.owners.pop(token, None)
        size = self.sizes.pop(token)
        if token in self.kept:
            self.kept.discard(token)
        else:
            self.size -= size

    def _enter(self, token: str) -> None:
        if token == self.state:
            return
        if self.own_environment is None:
            self.own_environment = {name: os.environ[name] for name in os.environ if name.endswith(_OWN)}
        self.assets[token].apply(self.own_environment)
        self.state = token

    def seed(self) -> None:
        """Give a forked process random numbers of its own."""
        if self.seeded == os.getpid():
            return
        self.seeded = os.getpid()
        random.seed()
        numpy_random: Any = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed()


_memory = _WorkerMemory()


def _renew_in_child() -> None:
    """Forget who held the lock in the process that was forked."""
    _memory.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_in_child)


def run_bytes(content: bytes) -> bytes:
    """Run one call that came, and answers, as bytes: the same through any executor, and pickled in C; never raises."""
    batch: Batch = pickle.loads(content)
    (item,) = batch.items
    (where,) = batch.sites
    answer: Reply | MissingAssets
    try:
        needed = _needed_by(batch)
    except BaseException as exception:
        answer = _not_loaded(exception, where)
    else:
        if isinstance(needed, MissingAssets):
            answer = needed
        else:
            with refusing_input() if needed.is_another_process else nullcontext():
                answer = _run(item, needed, where)
    return pickle.dumps(answer, protocol=5)


def _needed_by(batch: Batch) -> _Needed | MissingAssets:
    """Get ready in this worker for what is to come; return what the calls need, or what is missing.

    Raises
    ------
    Exception
        Whatever the user's modules and classes raise while a task is loaded.
    """
    with _memory.lock:
        _memory.seed()
        for token in batch.ended:
            _memory.forget(token)
        missing = _memory.learn(batch)
        return MissingAssets(missing) if missing else _memory.needed_by(batch)


def _not_loaded(exception: BaseException, where: str) -> Reply:
    """Answer that a task can't be loaded here."""
    annotate(exception, f"The task could not be loaded in the worker for the call at {where}.")
    return Reply(None, PackedException(exception, traceback_text(exception)), ())


def _reply_of(outcome: Outcome, name: str, forgotten: Forgotten) -> Reply:
    """Bring an outcome into a form that can travel."""
    if outcome.failure is not None:
        return Reply(None, PackedException(outcome.failure, traceback_text(outcome.failure)), outcome.warnings)
    assert outcome.values is not None
    cache = SnapshotCache(forgotten)
    told: list[TaskWarning] = []

    def forgets(cls: type, names: list[str]) -> None:
        told.append(TaskWarning("forgotten", f"{name}() returned {what_is_lost(cls, names)}"))

    try:
        values = []
        while outcome.values:
            value = outcome.values.pop()
            if not is_plain(value):
                value = take_snapshot(value, pickled, cache=cache, label=f"what {name} returned", forgets=forgets)
            values.append(value)
    except BaseException as error:
        failure = ResultError(f"the result of {name}() can't be sent back: {error}")
        return Reply(None, PackedException(failure, str(failure)), outcome.warnings)
    return Reply(values[::-1], None, (*outcome.warnings, *told))


def run_batch(
    batch: Batch,
    traces: list[Traces],
    take: Callable[[], bool],
    ask: Callable[[list[str]], Mapping[str, Snapshot]],
    send: Callable[[Message], None],
) -> None:
    """Run the calls of a batch, in a worker.

    Parameters
    ----------
    batch
        The calls; it is emptied.
    traces
        What tells whether the memory files that came with it are still used.
    take
        Takes a claim; false if there is none left.
    ask
        Asks the driver for what is not known here.
    send
        Sends a message to the driver.
    """
    trouble: BaseException | None = None
    if not take():  # before anything is loaded: if this process dies of that, it was this call
        send(pack(Kind.OVER, None))
        return
    try:
        needed = _needed_and_asked_for(batch, ask)
    except BaseException as exception:
        trouble = exception
    results = _Results(batch.items)
    is_alone = len(batch.items) == 1
    with _spares_of(batch):
        for number, item in _emptying(batch.items):
            if number and not take():
                send(pack(Kind.OVER, None))
                return
            where = batch.sites[item.site]
            if trouble is not None:
                send(_message(0.0, _not_loaded(trouble, where)))
            elif results.put_into(item.values):
                start = time.perf_counter()
                reply = _run(item, needed, where)
                duration = time.perf_counter() - start
                del item  # with the memory files in it
                send(_message(duration, reply, is_alone and not any(one.are_left() for one in traces)))
                results.note(number, reply)
            else:
                send(_SKIPPED)


def _needed_and_asked_for(batch: Batch, ask: Callable[[list[str]], Mapping[str, Snapshot]]) -> _Needed:
    found = _needed_by(batch)
    if isinstance(found, MissingAssets):
        # Once: who asked again and again would keep the driver busy for ever.
        found = _needed_by(batch._replace(assets=ask(found.tokens)))
    if isinstance(found, MissingAssets):
        raise RuntimeError("the driver did not send what this worker asked for; this is a mistake in Parman")
    return found


@contextmanager
def _spares_of(batch: Batch) -> Iterator[None]:
    """Let results be written to the spare files that came with a batch."""
    if not batch.spares:
        yield
        return
    while batch.spares:
        batch.spares.pop().surrender()
    try:
        yield
    finally:
        drop_spares()


def _emptying(items: list[Item]) -> Iterator[tuple[int, Item]]:
    items.reverse()
    number = 0
    while items:
        yield number, items.pop()
        number += 1


def _run(item: Item, needed: _Needed, where: str) -> Reply:
    spec = needed.specs[item.task]
    definition = spec.definition
    try:
        structure = spec.structure_of(item.structure)
    except BaseException as exception:
        return _not_loaded(exception, where)
    outcome = perform(
        definition,
        lambda: _arguments_of(item, definition.name),
        structure,
        where,
        late=item.late,
        check=item.check,
    )
    return _reply_of(outcome, definition.name, needed.forgotten)


def _arguments_of(item: Item, name: str) -> dict[str, Any]:
    if type(item.arguments) is dict:
        return item.arguments
    values = [value.load() if isinstance(value, PackedException) else value for value in item.values]
    item.values.clear()
    snapshot: Any = item.arguments
    try:
        arguments: dict[str, Any] = snapshot.load(values)
    except Exception as error:  # from code of the user's classes
        explain(error, name, snapshot, values)
        raise
    return arguments


class _Results:
    """The results that later calls of a batch need."""

    def __init__(self, items: list[Item]) -> None:
        self._last: dict[int, int] = {}
        for number, item in enumerate(items):
            for value in item.values:
                if type(value) is Result:
                    self._last[value.call] = number
        self._known: dict[int, list[Any]] = {}

    def put_into(self, values: list[Any]) -> bool:
        """Replace the numbers of results by what they are; false if one of them failed."""
        for i, value in enumerate(values):
            if type(value) is Result:
                if value.call not in self._known:
                    return False
                values[i] = self._known[value.call][value.leaf]
        return True

    def note(self, number: int, reply: Reply) -> None:
        """Keep what is needed, and forget what no call needs any more."""
        if not self._last:
            return
        if number in self._last and reply.values is not None:
            self._known[number] = reply.values
        for call in [call for call in self._known if self._last[call] <= number]:
            del self._known[call]


def _message(duration: float, reply: Reply, lets_go: bool = False) -> Message:
    """Make the message that tells how a call ended.

    Parameters
    ----------
    duration
        How long it took [s].
    reply
        How it ended.
    lets_go
        Whether this process uses none of the memory files any more that the batch brought; and none of those in the
        reply, once this is sent.
    """
    content = (duration, *reply, lets_go)
    if any(isinstance(value, Snapshot) and value.beside for value in reply.values or ()):
        return pack(Kind.OUTCOME, content)
    return Message(Kind.OUTCOME, pickle.dumps(content, protocol=5), [])


_SKIPPED = Message(Kind.OUTCOME, pickle.dumps(None, protocol=5), [])


# --- what is sent; in the driver ---


def item_of(closure: Closure, values: list[Any], task: int = 0, site: int = 0) -> Item:
    """Write a call down.

    Parameters
    ----------
    closure
        The call.
    values
        For each dependency its value, as it goes into a message, or which result it is.
    task, site
        Which of the tasks and sites of the batch are the call's.
    """
    snapshot, structure = closure.snapshot, closure.structure
    is_plain_dict = type(snapshot) is AtomSnapshot and not snapshot.places
    return Item(
        task,
        site,
        snapshot.value if is_plain_dict else snapshot,  # type: ignore[attr-defined]
        values,
        structure.digest if structure is closure.definition.schema.fixed else structure,
        closure.late,
        closure.check,
    )


def dump_batch(batch: Batch) -> bytes:
    """Pickle a batch; by cloudpickle if a structure travels, which may refer to classes of the script."""
    has_structures = any([type(item.structure) is not str for item in batch.items])  # noqa: C419
    return dumps(batch) if has_structures else pickle.dumps(batch, protocol=5)
