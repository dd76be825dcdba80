"""Bars: open, high, low, close, volumes and notional of equal stretches of time, out of candles or trades.

Invariant: bars begin on multiples of their width since 1970 UTC, so that the same bar has the same name in
every window; every sum is exact. A stretch without a trade has no bar.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from analytics.errors import NoTrades, OptionInvalid
from analytics.rows import exact_total
from storage.candles import MINUTE_MS, MinuteCandles
from storage.histograms import exact_dot
from storage.trades import INT64_MAX, IntArray, TapeColumns, decimal_of

if TYPE_CHECKING:
    import pandas as pd

SECOND_MS = 1_000
DAY_MS = 24 * 60 * MINUTE_MS
UNITS_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": 60 * MINUTE_MS, "d": DAY_MS}
# Widths that divide the day, so that bars begin on the clock and at midnight.
CLOCK_WIDTHS_MS = tuple(
    minutes * MINUTE_MS for minutes in (1, 2, 3, 5, 10, 15, 30, 60, 120, 180, 240, 360, 480, 720, 1440)
)
BARS_A_WINDOW = 48


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """(bars,) columns, one row for each stretch of `width_ms` with a valid trade, ascending.

    `open` and `close` are the prices of the trades with the lowest and the highest id. `buy` is what takers
    bought, `sell` what they sold, `trades` counts aggTrades. Prices are `* 10**-price_exp`, quantities
    `* 10**-quantity_exp`, `notional`, the sum of price times quantity, at both together in Python's integers.
    """

    width_ms: int
    start_ms: IntArray
    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray
    buy: IntArray
    sell: IntArray
    trades: IntArray
    notional: tuple[int, ...]
    price_exp: int
    quantity_exp: int

    def __len__(self) -> int:
        return len(self.start_ms)

    @property
    def volume(self) -> IntArray:
        return self.buy + self.sell

    @property
    def delta(self) -> IntArray:
        return self.buy - self.sell

    def price(self, n: int) -> Decimal:
        """An integer of the price columns in the quote asset."""
        return decimal_of(n, self.price_exp)

    def quantity(self, n: int) -> Decimal:
        """An integer of the quantity columns in the base asset."""
        return decimal_of(n, self.quantity_exp)

    def quote_volume(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Notional of each bar in the quote asset."""
        return np.array([float(value) for value in self.notional]) / 10.0 ** (
            self.price_exp + self.quantity_exp
        )

    def vwap(self, i: int, decimals: int) -> Decimal:
        """Volume-weighted price of bar i, exact, rounded half-even to `decimals`."""
        exact = Fraction(self.notional[i], int(self.buy[i]) + int(self.sell[i]))
        return decimal_of(round(exact * Fraction(10) ** (decimals - self.price_exp)), decimals)

    def frame(self) -> "pd.DataFrame":
        """The bars for pandas: floats, by the time they begin; the columns themselves stay exact."""
        import pandas as pd  # the server does without it

        prices = {name: getattr(self, name) / 10**self.price_exp for name in ("open", "high", "low", "close")}
        volumes = {name: getattr(self, name) / 10**self.quantity_exp for name in ("volume", "buy", "sell")}
        vwap = self.quote_volume() / np.maximum(volumes["volume"], np.finfo(float).tiny)
        columns = {**prices, **volumes, "trades": self.trades, "vwap": vwap}
        time = pd.to_datetime(self.start_ms, unit="ms", utc=True).rename("time")
        return pd.DataFrame(columns, index=time)


def bars(candles: MinuteCandles, width_ms: int) -> Bars:
    """Bars of whole minutes out of minute candles. Raises ValueError for a width that is none."""
    if width_ms <= 0 or width_ms % MINUTE_MS:
        raise ValueError(f"bars of {width_ms} ms are not made of minutes; use bars_of_trades")
    return _of_candles(candles, candles.minute_ms // width_ms, width_ms)


def whole(candles: MinuteCandles) -> Bars:
    """All candles as one bar that begins with the first of them. Raises NoTrades where there is none."""
    if len(candles) == 0:
        raise NoTrades
    one = _of_candles(candles, np.zeros(len(candles), np.int64), 1)
    width_ms = int(candles.minute_ms[-1] - candles.minute_ms[0]) + MINUTE_MS
    return replace(one, width_ms=width_ms, start_ms=candles.minute_ms[:1])


def _of_candles(candles: MinuteCandles, at: IntArray, width_ms: int) -> Bars:
    """One bar for each value of `at`, (candles,) ascending: the bar that each candle belongs to."""
    first = np.flatnonzero(np.diff(at, prepend=-1))
    last = np.append(first[1:], len(at))[: len(first)] - 1
    # T steps back at times: the lowest and the highest id need not lie in the first and the last minute.
    opening, closing = np.lexsort((candles.first_id, at))[first], np.lexsort((candles.last_id, at))[last]
    return Bars(
        width_ms,
        at[first] * width_ms,
        candles.open[opening],
        _reduced(np.maximum, candles.high, first),
        _reduced(np.minimum, candles.low, first),
        candles.close[closing],
        _summed(candles.buy, first),
        _summed(candles.sell, first),
        _reduced(np.add, candles.trades, first),
        _notional(candles, first),
        candles.price_exp,
        candles.quantity_exp,
    )


def _notional(candles: MinuteCandles, first: IntArray) -> tuple[int, ...]:
    """That of each bar; `first` is its first candle."""
    if len(first) == len(candles):
        return candles.notional
    return tuple(sum(candles.notional[a:b]) for a, b in pairwise([*first.tolist(), len(candles)]))


def bars_of_trades(trades: TapeColumns, width_ms: int) -> Bars:
    """Bars of any whole width in milliseconds out of rows with ids ascending."""
    rows = (trades if bool(trades.valid.all()) else trades.take(trades.valid)).reduced()
    at = rows.time_ms // width_ms
    if bool(np.any(np.diff(at) < 0)):
        order = np.argsort(at, kind="stable")
        rows, at = rows.take(order), at[order]
    first = np.flatnonzero(np.diff(at, prepend=-1))
    bounds = list(pairwise([*first.tolist(), len(at)]))
    price, quantity = rows.price_int, rows.quantity_int
    return Bars(
        width_ms,
        at[first] * width_ms,
        price[first],
        _reduced(np.maximum, price, first),
        _reduced(np.minimum, price, first),
        price[[stop - 1 for _, stop in bounds]],
        _summed(quantity * ~rows.buyer_is_maker, first),
        _summed(quantity * rows.buyer_is_maker, first),
        np.array([stop - start for start, stop in bounds], np.int64),
        tuple(exact_dot(quantity[a:b], price[a:b]) for a, b in bounds),
        rows.price_exp,
        rows.quantity_exp,
    )


def width_of(written: str, option: str = "interval") -> int:
    """Milliseconds of a width as people write it: `15s`, `5m`, `4h`, `1d`.

    Raises OptionInvalid for what is none, is longer than a day or does not divide it.
    """
    text = written.strip().lower()
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS_MS or not (number.isascii() and number.isdigit() and len(number) <= 5):
        raise OptionInvalid(option, written, valid=VALID_WIDTHS, default="15m")
    width_ms = int(number) * UNITS_MS[unit]
    if width_ms == 0 or width_ms > DAY_MS or DAY_MS % width_ms:
        raise OptionInvalid(option, written, valid=VALID_WIDTHS, default="15m")
    return width_ms


VALID_WIDTHS = "whole seconds, minutes or hours that divide the day, 1s to 1d, such as 15s, 5m, 4h"


def width_words(width_ms: int) -> str:
    """A width as people write it: 90 s is `90s`, an hour is `1h`."""
    unit = next(unit for unit in ("d", "h", "m", "s") if width_ms % UNITS_MS[unit] == 0)
    return f"{width_ms // UNITS_MS[unit]}{unit}"


def default_width_ms(window_ms: int) -> int:
    """The smallest width on the clock, a minute or more, of which a window has no more than 48 whole ones.

    Source: definitions, section 5 (1/48 of the window), rounded up to divide the day.
    """
    return next(width for width in CLOCK_WIDTHS_MS if width * BARS_A_WINDOW >= window_ms)


def _reduced(how: np.ufunc, values: IntArray, first: IntArray) -> IntArray:
    reduced: IntArray = how.reduceat(values, first) if len(first) else values[:0]
    return reduced


def _summed(values: IntArray, first: IntArray) -> IntArray:
    """Exact sum of each group, which begin at `first`; ValueError where one does not fit in 64 bits."""
    if exact_total(values) <= INT64_MAX:
        return _reduced(np.add, values, first)
    sums = [exact_total(group) for group in np.split(values, first[1:])]
    if max(sums) > INT64_MAX:
        raise ValueError(f"a bar's volume does not fit in 64 bits: {max(sums)}")
    return np.array(sums, np.int64)
