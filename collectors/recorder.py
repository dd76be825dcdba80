"""The recorder: links to stream to ledger, gaps to backfill, and one synced write a second for all.

Invariant: nothing on the way from a socket to the ledger's memory waits for disk, REST or a reader; what
arrived before `stop` is in the ledger when `run` returns.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from collectors.backfill import Backfill
from collectors.binance import stream_name
from collectors.clock import Clock
from collectors.instruments import REST_AWAY_S, Instruments
from collectors.links import Ring, StreamLink
from collectors.rest import BinanceRest, RestAway, RestRefused
from collectors.stream import Stream
from storage.errors import LedgerError
from storage.ledger import MOST_UNWRITTEN, TradeLedger

log = structlog.get_logger()

# A slice of parsing ends before it holds up the event loop for 5 ms.
SLICE = 1_000
GATHER_S = 0.02
FLUSH_S = 1.0
SUMMARY_FLUSHES = 60
# REST lags behind the stream by up to half a minute: what it does not show for so long did not happen.
REST_LAG_MS = 35_000
# How often REST is asked what is newest of a symbol that has printed nothing since the links came up.
LOOK_MS = 3_000
LINKS_END_S = 2.0


@dataclass(frozen=True, slots=True)
class Warmup:
    """What a symbol's history still lacks: ids in open gaps, trades fetched a second, trades held so far."""

    missing: int
    per_s: float
    held: int


class Recorder:
    """Records `symbols` from `stream_urls`, one link an entry, and fills what is missing over REST."""

    def __init__(
        self,
        ledger: TradeLedger,
        rest: BinanceRest,
        *,
        symbols: Sequence[str],
        stream_urls: Sequence[str],
        warmup_ms: int,
        clock: Clock,
        rest_lag_ms: int = REST_LAG_MS,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._stream_urls = stream_urls
        self._rest_lag_ms = rest_lag_ms
        self._instruments = Instruments(
            ledger, rest, clock, symbols=symbols, addresses=[*stream_urls, rest.base_url]
        )
        self._ring = Ring()
        self._stream = Stream(ledger, self._ring, [], clock)
        self._links: list[StreamLink] = []
        self._backfill = Backfill(ledger, rest, clock, warmup_ms=warmup_ms)
        self._refused_before: int | None = None
        self._awaiting_disk = 0

    # What readers ask

    @property
    def symbols(self) -> list[str]:
        """The symbols that are being recorded."""
        return self._stream.symbols

    def live_until_ms(self, symbol: str) -> int | None:
        """The time up to which a link vouches that no trade of the symbol is unknown; None before any."""
        return self._stream.live_until_ms(symbol)

    def warmup(self, symbol: str) -> Warmup | None:
        """What is still being fetched of a recorded symbol; None when nothing is."""
        if symbol not in self._stream.symbols:
            return None
        missing = self._backfill.wanted(symbol)
        begun = self._ledger.warmup_from_ms(symbol) is not None and self._stream.is_synced(symbol)
        if begun and not missing:
            return None
        progress = self._backfill.progress(symbol)
        return Warmup(missing, progress.per_s, progress.fetched)

    # Start and end

    async def prepare(self) -> None:
        """Learn the symbols' filters; raises `NoSymbols` and `VenueMismatch`, see `Instruments.prepare`."""
        await self._instruments.prepare()
        self._stream = Stream(self._ledger, self._ring, self._instruments.symbols, self._clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Record until `stop` is set; `prepare` first."""
        await _until_either(stop, self._instruments.until_venue_is_sure())
        self._keep_known_symbols()
        streams = [stream_name(symbol) for symbol in self._stream.symbols]
        self._links = [StreamLink(url, streams, self._ring, self._came_up) for url in self._stream_urls]
        links = [asyncio.create_task(lasting("link", partial(link.run, stop))) for link in self._links]
        work = {
            "pump": self._pump,
            "flush": self._flush_forever,
            "filters": self._keep_learning,
        } | {f"backfill {symbol}": partial(self._fill_forever, symbol) for symbol in self._stream.symbols}
        tasks = [asyncio.create_task(lasting(name, part)) for name, part in work.items()]
        try:
            await stop.wait()
        finally:
            stop.set()
            await asyncio.wait(links, timeout=LINKS_END_S)
            for task in [*links, *tasks]:
                task.cancel()
            await asyncio.gather(*links, *tasks, return_exceptions=True)
            self._take_all()
            self._stream.drain()
            await self._flush()

    async def _keep_learning(self) -> None:
        await self._instruments.keep_learning()
        self._keep_known_symbols()

    def _keep_known_symbols(self) -> None:
        """A symbol that the exchange turned out not to know is recorded no more."""
        for symbol in set(self._stream.symbols) - set(self._instruments.symbols):
            self._stream.drop(symbol)

    # The stream

    def _came_up(self, link: StreamLink) -> None:
        """A link came up: unless another one is bringing data, trades may have passed unseen before it."""
        self._take_all()
        last_brought_s = link.state.received_at_s
        # A link that has brought nothing yet joins those that are up; it breaks no continuity of theirs.
        moment_s = last_brought_s if math.isfinite(last_brought_s) else math.inf
        if not any(other is not link and other.covers_from(moment_s) for other in self._links):
            self._stream.doubt()

    def _take_all(self) -> None:
        while self._stream.take(SLICE):
            pass

    async def _pump(self) -> None:
        while True:
            await self._ring.wait()
            taken = self._stream.take(SLICE)
            await asyncio.sleep(0 if taken == SLICE else GATHER_S)

    # The disk

    async def _flush_forever(self) -> None:
        flushes = 0
        while True:
            await self._clock.sleep(FLUSH_S)
            self._stream.settle()
            await self._flush()
            flushes += 1
            if flushes % SUMMARY_FLUSHES == 0:
                self._stream.summarise()

    async def _flush(self) -> None:
        """Failures in a row are one failure: its beginning and its end are logged."""
        try:
            await asyncio.to_thread(self._ledger.flush)
        except LedgerError as error:
            condition = self._ledger.condition
            if self._refused_before is None:
                log.error(  # noqa: TRY400  the traceback says nothing more
                    "flush failed", error=str(error), awaiting_disk=condition.unwritten, most=MOST_UNWRITTEN
                )
                self._refused_before = condition.refused
            self._awaiting_disk = condition.unwritten
        else:
            if self._refused_before is not None:
                refused = self._ledger.condition.refused - self._refused_before
                log.info("disk writes again", awaited_disk=self._awaiting_disk, refused=refused)
            self._refused_before = None

    # REST

    async def _fill_forever(self, symbol: str) -> None:
        while symbol in self._stream.symbols:
            if self._ledger.is_behind:
                await self._clock.sleep(FLUSH_S)
                continue
            try:
                worked = await self._backfill.step(symbol) or await self._look_at_head(symbol)
            except (RestAway, RestRefused) as error:
                log.warning("rest away", symbol=symbol, error=str(error), retry_s=REST_AWAY_S)
                await self._clock.sleep(REST_AWAY_S)
                continue
            if not worked:
                await self._clock.sleep(FLUSH_S / 4)

    async def _look_at_head(self, symbol: str) -> bool:
        """A symbol that printed nothing since the links came up: ask REST whether it missed something."""
        epoch, asked_ms = self._stream.doubted_since_ms, self._clock()
        if epoch is None or symbol not in self._stream.symbols or self._stream.is_synced(symbol):
            return False
        if asked_ms - epoch < min(LOOK_MS, self._rest_lag_ms):
            return False
        if not await self._backfill.catch_up(symbol):
            return True
        if epoch == self._stream.doubted_since_ms and asked_ms - epoch >= self._rest_lag_ms:
            self._stream.trust(symbol)
        else:
            await self._clock.sleep(min(LOOK_MS, self._rest_lag_ms) / 1000)
        return True


async def lasting(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end; one that fails is logged and begun again."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("task failed", task=name)
            await asyncio.sleep(1)


async def _until_either(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Until `work` is done or `stop` is set, which ends it."""
    tasks = [asyncio.create_task(work), asyncio.create_task(_set(stop))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def _set(event: asyncio.Event) -> None:
    await event.wait()
