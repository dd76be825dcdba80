"""What of one symbol REST was asked for in vain, and for how long that is left alone.

Invariant: bounded, whatever is missing: pages apart from each other, and one end of what REST shows, at and
above which nothing is asked for. No I/O and no clock: times are the caller's, of a steady clock.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from storage.held_ids import Run
from storage.trades import Gap

FIRST_DELAY_MS = 1_000
LONGEST_DELAY_MS = 300_000
# Longer would keep newer gaps waiting for one that nobody can fill.
LONGEST_END_MS = 60_000
MOST_KEPT = 1_000
LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Entry:
    run: Run
    until_ms: int
    delay_ms: int


@dataclass(slots=True)
class PutOff:
    _pages: list[_Entry] = field(default_factory=list)  # none overlaps another; in id order
    _end: _Entry | None = None

    def pages(self, now_ms: int) -> list[Run]:
        """Those not to be asked for now, in id order."""
        return [each.run for each in self._pages if each.until_ms > now_ms]

    def beyond_end(self, now_ms: int, flying: Iterable[Run] = ()) -> list[Run]:
        """What lies at and above the end, while it is not to be asked for, or is being asked for already."""
        end = self._end
        if end is None:
            return []
        is_asked = any(run.last_id >= end.run.first_id for run in flying)
        return [end.run] if is_asked or end.until_ms > now_ms else []

    @property
    def runs(self) -> list[Run]:
        """All that was asked for in vain last time."""
        return [each.run for each in self._pages] + ([self._end.run] if self._end is not None else [])

    @property
    def end_id(self) -> int | None:
        """The first id from which on REST showed nothing."""
        return None if self._end is None else self._end.run.first_id

    # What answers say

    def answered(self, run: Run, left: Iterable[Run], now_ms: int) -> list[int]:
        """Note an answer, which left these ids open of those asked for; for how long each is left alone."""
        low, high = _overlapping(self._pages, run)
        again = self._pages[low:high]
        made = [_Entry(each, now_ms + delay_ms, delay_ms) for each, delay_ms in _delays(left, again)]
        self._pages[low:high] = sorted(made, key=_first_id)
        while len(self._pages) > MOST_KEPT:
            self._pages.remove(min(self._pages, key=lambda each: each.until_ms))
        return [each.delay_ms for each in made]

    def ends_at(self, first_id: int, now_ms: int) -> int:
        """REST shows nothing from that id on; for how long that is left alone."""
        before = self._end
        delay_ms = FIRST_DELAY_MS if before is None else min(before.delay_ms * 2, LONGEST_END_MS)
        self._end = _Entry(Run(first_id, LAST_ID, 0, 0), now_ms + delay_ms, delay_ms)
        return delay_ms

    def shows(self, newest_id: int) -> None:
        """REST has shown that id: its end is further up."""
        end = self._end
        if end is not None and newest_id >= end.run.first_id:
            self._end = _Entry(Run(newest_id + 1, LAST_ID, 0, 0), end.until_ms, end.delay_ms)

    def keep(self, gaps: Sequence[Gap]) -> None:
        """Forget what is missing no more."""
        if self._pages:
            missing = sorted(gaps, key=lambda gap: gap.last_id)
            self._pages = [each for each in self._pages if _is_in(each.run, missing)]
        if self._end is not None and not any(gap.last_id >= self._end.run.first_id for gap in gaps):
            self._end = None


def _delays(left: Iterable[Run], again: Sequence[_Entry]) -> Iterable[tuple[Run, int]]:
    """Twice as long as before where these ids were left alone before."""
    for run in left:
        low, high = _overlapping(again, run)
        before = max((each.delay_ms for each in again[low:high]), default=None)
        yield run, FIRST_DELAY_MS if before is None else min(before * 2, LONGEST_DELAY_MS)


def _overlapping(entries: Sequence[_Entry], run: Run) -> tuple[int, int]:
    """Where the entries that share an id with the run begin and end."""
    low = bisect_left(entries, run.first_id, key=lambda each: each.run.last_id)
    return low, bisect_left(entries, run.last_id + 1, lo=low, key=_first_id)


def _first_id(entry: _Entry) -> int:
    return entry.run.first_id


def _is_in(run: Run, missing: Sequence[Gap]) -> bool:
    at = bisect_left(missing, run.first_id, key=lambda gap: gap.last_id)
    return at < len(missing) and missing[at].first_id <= run.last_id
