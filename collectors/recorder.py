"""The recorder: lines to stream to ledger, gaps to backfill, and one synced write a second for all.

Invariant: nothing on the way from a socket to the ledger's memory waits for disk, REST or a reader; what
arrived before `stop` is in the ledger when `run` returns.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from collectors.certification import Rule
from collectors.clock import Clock, sleep_unless
from collectors.clock_check import ClockCheck, Offset
from collectors.disk import Disk
from collectors.figures import Figures
from collectors.filling import Filling
from collectors.gap_reports import GapReports
from collectors.instruments import EVERY_S as LISTINGS_S
from collectors.instruments import Instruments
from collectors.kept_attempts import KeptAttempts
from collectors.lines import Lines
from collectors.looks import REST_LAG_MS, Looks
from collectors.oddities import Oddities
from collectors.posting import Posting
from collectors.recordings import Recordings
from collectors.rest import BinanceRest, RestUse
from collectors.sifting import Sifting
from collectors.stream import Stream
from collectors.summary import Summary
from collectors.symbol_filling import FillingState
from collectors.tasks import cancelled, start, until_either
from collectors.timing import REAL, Timing
from collectors.watch import Watch
from storage.ledger import TradeLedger

# History is not begun before the exchange has told the time, or so much has passed.
TIME_WITHIN_S = 5.0
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
        timing: Timing = REAL,
        retention_ms: int | None = None,
        rule: Rule | None = None,
        attempts: KeptAttempts | None = None,
    ) -> None:
        self._ledger = ledger
        self._rest = rest
        self._clock = clock
        self._timing = timing
        self._clock_check = ClockCheck(rest, clock)
        self._rest_lag_ms = rest_lag_ms
        self._instruments = Instruments(
            ledger, rest, clock, symbols=symbols, addresses=[*stream_urls, rest.base_url]
        )
        self._gaps = GapReports(ledger, clock)
        self._oddities = Oddities()
        self._filled = asyncio.Event()
        self._stop_pump = asyncio.Event()
        attempts = attempts or KeptAttempts(clock)
        self._lines = Lines(stream_urls, clock, timing, self._filled, rest.bars, attempts)
        self._filling = Filling(
            ledger,
            rest,
            self._clock_check.exchange,
            self._gaps,
            symbols=lambda: self.symbols,
            warmup_ms=warmup_ms,
            retention_ms=retention_ms,
            rule=rule,
        )
        self._record([])
        self._disk = Disk(ledger, clock, lambda: self.symbols)

    # What readers ask

    @property
    def symbols(self) -> list[str]:
        """The symbols that are being recorded."""
        return self._recordings.symbols

    def live_until_ms(self, symbol: str) -> int | None:
        """The time up to which a link vouches that no trade of the symbol is unknown; None before any."""
        return self._recordings.of(symbol).live_until_ms

    def silent_ms(self, symbol: str) -> int:
        """For how long a symbol with a link has been silent without that being odd: as it usually is, or as
        REST has shown, unless its stream may be mute."""
        recording = self._recordings.of(symbol)
        if recording.up_since_ms is None or recording.is_doubted:
            return 0
        return self._watch.silent_ms(symbol, self._clock.steady_ms())

    def warmup(self, symbol: str) -> Warmup | None:
        """What is still being fetched of a recorded symbol; None when nothing is."""
        if symbol not in self.symbols:
            return None
        missing = self._filling.wanted(symbol)
        begun = self._ledger.warmup_from_ms(symbol) is not None and self._recordings.of(symbol).is_synced
        if begun and not missing:
            return None
        progress = self._filling.progress(symbol)
        return Warmup(missing, progress.per_s, progress.fetched)

    @property
    def rest_use(self) -> RestUse:
        """What has been asked of REST."""
        return self._rest.use

    @property
    def clock_offset(self) -> Offset | None:
        """How far the exchange's clock is ahead; None before it was asked."""
        return self._clock_check.offset

    def filling(self, symbol: str) -> FillingState:
        """How it stands with a symbol's gaps."""
        return self._filling.state(symbol)

    def figures(self) -> Figures:
        """How recording stands, in figures; from any thread."""
        counts = self._oddities.counts
        return Figures(
            symbols=self._recordings.figures(),
            links=self._lines.figures(),
            lines=len(self._lines),
            ends=self._lines.ends(),
            attempts=self._lines.attempts.in_window(),
            malformed=counts.malformed,
            dropped=counts.dropped,
            refused=counts.refused,
            flush_s=self._disk.flush_took_s,
            most_lag_ms=self._stream.most_lag_ms,
            durable_lag_ms=self._disk.durable_lag_ms,
            errors=counts.errors,
            implausible=counts.implausible,
            shut_out=counts.shut_out,
        )

    # Start and end

    async def prepare(self) -> None:
        """Learn the symbols' filters; raises `NoSymbols` and `VenueMismatch`, see `Instruments.prepare`."""
        await self._instruments.prepare()
        self._record(self._instruments.symbols)

    def _record(self, symbols: Sequence[str]) -> None:
        now_ms = self._clock.steady_ms()
        self._watch = Watch(symbols, self._timing, now_ms, now_ms - self._clock())
        self._recordings = Recordings(symbols, self._ledger, self._watch, self._clock)
        self._posting = Posting(self._ledger, self._recordings, self._gaps, self._oddities)
        sifting = Sifting(
            self._ledger,
            self._recordings,
            self._posting,
            self._watch,
            self._oddities,
            self._clock_check.exchange,
        )
        self._stream = Stream(
            self._recordings,
            sifting,
            self._posting,
            self._watch,
            self._oddities,
            self._clock,
            self._filled,
            self._timing.gather_s,
        )
        self._looks = Looks(
            self._ledger,
            self._filling,
            self._recordings,
            self._posting,
            sifting,
            self._watch,
            self._clock_check,
            self._clock,
            self._timing,
            self._rest_lag_ms,
        )
        self._summary = Summary(self._ledger, self._recordings, self._oddities, self._clock)

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """`run` while the body does; on leaving, all that has arrived is in the ledger."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def run(self, stop: asyncio.Event) -> None:
        """Record until `stop` is set; `prepare` first."""
        await until_either(stop, self._instruments.until_venue_is_sure())
        self._keep_known_symbols()
        self._lines.lay(self.symbols, self._stream.add)
        work = {
            "settle": self._settle_forever,
            "flush": self._flush_forever,
            "summary": self._summary.run,
            "filters": self._keep_learning,
            "watch": self._watch_forever,
            "silence": self._looks.at_silences,
            "filling": self._fill,
            "clock": self._clock_check.run,
        } | {f"head {symbol}": partial(self._looks.at_head, symbol) for symbol in self.symbols}
        pump = start("pump", partial(self._stream.pump, self._stop_pump))
        lines = [start(f"line {line.host}", line.run) for line in self._lines]
        tasks = [start(name, part) for name, part in work.items()]
        try:
            await stop.wait()
        finally:
            await cancelled([*lines, *tasks])
            await self._lines.close(LINKS_END_S)
            self._stop_pump.set()
            self._stream.wake()
            await pump
            self._posting.drain()
            await self._disk.close()
            await self._gaps.look(self.symbols)

    async def _keep_learning(self) -> None:
        await self._instruments.keep_learning()
        while True:
            self._keep_known_symbols()
            await self._clock.sleep(LISTINGS_S)
            await self._instruments.look_again()

    def _keep_known_symbols(self) -> None:
        """A symbol that the exchange turned out not to know is recorded no more."""
        for symbol in set(self.symbols) - set(self._instruments.symbols):
            self._recordings.drop(symbol)

    async def _fill(self) -> None:
        """Where the wanted history begins, the exchange's time says, if it can be had."""
        await sleep_unless(self._clock_check.exchange.told, self._clock, TIME_WITHIN_S)
        await self._filling.run()

    # The lines

    async def _watch_forever(self) -> None:
        """What is mute, or about to end, is replaced."""
        while True:
            await self._clock.sleep(self._timing.watch_s)
            self._lines.rotate(self._watch, self._ledger.runs)
            self._lines.act_on(self._watch.judge(self._lines.watched(), self._clock.steady_ms()))

    # By the second

    async def _settle_forever(self) -> None:
        """Whatever becomes of the disk, what is waited for is not waited for longer."""
        while True:
            await self._clock.sleep(self._timing.flush_s)
            self._stream.settle()

    async def _flush_forever(self) -> None:
        while True:
            await self._clock.sleep(self._timing.flush_s)
            await self._disk.flush()
            self._rest.bars.retry()
