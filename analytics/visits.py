"""Visits of price to zones: how often it came, whether it went through, and how long that took.

Invariant: trades are followed in id order, a chunk at a time, and how they are cut changes nothing; what is
kept grows with the number of crossings alone. Source: definitions, section 4.4 (docs/analytics.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from analytics.thin import ThinZone
from storage.trades import IntArray

Places = npt.NDArray[np.int8]

# Where a print is as seen from a zone: far, in the row beside it, or inside. Its sign is the side.
FAR, BESIDE, INSIDE = 2, 1, 0
# Prints that change place are followed when there are so many of them: some 2 MB.
MOST_PENDING = 1 << 17


@dataclass(frozen=True, slots=True)
class ZoneVisits:
    """`visits` of a zone, of which `through` left on the other side than they came from, `rejected` on the
    same, and the rest is cut by the window; `jumps` from one side to the other without a print inside.

    `median_cross_s` is the median duration of the visits that went through, None where there is none.
    """

    visits: int
    through: int
    rejected: int
    jumps: int
    median_cross_s: float | None


class VisitCounter:
    """Follows all zones of a profile at once; `read` takes the trades in id order.

    A visit starts at a print inside the zone and ends at the first print that is at least one row away from
    it, so that trading at its edge is one visit.
    """

    def __init__(self, zones: Sequence[ThinZone], rows: int) -> None:
        self._stretch, starts = _stretches_between(zones, rows)
        self._places = [_places(zone, starts) for zone in zones]
        self._followed = [_Followed() for _ in zones]
        self._pending: list[tuple[IntArray, IntArray]] = []
        self._last = -1

    def read(self, row: IntArray, time_ms: IntArray) -> None:
        """The next trades: the row of each, at least one, and its time."""
        if not self._places:
            return
        stretch = self._stretch[row]
        moved = np.flatnonzero(stretch[1:] != stretch[:-1]) + 1
        if stretch[0] != self._last:
            moved = np.append(0, moved)
        self._last = int(stretch[-1])
        self._pending.append((stretch[moved], time_ms[moved]))
        if sum(len(stretches) for stretches, _ in self._pending) >= MOST_PENDING:
            self._follow()

    def results(self) -> list[ZoneVisits]:
        """What was seen of each zone."""
        self._follow()
        return [followed.result() for followed in self._followed]

    def _follow(self) -> None:
        if not self._pending:
            return
        stretch, time_ms = (np.concatenate(column) for column in zip(*self._pending, strict=True))
        self._pending.clear()
        for places, followed in zip(self._places, self._followed, strict=True):
            followed.read(places[stretch], time_ms)


@dataclass(slots=True)
class _Followed:
    """One zone: what was counted, and the visit that has not ended."""

    visits: int = 0
    through: int = 0
    rejected: int = 0
    jumps: int = 0
    crossings_ms: list[IntArray] = field(default_factory=list)
    side: int = 0
    began_ms: int | None = None
    came_from: int = 0

    def read(self, place: Places, time_ms: IntArray) -> None:
        if len(place) == 0:
            return
        side = np.sign(place)
        before = np.concatenate([[self.side], side[:-1]])
        self.side = int(side[-1])
        self.jumps += int(np.count_nonzero(side * before == -1))
        decides = np.flatnonzero(np.abs(place) != BESIDE)
        inside = place[decides] == INSIDE
        was_inside = np.concatenate([[self.began_ms is not None], inside])[:-1]
        begins, ends = decides[inside & ~was_inside], decides[~inside & was_inside]
        self.visits += len(begins)
        open_ms, open_from = ([], []) if self.began_ms is None else ([self.began_ms], [self.came_from])
        began_ms = np.concatenate([open_ms, time_ms[begins]]).astype(np.int64)
        came_from = np.concatenate([open_from, before[begins]]).astype(np.int64)
        self._end(began_ms[: len(ends)], came_from[: len(ends)], time_ms[ends], side[ends])
        is_open = len(began_ms) > len(ends)
        self.began_ms = int(began_ms[-1]) if is_open else None
        self.came_from = int(came_from[-1]) if is_open else 0

    def _end(self, began_ms: IntArray, came_from: IntArray, ended_ms: IntArray, went_to: Places) -> None:
        through = came_from == -went_to
        self.through += int(np.count_nonzero(through))
        self.rejected += int(np.count_nonzero(came_from == went_to))
        self.crossings_ms.append((ended_ms - began_ms)[through])

    def result(self) -> ZoneVisits:
        crossings = np.concatenate([*self.crossings_ms, np.empty(0, np.int64)])
        median_s = float(np.median(crossings)) / 1000 if len(crossings) else None
        return ZoneVisits(self.visits, self.through, self.rejected, self.jumps, median_s)


def _stretches_between(zones: Sequence[ThinZone], rows: int) -> tuple[IntArray, IntArray]:
    """The stretch of each row, and the first row of each stretch: in one, no zone tells rows apart."""
    bounds = {at for zone in zones for at in (zone.first - 1, zone.first, zone.last + 1, zone.last + 2)}
    starts = np.array(sorted({0} | {at for at in bounds if 0 < at < rows}), np.int64)
    stretch = np.searchsorted(starts, np.arange(rows), side="right") - 1
    return stretch.astype(np.int16), starts


def _places(zone: ThinZone, row: IntArray) -> Places:
    """Where rows lie as seen from the zone: 0 inside, 1 the row beside it, 2 beyond; negative below."""
    above, below = np.clip(row - zone.last, 0, FAR), np.clip(zone.first - row, 0, FAR)
    return (above - below).astype(np.int8)
