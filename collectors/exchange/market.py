"""A seeded market whose trades are a pure function of the seed and the time.

Invariant: any process with the same seed gives the same trades, ids included, for any interval asked in any
order, without generating what came before. A day has a fixed number of trades, so ids are closed-form.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from collectors.exchange.day import MINUTES, DayPlan, generator, plan_day
from collectors.exchange.listings import LISTINGS, Listing
from collectors.exchange.minute import MINUTE_MS, RAW_PER_AGG, MinutePlan, minute_trades
from storage.trades import Instrument, TradeColumns

DAY_MS = MINUTES * MINUTE_MS
GENESIS_DAY = 17_361  # 2017-07-14: id 1 is the first trade of that day
CACHED_DAYS = 32
CACHED_MINUTES = 64


class Market(Protocol):
    """The truth behind the exchange: every trade that was or will be, whatever anyone has been told of it."""

    @property
    def instruments(self) -> Mapping[str, Instrument]: ...

    @property
    def symbols(self) -> tuple[str, ...]: ...

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        """The trades with start_ms <= T < end_ms, in id order."""

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        """Up to `limit` trades with id >= first_id, in id order."""

    def first_id_from(self, symbol: str, time_ms: int) -> int:
        """The id of the first trade with T >= time_ms; where there is none, the one after the last."""


class GeneratedMarket:
    """`rate` multiplies the usual number of trades, of all symbols or of those named; the price path is the
    same at every rate.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        symbols: Sequence[str] | None = None,
        rate: float | Mapping[str, float] = 1.0,
    ) -> None:
        self.seed = seed
        self._listings = {symbol: LISTINGS[symbol] for symbol in symbols or LISTINGS}
        rates = rate if isinstance(rate, Mapping) else dict.fromkeys(self._listings, rate)
        self._trades_a_day = {
            symbol: max(1, round(listing.trades_a_day * rates.get(symbol, 1.0)))
            for symbol, listing in self._listings.items()
        }
        self.instruments: Mapping[str, Instrument] = {s: x.instrument for s, x in self._listings.items()}
        self.symbols = tuple(self._listings)
        self._day = lru_cache(CACHED_DAYS)(self._planned_day)
        self._minute = lru_cache(CACHED_MINUTES)(self._generated_minute)

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        start_ms = max(start_ms, GENESIS_DAY * DAY_MS)
        if end_ms <= start_ms:
            return TradeColumns.empty()
        minutes = range(start_ms // MINUTE_MS, -(-end_ms // MINUTE_MS))
        parts = [_between(self._minute(symbol, minute), start_ms, end_ms) for minute in minutes]
        return TradeColumns.concat(parts)

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        first_id = max(first_id, 1)
        minute = self._minute_of(symbol, first_id)
        parts: list[TradeColumns] = []
        wanted = limit
        while wanted > 0:
            rows = self._minute(symbol, minute)
            skipped = max(0, first_id - int(rows.id[0])) if len(rows) else 0
            parts.append(rows.take(slice(skipped, skipped + wanted)))
            wanted -= len(parts[-1])
            minute += 1
        return TradeColumns.concat(parts)

    def first_id_from(self, symbol: str, time_ms: int) -> int:
        time_ms = max(time_ms, GENESIS_DAY * DAY_MS)
        minute = time_ms // MINUTE_MS
        before = int(np.searchsorted(self._minute(symbol, minute).time_ms, time_ms))
        return self._first_id(symbol, minute) + before

    def _first_id(self, symbol: str, minute: int) -> int:
        day, of_day = divmod(minute, MINUTES)
        before = (day - GENESIS_DAY) * self._trades_a_day[symbol]
        return before + int(self._day(symbol, day).trades_before[of_day]) + 1

    def _minute_of(self, symbol: str, trade_id: int) -> int:
        days, of_day = divmod(trade_id - 1, self._trades_a_day[symbol])
        day = GENESIS_DAY + days
        plan = self._day(symbol, day)
        return day * MINUTES + int(np.searchsorted(plan.trades_before, of_day, side="right")) - 1

    def _planned_day(self, symbol: str, day: int) -> DayPlan:
        return plan_day(self._listings[symbol], self.seed, day, self._trades_a_day[symbol])

    def _generated_minute(self, symbol: str, minute: int) -> TradeColumns:
        listing: Listing = self._listings[symbol]
        day, of_day = divmod(minute, MINUTES)
        plan = self._day(symbol, day)
        first_id = self._first_id(symbol, minute)
        minute_plan = MinutePlan(
            start_ms=minute * MINUTE_MS,
            trades=int(plan.trades_before[of_day + 1] - plan.trades_before[of_day]),
            first_id=first_id,
            first_raw_id=(first_id - 1) * RAW_PER_AGG + 1,
            log_open=float(plan.log_price[of_day]),
            log_close=float(plan.log_price[of_day + 1]),
            volatility=float(plan.volatility[of_day]),
        )
        return minute_trades(listing, minute_plan, generator(self.seed, symbol, "minute", minute))


def _between(trades: TradeColumns, start_ms: int, end_ms: int) -> TradeColumns:
    """The rows with start_ms <= T < end_ms of trades in time order."""
    first, last = np.searchsorted(trades.time_ms, [start_ms, end_ms]).tolist()
    return trades.take(slice(first, last))
