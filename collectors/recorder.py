"""The recorder: links to sequencers to ledger, gaps to backfill, and one synced write a second for all.

Invariant: nothing on the way from a socket to the ledger's memory waits for disk, REST or a reader; what
arrived before `stop` is in the ledger when `run` returns.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial

import structlog

from collectors.backfill import Backfill
from collectors.binance import Parsed, parse_messages, stream_name
from collectors.links import Ring, StreamLink
from collectors.rest import INVALID_SYMBOL, BinanceRest, RestAway, RestRefused
from collectors.sequencer import Sequencer
from storage.errors import LedgerError, VenueMismatch
from storage.ledger import MOST_UNWRITTEN, TradeLedger
from storage.trades import TradeColumns

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
# An event time further ahead of our clock than this is wrong, and vouches for nothing.
CLOCK_SKEW_MS = 5_000
PREPARE_S = 5.0
REST_AWAY_S = 2.0
LINKS_END_S = 2.0


class NoSymbols(Exception):
    """None of the symbols asked for exists at the exchange."""


@dataclass(frozen=True, slots=True)
class Warmup:
    """What a symbol's history still lacks: ids in open gaps, trades fetched a second, trades held so far."""

    missing: int
    per_s: float
    held: int


@dataclass(slots=True)
class _Recording:
    """What is known of one symbol while it is recorded."""

    sequencer: Sequencer
    synced: bool = False
    verified_ms: int | None = None
    trades: int = 0


@dataclass(slots=True)
class _Counts:
    """What the links brought that was not kept, since the last summary."""

    malformed: int = 0
    dropped: int = 0
    refused: int = 0


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
        now_ms: Callable[[], int],
        rest_lag_ms: int = REST_LAG_MS,
    ) -> None:
        self._ledger = ledger
        self._rest = rest
        self._now_ms = now_ms
        self._stream_urls = stream_urls
        self._addresses = [*stream_urls, rest.base_url]
        self._rest_lag_ms = rest_lag_ms
        self._wanted = list(dict.fromkeys(symbols))
        self._recordings: dict[str, _Recording] = {}
        self._ring: Ring | None = None
        self._links: list[StreamLink] = []
        self._live_since_ms: int | None = None
        self._newest_event_ms: int | None = None
        self._counts = _Counts()
        self._backfill = Backfill(ledger, rest, now_ms, warmup_ms=warmup_ms)
        self._instruments_known = False
        self._refused_before: int | None = None
        self._awaiting_disk = 0

    # What readers ask

    @property
    def symbols(self) -> list[str]:
        """The symbols that are being recorded."""
        return list(self._recordings)

    def live_until_ms(self, symbol: str) -> int | None:
        """The time up to which a link vouches that no trade of the symbol is unknown; None before any."""
        recording = self._recordings.get(symbol)
        return recording.verified_ms if recording else None

    def warmup(self, symbol: str) -> Warmup | None:
        """What is still being fetched of a recorded symbol; None when nothing is."""
        recording = self._recordings.get(symbol)
        if recording is None:
            return None
        missing = self._backfill.wanted(symbol)
        begun = self._ledger.warmup_from_ms(symbol) is not None and recording.synced
        if begun and not missing:
            return None
        progress = self._backfill.progress(symbol)
        return Warmup(missing, progress.per_s, progress.fetched)

    # Start

    async def prepare(self) -> None:
        """Learn the symbols' filters; with REST away, go by those kept in the ledger.

        Raises `NoSymbols` when the exchange says that none exists, `VenueMismatch` when the ledger holds
        another exchange's tape.
        """
        try:
            async with asyncio.timeout(PREPARE_S):
                await self._learn_instruments()
        except (RestAway, TimeoutError) as error:
            known = sorted(self._ledger.instruments.keys() & set(self._wanted))
            log.warning("exchangeInfo away", error=str(error) or "no answer", filters_kept_for=known)
        if not self._wanted:
            raise NoSymbols(
                "no symbol left to record; set TAPEDECK_SYMBOLS to symbols that the exchange lists"
            )
        for symbol in self._wanted:
            runs = self._ledger.runs(symbol)
            self._recordings[symbol] = _Recording(Sequencer(runs[-1].last_id if runs else None))

    async def _learn_instruments(self) -> None:
        found = await self._look_up(list(self._wanted))
        if self._wanted and not found:
            raise RestAway(f"the exchange tells nothing of {', '.join(self._wanted)}")
        self._instruments_known = True
        log.info("symbols known", symbols=sorted(found))
        if unlisted := sorted(set(self._wanted) - found):
            log.warning("symbols not listed", symbols=unlisted, recorded="all the same")

    async def _look_up(self, symbols: Sequence[str]) -> set[str]:
        """The symbols whose filters were learned; one that does not exist is dropped with its name."""
        try:
            info = await self._rest.exchange_info(symbols)
        except RestRefused as refusal:
            if len(symbols) > 1:
                # The refusal does not say which of them it is.
                half = len(symbols) // 2
                return await self._look_up(symbols[:half]) | await self._look_up(symbols[half:])
            if refusal.code == INVALID_SYMBOL:
                self._drop(symbols[0], str(refusal))
            else:
                log.warning("symbol refused", symbol=symbols[0], reason=str(refusal), recorded="all the same")
            return set()
        self._ledger.claim(info.venue, self._addresses)
        found = info.instruments.keys() & set(symbols)
        for symbol in found:
            instrument = info.instruments[symbol]
            self._ledger.keep_instrument(instrument, self._now_ms())
            if instrument.status != "TRADING":
                log.warning("symbol does not trade", symbol=symbol, status=instrument.status)
        return set(found)

    def _drop(self, symbol: str, reason: str) -> None:
        self._wanted.remove(symbol)
        self._recordings.pop(symbol, None)
        log.error("unknown symbol", symbol=symbol, reason=reason, kept=self._wanted, fix="TAPEDECK_SYMBOLS")

    # The stream

    async def run(self, stop: asyncio.Event) -> None:
        """Record until `stop` is set; `prepare` first."""
        self._ring = Ring()
        await self._until_venue_is_sure(stop)
        streams = [stream_name(symbol) for symbol in self._recordings]
        self._links = [StreamLink(url, streams, self._ring, self._begin_epoch) for url in self._stream_urls]
        links = [asyncio.create_task(lasting("link", partial(link.run, stop))) for link in self._links]
        work = {
            "pump": self._pump,
            "flush": self._flush_forever,
            "filters": self._keep_learning,
        } | {f"backfill {symbol}": partial(self._fill_forever, symbol) for symbol in self._recordings}
        tasks = [asyncio.create_task(lasting(name, part)) for name, part in work.items()]
        try:
            await stop.wait()
        finally:
            stop.set()
            await asyncio.wait(links, timeout=LINKS_END_S)
            for task in [*links, *tasks]:
                task.cancel()
            await asyncio.gather(*links, *tasks, return_exceptions=True)
            await self._finish()

    async def _until_venue_is_sure(self, stop: asyncio.Event) -> None:
        """A ledger of one exchange never takes in another's trades: at new addresses REST speaks first."""
        told = False
        while not (stop.is_set() or self._instruments_known or self._ledger.confirmed_at(self._addresses)):
            if not told:
                log.warning("waiting for the exchange to say what it is", venue=self._ledger.venue)
            told = True
            await self._learn_again()
            with suppress(TimeoutError):
                async with asyncio.timeout(REST_AWAY_S):
                    await stop.wait()

    async def _finish(self) -> None:
        """Everything that has arrived goes to disk."""
        while self._take(SLICE):
            pass
        for symbol, recording in self._recordings.items():
            self._append(symbol, recording.sequencer.drain())
        await self._flush()

    def _begin_epoch(self, link: StreamLink) -> None:
        """A link came up: unless another one is bringing data, trades may have passed unseen before it."""
        while self._take(SLICE):
            pass
        last_brought_s = link.state.received_at_s
        # A link that has brought nothing yet joins those that are up; it breaks no continuity of theirs.
        moment_s = last_brought_s if math.isfinite(last_brought_s) else math.inf
        if not any(other is not link and other.covers_from(moment_s) for other in self._links):
            self._doubt()

    def _doubt(self) -> None:
        """Trades may have passed unseen: a symbol counts as up to date again once something has shown it."""
        for symbol, recording in self._recordings.items():
            self._append(symbol, recording.sequencer.drain())
            recording.synced = False
        self._live_since_ms = self._now_ms()

    async def _pump(self) -> None:
        assert self._ring is not None
        while True:
            await self._ring.wait()
            taken = self._take(SLICE)
            await asyncio.sleep(0 if taken == SLICE else GATHER_S)

    def _take(self, limit: int) -> int:
        """Parse and append up to `limit` texts; how many there were."""
        texts = self._ring.take(limit) if self._ring else []
        if self._ring is None or not texts:
            return 0
        dropped = self._ring.take_dropped()
        self._counts.dropped += dropped
        parsed = parse_messages(texts)
        self._note_oddities(parsed)
        for symbol, rows in parsed.trades.items():
            recording = self._recordings.get(symbol)
            if recording is not None:
                self._append(symbol, recording.sequencer.accept(rows))
        if parsed.newest_event_ms is not None:
            possible_ms = min(parsed.newest_event_ms, self._now_ms() + CLOCK_SKEW_MS)
            self._newest_event_ms = max(self._newest_event_ms or 0, possible_ms)
        if parsed.malformed or dropped:
            self._doubt()
        self._verify()
        return len(texts)

    def _note_oddities(self, parsed: Parsed) -> None:
        self._counts.malformed += len(parsed.malformed)
        for malformed in parsed.malformed:
            log.warning("message skipped", reason=malformed.reason, text=malformed.text)
        for error in parsed.errors:
            log.error("exchange refused", code=error.code, reason=error.msg)

    def _append(self, symbol: str, rows: TradeColumns) -> None:
        if len(rows) == 0:
            return
        recording = self._recordings[symbol]
        added = self._ledger.append(symbol, rows)
        recording.trades += added.new
        if added.refused:
            self._note_refused(symbol, rows, added.refused)
            return
        synced, recording.synced = recording.synced, True
        for gap in added.opened:
            # The first rows after a start or a reconnection lie beyond what was missed: that is no news.
            tell = log.warning if synced else log.info
            tell("gap opened", symbol=symbol, first_id=gap.first_id, last_id=gap.last_id, missing=gap.missing)

    def _note_refused(self, symbol: str, rows: TradeColumns, refused: int) -> None:
        """Too much awaits the disk: these ids are missing until it writes again and REST brings them."""
        if not self._counts.refused:
            log.error(
                "trades refused",
                symbol=symbol,
                first_id=int(rows.id[0]),
                last_id=int(rows.id[-1]),
                refused=refused,
                awaiting_disk=self._ledger.condition.unwritten,
                fix="make room on the disk; REST brings them then",
            )
        self._counts.refused += refused
        self._recordings[symbol].synced = False
        # What REST may not show yet proves nothing: a look at it counts only a while from now.
        self._live_since_ms = self._now_ms()

    def _verify(self) -> None:
        """Every symbol that is up to date with the links is known up to their newest event."""
        for recording in self._recordings.values():
            if recording.synced and not recording.sequencer.waiting:
                recording.verified_ms = self._newest_event_ms

    # The disk

    async def _flush_forever(self) -> None:
        flushes = 0
        while True:
            await asyncio.sleep(FLUSH_S)
            for symbol, recording in list(self._recordings.items()):
                self._append(symbol, recording.sequencer.settle())
            await self._flush()
            flushes += 1
            if flushes % SUMMARY_FLUSHES == 0:
                self._summarise()

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

    def _summarise(self) -> None:
        for symbol, recording in self._recordings.items():
            log.info(
                "recorded",
                symbol=symbol,
                trades=recording.trades,
                head=recording.sequencer.head,
                duplicates=recording.sequencer.duplicates,
                conflicts=recording.sequencer.conflicts,
                missing=sum(gap.missing for gap in self._ledger.gaps(symbol)),
            )
            recording.trades = 0
        if any(asdict(self._counts).values()):
            log.warning("skipped", **asdict(self._counts))
        self._counts = _Counts()

    # REST

    async def _keep_learning(self) -> None:
        """Where REST was away at start, the filters are learned as soon as it is back."""
        while not self._instruments_known:
            await asyncio.sleep(REST_AWAY_S)
            await self._learn_again()

    async def _learn_again(self) -> None:
        try:
            await self._learn_instruments()
        except RestAway as error:
            log.debug("exchangeInfo away", error=str(error))
        except VenueMismatch as error:
            log.error("not recording", error=str(error))  # noqa: TRY400  one clear line for the operator

    async def _fill_forever(self, symbol: str) -> None:
        while symbol in self._recordings:
            if self._ledger.is_behind:
                await asyncio.sleep(FLUSH_S)
                continue
            try:
                worked = await self._backfill.step(symbol) or await self._look_at_head(symbol)
            except (RestAway, RestRefused) as error:
                log.warning("rest away", symbol=symbol, error=str(error), retry_s=REST_AWAY_S)
                await asyncio.sleep(REST_AWAY_S)
                continue
            if not worked:
                await asyncio.sleep(FLUSH_S / 4)

    async def _look_at_head(self, symbol: str) -> bool:
        """A symbol that printed nothing since the links came up: ask REST whether it missed something."""
        recording = self._recordings.get(symbol)
        if recording is None or recording.synced or self._live_since_ms is None:
            return False
        epoch, asked_ms = self._live_since_ms, self._now_ms()
        if asked_ms - epoch < min(LOOK_MS, self._rest_lag_ms):
            return False
        if not await self._backfill.catch_up(symbol):
            return True
        if epoch == self._live_since_ms and asked_ms - epoch >= self._rest_lag_ms:
            recording.synced = True
            self._verify()
        else:
            await asyncio.sleep(min(LOOK_MS, self._rest_lag_ms) / 1000)
        return True


async def lasting(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end; one that fails is logged and begun again."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("task failed", task=name)
            await asyncio.sleep(1)
