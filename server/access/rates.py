"""How often one caller may ask.

Invariant: memory is bounded: a caller who has not asked for a minute is forgotten, and of more callers than
there is room for the one that asked longest ago.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CALLERS = 10_000
MINUTE_S = 60.0


class RateLimit:
    """So many a minute, at once or spread out, for each caller by itself.

    Of each caller one instant is kept: when all that was asked would be done at the steady rate (GCRA).
    """

    def __init__(
        self,
        burst: int,
        per_minute: float,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST_CALLERS,
    ) -> None:
        self._interval_s = MINUTE_S / per_minute
        self._tolerance_s = self._interval_s * (burst - 1)
        self._clock = clock
        self._most = most
        self._done: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._done)

    def wait_s(self, caller: str) -> float:
        """How long the caller has to wait; 0 where it may ask now."""
        return max(0.0, self._done.get(caller, 0.0) - self._tolerance_s - self._clock())

    def asked(self, caller: str) -> float:
        """Count one request; how long the caller has to wait where it may not ask, which is not counted."""
        wait_s = self.wait_s(caller)
        if not wait_s:
            now = self._clock()
            self._done[caller] = max(self._done.pop(caller, 0.0), now) + self._interval_s
            self._forget(now)
        return wait_s

    def _forget(self, now: float) -> None:
        while self._done:
            caller, done = next(iter(self._done.items()))
            if done > now and len(self._done) <= self._most:
                return
            del self._done[caller]
