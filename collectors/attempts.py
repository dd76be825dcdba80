"""When a websocket may be opened: pauses between a line's attempts, and what all of them together may use.

Invariant: in any window of 300 s there are fewer attempts than the exchange allows one address, and replacing
what still runs leaves room for what is down. No I/O and no clock; times are those of a steady one.
"""

import math
import random
from collections import deque
from collections.abc import Iterable

from collectors.clock import Moment

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
    """The attempts of all lines."""

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

    def recall(self, made_utc_ms: Iterable[int], now: Moment) -> int:
        """Count those that others made before; how many were not believed, being of the future.

        One that is ahead by less than 300 s counts as made now: the time has been set back since.
        """
        ages_ms = [now.utc_ms - utc_ms for utc_ms in made_utc_ms]
        found = (now.steady_ms - max(age_ms, 0) for age_ms in ages_ms if abs(age_ms) < WINDOW_MS)
        self._made = deque(sorted([*found, *self._made]))
        return sum(age_ms <= -WINDOW_MS for age_ms in ages_ms)

    def recent(self, now_ms: int) -> list[int]:
        """When those of the last 300 s were made; from any thread."""
        return [made_ms for made_ms in tuple(self._made) if made_ms > now_ms - WINDOW_MS]

    def _forget(self, now_ms: int) -> None:
        while self._made and self._made[0] <= now_ms - WINDOW_MS:
            self._made.popleft()
