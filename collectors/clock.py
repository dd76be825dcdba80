"""The clock that a recorder goes by: the world's, or one that tests let run faster.

Invariant: whatever waits in `collectors/` waits by the clock that it was given, and by its steady reading:
the world's time may be set.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """UTC milliseconds, and a sleep of so many of its seconds.

    `steady_ms` counts milliseconds from some moment on, and does not step when the time is set.
    """

    def __call__(self) -> int: ...
    def steady_ms(self) -> int: ...
    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by the world's clock, UTC milliseconds, and by the steady one."""

    utc_ms: int
    steady_ms: int


def moment(clock: Clock) -> Moment:
    """Now."""
    return Moment(clock(), clock.steady_ms())


async def sleep_unless(event: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Sleep until the event is set, and so many of the clock's seconds at most."""
    tasks = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
