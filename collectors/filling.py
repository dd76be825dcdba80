"""Filling: the first start's history and whatever the links did not bring, fetched over REST.

Invariant: what is missing is asked for by id and never by time, the one look-up of a first start aside; a row
goes into the ledger under its own id, whatever was asked for. Of all symbols the newest missing ids go first.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from collectors.backfill import Page
from collectors.binance import AggTradesPage
from collectors.certification import Rule, after_asking, lacking
from collectors.clock import Clock
from collectors.gap_follower import GapCounts
from collectors.gap_reports import LOOKED_AT, GapReports
from collectors.missing import Floor, Missing
from collectors.rest import BinanceRest, RestAway, RestRefused
from storage.held_ids import Run
from storage.ledger import Appended, TradeLedger
from storage.trades import TradeColumns

log = structlog.get_logger()

# A round trip of 100 ms must not bound the rate: four at once spend a minute's weight in 31 s. With room for
# every symbol's three, the one whose pages span the most time would run ahead of the others.
PAGES_AT_ONCE = 4
PAGES_OF_ONE = 3
IDLE_S = 0.25
LOOK_MS = 1_000
TELL_MS = 15_000
FIRST_AWAY_MS = 1_000
LONGEST_AWAY_MS = 30_000


@dataclass(slots=True)
class Progress:
    """Trades fetched over REST between two moments (UTC ms); `warming`: of a first start's history."""

    since_ms: int
    until_ms: int = 0
    fetched: int = 0
    warming: bool = False

    @property
    def per_s(self) -> float:
        """Trades fetched a second; 0.0 before the first page."""
        return self.fetched * 1000 / max(self.until_ms - self.since_ms, 1) if self.fetched else 0.0


@dataclass(frozen=True, slots=True)
class FillingState:
    """How it stands with one symbol's gaps: what became of them since the start; ids in open gaps, those of
    them that are out of reach (before REST's history, or too old to be kept); history still to come below all
    that is held; certified ids; trades fetched since the start."""

    counts: GapCounts
    missing: int
    out_of_reach: int
    history: int
    certified: int
    fetched: int


@dataclass(slots=True)
class _Symbol:
    """What is known of one symbol's filling."""

    missing: Missing
    progress: Progress
    beginning: bool = False
    not_before_ms: int = 0
    fetched: int = 0


class Filling:
    """Keeps some pages of REST under way as long as something is missing.

    `symbols` are those recorded now; `retention_ms` is how long trades are kept, None keeps everything.
    """

    def __init__(
        self,
        ledger: TradeLedger,
        rest: BinanceRest,
        clock: Clock,
        gaps: GapReports,
        *,
        symbols: Callable[[], Sequence[str]],
        warmup_ms: int,
        retention_ms: int | None = None,
        rule: Rule | None = None,
    ) -> None:
        self._ledger = ledger
        self._rest = rest
        self._clock = clock
        self._gaps = gaps
        self._names = symbols
        self._warmup_ms = warmup_ms
        self._retention_ms = retention_ms
        self._rule = rule or Rule()
        self._symbols: dict[str, _Symbol] = {}
        self._away_ms = 0
        self._not_before_ms = 0
        self._looked_ms = self._told_ms = 0

    def _of(self, symbol: str) -> _Symbol:
        known = self._symbols.get(symbol)
        if known is None:
            missing = Missing(symbol, self._ledger, self._clock, self._retention_ms, self._rule)
            known = self._symbols.setdefault(symbol, _Symbol(missing, Progress(self._clock())))
        return known

    # What readers ask

    def progress(self, symbol: str) -> Progress:
        """How far the fetching of a symbol's history has come in this run."""
        return self._of(symbol).progress

    def state(self, symbol: str) -> FillingState:
        gaps = self._ledger.gaps(symbol)
        certified = sum(gap.missing for gap in gaps if gap.state == "certified")
        history = self._ledger.history_wanted(symbol)
        return FillingState(
            self._gaps.counts(symbol),
            missing=sum(gap.missing for gap in gaps) - certified,
            out_of_reach=self._of(symbol).missing.out_of_reach(),
            history=0 if history is None else history.missing,
            certified=certified,
            fetched=self._of(symbol).fetched,
        )

    def wanted(self, symbol: str) -> int:
        """How many ids are being fetched: those missing that REST has not just failed to serve."""
        return self._of(symbol).missing.wanted()

    # The work

    async def run(self) -> None:
        """Fetch what is missing until it is cancelled."""
        flying = set[asyncio.Task[None]]()
        try:
            while True:
                await self._look()
                while len(flying) < PAGES_AT_ONCE and (work := self._next()) is not None:
                    flying.add(asyncio.create_task(self._guarded(work)))
                nap = asyncio.create_task(self._clock.sleep(IDLE_S))
                done, _ = await asyncio.wait({*flying, nap}, return_when=asyncio.FIRST_COMPLETED)
                nap.cancel()
                flying -= done
                for task in done - {nap}:
                    task.result()
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
            for known in self._symbols.values():
                known.missing.flying.clear()
                known.beginning = False

    async def catch_up(self, symbol: str) -> Appended:
        """Fetch what is newer than the newest row held; what became of the rows that REST has."""
        runs = self._ledger.runs(symbol)
        if not runs:
            return Appended(0, 0, ())
        rows = await self._rest.trades_from_id(symbol, runs[-1].last_id + 1, hurried=False)
        return self._add(symbol, rows)

    # What next

    def _next(self) -> "Page | str | None":
        """A page to ask for, or a symbol whose history is to begin; noted as under way."""
        now_ms = self._clock()
        if self._ledger.is_behind or now_ms < self._not_before_ms:
            return None
        pages = []
        for symbol in self._names():
            known = self._of(symbol)
            if now_ms < known.not_before_ms or known.beginning:
                continue
            if self._ledger.warmup_from_ms(symbol) is None:
                known.beginning = True
                return symbol
            if len(known.missing.flying) < PAGES_OF_ONE and (page := known.missing.page()) is not None:
                pages.append(page)
        if not pages:
            return None
        newest = max(pages, key=lambda page: page.time_ms)
        self._of(newest.symbol).missing.flying.append(newest)
        return newest

    # Asking

    async def _guarded(self, work: "Page | str") -> None:
        """REST that is away is left alone for a while, a symbol that it refuses too."""
        symbol = work if isinstance(work, str) else work.symbol
        known = self._of(symbol)
        try:
            await (self._begin(symbol) if isinstance(work, str) else self._fetch(work))
        except RestAway as error:
            self._leave_alone(str(error))
        except RestRefused as refusal:
            tell = log.debug if known.not_before_ms else log.warning
            known.not_before_ms = self._clock() + LONGEST_AWAY_MS
            tell("rest refused", symbol=symbol, error=str(refusal), retry_s=LONGEST_AWAY_MS / 1000)
        else:
            known.not_before_ms = 0
            self._answered()
        finally:
            if isinstance(work, str):
                known.beginning = False
            elif work in known.missing.flying:
                known.missing.flying.remove(work)

    def _leave_alone(self, error: str) -> None:
        """Pages that were under way together fail together, and count once."""
        now_ms = self._clock()
        if now_ms < self._not_before_ms:
            return
        if not self._away_ms:
            log.warning("rest away", error=error)
        self._away_ms = min(max(2 * self._away_ms, FIRST_AWAY_MS), LONGEST_AWAY_MS)
        self._not_before_ms = now_ms + self._away_ms

    def _answered(self) -> None:
        if self._away_ms:
            log.info("rest back")
        self._away_ms = 0

    async def _begin(self, symbol: str) -> None:
        """First start: where the wanted history begins, and the newest page; all between is still to come."""
        from_ms = self._clock() - self._warmup_ms
        if not self._warmup_ms:
            self._ledger.set_warmup(symbol, from_ms)
            return
        first = await self._rest.trades_from_time(symbol, from_ms)
        newest = await self._rest.newest_trades(symbol)
        from_id = int(first.id[0]) if len(first) else None
        if from_id is not None:
            self._add(symbol, newest.take(newest.id >= from_id))
        self._ledger.set_warmup(symbol, from_ms, from_id)
        log.info("warm-up begins", symbol=symbol, from_ms=from_ms, missing=self.wanted(symbol))

    async def _fetch(self, page: Page) -> None:
        answer = await self._rest.page_from_id(page.symbol, page.from_id, hurried=not page.known_absent)
        left = self._take(page, answer)
        if left and len(answer.trades) and (jumped_to := int(answer.trades.id[0])) > page.last_id:
            await self._ask_where_history_begins(page, jumped_to)

    def _take(self, page: Page, answer: AggTradesPage) -> list[Run]:
        """Take an answer in: its rows, and what it proves of ids that it leaves out; those it leaves open."""
        rows, now_ms = answer.trades.by_id(), self._clock()
        sound = not answer.malformed
        self._add(page.symbol, rows.take((rows.id >= page.first_id) & (rows.id <= page.last_id)))
        if sound:
            known = self._ledger.absences(page.symbol)
            for found in lacking(rows, now_ms):
                for absence in after_asking(known, found, self._rule):
                    self._ledger.keep_absence(page.symbol, absence)
        left = self._of(page.symbol).missing.answered(page, rows.id, now_ms, sound=sound)
        for run, delay_ms in left:
            log.info(
                "not served",
                symbol=page.symbol,
                first_id=run.first_id,
                last_id=run.last_id,
                served_from=int(rows.id[0]) if len(rows) else None,
                retry_s=delay_ms / 1000,
            )
        return [run for run, _ in left]

    async def _ask_where_history_begins(self, page: Page, jumped_to: int) -> None:
        """A page that jumps ahead may have been asked for ids before the exchange's history.

        Then it jumps to where that begins, and that is not beyond what is held: else it lags, or has a hole.
        """
        missing, now_ms = self._of(page.symbol).missing, self._clock()
        if missing.floor_is_fresh():
            return
        before = missing.floor
        missing.floor = Floor(before.first_id if before is not None else 0, now_ms)
        try:
            oldest = await self._rest.trades_from_id(page.symbol, 0, hurried=False)
        except RestAway:
            missing.floor = before
            raise
        runs = self._ledger.runs(page.symbol)
        if not len(oldest) or not runs or not jumped_to <= int(oldest.id[0]) <= runs[-1].last_id:
            return
        begins = int(oldest.id[0])
        missing.floor = Floor(begins, now_ms)
        history = self._ledger.history_wanted(page.symbol)
        if history is not None and history.first_id < begins:
            self._ledger.set_warmup(
                page.symbol, self._ledger.warmup_from_ms(page.symbol) or 0, min(begins, history.last_id + 1)
            )
        log.warning(
            "history begins later at the exchange",
            symbol=page.symbol,
            wanted_from=page.first_id,
            begins=begins,
        )

    def _add(self, symbol: str, rows: TradeColumns) -> Appended:
        progress = self.progress(symbol)
        added = self._ledger.append(symbol, rows)
        if added.new:
            self._gaps.brought(symbol, "rest", rows)
        progress.fetched += added.new
        progress.until_ms = self._clock()
        self._of(symbol).fetched += added.new
        return added

    # Telling

    async def _look(self) -> None:
        """Once a second: what became of gaps; now and then: how far the history has come."""
        now_ms = self._clock()
        if now_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = now_ms
        tell = now_ms - self._told_ms >= TELL_MS
        if tell:
            self._told_ms = now_ms
        await self._gaps.look(self._names())
        for at, symbol in enumerate(list(self._names())):
            if at % LOOKED_AT == LOOKED_AT - 1:
                await asyncio.sleep(0)
            known = self._of(symbol)
            known.missing.put_off.keep(known.missing.gaps())
            self._conclude(symbol, tell=tell)

    def _conclude(self, symbol: str, *, tell: bool) -> None:
        """With nothing left to fetch, the next history's progress counts anew."""
        progress, wanted = self.progress(symbol), self.wanted(symbol)
        if wanted:
            progress.warming |= self._ledger.history_wanted(symbol) is not None
            if tell and progress.fetched:
                facts = {"missing": wanted, "fetched": progress.fetched, "per_s": round(progress.per_s)}
                log.info("fetching history", symbol=symbol, **facts, ready_s=_ready_s(wanted, progress))
            return
        if self._ledger.warmup_from_ms(symbol) is None or self._of(symbol).missing.flying:
            return
        if progress.warming:
            log.info("history complete", symbol=symbol, trades=progress.fetched, per_s=round(progress.per_s))
        self._of(symbol).progress = Progress(self._clock())


def _ready_s(wanted: int, progress: Progress) -> float | None:
    return round(wanted / progress.per_s, 1) if progress.per_s else None
