"""A market that is generated once, for tests that ask for the same days again and again."""

from collections.abc import Mapping
from functools import cache

import numpy as np

from collectors.exchange import GeneratedMarket
from storage.trades import Instrument, TradeColumns


class PrintedMarket:
    """The trades of a generated market from `start_ms` to before `end_ms`, and no others."""

    def __init__(self, symbol: str, seed: int, rate: float, start_ms: int, end_ms: int) -> None:
        generated = GeneratedMarket(seed, symbols=[symbol], rate=rate)
        self.instruments: Mapping[str, Instrument] = generated.instruments
        self.symbols = generated.symbols
        self._trades = generated.trades(symbol, start_ms, end_ms)

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        first, last = np.searchsorted(self._trades.time_ms, [start_ms, end_ms]).tolist()
        return self._trades.take(slice(first, last))

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        first = int(np.searchsorted(self._trades.id, first_id))
        return self._trades.take(slice(first, first + limit))

    def first_id_from(self, symbol: str, time_ms: int) -> int:
        return int(self._trades.id[0]) + int(np.searchsorted(self._trades.time_ms, time_ms))


printed_market = cache(PrintedMarket)
