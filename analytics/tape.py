"""One pass over a window's trades: volume by ten minutes and half row, visits, dates, five-minute closes.

Invariant: each chunk is read once and not kept; what is kept grows with the rows, the window and the number
of crossings, never with the number of trades.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from analytics.rows import Rows, check_within, row_index
from analytics.stability import BLOCK_MS
from analytics.thin import ThinZone
from analytics.visits import VisitCounter, ZoneVisits
from storage.histograms import exact_bincount
from storage.trades import INT64_MAX, IntArray, TapeColumns, decimals_of, rescale

T = TypeVar("T", bound=TapeColumns)
FloatArray = npt.NDArray[np.float64]

FIVE_MINUTES_MS = 5 * 60_000
HALF_HOUR_MS = 30 * 60_000
# Twelve five-minute returns are one hour, the least from which a variance is read.
MIN_RETURNS = 12
# Trades whose columns are worked out at once, 0.5 MB each, whatever an hour holds.
ROWS_AT_ONCE = 1 << 16
_NEVER = -1


class TapePass:
    """What the trades of [start_ms, end_ms) say about `rows`, kept up while `read` takes them in id order.

    `blocks` is the volume of each UTC-aligned ten minutes by row, (blocks, rows) int64, the first being block
    number `first_block` since 1970; `halves` that of the lower floor(m/2) ticks of each row of m and of the
    rest, (rows, 2) int64. `closes` are the last prices of the UTC five-minute bins that end inside the
    window, (bins,) float64, NaN where nothing was traded. Only rows of `zones` are dated, and only visits to
    these are counted.
    """

    def __init__(self, rows: Rows, zones: Sequence[ThinZone], *, start_ms: int, end_ms: int) -> None:
        self._rows = rows
        self._start_ms = start_ms
        self._end_ms = end_ms
        self.first_block = start_ms // BLOCK_MS
        self.blocks = np.zeros((max(-(-end_ms // BLOCK_MS) - self.first_block, 0), len(rows)), np.int64)
        self.halves = np.zeros((len(rows), 2), np.int64)
        self._visits = VisitCounter(zones, len(rows))
        self._watched = np.zeros(len(rows), np.bool_)
        for zone in zones:
            self._watched[zone.rows] = True
        self._first_ms = np.full(len(rows), INT64_MAX)
        self._last_ms = np.full(len(rows), _NEVER)
        self._first_bin = start_ms // FIVE_MINUTES_MS
        self.closes = np.full(max((end_ms - 1) // FIVE_MINUTES_MS - self._first_bin, 0), np.nan)

    def read(self, chunk: TapeColumns) -> None:
        """Takes in the next trades; those outside the window and those marked invalid do not count.

        Raises ValueError where a trade lies outside the rows: then they are of other trades.
        """
        chunk = counting(chunk, self._start_ms, self._end_ms)
        for first in range(0, len(chunk), ROWS_AT_ONCE):
            self._read(chunk.take(slice(first, first + ROWS_AT_ONCE)))

    def _read(self, chunk: TapeColumns) -> None:
        half = half_of(chunk, self._rows)
        row = half >> 1
        self._visits.read(row, chunk.time_ms)
        self._date_rows(chunk, row)
        for five_minutes, run in runs(chunk.time_ms // FIVE_MINUTES_MS):
            self._sum(
                five_minutes * FIVE_MINUTES_MS // BLOCK_MS,
                half[run],
                chunk.quantity_int[run],
                chunk.quantity_exp,
            )
            self._close(five_minutes, int(chunk.price_int[run][-1]) / 10**chunk.price_exp)

    def visits(self) -> list[ZoneVisits]:
        """Of each zone."""
        return self._visits.results()

    def last_traded_ms(self, zone: ThinZone) -> int | None:
        """Time of the last trade in the zone; None where there was none."""
        latest = int(self._last_ms[zone.rows].max())
        return None if latest == _NEVER else latest

    def single_print(self, zone: ThinZone) -> bool:
        """Whether each of the zone's rows was traded, and in one UTC half-hour only."""
        first, last = self._first_ms[zone.rows], self._last_ms[zone.rows]
        return bool(np.all((last != _NEVER) & (first // HALF_HOUR_MS == last // HALF_HOUR_MS)))

    def _sum(self, block: int, half: IntArray, quantity: IntArray, quantity_exp: int) -> None:
        sums = exact_bincount(half, quantity, self.halves.size)
        volume = rescale(sums, quantity_exp, self._rows.quantity_exp).reshape(self.halves.shape)
        self.halves += volume
        self.blocks[block - self.first_block] += volume.sum(axis=1)

    def _close(self, five_minutes: int, price: float) -> None:
        """The last price so far of one bin; the one that the window's end cuts has none."""
        if five_minutes - self._first_bin < len(self.closes):
            self.closes[five_minutes - self._first_bin] = price

    def _date_rows(self, chunk: TapeColumns, row: IntArray) -> None:
        inside = np.flatnonzero(self._watched[row])
        np.minimum.at(self._first_ms, row[inside], chunk.time_ms[inside])
        np.maximum.at(self._last_ms, row[inside], chunk.time_ms[inside])


def counting(chunk: T, start_ms: int, end_ms: int) -> T:
    """The rows that count for [start_ms, end_ms): those inside that are valid."""
    return chunk.within(start_ms, end_ms).of_valid()


def runs(values: IntArray) -> Iterator[tuple[int, slice]]:
    """The runs of equal values, at least one, in order: the value, and where it lies."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    for first, stop in pairwise([0, *changes.tolist(), len(values)]):
        yield int(values[first]), slice(first, stop)


def row_of(trades: TapeColumns, rows: Rows) -> IntArray:
    """Index into `rows` of each trade's price, (n,) int64. Raises ValueError where one lies outside them."""
    return row_index(trades.price_int, trades.price_exp, rows)


def half_of(trades: TapeColumns, rows: Rows) -> IntArray:
    """Twice the index into `rows` of each trade's price, plus 1 in the upper half of a row, (n,) int64.

    Of a row of m ticks the lower half has floor(m/2). Raises ValueError where a price lies outside the rows.
    """
    price, tick = _in_common(trades, rows)
    half, odd = divmod(rows.row_ticks, 2)
    if not odd:
        found: IntArray = price // (tick * half)
        found -= 2 * rows.first
    else:
        row = price // (tick * rows.row_ticks)
        found = 2 * (row - rows.first) + (price - row * (tick * rows.row_ticks) >= tick * half)
    check_within(int(found.min()) // 2, int(found.max()) // 2, rows)
    return found


def _in_common(trades: TapeColumns, rows: Rows) -> tuple[IntArray, int]:
    """The trades' prices, and the rows' tick, as integers of one exponent."""
    exponent = max(trades.price_exp, decimals_of(rows.tick))
    return rescale(trades.price_int, trades.price_exp, exponent), int(rows.tick.scaleb(exponent))


def mean_squared_return(closes: FloatArray) -> float | None:
    """Mean squared log return between five-minute closes, None below 12 returns.

    `closes` is (bins,), NaN where nothing was traded: its close is the one before, its return zero. Bins
    before the first trade do not count. Source: definitions, section 4.4.
    """
    traded = np.flatnonzero(~np.isnan(closes))
    if len(traded) == 0 or len(closes) - traded[0] - 1 < MIN_RETURNS:
        return None
    returns = np.diff(np.log(closes[traded]))
    return float(np.sum(returns**2) / (len(closes) - traded[0] - 1))
