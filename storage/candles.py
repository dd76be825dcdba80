"""Minute candles: open, high, low, close, volumes and notional of each minute with a trade, as columns.

Invariant: candles of disjoint rows merge to the candles of all of them, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np

from storage.histograms import exact_dot
from storage.trades import IntArray, TradeColumns, rescale

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True, eq=False)
class MinuteCandles:
    """(minutes,) columns, one row for each UTC minute with a valid trade, ascending.

    `open` and `close` are the prices of the trades with the lowest and the highest id, `first_id` and
    `last_id`. `buy` is what takers bought, `sell` what they sold, `trades` counts aggTrades. Prices are
    `* 10**-price_exp`, quantities `* 10**-quantity_exp`, and `notional`, the sum of price times quantity, at
    both together; it consists of Python's integers, since it may exceed 64 bits.
    """

    minute_ms: IntArray
    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray
    buy: IntArray
    sell: IntArray
    trades: IntArray
    first_id: IntArray
    last_id: IntArray
    notional: tuple[int, ...]
    price_exp: int
    quantity_exp: int

    def __len__(self) -> int:
        return len(self.minute_ms)

    @classmethod
    def of(cls, trades: TradeColumns) -> Self:
        """The candles of rows with ids ascending."""
        valid = trades.valid
        rows = (trades if bool(valid.all()) else trades.take(valid)).reduced()
        minutes = rows.time_ms // MINUTE_MS
        if bool(np.any(np.diff(minutes) < 0)):
            order = np.argsort(minutes, kind="stable")
            rows, minutes = rows.take(order), minutes[order]
        first = np.flatnonzero(np.diff(minutes, prepend=-1))
        stop = np.append(first[1:], len(rows))[: len(first)]
        price, quantity = rows.price_int, rows.quantity_int
        bought = np.where(rows.buyer_is_maker, 0, quantity)
        buy = _reduced(np.add, bought, first)
        return cls(
            minute_ms=minutes[first] * MINUTE_MS,
            open=price[first],
            high=_reduced(np.maximum, price, first),
            low=_reduced(np.minimum, price, first),
            close=price[stop - 1],
            buy=buy,
            sell=_reduced(np.add, quantity, first) - buy,
            trades=stop - first,
            first_id=rows.id[first],
            last_id=rows.id[stop - 1],
            notional=tuple(
                exact_dot(quantity[a:b], price[a:b]) for a, b in pairwise([*first.tolist(), len(rows)])
            ),
            price_exp=rows.price_exp,
            quantity_exp=rows.quantity_exp,
        )

    @classmethod
    def merge(cls, parts: Sequence["MinuteCandles"]) -> "MinuteCandles":
        """The candles of disjoint rows together, at the finest exponents among them."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls.of(TradeColumns.empty())
        price_exp = max(part.price_exp for part in parts)
        quantity_exp = max(part.quantity_exp for part in parts)
        parts = [part.at_exponents(price_exp, quantity_exp) for part in parts]
        joined = _joined(parts)
        if joined._ascends():
            return joined
        joined = joined.take(np.argsort(joined.minute_ms, kind="stable"))
        return joined if joined._ascends() else joined._merged_minutes()

    def _ascends(self) -> bool:
        """Whether each minute is there once, in order."""
        return bool(np.all(self.minute_ms[1:] > self.minute_ms[:-1]))

    def _merged_minutes(self) -> "MinuteCandles":
        """One candle for each minute of which there are several, minutes ascending."""
        first = np.flatnonzero(np.diff(self.minute_ms, prepend=-1))
        bounds = list(pairwise([*first.tolist(), len(self)]))
        opening = [a + int(np.argmin(self.first_id[a:b])) for a, b in bounds]
        closing = [a + int(np.argmax(self.last_id[a:b])) for a, b in bounds]
        return MinuteCandles(
            minute_ms=self.minute_ms[first],
            open=self.open[opening],
            high=_reduced(np.maximum, self.high, first),
            low=_reduced(np.minimum, self.low, first),
            close=self.close[closing],
            buy=_reduced(np.add, self.buy, first),
            sell=_reduced(np.add, self.sell, first),
            trades=_reduced(np.add, self.trades, first),
            first_id=self.first_id[opening],
            last_id=self.last_id[closing],
            notional=tuple(sum(self.notional[a:b]) for a, b in bounds),
            price_exp=self.price_exp,
            quantity_exp=self.quantity_exp,
        )

    def take(self, rows: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> "MinuteCandles":
        """The candles that an index array picks."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in COLUMNS}
        notional = tuple(self.notional[at] for at in rows.tolist())
        return replace(self, **columns, notional=notional)

    def within(self, start_ms: int, end_ms: int) -> "MinuteCandles":
        """The minutes that begin in [start_ms, end_ms)."""
        if len(self) == 0 or (start_ms <= int(self.minute_ms[0]) and int(self.minute_ms[-1]) < end_ms):
            return self
        return self.take(np.flatnonzero((self.minute_ms >= start_ms) & (self.minute_ms < end_ms)))

    def at_exponents(self, price_exp: int, quantity_exp: int) -> "MinuteCandles":
        """The same values with more decimals; `ValueError` where that does not fit in 64 bits."""
        price_step, quantity_step = price_exp - self.price_exp, quantity_exp - self.quantity_exp
        if price_step == quantity_step == 0:
            return self
        prices = {name: rescale(getattr(self, name), self.price_exp, price_exp) for name in PRICES}
        quantities = {
            name: rescale(getattr(self, name), self.quantity_exp, quantity_exp) for name in QUANTITIES
        }
        factor = 10 ** (price_step + quantity_step)
        return replace(
            self,
            **prices,
            **quantities,
            notional=tuple(value * factor for value in self.notional),
            price_exp=price_exp,
            quantity_exp=quantity_exp,
        )


PRICES = ("open", "high", "low", "close")
QUANTITIES = ("buy", "sell")
COLUMNS = ("minute_ms", *PRICES, *QUANTITIES, "trades", "first_id", "last_id")


def _joined(parts: Sequence[MinuteCandles]) -> MinuteCandles:
    """The candles of all parts in the order given, all at the same exponents."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS
    }
    notional = tuple(value for part in parts for value in part.notional)
    return replace(parts[0], **columns, notional=notional)


def _reduced(how: np.ufunc, values: IntArray, first: IntArray) -> IntArray:
    """One value for each group; groups begin at `first`."""
    reduced: IntArray = how.reduceat(values, first) if len(first) else values[:0]
    return reduced
