"""An exchange in a process of its own whose symbols trade evenly: so many trades a second each, all the time.

Invariant: the id follows from the time alone, so that nothing has to be generated and the exchange's own
cost stays small beside that of its client. Prints its addresses as JSON; ends with its standard input.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from collectors.exchange import Exchange, Limits
from collectors.exchange.control import serving_control
from collectors.exchange.listings import instrument
from collectors.exchange.market import GeneratedMarket
from server.wall_clock import wall_clock
from storage.trades import Instrument, TradeColumns

CYCLE = 4096
BEGAN_MS = 1_700_000_000_000


class SteadyMarket:
    """`symbols` of `per_s` trades a second; prices and quantities repeat after 4,096 trades."""

    def __init__(self, symbols: int, per_s: int) -> None:
        names = [f"S{i}USDT" for i in range(symbols)]
        self.instruments: Mapping[str, Instrument] = {
            name: instrument(name, Decimal("0.01"), Decimal("0.00001")) for name in names
        }
        self.symbols = tuple(names)
        self._per_s = per_s
        self._cycle = GeneratedMarket(symbols=["BTCUSDT"]).from_id("BTCUSDT", 10**9, CYCLE)

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        return self._rows(self.first_id_from(symbol, start_ms), self.first_id_from(symbol, end_ms))

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        first_id = max(first_id, 1)
        return self._rows(first_id, first_id + limit)

    def first_id_from(self, symbol: str, time_ms: int) -> int:
        return max(1, -(-(time_ms - BEGAN_MS) * self._per_s // 1000))

    def _rows(self, first_id: int, past_id: int) -> TradeColumns:
        ids = np.arange(first_id, past_id, dtype=np.int64)
        cycle = self._cycle.take(ids % CYCLE)
        return TradeColumns(
            id=ids,
            time_ms=BEGAN_MS + ids * 1000 // self._per_s,
            price_int=cycle.price_int,
            quantity_int=cycle.quantity_int,
            first_id=ids * 2,
            last_id=ids * 2 + 1,
            buyer_is_maker=cycle.buyer_is_maker,
            price_exp=cycle.price_exp,
            quantity_exp=cycle.quantity_exp,
        )


async def serve(market: SteadyMarket, *, history_hours: float, weight_limit: int) -> None:
    limits = Limits(weight_per_minute=weight_limit, send_buffer_bytes=64 * 2**20)
    async with Exchange(market, clock=wall_clock, history_hours=history_hours, limits=limits) as exchange:
        addresses = {
            "rest_url": exchange.rest_url,
            "archive_url": exchange.rest_url,
            "stream_url": exchange.stream_url,
            "symbols": list(market.symbols),
        }
        async with serving_control(exchange, None) as control_url:
            print(json.dumps(addresses | {"control_url": control_url}), flush=True)
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description="An exchange whose symbols trade evenly.")
    parser.add_argument("--symbols", type=int, default=2)
    parser.add_argument("--per-s", type=int, default=18, help="trades a second of each symbol")
    parser.add_argument("--history-hours", type=float, default=1)
    parser.add_argument("--weight-limit", type=int, default=Limits().weight_per_minute)
    given = parser.parse_args()
    market = SteadyMarket(given.symbols, given.per_s)
    asyncio.run(serve(market, history_hours=given.history_hours, weight_limit=given.weight_limit))


if __name__ == "__main__":
    main()
