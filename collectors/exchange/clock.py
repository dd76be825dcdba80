"""Time that the exchange and its clients share, and that may pass faster than the world's.

Invariant: it never steps back, whatever its speed is changed to.
"""

import asyncio
import time
from collections.abc import Callable

# A sleeper looks at the clock at least this often, because a clock may be moved while it sleeps.
LONGEST_NAP_S = 0.02


class Pause:
    """Sleeps by any clock, until it is ended."""

    def __init__(self, clock: Callable[[], int], poll_s: float) -> None:
        self._clock, self._poll_s = clock, poll_s
        self._end = asyncio.Event()

    def end(self) -> None:
        """Wakes every sleeper, for good."""
        self._end.set()

    async def ended(self) -> None:
        await self._end.wait()

    async def sleep(self, seconds: float) -> None:
        """Until so many seconds of the clock have passed, or it is ended."""
        due_ms = self._clock() + seconds * 1000
        while self._clock() < due_ms and not self._end.is_set():  # noqa: ASYNC110  a clock wakes nobody
            await asyncio.sleep(self._poll_s)


class VirtualClock:
    """UTC milliseconds from `start_ms` on, of which `speed` pass in a real one; 0 stands still.

    Give the same clock to the exchange and to its client: 24 h take 5 minutes at `speed=288`.
    """

    def __init__(
        self, start_ms: int, *, speed: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._base_ms = float(start_ms)
        self._base_s = monotonic()
        self._speed = speed

    def __call__(self) -> int:
        return int(self._now_ms())

    def steady_ms(self) -> int:
        """The same: it does not step back."""
        return self()

    @property
    def speed(self) -> float:
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        if speed < 0:
            raise ValueError(f"a clock cannot run at {speed} times the world's speed; 0 makes it stand still")
        self._base_ms, self._base_s, self._speed = self._now_ms(), self._monotonic(), speed

    def advance(self, ms: float) -> None:
        """Moves the clock on at once."""
        if ms < 0:
            raise ValueError("a clock does not step back; script `clock_skew` for a wrong one")
        self._base_ms += ms

    async def sleep(self, seconds: float) -> None:
        """Until so many of the clock's seconds have passed."""
        due_ms = self._now_ms() + seconds * 1000
        while (left_ms := due_ms - self._now_ms()) > 0:
            real_s = left_ms / 1000 / self._speed if self._speed else LONGEST_NAP_S
            await asyncio.sleep(min(real_s, LONGEST_NAP_S))

    def _now_ms(self) -> float:
        return self._base_ms + (self._monotonic() - self._base_s) * 1000 * self._speed
