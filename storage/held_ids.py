"""Which ids of a symbol are held, as runs without holes, and what lies between them.

Invariant: runs are disjoint, not adjacent, and in id order; what lies between two runs is a gap.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from storage.trades import BoolArray, Gap, IntArray, TradeColumns


@dataclass(frozen=True, slots=True)
class Run:
    """Ids first_id..last_id without a hole, and the trade times of the first and the last of them."""

    first_id: int
    last_id: int
    first_ms: int
    last_ms: int


def runs_of(trades: TradeColumns) -> Iterator[Run]:
    """The runs that the rows, in id order, make up."""
    if len(trades) == 0:
        return
    ends = np.append(np.flatnonzero(np.diff(trades.id) != 1), len(trades) - 1)
    starts = np.append(0, ends[:-1] + 1)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield Run(*(int(column[at]) for column in (trades.id, trades.time_ms) for at in (start, end)))


def latest(runs: Sequence[Run]) -> Run | None:
    """The one with the newest trade: its ids are not the greatest where the exchange has counted anew."""
    return max(reversed(runs), key=lambda run: run.last_ms, default=None)


class HeldIds:
    """The ids held of one symbol."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs: list[Run] = []
        for run in runs:
            self.add(run)

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(self._runs)

    def add(self, run: Run) -> None:
        """Take in a run, joining it with those it touches or overlaps."""
        low = bisect_left(self._runs, run.first_id - 1, key=lambda held: held.last_id)
        high = low
        while high < len(self._runs) and self._runs[high].first_id <= run.last_id + 1:
            high += 1
        touched = [run, *self._runs[low:high]]
        first = min(touched, key=lambda part: part.first_id)
        last = max(touched, key=lambda part: part.last_id)
        self._runs[low:high] = [Run(first.first_id, last.last_id, first.first_ms, last.last_ms)]

    def remove(self, gone: Run) -> None:
        """Drop the ids of a run; what is left keeps the times known at its ends."""
        kept: list[Run] = []
        for run in self._runs:
            if run.last_id < gone.first_id or run.first_id > gone.last_id:
                kept.append(run)
                continue
            if run.first_id < gone.first_id:
                kept.append(Run(run.first_id, gone.first_id - 1, run.first_ms, gone.first_ms))
            if run.last_id > gone.last_id:
                kept.append(Run(gone.last_id + 1, run.last_id, gone.last_ms, run.last_ms))
        self._runs = kept

    def forget_before(self, oldest: Run) -> None:
        """Drop the ids before `oldest`, which is held; the run that holds it begins with it."""
        kept = [run for run in self._runs if run.last_id >= oldest.first_id]
        if kept and kept[0].first_id < oldest.first_id:
            kept[0] = Run(oldest.first_id, kept[0].last_id, oldest.first_ms, kept[0].last_ms)
        self._runs = kept

    def last_up_to(self, identity: int) -> int | None:
        """The greatest id held that is at most `identity`."""
        return max(
            (min(run.last_id, identity) for run in self._runs if run.first_id <= identity), default=None
        )

    def contains(self, ids: IntArray) -> BoolArray:
        """Which of the ids are held."""
        if not self._runs:
            return np.zeros(len(ids), np.bool_)
        firsts = np.array([run.first_id for run in self._runs], np.int64)
        lasts = np.array([run.last_id for run in self._runs], np.int64)
        at = np.searchsorted(firsts, ids, side="right") - 1
        inside: BoolArray = (at >= 0) & (ids <= lasts[at])
        return inside


def gaps_beyond(runs: tuple[Run, ...], first_id: int, last_id: int) -> list[Gap]:
    """What is missing between the runs outside first_id..last_id, found from the two ends."""
    below, above = [], []
    for gap in gaps_between(runs, newest_first=True):
        if gap.first_id <= last_id:
            break
        above.append(gap)
    for gap in gaps_between(runs):
        if gap.last_id >= first_id:
            break
        below.append(gap)
    return below + above[::-1]


def gaps_between(runs: tuple[Run, ...], *, newest_first: bool = False) -> Iterator[Gap]:
    """What is missing between the runs, in id order."""
    places = range(len(runs) - 1)
    for at in reversed(places) if newest_first else places:
        before, after = runs[at], runs[at + 1]
        yield Gap(before.last_id + 1, after.first_id - 1, after_ms=before.last_ms, before_ms=after.first_ms)


def uncovered(runs: tuple[Run, ...], start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """The stretches of [start_ms, end_ms) outside the time that the runs span, ascending."""
    found, until = [], start_ms
    for first_ms, last_ms in sorted((run.first_ms, run.last_ms) for run in runs):
        if last_ms < until or first_ms >= end_ms:
            continue
        if first_ms > until:
            found.append((until, first_ms))
        until = last_ms + 1
    return [*found, (until, end_ms)] if until < end_ms else found


def uncovered_ms(runs: tuple[Run, ...], start_ms: int, end_ms: int) -> int:
    """How much of [start_ms, end_ms) lies outside the time that the runs span."""
    return sum(last_ms - first_ms for first_ms, last_ms in uncovered(runs, start_ms, end_ms))
