"""The clock of tests that run against real sockets, and one whose time is set."""

import asyncio
import time

from collectors.clock import Clock


class WallClock:
    def __call__(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


wall_ms = WallClock()


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
