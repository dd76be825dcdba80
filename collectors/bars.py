"""Silence that the exchange has asked for, by 429, 418 and Retry-After: of whom, and until when.

Invariant: a bar is over by the steady clock, whatever the time is set to, and never holds for longer than it
was asked for or than the exchange's longest ban. No I/O and no clock.
"""

from typing import Literal

import msgspec

from collectors.clock import Moment

What = Literal["rest", "stream"]

# The exchange's longest ban.
LONGEST_MS = 3 * 86_400_000


class Bar(msgspec.Struct, frozen=True):
    """A host of REST or of streams that wants no request for `asked_ms`, up to `until_ms` (UTC)."""

    what: What
    host: str
    status: int
    asked_ms: int
    until_ms: int


class Bars:
    """Those known of, each with when it is over by the steady clock."""

    def __init__(self) -> None:
        self._known: dict[tuple[What, str], tuple[Bar, int]] = {}

    def learn(self, bar: Bar, now: Moment) -> bool:
        """Take note of a bar; whether it holds, and for longer than what is known of that host."""
        left_ms = min(bar.until_ms - now.utc_ms, bar.asked_ms, LONGEST_MS)
        known, ends_ms = self._known.get((bar.what, bar.host), (None, now.steady_ms))
        # The same one again says nothing new: the time may have been set since.
        if bar == known or now.steady_ms + left_ms <= ends_ms:
            return False
        self._known[bar.what, bar.host] = bar, now.steady_ms + left_ms
        return True

    def left_ms(self, what: What, host: str, steady_ms: int) -> int:
        """How long the host still is to be left alone; 0 where it may be asked."""
        _, ends_ms = self._known.get((what, host), (None, steady_ms))
        return max(0, ends_ms - steady_ms)

    def holding(self, steady_ms: int) -> list[Bar]:
        """Those that are not over."""
        return [bar for bar, ends_ms in self._known.values() if ends_ms > steady_ms]
