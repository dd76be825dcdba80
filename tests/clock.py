"""The clocks of tests that run against real sockets: the world's, a faster one, and one whose time is set."""

import asyncio
import time

from collectors.clock import Clock
from collectors.exchange import VirtualClock

# An exchange and its client need half of it at the most, a busy machine now and then a multiple.
LONGEST_TURN_S = 0.025
# How often it is looked whether a turn is over.
BEAT_S = 0.01


class WallClock:
    def __call__(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


wall_ms = WallClock()


class _Turns:
    """The world's seconds as an event loop lives them: a turn of it counts as so long at the most."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # What did not count, and when the turn ceases to; one value, which other threads may ask for.
        self._now = 0.0, time.monotonic() + LONGEST_TURN_S
        self._beat()

    def __call__(self) -> float:
        lost_s, until_s = self._now
        return min(time.monotonic(), until_s) - lost_s

    def _beat(self) -> None:
        now_s, (lost_s, until_s) = time.monotonic(), self._now
        self._now = lost_s + max(0.0, now_s - until_s), now_s + LONGEST_TURN_S
        self._loop.call_later(BEAT_S, self._beat)


def fast_clock(start_ms: int, *, speed: float) -> VirtualClock:
    """A virtual clock for an exchange and a client that share this event loop.

    A busy machine, which leaves the loop alone for half a second, does not let it run ahead by half a second
    times its speed: what is due is done first.
    """
    return VirtualClock(start_ms, speed=speed, monotonic=_Turns(asyncio.get_running_loop()))


class SteppedClock:
    """Another clock whose time is set, by `step_ms` so far; its steady reading and its sleep are the same."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.step_ms = 0

    def __call__(self) -> int:
        return self._clock() + self.step_ms

    def steady_ms(self) -> int:
        return self._clock.steady_ms()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
