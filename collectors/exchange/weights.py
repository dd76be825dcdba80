"""Request weight of one address by fixed minutes: over the limit 429, asking on regardless a ban.

Invariant: a refusal says until when, to the second; every further ban lasts twice as long, up to 3 days.
"""

from collections.abc import Callable

from collectors.binance import DEFAULT_WEIGHT_LIMIT
from collectors.exchange.replies import Reply, error_body
from collectors.exchange.report import Breach

MINUTE_MS = 60_000
FIRST_BAN_MS = 120_000
LONGEST_BAN_MS = 3 * 24 * 3_600_000


Punish = Callable[[Breach, int, bool], None]


class WeightMeter:
    """What an address has used; `punish` hears of each breach, its time, and whether a script provoked it.

    A request that comes within `in_flight_ms` of a refusal was sent before that was read: it gets the same.
    """

    def __init__(
        self,
        limit: int = DEFAULT_WEIGHT_LIMIT,
        punish: Punish = lambda *_: None,
        *,
        in_flight_ms: int = 250,
    ) -> None:
        self.limit = limit
        self.bans = 0
        self.most_used = 0
        self._punish = punish
        self._in_flight_ms = in_flight_ms
        self._minute = -1
        self._used = 0
        self._imposed_until_ms = 0
        self._limited_until_ms = 0
        self._banned_until_ms = 0
        self._limit_told_ms = 0
        self._ban_told_ms: int | None = None

    def used(self, now_ms: int) -> int:
        return self._used if now_ms // MINUTE_MS == self._minute else 0

    def limit_until(self, until_ms: int) -> None:
        """The next request is one too many, whatever has been used."""
        self._imposed_until_ms = until_ms

    def ban_until(self, until_ms: int) -> None:
        self._banned_until_ms, self._ban_told_ms = until_ms, None

    def charge(self, weight: int, now_ms: int) -> Reply | None:
        """Counts the request; a refusal where it is one too many."""
        if now_ms < self._banned_until_ms:
            return self._still_banned(now_ms)
        if now_ms < self._limited_until_ms:
            if now_ms - self._limit_told_ms < self._in_flight_ms:
                return self._limit_reply(now_ms)
            return self._banned(now_ms)
        if now_ms < self._imposed_until_ms:
            return self._limited(self._imposed_until_ms, now_ms)
        self._used = self.used(now_ms) + weight
        self._minute = now_ms // MINUTE_MS
        self.most_used = max(self.most_used, self._used)
        if self._used <= self.limit:
            return None
        self._punish("weight limit", now_ms, False)
        return self._limited((self._minute + 1) * MINUTE_MS, now_ms)

    def _limited(self, until_ms: int, now_ms: int) -> Reply:
        self._limited_until_ms, self._limit_told_ms = until_ms, now_ms
        return self._limit_reply(now_ms)

    def _banned(self, now_ms: int) -> Reply:
        """For asking on while it was limited."""
        self.bans += 1
        self._banned_until_ms = now_ms + min(FIRST_BAN_MS * 2 ** (self.bans - 1), LONGEST_BAN_MS)
        self._ban_told_ms = now_ms
        self._punish("weight ban", now_ms, False)
        return self._ban_reply(now_ms)

    def _still_banned(self, now_ms: int) -> Reply:
        """A ban that a script set is no news of the client's doing before it has heard of it."""
        if self._ban_told_ms is None:
            self._ban_told_ms = now_ms
        elif now_ms - self._ban_told_ms >= self._in_flight_ms:
            self._punish("weight ban", now_ms, False)
        return self._ban_reply(now_ms)

    def _limit_reply(self, now_ms: int) -> Reply:
        return _too_much(429, self._limited_until_ms - now_ms, _LIMITED.format(self.limit))

    def _ban_reply(self, now_ms: int) -> Reply:
        return _too_much(418, self._banned_until_ms - now_ms, _BANNED.format(self._banned_until_ms))


_LIMITED = (
    "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)
_BANNED = (
    "Way too much request weight used; IP banned until {}. "
    "Please use WebSocket Streams for live updates to avoid bans."
)


def _too_much(status: int, wait_ms: int, msg: str) -> Reply:
    return Reply(status, error_body(-1003, msg), {"Retry-After": str(-(-wait_ms // 1000))})
