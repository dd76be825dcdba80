"""What was traded at which price: histograms, exact or in bins, with totals that no bin rounds.

Invariant: every sum is the plain sum to the last unit; histograms of disjoint trades merge to that of all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import gcd
from typing import Self

import numpy as np
import numpy.typing as npt

from storage.trades import INT64_MAX, IntArray, TradeColumns, decimals_of, finest_exponents, rescale


@dataclass(frozen=True, slots=True)
class PriceTotals:
    """What the bins of a histogram no longer tell: exact integers at its exponents.

    `low` and `high` are the extreme prices, `divisor` divides every price, `notional` is the sum of price
    times quantity and `square_notional` that of the squared price times quantity.
    """

    low: int
    high: int
    divisor: int
    notional: int
    square_notional: int

    @classmethod
    def of(cls, price: IntArray, quantity: IntArray) -> Self | None:
        """Exact sums over distinct prices and the quantity at each; None where there is none."""
        if len(price) == 0:
            return None
        # Small offsets keep the products within 64 bits; the rest is arithmetic on Python's integers.
        low, high = int(price.min()), int(price.max())
        offset = price - low
        total, first = int(quantity.sum()), exact_dot(quantity, offset)
        second = exact_square_dot(quantity, offset)
        return cls(
            low, high, int(np.gcd.reduce(price)),
            notional=first + low * total,
            square_notional=second + 2 * low * first + low * low * total,
        )  # fmt: skip

    @classmethod
    def merged(cls, parts: Sequence["PriceHistogram"]) -> "PriceTotals":
        """The totals of disjoint trades together, at the finest exponents of their histograms, none empty."""
        price_exp, quantity_exp = finest_exponents(parts)
        totals = [
            part.totals.shifted(price_exp - part.price_exp, quantity_exp - part.quantity_exp)
            for part in parts
            if part.totals is not None
        ]
        return cls(
            min(part.low for part in totals),
            max(part.high for part in totals),
            gcd(*(part.divisor for part in totals)),
            sum(part.notional for part in totals),
            sum(part.square_notional for part in totals),
        )

    def shifted(self, price_step: int, quantity_step: int) -> "PriceTotals":
        """The same values with more decimals (or fewer, where that is exact)."""
        if price_step == quantity_step == 0:
            return self
        return PriceTotals(
            _shifted(self.low, price_step),
            _shifted(self.high, price_step),
            _shifted(self.divisor, price_step),
            _shifted(self.notional, price_step + quantity_step),
            _shifted(self.square_notional, 2 * price_step + quantity_step),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PriceHistogram:
    """Traded quantity by price of a window: (prices,) columns, prices ascending, none twice.

    With `bin_int` None each price is an exact one; else it is the low edge of a bin that wide, a multiple of
    it. `buy` is what takers bought, `sell` what takers sold, both `* 10**-quantity_exp`; `buy_trades` and
    `sell_trades` count the aggTrades behind them. `totals` is None where there are no trades.
    """

    price_int: IntArray
    buy: IntArray
    sell: IntArray
    buy_trades: IntArray
    sell_trades: IntArray
    price_exp: int
    quantity_exp: int
    totals: PriceTotals | None
    bin_int: int | None = None

    def __len__(self) -> int:
        return len(self.price_int)

    @property
    def volume(self) -> IntArray:
        return self.buy + self.sell

    @property
    def trades(self) -> IntArray:
        return self.buy_trades + self.sell_trades

    @classmethod
    def of(cls, trades: TradeColumns) -> Self:
        """The exact sum over the valid rows of `trades`, by exact price."""
        valid = trades.valid
        trades = (trades if bool(valid.all()) else trades.take(valid)).reduced()
        price, at = _distinct(trades.price_int)
        cells = 2 * at + ~trades.buyer_is_maker
        quantity = exact_bincount(cells, trades.quantity_int, 2 * len(price)).reshape(-1, 2)
        count = np.bincount(cells, minlength=2 * len(price)).reshape(-1, 2)
        return cls(
            price, quantity[:, 1], quantity[:, 0], count[:, 1], count[:, 0],
            price_exp=trades.price_exp, quantity_exp=trades.quantity_exp,
            totals=PriceTotals.of(price, quantity.sum(axis=1)),
        )  # fmt: skip

    @classmethod
    def merge(cls, parts: Iterable["PriceHistogram"]) -> "PriceHistogram":
        """The sum of histograms of disjoint trades, at their finest exponents and in their widest bins."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls.of(TradeColumns.empty())
        if len(parts) == 1:
            return parts[0]
        price_exp, quantity_exp = finest_exponents(parts)
        parts = [part.at_exponents(price_exp, quantity_exp) for part in parts]
        bin_int = max((part.bin_int for part in parts if part.bin_int is not None), default=None)
        columns = [np.concatenate([getattr(part, name) for part in parts]) for name in _HISTOGRAM_COLUMNS]
        return _histogram(columns, price_exp, quantity_exp, PriceTotals.merged(parts))._summed(bin_int)

    def in_bins(self, bin_int: int) -> "PriceHistogram":
        """The same trades in bins of `bin_int` price units, a multiple of the present ones."""
        return self._summed(bin_int)

    def in_bins_of(self, size: Decimal) -> "PriceHistogram":
        """The same trades in bins of a size of price, a multiple of the present ones, however fine it is."""
        exact = self.at_exponents(max(self.price_exp, decimals_of(size)), self.quantity_exp)
        return exact.in_bins(int(size.scaleb(exact.price_exp)))

    def _summed(self, bin_int: int | None) -> "PriceHistogram":
        """One cell for each price or bin that occurs."""
        price, at = _distinct(self.price_int if bin_int is None else self.price_int // bin_int)
        sums = [exact_bincount(at, getattr(self, name), len(price)) for name in _HISTOGRAM_COLUMNS[1:]]
        columns = [price * (bin_int or 1), *sums]
        return _histogram(columns, self.price_exp, self.quantity_exp, self.totals, bin_int)

    def at_exponents(self, price_exp: int, quantity_exp: int) -> Self:
        """The same values at other exponents; `ValueError` where that would not be exact."""
        if (price_exp, quantity_exp) == (self.price_exp, self.quantity_exp):
            return self
        price_step, quantity_step = price_exp - self.price_exp, quantity_exp - self.quantity_exp
        return replace(
            self,
            price_int=rescale(self.price_int, self.price_exp, price_exp),
            buy=rescale(self.buy, self.quantity_exp, quantity_exp),
            sell=rescale(self.sell, self.quantity_exp, quantity_exp),
            price_exp=price_exp,
            quantity_exp=quantity_exp,
            totals=self.totals.shifted(price_step, quantity_step) if self.totals is not None else None,
            bin_int=None if self.bin_int is None else _shifted(self.bin_int, price_step),
        )


_HISTOGRAM_COLUMNS = ("price_int", "buy", "sell", "buy_trades", "sell_trades")


def _distinct(values: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct values, ascending, and where each value stands among them.

    Counting beats sorting as long as the values do not spread wider than there are many of them.
    """
    if len(values) == 0 or int(values.max()) - int(values.min()) > 4 * len(values):
        distinct, at = np.unique(values, return_inverse=True)
        return distinct, at
    low = values.min()
    present = np.bincount(values - low) > 0
    place = np.cumsum(present) - 1
    return np.flatnonzero(present) + low, place[values - low]


def _histogram(
    columns: Sequence[IntArray],
    price_exp: int,
    quantity_exp: int,
    totals: PriceTotals | None,
    bin_int: int | None = None,
) -> PriceHistogram:
    price, buy, sell, buy_trades, sell_trades = columns
    return PriceHistogram(price, buy, sell, buy_trades, sell_trades, price_exp, quantity_exp, totals, bin_int)


def _shifted(n: int, places: int) -> int:
    """`n` times 10**places; `ValueError` where that is no integer."""
    factor: int = 10 ** abs(places)
    if places >= 0:
        return n * factor
    quotient, rest = divmod(n, factor)
    if rest:
        raise ValueError(f"{n} has no {-places} trailing zeros to give up")
    return quotient


def exact_dot(weights: IntArray, values: IntArray) -> int:
    """`Σ weights * values` of non-negative int64 columns, exact whatever its size.

    The sum of `weights` fits in 64 bits; where the products do not, the bits of `values` are halved.
    """
    top = int(values.max(initial=0))
    if top == 0:
        return 0
    if int(weights.sum()) <= INT64_MAX // top:
        return int(weights @ values)
    half = top.bit_length() // 2
    return (exact_dot(weights, values >> half) << half) + exact_dot(weights, values & ((1 << half) - 1))


def exact_square_dot(weights: IntArray, values: IntArray) -> int:
    """`Σ weights * values**2`, exact whatever its size."""
    if int(values.max(initial=0)) ** 2 <= INT64_MAX:
        return exact_dot(weights, values * values)
    return sum(
        weight * value * value for weight, value in zip(weights.tolist(), values.tolist(), strict=True)
    )


def exact_bincount(cells: npt.NDArray[np.int64], weights: IntArray, size: int) -> IntArray:
    """Sum of `weights` per cell in integers: np.bincount adds in float64, and takes twice as long."""
    sums = np.zeros(size, np.int64)
    np.add.at(sums, cells, weights)
    return sums
