"""The world's time: the one place that reads it."""

import asyncio
import time


class WallClock:
    """Milliseconds since 1970 by this machine's clock."""

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


wall_clock = WallClock()
