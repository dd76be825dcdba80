"""What stands out in a footprint: diagonal imbalances, stacks of them, absorption.

Invariant: each is decided in integers by the definition alone and describes what was traded; all of them
occur on random walks (docs/analytics.md has how often). Source: definitions, section 5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Literal

import numpy as np

from analytics.footprint import Footprint
from analytics.rows import exact_median
from analytics.sweeps import Side
from storage.candles import MinuteCandles
from storage.trades import INT64_MAX, BoolArray, IntArray

Return = Literal["came_back", "went_away", "still_there"]

RATIO = Decimal(3)
STACK_ROWS = 3
HEAVY_PCT = 95
SIDES: tuple[Side, ...] = ("buy", "sell")


@dataclass(frozen=True, slots=True, eq=False)
class Imbalances:
    """(bars, rows) bool: where one side of a diagonal pair of cells outweighed the other.

    A buy imbalance stands at the row that was bought, the pair's upper, a sell imbalance at the one that was
    sold, its lower. `vs_zero` marks those whose other cell is empty. `minimum`, in quantity units, is what
    the heavier cell must hold.
    """

    buy: BoolArray
    sell: BoolArray
    vs_zero: BoolArray
    ratio: Decimal
    minimum: Fraction

    def of(self, side: Side) -> BoolArray:
        return self.buy if side == "buy" else self.sell


@dataclass(frozen=True, slots=True)
class Stack:
    """Three or more adjacent imbalances of one side in one bar, `first` to `last` their rows (inclusive).

    `low` and `high` are its lowest and highest tick's price, `volume` what the side traded there in the base
    asset. `returned` says whether price traded there again by the end of the window: it came back at
    `returned_ms`, in a minute after one that left the zone alone; it went away and has not; or it never left.
    """

    bar_ms: int
    side: Side
    first: int
    last: int
    low: Decimal
    high: Decimal
    volume: Decimal
    returned: Return
    returned_ms: int | None


@dataclass(frozen=True, slots=True)
class Absorption:
    """A cell that took much aggression without price getting away in its direction.

    `volume` is what the aggressor traded there, `delta` that of the cell, both in the base asset; `close` is
    the row's low price of the next bar's close.
    """

    bar_ms: int
    side: Side
    low: Decimal
    high: Decimal
    volume: Decimal
    delta: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True)
class Absorptions:
    """How many `heavy` cells there are whose next bar has ended, and those of them that were absorbed, the
    heaviest first. `limit` is the volume from which a cell is heavy, in the base asset."""

    limit: Decimal
    heavy: int
    absorbed: tuple[Absorption, ...]


def imbalances(
    footprint: Footprint, *, ratio: Decimal = RATIO, minimum: Fraction | None = None
) -> Imbalances:
    """Where buy[r+1] >= ratio·sell[r], or sell[r] >= ratio·buy[r+1], of rows adjacent in price.

    Both rows lie within the bar's traded range. The heavier cell holds at least `minimum` quantity units,
    the median volume of all traded cells where it is None.
    """
    volume = footprint.volume
    if minimum is None:
        minimum = exact_median(volume[volume > 0])
    least = max(ceil(minimum), 1)
    in_range = _within_range(volume)
    paired = in_range[:, 1:] & in_range[:, :-1]
    above, below = footprint.buy[:, 1:], footprint.sell[:, :-1]
    bought = paired & (above >= _times(below, ratio)) & (above >= least)
    sold = paired & (below >= _times(above, ratio)) & (below >= least)
    buy, sell = np.zeros_like(in_range), np.zeros_like(in_range)
    buy[:, 1:], sell[:, :-1] = bought, sold
    vs_zero = np.zeros_like(in_range)
    vs_zero[:, 1:] |= bought & (below == 0)
    vs_zero[:, :-1] |= sold & (above == 0)
    return Imbalances(buy, sell, vs_zero, ratio, minimum)


def stacks(footprint: Footprint, found: Imbalances, candles: MinuteCandles) -> tuple[Stack, ...]:
    """All stacks of the footprint, by bar, buys before sells, low to high; `candles` are of its window."""
    return tuple(
        _stack(footprint, candles, side, bar, first, last)
        for bar, side, first, last in sorted(
            (bar, side, first, last) for side in SIDES for bar, first, last in _runs(found.of(side))
        )
    )


def returned(candles: MinuteCandles, low: Decimal, high: Decimal, since_ms: int) -> tuple[Return, int | None]:
    """Whether price traded in [low, high] again after it had left, looked at by minutes from `since_ms`.

    A minute whose range does not meet the zone has left it; the first one after it that does came back, and
    its begin is given.
    """
    later = slice(int(np.searchsorted(candles.minute_ms, since_ms)), None)
    unit = Decimal(10) ** candles.price_exp
    away = (candles.low[later] > int(high * unit)) | (candles.high[later] < int(low * unit))
    if not away.any():
        return "still_there", None
    left = int(np.argmax(away))
    back = np.flatnonzero(~away[left:])
    if len(back) == 0:
        return "went_away", None
    return "came_back", int(candles.minute_ms[later][left + back[0]])


def absorptions(footprint: Footprint) -> Absorptions:
    """Cells with at least the 95th percentile of aggressor volume (nearest rank over all cells' sides that
    traded) where this bar and the next closed at most one row beyond, in the aggressor's direction.

    Cells whose next bar has not ended within the window are not judged.
    """
    limit = _heavy_from(footprint)
    judged = max(min(footprint.finished, len(footprint.buy)) - 1, 0)
    close = np.stack([footprint.close_row[:judged], footprint.close_row[1 : judged + 1]])
    heavy, absorbed = 0, []
    for side in SIDES:
        cells = footprint.buy if side == "buy" else footprint.sell
        bar, row = np.nonzero(cells[:judged] >= limit)
        beyond = close[:, bar] - row if side == "buy" else row - close[:, bar]
        heavy += len(bar)
        held = beyond.max(axis=0) <= 1 if len(bar) else np.empty(0, np.bool_)
        absorbed += [
            (int(cells[b, r]), int(b), int(r), side) for b, r in zip(bar[held], row[held], strict=True)
        ]
    ranked = sorted(absorbed, key=lambda cell: (-cell[0], *cell[1:]))
    listed = tuple(_absorption(footprint, side, bar, row) for _, bar, row, side in ranked)
    return Absorptions(footprint.rows.quantity(limit), heavy, listed)


def _heavy_from(footprint: Footprint) -> int:
    """The value of rank ceil(0.95 n) of the n cells' sides that traded."""
    aggression = np.concatenate([footprint.buy[footprint.buy > 0], footprint.sell[footprint.sell > 0]])
    rank = -(-HEAVY_PCT * len(aggression) // 100)
    return int(np.partition(aggression, rank - 1)[rank - 1])


def _absorption(footprint: Footprint, side: Side, bar: int, row: int) -> Absorption:
    rows, buy, sell = footprint.rows, int(footprint.buy[bar, row]), int(footprint.sell[bar, row])
    return Absorption(
        footprint.bar_ms(bar),
        side,
        rows.low(row),
        rows.high(row),
        rows.quantity(buy if side == "buy" else sell),
        rows.quantity(buy - sell),
        rows.low(int(footprint.close_row[bar + 1])),
    )


def _stack(
    footprint: Footprint, candles: MinuteCandles, side: Side, bar: int, first: int, last: int
) -> Stack:
    rows, cells = footprint.rows, footprint.buy if side == "buy" else footprint.sell
    low, high = rows.low(first), rows.high(last)
    back, back_ms = returned(candles, low, high, footprint.bar_ms(bar + 1))
    volume = rows.quantity(int(cells[bar, first : last + 1].sum()))
    return Stack(footprint.bar_ms(bar), side, first, last, low, high, volume, back, back_ms)


def _runs(mask: BoolArray) -> Iterator[tuple[int, int, int]]:
    """Bar, first and last row of each run of at least three."""
    for bar in np.flatnonzero(mask.sum(axis=1) >= STACK_ROWS).tolist():
        edges = np.flatnonzero(np.diff(mask[bar], prepend=False, append=False)).tolist()
        for first, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - first >= STACK_ROWS:
                yield bar, first, stop - 1


def _within_range(volume: IntArray) -> BoolArray:
    """Whether each row lies between the lowest and the highest traded one of its bar."""
    traded = volume > 0
    from_below = np.logical_or.accumulate(traded, axis=1)
    from_above = np.logical_or.accumulate(traded[:, ::-1], axis=1)[:, ::-1]
    inside: BoolArray = from_below & from_above
    return inside


def _times(values: IntArray, ratio: Decimal) -> IntArray:
    """The least integer no less than `ratio` times each value; what exceeds 64 bits is never reached."""
    exact = Fraction(ratio)
    if int(values.max(initial=0)) <= INT64_MAX // exact.numerator:
        return -(-values * exact.numerator // exact.denominator)
    products = [min(ceil(value * exact), INT64_MAX) for value in values.ravel().tolist()]
    return np.array(products, np.int64).reshape(values.shape)
