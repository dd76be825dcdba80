"""The largest of many strokes in one pass: how many there are, what they sum to, and the first few whole.

Invariant: counts and sums are exact; what is kept grows with the number listed, or with the thousandth that
may still be large, never with the strokes that have passed, however many of them are alike.
"""

from dataclasses import dataclass, field

import numpy as np

from analytics.rows import exact_total
from analytics.strokes import ChunkStrokes, StrokeColumns
from storage.trades import BoolArray, IntArray

# The largest of each kind that are kept with all they are.
LISTED = 20


@dataclass(slots=True)
class Sums:
    """Number and notional of buys and of sells."""

    count: tuple[int, int] = (0, 0)
    notional: tuple[int, int] = (0, 0)

    def add(self, notional: IntArray, bought: BoolArray) -> None:
        buys, every = int(np.count_nonzero(bought)), exact_total(notional)
        bought_for = exact_total(notional[bought])
        self.count = self.count[0] + buys, self.count[1] + len(notional) - buys
        self.notional = self.notional[0] + bought_for, self.notional[1] + every - bought_for

    def add_alike(self, count: tuple[int, int], notional: int) -> None:
        """So many buys and sells of one notional."""
        self.count = self.count[0] + count[0], self.count[1] + count[1]
        self.notional = self.notional[0] + count[0] * notional, self.notional[1] + count[1] * notional


@dataclass(slots=True)
class Tally:
    """The strokes of a kind: their sums, and the largest by notional, of equals the earlier."""

    sums: Sums = field(default_factory=Sums)
    largest: StrokeColumns = field(default_factory=StrokeColumns.none)

    def add(self, found: ChunkStrokes, at: IntArray) -> None:
        """Takes in those of a chunk's strokes that are of the kind."""
        self.sums.add(found.notional[at], found.bought[at])
        self.list(found, at)

    def list(self, found: ChunkStrokes, at: IntArray) -> None:
        """The same without the sums."""
        if len(self.largest) == LISTED:
            at = at[found.notional[at] > int(self.largest.notional[-1])]
        if len(at) > LISTED:
            # Ids ascend, so that of equals the earlier come first.
            at = at[np.argsort(-found.notional[at], kind="stable")[:LISTED]]
        self.largest = StrokeColumns.joined(self.largest, found.picked(at)).largest(LISTED)


class TopShare:
    """The strokes from the value of the n-th largest of all on, n at most `most`, without knowing n before.

    Kept are those above the `most`-th largest so far, and how many equal it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._notional = np.empty(0, np.int64)
        self._bought = np.empty(0, np.bool_)
        self._floor = 0
        self._alike = (0, 0)
        self._listed = Tally()

    def add(self, found: ChunkStrokes) -> None:
        reached = np.flatnonzero(found.notional >= self._floor)
        notional, bought = found.notional[reached], found.bought[reached]
        above = notional > self._floor
        buys, alike = int(np.count_nonzero(bought & ~above)), int(np.count_nonzero(~above))
        self._alike = self._alike[0] + buys, self._alike[1] + alike - buys
        self._notional = np.concatenate([self._notional, notional[above]])
        self._bought = np.concatenate([self._bought, bought[above]])
        self._listed.list(found, reached)
        if len(self._notional) > 2 * self._most:
            self._raise_floor()

    def _raise_floor(self) -> None:
        self._floor = int(np.partition(self._notional, -self._most)[-self._most])
        alike = self._bought[self._notional == self._floor]
        buys = int(np.count_nonzero(alike))
        self._alike = buys, len(alike) - buys
        above = self._notional > self._floor
        self._notional, self._bought = self._notional[above], self._bought[above]

    def from_the(self, nth: int) -> tuple[int, Tally]:
        """The value of the nth largest, nth from 1 to `most`, and the strokes that have at least it."""
        ranked = np.sort(self._notional)
        least = int(ranked[-nth]) if nth <= len(ranked) else self._floor
        found = Tally()
        large = self._notional >= least
        found.sums.add(self._notional[large], self._bought[large])
        if least == self._floor:
            found.sums.add_alike(self._alike, self._floor)
        found.largest = self._listed.largest.take(self._listed.largest.notional >= least)
        return least, found
