"""An order book that fits the tape: resting levels around the last trade, and what changes between two books.

Invariant: a book follows from its last trade alone, whose aggregate id is its update id; the changes from an
older book to a newer one lead there exactly, level by level.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from collectors.binance import EXPONENT, UNIT, decimal_strings
from storage.trades import BoolArray, Instrument, IntArray, TradeColumns

# One tick in so many has resting orders; the touch always has.
SPACING = 5
MOST_LOTS = 4096

# (price, quantity) as the exchange writes them, the best first
Levels = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Book:
    """`bid` and `ask` are the best prices, `tick` and `lot` the steps: ticks, and units of 1e-8."""

    update_id: int
    bid: int
    ask: int
    tick: int
    lot: int

    def bids(self, limit: int) -> Levels:
        ticks = np.arange(self.bid, max(self.bid - limit * SPACING, 0), -1)
        return self._levels(ticks[_rests(ticks, self.bid)][:limit])

    def asks(self, limit: int) -> Levels:
        ticks = np.arange(self.ask, self.ask + limit * SPACING)
        return self._levels(ticks[_rests(ticks, self.ask)][:limit])

    def changes_from(self, older: "Book") -> tuple[Levels, Levels]:
        """Bids and asks that differ, with their new quantity; a level that is gone has 0."""
        bids = np.arange(max(self.bid, older.bid), min(self.bid, older.bid) - 1, -1)
        asks = np.arange(min(self.ask, older.ask), max(self.ask, older.ask) + 1)
        return (
            self._changed(bids, self._has_bids(bids), older._has_bids(bids)),
            self._changed(asks, self._has_asks(asks), older._has_asks(asks)),
        )

    def _has_bids(self, ticks: IntArray) -> BoolArray:
        return _rests(ticks, self.bid) & (ticks <= self.bid)

    def _has_asks(self, ticks: IntArray) -> BoolArray:
        return _rests(ticks, self.ask) & (ticks >= self.ask)

    def _changed(self, ticks: IntArray, now: BoolArray, before: BoolArray) -> Levels:
        differs = now != before
        return self._levels(ticks[differs], now[differs])

    def _levels(self, ticks: IntArray, there: BoolArray | None = None) -> Levels:
        lots = 1 + (ticks * 2_654_435_761 >> 7) % MOST_LOTS
        quantities = decimal_strings(lots * self.lot, EXPONENT)
        if there is not None:
            quantities = [text if is_there else "0.00000000"
                          for text, is_there in zip(quantities, there.tolist(), strict=True)]  # fmt: skip
        return list(zip(decimal_strings(ticks * self.tick, EXPONENT), quantities, strict=True))


def book_after(trade: TradeColumns, instrument: Instrument) -> Book:
    """The book when this one trade has been printed: a sale met the bid, a purchase the ask."""
    trade = trade.at_exponents(EXPONENT, EXPONENT)
    tick, lot = _units(instrument.tick), _units(instrument.lot)
    at = int(trade.price_int[0]) // tick
    bid = at if trade.buyer_is_maker[0] else at - 1
    return Book(int(trade.id[0]), bid, bid + 1, tick, lot)


def _rests(ticks: IntArray, touch: int) -> BoolArray:
    there: BoolArray = (ticks % SPACING == 0) | (ticks == touch)
    return there


def _units(step: Decimal) -> int:
    return int(step * UNIT)
