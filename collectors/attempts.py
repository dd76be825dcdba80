"""When a websocket may be opened: pauses between a line's attempts, and what all of them together may use.

Invariant: in any window of 300 s there are fewer attempts than the exchange allows one address, and replacing
what still runs leaves room for what is down. No I/O and no clock; times are those of a steady one.
"""

import math
import random
from collections import deque

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 15.0
WINDOW_MS = 300_000
# The exchange allows one address 300 in five minutes; others at the same address may need some.
MOST_ATTEMPTS = 240
# Replacing a connection that still runs may use this much of them.
MOST_TO_REPLACE = MOST_ATTEMPTS // 2


class Backoff:
    """Delays that double up to a limit, with full jitter, until they are reset."""

    def __init__(self, first_s: float = FIRST_DELAY_S, longest_s: float = LONGEST_DELAY_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._limit_s = first_s

    def next(self) -> float:
        delay_s = random.uniform(0, self._limit_s)
        self._limit_s = min(self._limit_s * 2, self._longest_s)
        return delay_s

    def reset(self) -> None:
        self._limit_s = self._first_s


class Attempts:
    """The attempts of all lines of a process; times are UTC milliseconds of the caller's clock."""

    def __init__(self, most: int = MOST_ATTEMPTS, most_to_replace: int = MOST_TO_REPLACE) -> None:
        self._most = most
        self._most_to_replace = most_to_replace
        self._made: deque[int] = deque()

    def free_ms(self, now_ms: int, *, replacing: bool = False) -> float:
        """From when on one may be made: not after `now_ms` means now."""
        self._forget(now_ms)
        most = self._most_to_replace if replacing else self._most
        return self._made[-most] + WINDOW_MS if len(self._made) >= most else -math.inf

    def made(self, now_ms: int) -> None:
        """One is being made."""
        self._made.append(now_ms)

    def in_window(self, now_ms: int) -> int:
        """How many were made in the last 300 s; from any thread."""
        return sum(made_ms > now_ms - WINDOW_MS for made_ms in tuple(self._made))

    def _forget(self, now_ms: int) -> None:
        while self._made and self._made[0] <= now_ms - WINDOW_MS:
            self._made.popleft()
