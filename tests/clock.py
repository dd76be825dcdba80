"""The clock of tests that run against real sockets."""

import asyncio
import time


class WallClock:
    def __call__(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


wall_ms = WallClock()
