"""How much request weight may be spent: the exchange's limit by the minute.

Invariant: of a minute's limit no more than `share` is spent by all requests, and no more than `ordinary` by
those that are in no hurry; the exchange's own count decides where it is the higher one; no I/O and no clock.
"""

from collectors.binance import DEFAULT_WEIGHT_LIMIT

MINUTE_MS = 60_000
# 5,000 of Binance's 6,000 a minute while history or an outage is fetched, 1,200 otherwise.
SHARE = 5 / 6
ORDINARY = 1 / 5
# Left by requests in a hurry for those that are in none.
SPARED = 1 / 60
# A minute of ours begins so much after the exchange's: its count of the minute before must not be taken for
# that of the new one.
GUARD_MS = 250


class WeightBudget:
    """What may still be spent this minute; times are milliseconds of the caller's steady clock.

    `offset_ms` is how far the exchange's clock is ahead of that one: its minutes count, and none of them
    comes again because our time was set.
    """

    def __init__(
        self, limit: int = DEFAULT_WEIGHT_LIMIT, *, share: float = SHARE, ordinary: float = ORDINARY
    ) -> None:
        self.limit = limit
        self.offset_ms = 0
        self._share, self._ordinary_share = share, ordinary
        self._minute = 0
        self._used = 0
        self._ordinary = 0

    def used(self, now_ms: int) -> int:
        """What has been spent this minute, by the higher of the two counts."""
        return self._used if self._minute_of(now_ms) == self._minute else 0

    def wait_ms(self, weight: int, now_ms: int, *, hurried: bool = True) -> int:
        """How long to wait before a request of this weight; 0 = send it, and it is counted."""
        self._turn(now_ms)
        if not self._has_room(weight, hurried=hurried):
            return MINUTE_MS - self._in_minute_ms(now_ms)
        self._used += weight
        self._ordinary += 0 if hurried else weight
        return 0

    def _has_room(self, weight: int, *, hurried: bool) -> bool:
        """A request that is heavier than all that may be spent goes alone."""
        room = self.limit * self._share - (self.limit * SPARED if hurried else 0)
        if self._used + weight > max(room, weight):
            return False
        return hurried or self._ordinary + weight <= max(self.limit * self._ordinary_share, weight)

    def seen(self, used: int, sent_ms: int) -> None:
        """The exchange's own count, in the reply to a request sent then."""
        if self._minute_of(sent_ms) == self._minute:
            self._used = max(self._used, used)

    def _turn(self, now_ms: int) -> None:
        if self._minute_of(now_ms) != self._minute:
            self._minute, self._used, self._ordinary = self._minute_of(now_ms), 0, 0

    def _minute_of(self, now_ms: int) -> int:
        return (now_ms + self.offset_ms - GUARD_MS) // MINUTE_MS

    def _in_minute_ms(self, now_ms: int) -> int:
        return (now_ms + self.offset_ms - GUARD_MS) % MINUTE_MS
