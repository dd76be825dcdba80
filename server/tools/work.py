"""Whether a question is still wanted, asked from within its work.

Invariant: like cancellation itself this is ambient: whoever is called within `Work.begun`, in whatever
thread, is asked through `step`, and a work that is not wanted any more ends at its next step.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from server.tools.refusals import Refusal


class Work:
    """The work of one call. `step` is taken in its thread; `stop` and `steps` are for the event loop."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._ends = clock() + limit_s
        self._wanted = True
        self.steps = 0

    @contextmanager
    def begun(self) -> Iterator[None]:
        """What runs within this is this work."""
        token = _work.set(self)
        try:
            yield
        finally:
            _work.reset(token)

    def stop(self) -> None:
        """Nobody waits for it any more."""
        self._wanted = False

    def step(self) -> None:
        """One more record; raises `Refusal` TIME_LIMIT where the work is to end."""
        self.steps += 1
        if not self._wanted or self._clock() >= self._ends:
            raise self.too_long()

    def left_s(self) -> float:
        return self._ends - self._clock()

    def too_long(self) -> Refusal:
        return Refusal(
            "TIME_LIMIT",
            f"the answer was not ready within {self._limit_s:g} s, after {self.steps} records; "
            "a call may take no longer; try a shorter duration_hours, or ask again when less is going on",
        )


_work: ContextVar[Work | None] = ContextVar("work", default=None)


def left_s() -> float:
    """How long this may still take; without end where nobody set a limit."""
    work = _work.get()
    return math.inf if work is None else work.left_s()


def step() -> None:
    """A step of the work that this is part of; nothing where nobody set a limit."""
    work = _work.get()
    if work is not None:
        work.step()
