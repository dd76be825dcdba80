"""Filling: the first start's history and whatever the links did not bring, fetched over REST.

Invariant: of all symbols the newest missing ids go first; REST that is away is left alone, and a symbol that
it refuses, or contradicts itself about, holds up no other.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from collectors.backfill import Page
from collectors.certification import Rule
from collectors.clock import Clock
from collectors.gap_reports import LOOKED_AT, GapReports
from collectors.plausibility import Mark
from collectors.rest import BinanceRest, RestAway, RestContradicts, RestError, RestRefused
from collectors.symbol_filling import FillingState, Newer, Progress, SymbolFilling
from storage.ledger import TradeLedger
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
        self._clock = clock
        self._gaps = gaps
        self._names = symbols
        self._warmup_ms = warmup_ms
        self._new = partial(
            SymbolFilling,
            ledger=ledger,
            rest=rest,
            clock=clock,
            gaps=gaps,
            retention_ms=retention_ms,
            rule=rule or Rule(),
        )
        self._symbols: dict[str, SymbolFilling] = {}
        self._away_ms = 0
        self._not_before_ms = 0
        self._looked_ms = self._told_ms = 0

    def _of(self, symbol: str) -> SymbolFilling:
        known = self._symbols.get(symbol)
        return known if known is not None else self._symbols.setdefault(symbol, self._new(symbol))

    # What readers ask

    def progress(self, symbol: str) -> Progress:
        """How far the fetching of a symbol's history has come in this run."""
        return self._of(symbol).progress

    def state(self, symbol: str) -> FillingState:
        return self._of(symbol).state

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

    async def catch_up(self, symbol: str, head: Mark) -> Newer | None:
        """As `SymbolFilling.catch_up`."""
        return await self._of(symbol).catch_up(head)

    async def newest(self, symbol: str) -> TradeColumns:
        """As `SymbolFilling.newest`."""
        return await self._of(symbol).newest()

    def add(self, symbol: str, rows: TradeColumns) -> Newer:
        """As `SymbolFilling.add`."""
        return self._of(symbol).add(rows)

    # What next

    def _next(self) -> "Page | str | None":
        """A page to ask for, or a symbol whose history is to begin; noted as under way."""
        now_ms = self._clock.steady_ms()
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
        """REST that is away is left alone for a while; so is a symbol that it refuses, or contradicts itself
        about."""
        symbol = work if isinstance(work, str) else work.symbol
        known = self._of(symbol)
        try:
            await (known.begin(self._warmup_ms) if isinstance(work, str) else known.fetch(work))
        except RestContradicts as error:
            self._leave_symbol_alone(known, "rest contradicts itself", error, FIRST_AWAY_MS)
        except RestAway as error:
            self._leave_alone(str(error))
        except RestRefused as refusal:
            self._leave_symbol_alone(known, "rest refused", refusal, LONGEST_AWAY_MS)
        else:
            known.away_ms = known.not_before_ms = 0
            self._answered()
        finally:
            if isinstance(work, str):
                known.beginning = False
            elif work in known.missing.flying:
                known.missing.flying.remove(work)

    def _leave_alone(self, error: str) -> None:
        """Pages that were under way together fail together, and count once."""
        now_ms = self._clock.steady_ms()
        if now_ms < self._not_before_ms:
            return
        if not self._away_ms:
            log.warning("rest away", error=error)
        self._away_ms = min(max(2 * self._away_ms, FIRST_AWAY_MS), LONGEST_AWAY_MS)
        self._not_before_ms = now_ms + self._away_ms

    def _leave_symbol_alone(self, known: SymbolFilling, event: str, error: RestError, least_ms: int) -> None:
        """As `_leave_alone`, of one symbol."""
        now_ms = self._clock.steady_ms()
        if now_ms < known.not_before_ms:
            return
        tell = log.debug if known.away_ms else log.warning
        known.away_ms = min(max(2 * known.away_ms, least_ms), LONGEST_AWAY_MS)
        known.not_before_ms = now_ms + known.away_ms
        tell(event, symbol=known.symbol, error=str(error), retry_s=known.away_ms / 1000)

    def _answered(self) -> None:
        if self._away_ms:
            log.info("rest back")
        self._away_ms = 0

    # Telling

    async def _look(self) -> None:
        """Once a second: what became of gaps; now and then: how far the history has come."""
        now_ms = self._clock.steady_ms()
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
            known.conclude(tell=tell)
