"""A server over a ledger with a day of trades, for tests of what clients see."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from mcp.server.subscriptions import InMemorySubscriptionBus

from server.face import TapeServer
from server.tools.tape import Tape
from storage.ledger import TradeLedger
from storage.trades import Instrument, TradeColumns
from tests.tapes import START_MS, columns

HOUR_MS = 3_600_000
END_MS = START_MS - START_MS % HOUR_MS + 24 * HOUR_MS
TRADES = 3_000
SYMBOLS = {"BTCUSDT": 6_200_000, "ETHUSDT": 340_000}


@dataclass
class Recorded:
    """A recorder's word: up to date whenever it is asked."""

    symbols: list[str] = field(default_factory=lambda: list(SYMBOLS))
    now_ms: int = END_MS

    def live_until_ms(self, symbol: str) -> int | None:
        return self.now_ms

    def warmup(self, symbol: str) -> None:
        return None


@dataclass
class Face:
    """The server, and what it is over."""

    mcp: TapeServer
    bus: InMemorySubscriptionBus
    ledger: TradeLedger
    recorded: Recorded
    ids: Iterator[int]

    def trade(self, symbol: str, price: int, lots: int) -> None:
        """One more trade, a second later; the price in cents."""
        self.recorded.now_ms += 1_000
        i, time_ms = next(self.ids), self.recorded.now_ms - 1
        self.ledger.append(symbol, columns([(i, time_ms, price * 10**6, lots * 10**3, i, i, False)]))


@contextmanager
def face(path: Path, **options: Any) -> Iterator[Face]:
    with TradeLedger.open(path / "ledger") as ledger:
        ledger.claim("binance spot")
        for symbol, cents in SYMBOLS.items():
            base = symbol.removesuffix("USDT")
            ledger.keep_instrument(
                Instrument(symbol, "binance spot", base, "USDT", Decimal("0.01"), Decimal("0.00001")), 0
            )
            ledger.append(symbol, _day(cents))
        ledger.flush()
        recorded, bus = Recorded(), InMemorySubscriptionBus()
        tape = Tape(ledger, recorded, lambda: recorded.now_ms, 168.0)
        mcp = TapeServer(tape, subscriptions=bus, **options)
        yield Face(mcp, bus, ledger, recorded, itertools.count(TRADES + 1))


@cache
def _day(cents: int) -> TradeColumns:
    """A day around a price with a thin zone, ten trades in ten times 24 h / TRADES."""
    rows = []
    for i in range(TRADES):
        step = (i * 7919) % 1000 - 500
        step += 800 if step > 0 else -800 if i % 40 else 0
        time_ms = END_MS - 24 * HOUR_MS + (i - i % 10) * 24 * HOUR_MS // TRADES + i % 10
        rows.append(
            (i + 1, time_ms, (cents + step * 10) * 10**6, (i % 17 + 1) * 1_234_000, i + 1, i + 1, i % 3 == 0)
        )
    return columns(rows)
