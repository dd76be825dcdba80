"""One pass over a window's trades: when rows were traded, the five-minute closes, the last price.

Invariant: each chunk is read once and not kept; what is kept grows with the rows and the window, never with
the number of trades.
"""

from decimal import Decimal

import numpy as np
import numpy.typing as npt

from analytics.rows import Rows, row_index
from storage.trades import INT64_MAX, BoolArray, IntArray, TradeColumns, decimal_of

FloatArray = npt.NDArray[np.float64]

FIVE_MINUTES_MS = 5 * 60_000
HALF_HOUR_MS = 30 * 60_000
# Twelve five-minute returns are one hour, the least from which a variance is read.
MIN_RETURNS = 12
_NEVER = -1


class TapePass:
    """What the trades of [start_ms, end_ms) say about `rows`, kept up while `read` takes them in id order.

    Only rows in `watched`, (rows,) bool, are dated. `closes` are the last prices of the UTC five-minute bins
    that end inside the window, (bins,) float64, NaN where nothing was traded. `last` is the price of the
    last trade by id, None before the first.
    """

    def __init__(self, rows: Rows, watched: BoolArray, *, start_ms: int, end_ms: int) -> None:
        self.last: Decimal | None = None
        self._rows = rows
        self._watched = watched
        self._start_ms = start_ms
        self._end_ms = end_ms
        self._first_ms = np.full(len(rows), INT64_MAX)
        self._last_ms = np.full(len(rows), _NEVER)
        self._first_bin = start_ms // FIVE_MINUTES_MS
        self.closes = np.full(max((end_ms - 1) // FIVE_MINUTES_MS - self._first_bin, 0), np.nan)

    def read(self, chunk: TradeColumns) -> None:
        """Takes in the next trades; those outside the window and those marked invalid do not count.

        Raises ValueError where a trade lies outside the rows: then they are of other trades.
        """
        chunk = chunk.within(self._start_ms, self._end_ms)
        if not chunk.valid.all():
            chunk = chunk.take(chunk.valid)
        if len(chunk) == 0:
            return
        self._date_rows(chunk)
        self._close_bins(chunk)
        self.last = decimal_of(int(chunk.price_int[-1]), chunk.price_exp).quantize(self._rows.tick)

    def last_traded_ms(self, rows: slice) -> int | None:
        """Time of the last trade in watched rows; None where there was none."""
        latest = int(self._last_ms[rows].max())
        return None if latest == _NEVER else latest

    def single_print(self, rows: slice) -> bool:
        """Whether each of the watched rows was traded, and in one UTC half-hour only."""
        first, last = self._first_ms[rows], self._last_ms[rows]
        return bool(np.all((last != _NEVER) & (first // HALF_HOUR_MS == last // HALF_HOUR_MS)))

    def _date_rows(self, chunk: TradeColumns) -> None:
        row = row_of(chunk, self._rows)
        inside = np.flatnonzero(self._watched[row])
        np.minimum.at(self._first_ms, row[inside], chunk.time_ms[inside])
        np.maximum.at(self._last_ms, row[inside], chunk.time_ms[inside])

    def _close_bins(self, chunk: TradeColumns) -> None:
        bins = chunk.time_ms // FIVE_MINUTES_MS - self._first_bin
        closing = np.append(np.flatnonzero(bins[1:] != bins[:-1]), len(bins) - 1)
        closing = closing[bins[closing] < len(self.closes)]
        self.closes[bins[closing]] = chunk.price_int[closing] / 10**chunk.price_exp


def row_of(trades: TradeColumns, rows: Rows) -> IntArray:
    """Index into `rows` of each trade's price, (n,) int64. Raises ValueError where one lies outside them."""
    return row_index(trades.price_int, trades.price_exp, rows)


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
