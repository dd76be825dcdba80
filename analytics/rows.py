"""Rows of price: a window's trades summed on an absolute grid of whole ticks.

Invariant: quantities and counts stay exact integers, and the rows of a window are the sum of the rows of its
parts. Source: definitions, section 2 (docs/analytics.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import count
from math import gcd

import numpy as np

from analytics.errors import BinsTooWide, NoTrades, RowSizeInvalid, RowTooFine
from storage.histograms import PriceHistogram, exact_bincount
from storage.trades import INT64_MAX, IntArray, decimal_of, decimals_of, rescale

MAX_ROWS = 2_000
PROFILE_ROWS = 100
VACUUM_ROWS = 200
# Below this many rows a thin one says more about the grid than about the market.
MIN_VACUUM_ROWS = 20
# Trades in the median core row from which its emptiness is no accident of sampling.
DENSE_ROW_TRADES = 150


@dataclass(frozen=True, slots=True, eq=False)
class TickHistogram:
    """Traded quantity per tick: (prices,) columns, `at` the price in ticks from 0, ascending, none twice.

    The tick is `tick_int * 10**-decimals`, quantities are `* 10**-quantity_exp`; `total` is their exact sum.
    `at` is exact where `bin_ticks` is 1, else the low edge of a bin that wide. `lowest` and `highest` are the
    extreme traded prices in ticks; `notional` and `square_notional` are Σpq and Σp²q at `decimals`.
    """

    at: IntArray
    buy: IntArray
    sell: IntArray
    trades: IntArray
    tick_int: int
    decimals: int
    quantity_exp: int
    total: int
    bin_ticks: int
    lowest: int
    highest: int
    notional: int
    square_notional: int

    @property
    def volume(self) -> IntArray:
        return self.buy + self.sell

    @property
    def tick(self) -> Decimal:
        return decimal_of(self.tick_int, self.decimals)

    @property
    def span(self) -> tuple[int, int]:
        """Lowest and highest traded price, or bin, in ticks."""
        return int(self.at[0]), int(self.at[-1])

    def price(self, ticks: int) -> Decimal:
        """The price `ticks` ticks above 0, at the tick's decimals."""
        return decimal_of(ticks * self.tick_int, self.decimals)

    def quantile_span(self) -> tuple[int, int]:
        """Prices in ticks at which 0.5 % and 99.5 % of the volume are reached, low to high."""
        cumulative = np.cumsum(self.volume)
        low, high = np.searchsorted(cumulative, [-(-self.total // 200), -(-199 * self.total // 200)])
        return int(self.at[low]), int(self.at[high])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Volume by row from the lowest to the highest traded one: (rows,) int64, zero-filled.

    Row i is row `first + i` of the grid anchored at price 0 and spans `row_ticks` ticks. `volume`, `buy`
    (by takers) and `sell` are `* 10**-quantity_exp` of the base asset, `trades` counts aggTrades.
    """

    first: int
    row_ticks: int
    tick: Decimal
    volume: IntArray
    buy: IntArray
    sell: IntArray
    trades: IntArray
    quantity_exp: int

    def __len__(self) -> int:
        return len(self.volume)

    @property
    def row_size(self) -> Decimal:
        return self.tick * self.row_ticks

    def low(self, i: int) -> Decimal:
        """Price of the lowest tick of row i."""
        return self.tick * ((self.first + i) * self.row_ticks)

    def high(self, i: int) -> Decimal:
        """Price of the highest tick of row i."""
        return self.tick * ((self.first + i + 1) * self.row_ticks - 1)

    def quantity(self, n: int) -> Decimal:
        """An integer of these columns as a quantity of the base asset."""
        return decimal_of(n, self.quantity_exp)


def on_ticks(histogram: PriceHistogram, tick: Decimal, lot: Decimal | None = None) -> TickHistogram:
    """The histogram on today's tick, or on the greatest common divisor of tick and prices where some are off.

    Quantities come at the lot's decimals, or at more where they need more; without a lot at the histogram's.
    Raises NoTrades; ValueError where prices or the summed quantity do not fit in 64 bits.
    """
    if len(histogram) == 0:
        raise NoTrades
    price_exp = max(histogram.price_exp, decimals_of(tick))
    histogram = histogram.at_exponents(price_exp, _quantity_exponent(histogram, lot))
    total = exact_total(histogram.buy) + exact_total(histogram.sell)
    if total > INT64_MAX:
        raise ValueError(f"the window's volume does not fit in 64 bits: {total}e-{histogram.quantity_exp}")
    totals = histogram.totals
    assert totals is not None
    unit = gcd(int(tick.scaleb(price_exp)), totals.divisor)
    if histogram.bin_int is not None and histogram.bin_int % unit:
        raise BinsTooWide
    decimals = decimals_of(decimal_of(unit, price_exp))
    sums = totals.shifted(decimals - price_exp, 0)
    return TickHistogram(
        histogram.price_int // unit, histogram.buy, histogram.sell, histogram.trades,
        tick_int=unit // 10 ** (price_exp - decimals), decimals=decimals,
        quantity_exp=histogram.quantity_exp, total=total,
        bin_ticks=1 if histogram.bin_int is None else histogram.bin_int // unit,
        lowest=totals.low // unit, highest=totals.high // unit,
        notional=sums.notional, square_notional=sums.square_notional,
    )  # fmt: skip


def rows_of(ticks: TickHistogram, row_ticks: int) -> Rows:
    """The exact sums over rows of `row_ticks` ticks: `r = floor(price / row_size)`.

    Raises BinsTooWide where the histogram's bins do not fall into such rows.
    """
    if row_ticks % ticks.bin_ticks:
        raise BinsTooWide
    first, last = _row_span(ticks.span, row_ticks)
    row = ticks.at // row_ticks
    row -= first
    size = last - first + 1
    buy, sell, trades = (
        exact_bincount(row, column, size) for column in (ticks.buy, ticks.sell, ticks.trades)
    )
    return Rows(first, row_ticks, ticks.tick, buy + sell, buy, sell, trades, ticks.quantity_exp)


def row_index(price_int: IntArray, price_exp: int, rows: Rows) -> IntArray:
    """Index into `rows` of each price, (n,) int64. Raises ValueError where one lies outside them."""
    exponent = max(price_exp, decimals_of(rows.row_size))
    row: IntArray = rescale(price_int, price_exp, exponent) // int(rows.row_size.scaleb(exponent))
    row -= rows.first
    check_within(int(row.min()), int(row.max()), rows)
    return row


def check_within(lowest: int, highest: int, rows: Rows) -> None:
    """ValueError where one of these indices is of no row."""
    if lowest < 0 or highest >= len(rows):
        raise ValueError(f"trades lie outside rows {rows.low(0):f}-{rows.high(len(rows) - 1):f}")


def profile_row_ticks(ticks: TickHistogram, row_size: Decimal | None = None) -> int:
    """Ticks per row of a profile: the caller's, else the smallest with <= 100 rows between the quantiles."""
    if row_size is not None:
        return asked_row_ticks(ticks, row_size)
    return next(_fitting(ticks, PROFILE_ROWS))


def vacuum_row_ticks(ticks: TickHistogram, row_size: Decimal | None = None) -> int:
    """Ticks per row for vacuums: the caller's, else fine rows grown until the median core row is dense.

    Starts at the smallest of {1,2,5}·10ⁿ with <= 200 rows between the quantiles and grows while the median
    core row holds fewer than 150 trades and 20 rows remain. Source: definitions, section 4.1.
    """
    if row_size is not None:
        return asked_row_ticks(ticks, row_size)
    sizes = _fitting(ticks, VACUUM_ROWS)
    chosen = next(sizes)
    while median_core_trades(rows_of(ticks, chosen)) < DENSE_ROW_TRADES:
        coarser = next(sizes)
        if quantile_rows(ticks, coarser) < MIN_VACUUM_ROWS:
            break
        chosen = coarser
    return chosen


def asked_row_ticks(ticks: TickHistogram, row_size: Decimal) -> int:
    """Ticks in a caller's row size. Raises RowSizeInvalid off the tick, RowTooFine beyond 2,000 rows."""
    row_ticks = _whole_ticks(row_size, ticks.tick)
    # The extremes are exact in bins too, so that rows too fine are refused without exact prices.
    traded = ticks.lowest, ticks.highest
    rows = _row_count(traded, row_ticks)
    if rows > MAX_ROWS:
        fits = next(m for m in row_ladder() if _row_count(traded, m) <= MAX_ROWS)
        raise RowTooFine(row_size, rows=rows, fits=ticks.tick * fits, limit=MAX_ROWS)
    if row_ticks % ticks.bin_ticks:
        raise BinsTooWide(row_size)
    return row_ticks


def quantile_rows(ticks: TickHistogram, row_ticks: int) -> int:
    """Number of rows from the one where 0.5 % of the volume is reached to the one where 99.5 % is."""
    return _row_count(ticks.quantile_span(), row_ticks)


def core_rows(volume: IntArray) -> tuple[int, int]:
    """First and last row (inclusive) of the core, which leaves 1 % of the volume out at either end.

    `volume` is (rows,) int64 with a positive sum. Core rows have `100·cum > total` and
    `100·(cum - volume) < 99·total`. Source: definitions, section 4.1.
    """
    cumulative = np.cumsum(volume)
    total = int(cumulative[-1])
    # Divided instead of multiplied: 100 times the volume may not fit in 64 bits.
    first = np.searchsorted(cumulative, total // 100, side="right")
    last = np.searchsorted(cumulative, -(-99 * total // 100), side="left")
    return int(first), int(last)


def median_core_trades(rows: Rows) -> Fraction:
    """Trades in the median core row, empty rows included."""
    first, last = core_rows(rows.volume)
    return exact_median(rows.trades[first : last + 1])


def exact_median(values: IntArray) -> Fraction:
    """The middle value, or the mean of the middle two."""
    ranked = np.sort(values)
    middle = len(ranked) // 2
    return Fraction(int(ranked[middle]) + int(ranked[-middle - 1]), 2)


def row_ladder() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ..."""
    for n in count():
        yield from (10**n, 2 * 10**n, 5 * 10**n)


def exact_total(values: IntArray) -> int:
    """Sum of non-negative integers that is exact beyond 64 bits."""
    if len(values) == 0 or int(values.max()) * len(values) <= INT64_MAX:
        return int(values.sum())
    return sum(values.tolist())


def _quantity_exponent(histogram: PriceHistogram, lot: Decimal | None) -> int:
    """The lot's decimals, or those of the trades where they have more, whatever their sums come to."""
    return histogram.quantity_exp if lot is None else max(decimals_of(lot), histogram.quantity_exp)


def _whole_ticks(row_size: Decimal, tick: Decimal) -> int:
    if not row_size.is_finite() or row_size <= 0:
        raise RowSizeInvalid(row_size, tick=tick, below=None, above=tick)
    in_ticks = Fraction(row_size) / Fraction(tick)
    whole = int(in_ticks)
    if whole > INT64_MAX // 2:
        raise RowSizeInvalid(row_size, tick=tick, below=None, above=tick)
    if whole != in_ticks:
        below = tick * whole if whole else None
        raise RowSizeInvalid(row_size, tick=tick, below=below, above=tick * (whole + 1))
    return whole


def _fitting(ticks: TickHistogram, limit: int) -> Iterator[int]:
    """Row sizes of the ladder, in ticks, with at most `limit` rows between the quantiles and 2,000 in all."""
    quantiles = ticks.quantile_span()
    for row_ticks in row_ladder():
        # Bins hide where a price lies by up to their width: then even the most rows there may be must count.
        hidden = 0 if row_ticks % ticks.bin_ticks == 0 else ticks.bin_ticks // row_ticks + 1
        fits = _row_count(quantiles, row_ticks) - hidden <= limit
        if fits and _row_count(ticks.span, row_ticks) - hidden <= MAX_ROWS:
            if hidden:
                raise BinsTooWide
            yield row_ticks


def _row_span(span: tuple[int, int], row_ticks: int) -> tuple[int, int]:
    return span[0] // row_ticks, span[1] // row_ticks


def _row_count(span: tuple[int, int], row_ticks: int) -> int:
    first, last = _row_span(span, row_ticks)
    return last - first + 1
