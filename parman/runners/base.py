# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a runner is: it takes a closure, sees that it is run somewhere, and returns its result tree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..snapshots import Carrier, in_process

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..closures import Closure
    from ..context import Site
    from ..errors import ParmanError
    from ..journal import Journal
    from ..rules import Rules

__all__ = ["Runner"]


class Runner(ABC):
    """Runs closures.

    A runner is a context manager that shuts down what it opened itself, and can be entered again.
    """

    carrier: Carrier = in_process
    """How the arguments of calls are copied for this runner."""

    is_dry: ClassVar[bool] = False
    """Whether tasks are not run."""

    @property
    def joined_at_exit(self) -> bool:
        """Whether the interpreter may wait for running calls before it runs exit hooks."""
        return False

    @property
    def workers(self) -> int:
        """How many calls it runs at a time, as far as is known."""
        return 1

    @abstractmethod
    def run(self, closure: Closure, journal: Journal) -> Any:
        """See that the closure is run, and return its result tree; what becomes of it is written into the journal."""

    def __call__(self, closure: Closure) -> Any:
        """See that the closure is run.

        Parameters
        ----------
        closure
            The call.

        Returns
        -------
        The result tree, with futures where values are still missing.
        """
        return self.run(closure.carried_by(self.carrier), self.own_journal)

    @property
    @abstractmethod
    def own_journal(self) -> Journal:
        """The journal of calls that belong to no block."""

    def carrier_for(self, wanted: Runner | Executor | str | None) -> Carrier:
        """Return how the arguments of calls are copied in a block on this runner whose head names another one."""
        return self.carrier

    def refuse(
        self, error: Exception, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], rules: Rules, site: Site
    ) -> Any:
        """Deal with a call that can't be made: raise the error, or return what stands in for the result."""
        raise error

    def object_to(self, error: ParmanError) -> None:
        """Deal with a mistake that is not one of a call: raise the error, or note it."""
        raise error

    def begin(self, journal: Journal) -> None:
        """Prepare for the calls of a block."""

    def end(self, journal: Journal) -> None:
        """Let go of what served the calls of a block, which has been left."""

    def finish(self, journal: Journal, cause: BaseException | None) -> None:
        """Do what is to be done when a block of a dry run is left, with what left it if that was an exception."""

    def cancel_pending(self, journal: Journal) -> None:
        """Cancel the calls of a block that have not started."""

    def interrupt(self, journal: Journal) -> None:
        """Give up all calls of a block at once, for Ctrl-C."""

    def wait_for_end(self) -> None:
        """Wait a moment, after `interrupt`, for what it has told to end."""

    def shutdown(self) -> None:
        """Release what the runner opened; it opens that again when it is used again."""

    def rest(self) -> None:
        """Let the threads end that handle what becomes of calls; all calls are over. They start again when needed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
