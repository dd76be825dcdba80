"""Footprint: what takers bought and sold in each bar of time and row of price.

Invariant: the cells are the exact sum of the window's trades on the absolute grids of bars and rows, read
once chunk by chunk. Source: definitions, sections 2 and 5 (docs/analytics.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analytics.bars import CLOCK_WIDTHS_MS, Bars, bars, width_words
from analytics.errors import NoTrades, OptionInvalid
from analytics.rows import Rows, row_index
from analytics.tape import counting, runs
from storage.candles import MINUTE_MS, MinuteCandles
from storage.trades import IntArray, TapeColumns

MOST_BARS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Footprint:
    """(bars, rows) int64 quantities: `buy` is what takers bought, `sell` what they sold.

    Bar b begins at `(first_bar + b) * width_ms`; row r is that of `rows`, the window's,
    with its quantity units. `close_row` is the
    row of each bar's last price, that of the bar before where it has no trade. The first and the last bar
    hold the trades of [start_ms, end_ms) alone.
    """

    width_ms: int
    first_bar: int
    rows: Rows
    buy: IntArray
    sell: IntArray
    close_row: IntArray
    start_ms: int
    end_ms: int

    @property
    def volume(self) -> IntArray:
        return self.buy + self.sell

    def bar_ms(self, bar: int) -> int:
        """When a bar begins."""
        return (self.first_bar + bar) * self.width_ms

    @property
    def finished(self) -> int:
        """How many bars, from the first on, end within the window."""
        return self.end_ms // self.width_ms - self.first_bar


def footprint(
    trades: Iterable[TapeColumns],
    candles: MinuteCandles,
    rows: Rows,
    *,
    width_ms: int,
    start_ms: int,
    end_ms: int,
) -> Footprint:
    """The footprint of [start_ms, end_ms): `trades` in chunks, their minute candles, and their rows.

    Raises NoTrades, and OptionInvalid for a width that is not of whole minutes or makes more than 500 bars;
    ValueError where a trade lies outside the rows.
    """
    found = FootprintPass(candles, rows, width_ms=width_ms, start_ms=start_ms, end_ms=end_ms)
    for chunk in trades:
        found.read(chunk)
    return found.result()


class FootprintPass:
    """The same, kept up while `read` takes the chunks."""

    def __init__(
        self, candles: MinuteCandles, rows: Rows, *, width_ms: int, start_ms: int, end_ms: int
    ) -> None:
        if len(candles) == 0:
            raise NoTrades
        _check_width(width_ms, start_ms, end_ms)
        self._window = start_ms, end_ms
        self._width_ms, self._rows, self._candles = width_ms, rows, candles
        self._first_bar = start_ms // width_ms
        bar_count = (end_ms - 1) // width_ms - self._first_bar + 1
        self._cells = np.zeros((bar_count, len(rows), 2), np.int64)

    def read(self, chunk: TapeColumns) -> None:
        """Takes in the next trades; those outside the window and those marked invalid do not count."""
        chunk = counting(chunk, *self._window)
        if len(chunk) == 0:
            return
        chunk = chunk.at_exponents(chunk.price_exp, self._rows.quantity_exp)
        cell = row_index(chunk.price_int, chunk.price_exp, self._rows)
        cell *= 2
        cell += chunk.buyer_is_maker
        for bar, run in runs(chunk.time_ms // self._width_ms):
            np.add.at(self._cells[bar - self._first_bar].reshape(-1), cell[run], chunk.quantity_int[run])

    def result(self) -> Footprint:
        """What has been read."""
        found = bars(self._candles, self._width_ms)
        return Footprint(
            self._width_ms,
            self._first_bar,
            self._rows,
            buy=np.ascontiguousarray(self._cells[:, :, 0]),
            sell=np.ascontiguousarray(self._cells[:, :, 1]),
            close_row=_close_rows(found, self._rows, self._first_bar, len(self._cells)),
            start_ms=self._window[0],
            end_ms=self._window[1],
        )


def _check_width(width_ms: int, start_ms: int, end_ms: int) -> None:
    most_ms = (end_ms - start_ms) // (MOST_BARS - 1)
    fits = next(width for width in CLOCK_WIDTHS_MS if width > most_ms)
    if width_ms % MINUTE_MS or width_ms <= 0 or (end_ms - 1) // width_ms - start_ms // width_ms >= MOST_BARS:
        raise OptionInvalid(
            "bar",
            width_words(width_ms),
            valid=f"whole minutes that make at most {MOST_BARS} bars of the window",
            default=width_words(fits),
        )


def _close_rows(found: Bars, rows: Rows, first_bar: int, count: int) -> IntArray:
    """Row of the last price of each of `count` bars, of one without a trade that of the bar before."""
    at = found.start_ms // found.width_ms - first_bar
    latest = np.searchsorted(at, np.arange(count), side="right") - 1
    return row_index(found.close, found.price_exp, rows)[np.maximum(latest, 0)]
