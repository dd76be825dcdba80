"""A recorder that lives through hours in seconds: the exchange, the clock and its own patience run faster."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from collectors.exchange import Exchange, GeneratedMarket, Limits, VirtualClock
from collectors.exchange.faults import AnyFault
from collectors.recorder import Recorder
from collectors.rest import BinanceRest
from collectors.timing import Timing
from storage.ledger import TradeLedger
from tests.clock import fast_clock

from .acceptance import running

OPENED_MS = 20_660 * 86_400_000 + 15 * 3_600_000 + 30_000  # 2026-07-26 15:00:30Z
SPEED = 600.0
MINUTE_S = 60.0
# A tenth of a second of the machine is a minute here; a busy one needs room.
TIMING = Timing(
    flush_s=4 * MINUTE_S,
    gather_s=MINUTE_S,
    watch_s=MINUTE_S,
    mute_s=15 * MINUTE_S,
    behind_s=120 * MINUTE_S,
    least_silence_s=10 * MINUTE_S,
    most_silence_s=120 * MINUTE_S,
    longest_look_s=240 * MINUTE_S,
    least_life_s=20 * MINUTE_S,
    most_life_s=45 * MINUTE_S,
    overlap_s=10 * MINUTE_S,
    lasting_s=10 * MINUTE_S,
    replace_delay_s=5 * MINUTE_S,
    longest_replace_delay_s=60 * MINUTE_S,
)
ETERNAL = replace(TIMING, least_life_s=10**6, most_life_s=2 * 10**6)
LIMITS = Limits(ping_interval_s=600, pong_timeout_s=36_000, messages_per_s=1_000)


@dataclass(frozen=True)
class Day:
    """What runs."""

    clock: VirtualClock
    exchange: Exchange
    ledger: TradeLedger
    recorder: Recorder

    def asked(self) -> int:
        """How often REST was asked for trades."""
        return self.exchange.report().requests.get("/api/v3/aggTrades", 0)

    async def passed(self, minutes: float) -> None:
        await self.clock.sleep(minutes * MINUTE_S)

    async def until(self, condition: Callable[[], bool], within_s: float = 60) -> None:
        """Wait for the condition, some real seconds at most."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  what is waited for is the exchange's or the ledger's
                await asyncio.sleep(0.02)

    def opened(self) -> int:
        """How many links were ever opened."""
        return len(self.exchange.report().links)

    async def is_complete(self, within_s: float = 60) -> None:
        """All that was printed by now, and no gap, is held."""
        for symbol in self.recorder.symbols:
            printed = self.exchange.printed_id(symbol)
            await self.until(partial(self._holds, symbol, printed), within_s)
            rows = self.ledger.trades(symbol, 0, 2 * OPENED_MS)
            # REST may show a moment before links print.
            rows = rows.take(rows.id <= self.exchange.printed_id(symbol))
            found = self.exchange.difference(symbol, rows)
            assert not found, found

    def _holds(self, symbol: str, printed: int) -> bool:
        runs = self.ledger.runs(symbol)
        return len(runs) == 1 and runs[0].last_id >= printed


@asynccontextmanager
async def day(
    path: Path,
    *,
    symbols: Sequence[str] = ("BTCUSDT",),
    rate: float = 0.02,
    links: int = 2,
    faults: Sequence[AnyFault] = (),
    limits: Limits = LIMITS,
    timing: Timing = TIMING,
    speed: float = SPEED,
) -> AsyncIterator[Day]:
    """Recording begins at once; in the end nothing was missed, and no rule of the exchange was broken."""
    clock = fast_clock(OPENED_MS, speed=speed)
    market = GeneratedMarket(1, symbols=list(symbols), rate=rate)
    async with (
        Exchange(market, clock=clock, limits=limits, faults=faults, poll_s=0.01) as exchange,
        BinanceRest(exchange.rest_url, clock) as rest,
    ):
        with TradeLedger.open(path / "l") as ledger:
            recorder = Recorder(
                ledger,
                rest,
                symbols=symbols,
                stream_urls=[exchange.stream_url] * links,
                warmup_ms=0,
                clock=clock,
                timing=timing,
            )
            async with running(recorder):
                yield Day(clock, exchange, ledger, recorder)
        assert exchange.report().self_inflicted == []
