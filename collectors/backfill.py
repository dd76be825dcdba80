"""History over REST, by id: the warm-up of a first start and whatever the links did not bring.

Invariant: what is missing is asked for by id and never by time, the one look-up of a first start aside;
a row goes into the ledger under its own id, whatever was asked for.
"""

from dataclasses import dataclass

import structlog

from collectors.clock import Clock
from collectors.rest import BinanceRest
from storage.ledger import TradeLedger
from storage.trades import Gap, TradeColumns

log = structlog.get_logger()

FIRST_RETRY_MS = 1_000
LONGEST_RETRY_MS = 600_000


@dataclass(slots=True)
class _Retry:
    """A question that brought nothing: when to ask again."""

    not_before_ms: int
    delay_ms: int


@dataclass(slots=True)
class Progress:
    """Trades fetched over REST between two moments (UTC ms)."""

    since_ms: int
    until_ms: int = 0
    fetched: int = 0

    @property
    def per_s(self) -> float:
        """Trades fetched a second; 0.0 before the first page."""
        return self.fetched * 1000 / max(self.until_ms - self.since_ms, 1) if self.fetched else 0.0


class Backfill:
    """Asks REST for one page at a time, symbols in turn, a symbol's oldest gap first."""

    def __init__(self, ledger: TradeLedger, rest: BinanceRest, clock: Clock, *, warmup_ms: int) -> None:
        self._ledger = ledger
        self._rest = rest
        self._clock = clock
        self._warmup_ms = warmup_ms
        self._retries: dict[tuple[str, int], _Retry] = {}
        self._progress: dict[str, Progress] = {}

    def progress(self, symbol: str) -> Progress:
        """How far the fetching of a symbol's history has come in this run."""
        return self._progress.setdefault(symbol, Progress(self._clock()))

    async def step(self, symbol: str) -> bool:
        """Fetch one page that the symbol lacks; whether one was asked for."""
        if self._ledger.warmup_from_ms(symbol) is None:
            await self._begin(symbol)
            return True
        gap = self._next_gap(symbol)
        if gap is None:
            self._conclude(symbol)
            return False
        await self._fill(symbol, gap)
        return True

    async def catch_up(self, symbol: str) -> bool:
        """Fetch what is newer than the newest row held; whether REST shows nothing newer."""
        runs = self._ledger.runs(symbol)
        if not runs:
            return True
        rows = await self._rest.trades_from_id(symbol, runs[-1].last_id + 1)
        self._add(symbol, rows)
        return len(rows) == 0

    async def _begin(self, symbol: str) -> None:
        """First start: the first page of the wanted history; the rest is then a gap before the live rows."""
        from_ms = self._clock() - self._warmup_ms
        if self._warmup_ms:
            rows = await self._rest.trades_from_time(symbol, from_ms)
            self._add(symbol, rows)
            log.info("warm-up begins", symbol=symbol, from_ms=from_ms, trades=len(rows))
        self._ledger.set_warmup(symbol, from_ms)

    def _next_gap(self, symbol: str) -> Gap | None:
        now_ms = self._clock()
        for gap in self._ledger.gaps(symbol):
            retry = self._retries.get((symbol, gap.first_id))
            if retry is None or retry.not_before_ms <= now_ms:
                return gap
        return None

    def wanted(self, symbol: str) -> int:
        """How many ids are being fetched: those missing that REST has not just failed to serve."""
        return sum(
            gap.missing for gap in self._ledger.gaps(symbol) if (symbol, gap.first_id) not in self._retries
        )

    def _conclude(self, symbol: str) -> None:
        """With no gap left, the next one's progress counts anew."""
        if symbol not in self._progress or self._ledger.gaps(symbol):
            return
        done = self._progress.pop(symbol)
        if done.fetched:
            log.info("history complete", symbol=symbol, trades=done.fetched, per_s=round(done.per_s))

    async def _fill(self, symbol: str, gap: Gap) -> None:
        rows = await self._rest.trades_from_id(symbol, gap.first_id)
        self._add(symbol, _wanted(rows, gap))
        if len(rows) and int(rows.id[0]) == gap.first_id:
            self._retries.pop((symbol, gap.first_id), None)
            log.debug("gap page", symbol=symbol, first_id=gap.first_id, rows=len(rows))
            return
        self._ask_later(symbol, gap, rows)

    def _add(self, symbol: str, rows: TradeColumns) -> None:
        progress = self.progress(symbol)
        progress.fetched += self._ledger.append(symbol, rows).new
        progress.until_ms = self._clock()

    def _ask_later(self, symbol: str, gap: Gap, rows: TradeColumns) -> None:
        """REST lags behind the stream, or its history begins later than the gap."""
        delay_ms = FIRST_RETRY_MS
        if known := self._retries.get((symbol, gap.first_id)):
            delay_ms = min(known.delay_ms * 2, LONGEST_RETRY_MS)
        self._retries[symbol, gap.first_id] = _Retry(self._clock() + delay_ms, delay_ms)
        log.warning(
            "gap not served",
            symbol=symbol,
            first_id=gap.first_id,
            missing=gap.missing,
            served_from=int(rows.id[0]) if len(rows) else None,
            retry_s=delay_ms / 1000,
        )


def _wanted(rows: TradeColumns, gap: Gap) -> TradeColumns:
    """The rows that belong into the gap."""
    return rows.take((rows.id >= gap.first_id) & (rows.id <= gap.last_id))
