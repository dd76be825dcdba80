"""Which rows of a symbol cannot be: ids so far from the newest one as no market counts in the time between.

A row stands ahead of another by `SLACK` ids and by what the quickest market trades between their two times,
at the most, and behind it likewise; so after an outage of any length the true ids can be. Streams bring news
only: what lies far below all that is held is none, whatever its time.

Invariant: nothing true is refused for ever. Where for a while all that comes cannot be, and is one count that
goes on, the newest id known is what is wrong. No I/O and no clock.
"""

from dataclasses import dataclass, field

import numpy as np

from storage.trades import BoolArray, IntArray, TradeColumns

SLACK = 20_000
MOST_PER_MS = 20
# A time further ahead of the exchange's clock than this is wrong, and vouches for nothing.
CLOCK_SKEW_MS = 5_000
# Longer than REST lags behind the stream: what it shows says first that the newest id known is right.
ANEW_MS = 45_000
# Counts that are followed at once; of a link that brings anything at all each row is another one.
MOST_RIVALS = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """An id, and when its trade was made (UTC ms)."""

    id: int
    time_ms: int

    def leads_to(self, ids: IntArray, times_ms: IntArray) -> BoolArray:
        """Which ids the same count can have at these times."""
        ahead, reach = ids - self.id, MOST_PER_MS * (times_ms - self.time_ms)
        can_be: BoolArray = (ahead <= SLACK + np.maximum(reach, 0)) & (ahead >= np.minimum(reach, 0) - SLACK)
        return can_be

    def leads_to_one(self, other: "Mark") -> bool:
        """Whether the same count can have another id at its time."""
        return bool(self.leads_to(np.array([other.id]), np.array([other.time_ms]))[0])


# With nothing held: ten thousand times as far as any exchange has counted.
MOST_AT_FIRST = 10**14


@dataclass(frozen=True, slots=True)
class Sifted:
    """What can be of some rows, and what cannot; `begins_anew`: what was known of the ids is wrong."""

    rows: TradeColumns
    left_out: TradeColumns | None = None
    begins_anew: bool = False


@dataclass(slots=True)
class _Rival:
    """Rows that cannot be, and that make up a count of their own: its first id, and the newest one."""

    first_id: int
    newest: Mark
    since_ms: int


@dataclass(slots=True)
class Plausibility:
    """One symbol's."""

    _rivals: list[_Rival] = field(default_factory=list)

    @property
    def is_contested(self) -> bool:
        """Whether all that came of late cannot be."""
        return bool(self._rivals)

    def is_what_comes(self, newest: Mark) -> bool:
        """Whether an id is of a count that links bring and that cannot be."""
        return any(rival.newest.leads_to_one(newest) for rival in self._rivals)

    def confirm(self) -> None:
        """The newest id known is right: something came that goes on from it."""
        if self._rivals:
            self._rivals = []

    def sift(
        self, rows: TradeColumns, head: Mark | None, oldest_id: int | None, *, latest_ms: int, now_ms: int
    ) -> Sifted:
        """Tell apart what a link brought, one row at least; `head` is the newest id known, `oldest_id` the
        oldest held, `latest_ms` the latest time of a trade that can be, `now_ms` a steady clock's."""
        ids, times_ms = rows.id, np.minimum(rows.time_ms, latest_ms)
        if head is None:
            can_be = ids <= MOST_AT_FIRST
            can_be &= _of_one_count(ids, times_ms, can_be)
        else:
            can_be = head.leads_to(ids, times_ms)
            if oldest_id is not None:
                can_be &= ids >= oldest_id - SLACK
        if can_be.any():
            self.confirm()
            return _parted(rows, can_be)
        one_count = _of_one_count(ids, times_ms, np.ones(len(ids), np.bool_))
        if not self._goes_on(_newest(ids[one_count], times_ms[one_count]), now_ms):
            return _parted(rows, can_be)
        self.confirm()
        return _parted(rows, one_count, begins_anew=True)

    def _goes_on(self, newest: Mark, now_ms: int) -> bool:
        """Follow what cannot be; whether it has been a count that goes on for long enough."""
        rival = next((each for each in self._rivals if each.newest.leads_to_one(newest)), None)
        others = [each for each in self._rivals if each is not rival]
        if rival is None:
            rival = _Rival(newest.id, newest, now_ms)
        elif newest.id > rival.newest.id:
            rival.newest = newest
        self._rivals = [*others[-MOST_RIVALS + 1 :], rival]
        return rival.newest.id > rival.first_id and now_ms - rival.since_ms >= ANEW_MS


def is_near(rows: TradeColumns, head: int) -> bool:
    """Whether all rows can be, whatever their times."""
    return bool(np.maximum.reduce(rows.id) - head <= SLACK and head - np.minimum.reduce(rows.id) <= SLACK)


def _parted(rows: TradeColumns, can_be: BoolArray, *, begins_anew: bool = False) -> Sifted:
    if can_be.all():
        return Sifted(rows, None, begins_anew)
    return Sifted(rows.take(can_be), rows.take(~can_be), begins_anew)


def _of_one_count(ids: IntArray, times_ms: IntArray, among: BoolArray) -> BoolArray:
    """Which rows are of the count that most of those `among` them are of; the lower one of two."""
    places = np.flatnonzero(among)
    if len(places) == 0:
        return among
    middle = places[np.argsort(ids[places], kind="stable")[(len(places) - 1) // 2]]
    return Mark(int(ids[middle]), int(times_ms[middle])).leads_to(ids, times_ms)


def _newest(ids: IntArray, times_ms: IntArray) -> Mark:
    at = int(ids.argmax())
    return Mark(int(ids[at]), int(times_ms[at]))
