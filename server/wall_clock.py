"""The world's time: the one place that reads it."""

import asyncio
import time

_STEADY: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class WallClock:
    """Milliseconds since 1970 by this machine's clock."""

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        """Goes on while the machine sleeps, where the system has such a clock."""
        return time.clock_gettime_ns(_STEADY) // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


wall_clock = WallClock()
