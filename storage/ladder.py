"""A price ladder: what was traded at every price between two, or in rows of them, summed in one pass.

Invariant: all is integers, and a sum is the plain sum to the last unit; a ladder that could not hold the
trades it is meant for is not made.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Self

import numpy as np

from storage.errors import CorruptRecord
from storage.histograms import PriceHistogram, PriceTotals
from storage.trades import AnyIntArray, IntArray, Prints, decimals_of, finest_exponents, rescale

# Two sums of eight bytes a price: 64 MiB, of which only what was traded at takes memory.
MOST_PRICES = 1 << 22
# Trades that are added at a time: so many fit into a core's cache with all that is made of them.
CHUNK = 1 << 15
# Prices of a ladder that are looked through at once for those that were traded.
PAGE = 1 << 16


class PriceLadder:
    """Volume and number of trades by side at each price, or bin, from the lowest to the highest.

    A sum is one int64, `quantity << shift | trades`, so that a trade is added once; cells 2i and 2i + 1 are
    those of takers buying and selling at the i-th price, or bin.
    """

    def __init__(
        self, totals: PriceTotals, price_exp: int, quantity_exp: int, shift: int, bin_int: int | None
    ) -> None:
        """Use `PriceLadder.spanning`."""
        self._totals = totals
        self._price_exp = price_exp
        self._quantity_exp = quantity_exp
        self._shift = shift
        self._bin_int = bin_int
        self._width = bin_int or 1
        self._low = totals.low // self._width
        self._sums: IntArray = np.zeros((totals.high // self._width - self._low + 1, 2), np.int64)

    @classmethod
    def spanning(cls, parts: Sequence[PriceHistogram], bin_size: Decimal | None = None) -> Self | None:
        """An empty ladder for just the trades that the parts, none empty, are histograms of, bins or not.

        It sums by exact price, or in bins of `bin_size`. None where prices spread too far or there is too
        much of them for one integer a sum.
        """
        finest, quantity_exp = finest_exponents(parts)
        price_exp = finest if bin_size is None else max(finest, decimals_of(bin_size))
        bin_int = None if bin_size is None else int(bin_size.scaleb(price_exp))
        totals = PriceTotals.merged(parts).shifted(price_exp - finest, 0)
        quantity = sum(_quantity(part) * 10 ** (quantity_exp - part.quantity_exp) for part in parts)
        shift = sum(int(part.trades.sum()) for part in parts).bit_length()
        if (totals.high - totals.low) // (bin_int or 1) >= MOST_PRICES or quantity.bit_length() + shift > 63:
            return None
        return cls(totals, price_exp, quantity_exp, shift, bin_int)

    def add(self, prints: Prints) -> None:
        """Count valid trades. Raises `CorruptRecord` for prices beyond those that the ladder spans."""
        for start in range(0, len(prints.price_int), CHUNK):
            chunk = slice(start, start + CHUNK)
            cells = self._cells(prints.price_int[chunk], prints.price_exp)
            cells |= prints.buyer_is_maker[chunk]
            weights = prints.quantity_int[chunk].astype(np.int64)
            weights = rescale(weights, prints.quantity_exp, self._quantity_exp)
            weights <<= self._shift
            weights |= 1
            np.add.at(self._flat, cells.astype(np.intp, copy=False), weights)

    def add_sums(self, part: PriceHistogram) -> None:
        """Count trades that are summed by exact price already."""
        part = part.at_exponents(self._price_exp, self._quantity_exp)
        cells = self._cells(part.price_int, part.price_exp)
        np.add.at(self._flat, cells, (part.buy << self._shift) + part.buy_trades)
        np.add.at(self._flat, cells + 1, (part.sell << self._shift) + part.sell_trades)

    def histogram(self) -> PriceHistogram:
        """What was counted, by exact price or in bins."""
        traded = self._traded()
        sums = self._sums[traded]
        quantity = sums >> self._shift
        sums &= (1 << self._shift) - 1
        traded += self._low
        traded *= self._width
        return PriceHistogram(
            traded, quantity[:, 0], quantity[:, 1], sums[:, 0], sums[:, 1],
            self._price_exp, self._quantity_exp, self._totals, self._bin_int,
        )  # fmt: skip

    @property
    def _flat(self) -> IntArray:
        return self._sums.reshape(-1)

    def _cells(self, price: AnyIntArray, exponent: int) -> AnyIntArray:
        """Of takers buying at these prices; 32 bits wide where the prices are, which is faster."""
        fits = price.dtype == np.uint32 and self._low >= 0 and self._width < 1 << 32
        if not fits or exponent != self._price_exp:
            price = rescale(price.astype(np.int64), exponent, self._price_exp)
        low, high = int(price.min()), int(price.max())
        if low < self._totals.low or high > self._totals.high:
            raise CorruptRecord(
                f"prices {low} to {high} at {self._price_exp} decimals lie beyond what its rollup says: "
                f"{self._totals.low} to {self._totals.high}"
            )
        cells: AnyIntArray = price // self._width
        cells -= self._low
        cells <<= 1
        return cells

    def _traded(self) -> IntArray:
        """Which prices were traded at, found page by page."""
        bought, sold = self._sums.T
        pages = [slice(start, start + PAGE) for start in range(0, len(self._sums), PAGE)]
        return np.concatenate([np.flatnonzero(bought[page] | sold[page]) + page.start for page in pages])


def _quantity(part: PriceHistogram) -> int:
    return int(part.buy.sum()) + int(part.sell.sum())
