"""The tapes that are measured on, out of the generated market: a week of two symbols, a day of twenty.

Invariant: all of it follows from the seed, and ends at `NOW_MS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.windows import DAY_H, NOW_MS, WEEK_H, window_of
from collectors.binance import stream_name
from collectors.exchange import GeneratedMarket
from collectors.exchange.listings import LISTINGS
from collectors.exchange.texts import agg_trade_events, combined
from storage import keys
from storage.keys import HOUR_MS
from storage.trades import Instrument, TradeColumns

SEED = 1
MANY = 20
MANY_TRADES_A_DAY = 4_000_000


@dataclass(frozen=True, slots=True)
class SyntheticTape:
    """One symbol's trades by the start of their hour, hours ascending, up to `NOW_MS`."""

    instrument: Instrument
    hours: Mapping[int, TradeColumns]

    def __len__(self) -> int:
        return sum(map(len, self.hours.values()))

    def all(self) -> TradeColumns:
        return TradeColumns.concat(list(self.hours.values()))


def week_of(symbol: str) -> SyntheticTape:
    """168 h at the symbol's real rate, from the beginning of the hour in which they begin."""
    market = GeneratedMarket(SEED, symbols=[symbol])
    return SyntheticTape(market.instruments[symbol], _hours(market, symbol, WEEK_H))


def day_of_many() -> list[SyntheticTape]:
    """24 h of 20 symbols with 4 M trades in all, a few large and many small: shares go as 1 / rank."""
    shares = [1 / rank for rank in range(1, MANY + 1)]
    tapes = []
    for number, share in enumerate(shares):
        listing = list(LISTINGS.values())[number % len(LISTINGS)]
        rate = MANY_TRADES_A_DAY * share / sum(shares) / listing.trades_a_day
        market = GeneratedMarket(SEED + number, symbols=[listing.symbol], rate=rate)
        instrument = replace(listing.instrument, symbol=f"{listing.symbol}{number:02d}")
        tapes.append(SyntheticTape(instrument, _hours(market, listing.symbol, DAY_H)))
    return tapes


def _hours(market: GeneratedMarket, symbol: str, hours: int) -> dict[int, TradeColumns]:
    first_ms = keys.hour_of(window_of(hours)[0])
    return {
        hour_ms: market.trades(symbol, hour_ms, min(hour_ms + HOUR_MS, NOW_MS))
        for hour_ms in range(first_ms, NOW_MS, HOUR_MS)
    }


def wire_texts(symbol: str, trades: TradeColumns) -> list[str]:
    """The trades as the combined stream sends them."""
    stream = stream_name(symbol)
    return [combined(stream, event) for event in agg_trade_events(symbol, trades, NOW_MS)]
