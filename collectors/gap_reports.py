"""The gaps of all symbols, followed in the ledger and told of in the log.

Invariant: a gap is told of once when it opens and once when it is gone; nothing here waits for disk or REST.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

import structlog

from collectors.clock import Clock
from collectors.gap_follower import Change, Closed, GapCounts, GapFollower, Opened, Source
from storage.held_ids import runs_of
from storage.ledger import TradeLedger
from storage.trades import Gap, TradeColumns

log = structlog.get_logger()

# Symbols looked at before others have their turn on the event loop.
LOOKED_AT = 20


class GapReports:
    """One for all that writes to the ledger while it is recorded."""

    def __init__(self, ledger: TradeLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._followers: defaultdict[str, GapFollower] = defaultdict(GapFollower)

    def counts(self, symbol: str) -> GapCounts:
        """What became of a symbol's gaps since the start."""
        return self._followers[symbol].counts

    def opened(self, symbol: str, gaps: Iterable[Gap], *, is_news: bool) -> None:
        """The stream has jumped over ids; no news are those missed before the start."""
        for gap in gaps:
            if self._followers[symbol].opened(gap, self._clock.steady_ms()):
                tell = log.warning if is_news else log.info
                tell(
                    "gap opened",
                    symbol=symbol,
                    first_id=gap.first_id,
                    last_id=gap.last_id,
                    missing=gap.missing,
                )

    def brought(self, symbol: str, by: Source, rows: TradeColumns) -> None:
        """The ledger has taken in these rows."""
        follower = self._followers[symbol]
        if follower.is_following:
            follower.brought(by, runs_of(rows.by_id()))

    async def look(self, symbols: Sequence[str]) -> None:
        """Tell what has changed since the last look."""
        for at, symbol in enumerate(symbols):
            if at % LOOKED_AT == LOOKED_AT - 1:
                await asyncio.sleep(0)
            self.look_at(symbol)

    def look_at(self, symbol: str) -> None:
        runs = self._ledger.runs(symbol)
        history = self._ledger.history_wanted(symbol)
        gaps, oldest_id = self._ledger.gaps(symbol), runs[0].first_id if runs else 0
        for change in self._followers[symbol].look(gaps, oldest_id, self._clock.steady_ms(), history):
            _tell(symbol, change)


def _tell(symbol: str, change: Change) -> None:
    gap = change.gap
    facts = {"symbol": symbol, "first_id": gap.first_id, "last_id": gap.last_id}
    match change:
        case Opened():
            log.debug("gap seen", **facts, missing=gap.missing)
        case Closed(open_ms=open_ms, by=by) if by.get("certified"):
            log.warning(
                "gap certified",
                **facts,
                ids=by["certified"],
                open_s=round(open_ms / 1000, 1),
                by=dict(by),
                reason="the exchange has none",
            )
        case Closed(open_ms=open_ms, by=by):
            event = "gap expired" if by.get("expired") else "gap filled"
            log.info(event, **facts, ids=gap.missing, open_s=round(open_ms / 1000, 1), by=dict(by))
        case _:
            log.warning("certified ids came", **facts, ids=change.ids)
