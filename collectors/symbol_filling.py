"""One symbol's filling: answers of REST into the ledger, what they prove, and how far it has come.

Invariant: a row goes into the ledger under its own id, whatever was asked for; what is missing is asked for
by id and never by time, the one look-up of a first start aside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from collectors.backfill import Page
from collectors.certification import Rule, after_asking, lacking
from collectors.clock import Clock
from collectors.gap_follower import GapCounts
from collectors.gap_reports import GapReports
from collectors.missing import Floor, Missing
from collectors.plausibility import CLOCK_SKEW_MS, Mark
from collectors.rest import BinanceRest, RestAway, RestContradicts
from collectors.rest_bodies import AggTradesPage
from collectors.right_pages import check_right, first_id_since
from storage.held_ids import Run
from storage.ledger import TradeLedger
from storage.tapes import Appended
from storage.trades import TradeColumns

log = structlog.get_logger()


@dataclass(slots=True)
class Progress:
    """Trades fetched over REST between two moments (steady ms); `warming`: of a first start's history."""

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


@dataclass(frozen=True, slots=True)
class Newer:
    """The newest rows that REST has, or those beyond the newest one held; and what became of them."""

    rows: TradeColumns
    added: Appended


class SymbolFilling:
    """`missing` is what is asked for, not before `not_before_ms` (by the steady clock) where REST refuses the
    symbol or contradicts itself about it, for `away_ms` each time; `beginning` while it is asked where the
    history of a first start begins."""

    def __init__(
        self,
        symbol: str,
        ledger: TradeLedger,
        rest: BinanceRest,
        clock: Clock,
        gaps: GapReports,
        *,
        retention_ms: int | None,
        rule: Rule,
    ) -> None:
        self.symbol = symbol
        self.missing = Missing(symbol, ledger, clock, retention_ms, rule)
        self.progress = Progress(clock.steady_ms())
        self.beginning = False
        self.away_ms = self.not_before_ms = 0
        self._ledger = ledger
        self._rest = rest
        self._clock = clock
        self._gaps = gaps
        self._rule = rule
        self._fetched = 0

    @property
    def state(self) -> FillingState:
        gaps = self._ledger.gaps(self.symbol)
        certified = sum(gap.missing for gap in gaps if gap.state == "certified")
        history = self._ledger.history_wanted(self.symbol)
        return FillingState(
            self._gaps.counts(self.symbol),
            missing=sum(gap.missing for gap in gaps) - certified,
            out_of_reach=self.missing.out_of_reach(),
            history=0 if history is None else history.missing,
            certified=certified,
            fetched=self._fetched,
        )

    async def catch_up(self, head: Mark) -> Newer | None:
        """Fetch what is newer than `head`, the newest trade known. None where the answer cannot be its
        successors."""
        runs = self._ledger.runs(self.symbol)
        from_id = min(head.id, runs[-1].last_id if runs else head.id) + 1
        rows = (await self._rest.trades_from_id(self.symbol, from_id, hurried=False)).by_id()
        can_be = head.leads_to(rows.id, np.minimum(rows.time_ms, self._clock() + CLOCK_SKEW_MS))
        if not can_be.all():
            log.warning("page left out", symbol=self.symbol, from_id=from_id, served_from=int(rows.id[0]))
            return None
        if len(rows) and int(rows.id[0]) > from_id:
            # A hole; or another symbol's page, which after a long outage can be.
            if len(rows) == 1:
                return None
            await check_right(self._rest, self.symbol, rows)
        if len(rows):
            self.missing.put_off.shows(int(rows.id.max()))
        return self.add(rows)

    async def newest(self) -> TradeColumns:
        """The newest rows that REST has; not taken in."""
        return (await self._rest.newest_trades(self.symbol, hurried=False)).by_id()

    def add(self, rows: TradeColumns) -> Newer:
        """Take in rows that REST has shown."""
        return Newer(rows, self._add(rows))

    async def begin(self, warmup_ms: int) -> None:
        """First start: where the wanted history begins, and the newest page; all between is still to come."""
        from_ms = self._clock() - warmup_ms
        if not warmup_ms:
            self._ledger.set_warmup(self.symbol, from_ms)
            return
        newest = (await self._rest.newest_trades(self.symbol)).by_id()
        await check_right(self._rest, self.symbol, newest)
        from_id = await first_id_since(self._rest, self.symbol, from_ms)
        await self._check_agreement(newest, from_id, from_ms)
        if from_id is not None:
            self._add(newest.take(newest.id >= from_id))
        self._ledger.set_warmup(self.symbol, from_ms, from_id)
        self.progress.warming = True
        log.info("warm-up begins", symbol=self.symbol, from_ms=from_ms, missing=self.missing.wanted())

    async def _check_agreement(self, newest: TradeColumns, from_id: int | None, from_ms: int) -> None:
        """Raises `RestContradicts` where the newest rows and what is said to have begun since do not fit."""
        agrees = (from_id is not None) is bool((newest.time_ms >= from_ms).any())
        if not len(newest):
            agrees &= not len(await self._rest.trades_from_id(self.symbol, 0))
        if not agrees:
            raise RestContradicts(
                f"{self._rest.base_url}: what was traded since {from_ms} is not of one tape"
            )

    async def fetch(self, page: Page) -> None:
        self.progress.warming |= self._ledger.history_wanted(self.symbol) is not None
        answer = await self._rest.page_from_id(self.symbol, page.from_id, hurried=not page.known_absent)
        if not len(answer.trades):
            await self._take_none(page)
            return
        left = self._take(page, answer)
        if left and (jumped_to := int(answer.trades.id[0])) > page.last_id:
            await self._ask_where_history_begins(page, jumped_to)

    async def _take_none(self, page: Page) -> None:
        """An empty answer: where another page was empty before, REST's newest row says how much else is."""
        newest_id = None
        if self.missing.put_off.end_id not in (None, page.first_id):
            newest = await self._rest.newest_trades(self.symbol, hurried=not page.known_absent)
            newest_id = int(newest.id.max()) if len(newest) else None
        self._tell_not_served(self.missing.answered_empty(page, newest_id))

    def _tell_not_served(self, left: Sequence[tuple[Run, int]], served_from: int | None = None) -> None:
        for run, delay_ms in left:
            log.info(
                "not served",
                symbol=self.symbol,
                first_id=run.first_id,
                last_id=run.last_id,
                served_from=served_from,
                retry_s=delay_ms / 1000,
            )

    def _take(self, page: Page, answer: AggTradesPage) -> list[Run]:
        """Take an answer in: its rows, and what it proves of ids that it leaves out; those it leaves open."""
        rows, now_ms = answer.trades.by_id(), self._clock()
        sound = not answer.malformed
        self._add(rows.take((rows.id >= page.first_id) & (rows.id <= page.last_id)))
        if sound:
            known = self._ledger.absences(self.symbol)
            for found in lacking(rows, now_ms):
                for absence in after_asking(known, found, self._rule):
                    self._ledger.keep_absence(self.symbol, absence)
        left = self.missing.answered(page, rows.id, sound=sound)
        self._tell_not_served(left, served_from=int(rows.id[0]))
        return [run for run, _ in left]

    async def _ask_where_history_begins(self, page: Page, jumped_to: int) -> None:
        """A page that jumps ahead may have been asked for ids before the exchange's history.

        Then it jumps to where that begins, and that is not beyond what is held: else it lags, or has a hole.
        A page that is repeated seems to jump too, and to begin there; but asked from the next id on, it is no
        answer, and what comes then does not begin there; nor has it as few rows as the oldest are asked for.
        """
        missing, now_ms = self.missing, self._clock.steady_ms()
        if missing.floor_is_fresh():
            return
        before = missing.floor
        missing.floor = Floor(before.first_id if before is not None else 0, now_ms)
        try:
            await self._rest.trades_from_id(self.symbol, jumped_to + 1, hurried=False)
            oldest = await self._rest.oldest_trades(self.symbol)
        except RestAway:
            missing.floor = before
            raise
        runs = self._ledger.runs(self.symbol)
        if not len(oldest) or not runs or not int(oldest.id[0]) == jumped_to <= runs[-1].last_id:
            return
        begins = jumped_to
        missing.floor = Floor(begins, now_ms)
        history = self._ledger.history_wanted(self.symbol)
        if history is not None and history.first_id < begins:
            self._ledger.set_warmup(
                self.symbol, self._ledger.warmup_from_ms(self.symbol) or 0, min(begins, history.last_id + 1)
            )
        log.warning(
            "history begins later at the exchange",
            symbol=self.symbol,
            wanted_from=page.first_id,
            begins=begins,
        )

    def _add(self, rows: TradeColumns) -> Appended:
        added = self._ledger.append(self.symbol, rows)
        if added.new:
            self._gaps.brought(self.symbol, "rest", rows)
        self.progress.fetched += added.new
        self.progress.until_ms = self._clock.steady_ms()
        self._fetched += added.new
        return added

    def conclude(self, *, tell: bool) -> None:
        """With nothing left to fetch, the next history's progress counts anew."""
        progress, wanted = self.progress, self.missing.wanted()
        if wanted:
            if tell and progress.fetched:
                facts = {"missing": wanted, "fetched": progress.fetched, "per_s": round(progress.per_s)}
                log.info("fetching history", symbol=self.symbol, **facts, ready_s=_ready_s(wanted, progress))
            return
        if self._ledger.warmup_from_ms(self.symbol) is None or self.missing.flying:
            return
        if progress.warming:
            log.info(
                "history complete", symbol=self.symbol, trades=progress.fetched, per_s=round(progress.per_s)
            )
        self.progress = Progress(self._clock.steady_ms())


def _ready_s(wanted: int, progress: Progress) -> float | None:
    return round(wanted / progress.per_s, 1) if progress.per_s else None
