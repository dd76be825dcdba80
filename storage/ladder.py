"""A price ladder: what was traded at every price between two, summed over many trades in one pass.

Invariant: all is integers, and a sum is the plain sum to the last unit; a ladder that could not hold the
trades it is meant for is not made.
"""

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from storage.errors import CorruptRecord
from storage.histograms import PriceHistogram, PriceTotals
from storage.trades import AnyIntArray, IntArray, Prints, finest_exponents, rescale

# Two sums of eight bytes a price: 64 MiB, of which only what was traded at takes memory.
MOST_PRICES = 1 << 22
# Prices of a ladder that are looked through at once for those that were traded.
PAGE = 1 << 16


class PriceLadder:
    """Volume and number of trades by side at each price from the lowest to the highest.

    A sum is one int64, `quantity << shift | trades`, so that a trade is added once; cells 2i and 2i + 1 are
    those of takers buying and selling at price `low + i`.
    """

    def __init__(self, totals: PriceTotals, price_exp: int, quantity_exp: int, shift: int) -> None:
        """Use `PriceLadder.spanning`."""
        self._totals = totals
        self._price_exp = price_exp
        self._quantity_exp = quantity_exp
        self._shift = shift
        self._sums: IntArray = np.zeros(2 * (totals.high - totals.low + 1), np.int64)

    @classmethod
    def spanning(cls, parts: Sequence[PriceHistogram]) -> Self | None:
        """An empty ladder for just the trades that the parts, none empty, are histograms of, bins or not.

        None where prices spread too far or there is too much of them for one integer a sum.
        """
        price_exp, quantity_exp = finest_exponents(parts)
        totals = PriceTotals.merged(parts)
        quantity = sum(_quantity(part) * 10 ** (quantity_exp - part.quantity_exp) for part in parts)
        shift = sum(int(part.trades.sum()) for part in parts).bit_length()
        if totals.high - totals.low >= MOST_PRICES or quantity.bit_length() + shift > 63:
            return None
        return cls(totals, price_exp, quantity_exp, shift)

    def add(self, prints: Prints) -> None:
        """Count valid trades. Raises `CorruptRecord` for prices beyond those that the ladder spans."""
        if len(prints.price_int) == 0:
            return
        cells = self._cells(prints.price_int, prints.price_exp)
        cells |= prints.buyer_is_maker
        weights = rescale(prints.quantity_int.astype(np.int64), prints.quantity_exp, self._quantity_exp)
        weights <<= self._shift
        weights += 1
        np.add.at(self._sums, cells, weights)

    def add_sums(self, part: PriceHistogram) -> None:
        """Count trades that are summed by exact price already."""
        part = part.at_exponents(self._price_exp, self._quantity_exp)
        cells = self._cells(part.price_int, part.price_exp)
        self._sums[cells] += (part.buy << self._shift) + part.buy_trades
        self._sums[cells + 1] += (part.sell << self._shift) + part.sell_trades

    def histogram(self) -> PriceHistogram:
        """What was counted, by exact price."""
        pages = zip(*self._pages(), strict=True)
        price, bought, sold = (np.concatenate(column) for column in pages)
        trades = (1 << self._shift) - 1
        return PriceHistogram(
            price, bought >> self._shift, sold >> self._shift, bought & trades, sold & trades,
            self._price_exp, self._quantity_exp, self._totals,
        )  # fmt: skip

    def _cells(self, price: AnyIntArray, exponent: int) -> IntArray:
        cells = rescale(price.astype(np.int64), exponent, self._price_exp)
        low, high = int(cells.min()), int(cells.max())
        if low < self._totals.low or high > self._totals.high:
            raise CorruptRecord(
                f"prices {low} to {high} at {self._price_exp} decimals lie beyond what its rollup says: "
                f"{self._totals.low} to {self._totals.high}"
            )
        cells -= self._totals.low
        cells <<= 1
        return cells

    def _pages(self) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
        """Prices that were traded with their sums of both sides, page by page."""
        for start in range(0, len(self._sums), 2 * PAGE):
            page = self._sums[start : start + 2 * PAGE].reshape(-1, 2)
            bought, sold = page[:, 0], page[:, 1]
            traded = np.flatnonzero(bought | sold)
            yield traded + (self._totals.low + start // 2), bought[traded], sold[traded]


def _quantity(part: PriceHistogram) -> int:
    return int(part.buy.sum()) + int(part.sell.sum())
