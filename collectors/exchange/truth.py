"""The exchange's own ledger: a market with the irregularities that are declared of it.

Invariant: a pure function of the market and the declarations; what is declared of ids changes nothing else.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collectors.exchange.faults import Burst, Halt, Hole, Invalid, TruthFault
from collectors.exchange.market import Market
from collectors.exchange.pace import Pace
from collectors.exchange.script import Placed
from storage.trades import BoolArray, Instrument, IntArray, TradeColumns

LAST = 2**62


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids from first to last, inclusive."""

    first: int
    last: int

    def mask(self, ids: IntArray) -> BoolArray:
        return (ids >= self.first) & (ids <= self.last)


class Truth:
    """A `Market` that halts and bursts, marks rows invalid, and knows which ids exist nowhere."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._invalid: defaultdict[str, list[Ids]] = defaultdict(list)
        self._holes: defaultdict[str, list[Ids]] = defaultdict(list)
        self._never_streamed: defaultdict[str, list[Ids]] = defaultdict(list)

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return self._market.instruments

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._market.symbols

    # -- what is declared

    def change_pace(self, symbol: str, from_ms: int, until_ms: int, speed: int) -> None:
        self._paces[symbol].change(from_ms, until_ms, speed)

    def mark_invalid(self, symbol: str, ids: Ids) -> None:
        """In REST the ids are rows without price and quantity; no stream brings them."""
        self._invalid[symbol].append(ids)
        self._never_streamed[symbol].append(ids)

    def cut_hole(self, symbol: str, ids: Ids, *, for_good: bool) -> None:
        """No stream brings the ids; where it is for good, the exchange has none of them ever."""
        self._never_streamed[symbol].append(ids)
        if for_good:
            self._holes[symbol].append(ids)

    # -- the market

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        pace = self._paces[symbol]
        rows = self._market.trades(symbol, pace.market_ms(start_ms), pace.market_ms(end_ms))
        return self._as_shown(symbol, rows)

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        return self._as_shown(symbol, self._market.from_id(symbol, first_id, limit))

    def first_id_from(self, symbol: str, time_ms: int) -> int:
        return self._market.first_id_from(symbol, self._paces[symbol].market_ms(time_ms))

    # -- who is shown what

    def streamed(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        """What streams bring of start_ms <= T < end_ms."""
        return _without(self.trades(symbol, start_ms, end_ms), self._never_streamed[symbol])

    def streamed_id(self, symbol: str, trade_id: int) -> TradeColumns:
        """What streams bring of one id: a row or none."""
        rows = self.from_id(symbol, trade_id, 1)
        return _without(rows.take(rows.id == trade_id), self._never_streamed[symbol])

    def kept(self, rows: TradeColumns, symbol: str) -> TradeColumns:
        """Those of the rows that the exchange does not lack for good."""
        return _without(rows, self._holes[symbol])

    def holes(self, symbol: str) -> list[Ids]:
        return list(self._holes[symbol])

    def _as_shown(self, symbol: str, rows: TradeColumns) -> TradeColumns:
        if not self._paces[symbol].is_even:
            rows = replace(rows, time_ms=self._paces[symbol].shown_ms(rows.time_ms))
        for ids in self._invalid[symbol]:
            rows = _invalidated(rows, ids.mask(rows.id))
        return rows


class Archived:
    """The truth as daily dumps have it: without the ids that exist nowhere."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self.first_id_from = truth.first_id_from

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return self._truth.instruments

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._truth.symbols

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        return self._truth.kept(self._truth.trades(symbol, start_ms, end_ms), symbol)

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        return self._truth.kept(self._truth.from_id(symbol, first_id, limit), symbol)


def declare(truth: Truth, placed: Placed[Any]) -> None:
    """Makes a fault about the truth part of it; others are none of its business."""
    fault = placed.fault
    if not isinstance(fault, TruthFault):
        return
    placed.hit()
    ids = Ids(fault.first_id or 0, LAST if fault.last_id is None else fault.last_id)
    for symbol in fault.symbols or truth.symbols:
        match fault:
            case Hole(until_s=until_s):
                truth.cut_hole(symbol, ids, for_good=until_s is None)
            case Invalid():
                truth.mark_invalid(symbol, ids)
            case Halt():
                truth.change_pace(symbol, placed.from_ms, int(placed.until_ms), 0)
            case Burst(speed=speed):
                truth.change_pace(symbol, placed.from_ms, int(placed.until_ms), speed)


def _without(rows: TradeColumns, ids: list[Ids]) -> TradeColumns:
    for some in ids:
        rows = rows.take(~some.mask(rows.id))
    return rows


def _invalidated(rows: TradeColumns, which: BoolArray) -> TradeColumns:
    if not which.any():
        return rows
    return replace(
        rows,
        price_int=np.where(which, 0, rows.price_int),
        quantity_int=np.where(which, 0, rows.quantity_int),
        first_id=np.where(which, -1, rows.first_id),
        last_id=np.where(which, -1, rows.last_id),
        buyer_is_maker=rows.buyer_is_maker & ~which,
    )
