"""How fast one symbol's market runs against the clock: halts stand still, bursts run ahead.

Invariant: market time never runs back, and ids follow it: a halt skips none, a burst brings later ones early.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from storage.trades import IntArray


@dataclass(frozen=True, slots=True)
class _Leg:
    """From `from_ms` on the market runs from `market_ms` on at `speed`."""

    from_ms: int
    market_ms: int
    speed: int


class Pace:
    """Market time from shown time and back, both ms; the same until something is changed."""

    def __init__(self) -> None:
        self._legs = [_Leg(0, 0, 1)]

    @property
    def is_even(self) -> bool:
        return len(self._legs) == 1

    def change(self, from_ms: int, until_ms: int, speed: int) -> None:
        """`speed` between the two; raises `ValueError` where that is before a change that is in already."""
        if from_ms < self._legs[-1].from_ms:
            raise ValueError("halts and bursts of a symbol are put in by their time, and do not overlap")
        for at_ms, then in ((from_ms, speed), (until_ms, 1)):
            leg = _Leg(at_ms, self.market_ms(at_ms), then)
            if self._legs[-1].from_ms == at_ms:
                self._legs.pop()
            self._legs.append(leg)

    def market_ms(self, shown_ms: int) -> int:
        """The first market millisecond that is not shown before `shown_ms`."""
        leg = self._legs[bisect_right(self._legs, shown_ms, key=lambda leg: leg.from_ms) - 1]
        return leg.market_ms + (shown_ms - leg.from_ms) * leg.speed

    def shown_ms(self, market_ms: IntArray) -> IntArray:
        """When each market millisecond is shown."""
        running = [leg for leg in self._legs if leg.speed]
        starts = np.array([leg.market_ms for leg in running])
        at = np.searchsorted(starts, market_ms, side="right") - 1
        shown = np.array([leg.from_ms for leg in running])[at]
        shown += (market_ms - starts[at]) // np.array([leg.speed for leg in running])[at]
        return np.asarray(shown, np.int64)
