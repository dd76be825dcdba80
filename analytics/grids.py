"""Grid check: whether a thin zone is found on other grids of rows too, or is one of its own grid alone.

Invariant: every grid holds the same trades; they differ in the size and the place of their rows. Source:
definitions, section 4.5 (docs/analytics.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from analytics.errors import RowTooFine
from analytics.rows import Rows
from analytics.thin import Rule, ThinZone, thin_zones
from storage.trades import IntArray

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class GridCheck:
    """The zone was found on `found` of `grids` other grids."""

    found: int
    grids: int

    def __str__(self) -> str:
        return f"{self.found}/{self.grids}"


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Volume by row, the first of which begins `low` ticks above 0; rows are `row_ticks` ticks."""

    volume: IntArray
    low: int
    row_ticks: int

    def spans(self, rule: Rule, threshold_pct: Decimal) -> list[Span]:
        """Where its thin zones begin and end, in ticks, half-open; none where half of its rows are empty."""
        try:
            thin = thin_zones(
                self.volume, ticks_per_row=self.row_ticks, rule=rule, threshold_pct=threshold_pct
            )
        except RowTooFine:
            return []
        return [
            (self.low + zone.first * self.row_ticks, self.low + (zone.last + 1) * self.row_ticks)
            for zone in thin.zones
        ]


def grid_checks(
    halves: IntArray, rows: Rows, zones: Sequence[ThinZone], *, rule: Rule, threshold_pct: Decimal
) -> list[GridCheck]:
    """For each zone, on how many of the other grids one vacuum or edge tail covers at least half of it.

    `halves` is (rows, 2): the volume of the lower floor(m/2) ticks of each row of m, and of the rest.
    """
    found = [grid.spans(rule, threshold_pct) for grid in other_grids(halves, rows.first, rows.row_ticks)]
    return [
        GridCheck(sum(any(_covers(span, wanted) for span in spans) for spans in found), len(found))
        for wanted in (_span(zone, rows) for zone in zones)
    ]


def other_grids(halves: IntArray, first: int, row_ticks: int) -> Iterator[Grid]:
    """Rows of half and of twice the size, shifted by floor(m/2) ticks, and twice the size shifted by a row.

    Half a row must be whole ticks, and a shift at least one: else the grid is left out.
    """
    half, low = row_ticks // 2, first * row_ticks
    volume = halves.sum(axis=1)
    if row_ticks % 2 == 0:
        yield _trimmed(halves.reshape(-1), low, half)
    yield _doubled(volume, first, row_ticks)
    if half:
        shifted = np.pad(halves.reshape(-1), 1).reshape(-1, 2).sum(axis=1)
        yield _trimmed(shifted, low + half - row_ticks, row_ticks)
    yield _doubled(volume, first, row_ticks, shift=1)


def _doubled(volume: IntArray, first: int, row_ticks: int, *, shift: int = 0) -> Grid:
    """Each two rows as one, the lower of which has an even number, or with `shift` 1 an odd one."""
    below = (first - shift) % 2
    padded = np.pad(volume, (below, (below + len(volume)) % 2))
    return _trimmed(padded.reshape(-1, 2).sum(axis=1), (first - below) * row_ticks, 2 * row_ticks)


def _trimmed(volume: IntArray, low: int, row_ticks: int) -> Grid:
    traded = np.flatnonzero(volume)
    first, last = int(traded[0]), int(traded[-1])
    return Grid(volume[first : last + 1], low + first * row_ticks, row_ticks)


def _span(zone: ThinZone, rows: Rows) -> Span:
    return (rows.first + zone.first) * rows.row_ticks, (rows.first + zone.last + 1) * rows.row_ticks


def _covers(span: Span, wanted: Span) -> bool:
    return 2 * (min(span[1], wanted[1]) - max(span[0], wanted[0])) >= wanted[1] - wanted[0]
