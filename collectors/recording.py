"""One symbol while it is recorded: the connections that bring it, its one order by id, and up to when it is
known.

Invariant: only the event loop replaces `known`, and as a whole: threads that ask see one state, and asking
changes nothing.
"""

from dataclasses import dataclass, field

import numpy as np

from collectors.clock import Clock
from collectors.continuity import Known, Voucher
from collectors.figures import SymbolFigures
from collectors.links import Connection
from collectors.plausibility import Mark, Plausibility, Sifted, is_near
from collectors.sequencer import Sequencer
from collectors.watch import Watch
from storage.trades import TradeColumns


@dataclass(slots=True)
class Recording:
    """A symbol on its connections; without any, nothing is known of it."""

    symbol: str
    sequencer: Sequencer
    _watch: Watch
    _clock: Clock
    connections: list[Connection] = field(default_factory=list)
    plausibility: Plausibility = field(default_factory=Plausibility)
    trades: int = 0
    # A gap is news once the symbol has been up to date.
    was_synced: bool = False
    # Whether what came last could not be held, since the ledger has other trades under its ids.
    is_shut_out: bool = False
    _known: Known = field(default_factory=Known)
    _trades_before: int = 0

    # What is known, for any thread

    @property
    def is_synced(self) -> bool:
        """Whether nothing can have been missed unseen; what is missing is in gaps."""
        return bool(self._settled().joined)

    @property
    def is_doubted(self) -> bool:
        """Whether REST has shown what no connection brought; until all of them have brought a trade since."""
        return self._settled().doubted

    @property
    def live_until_ms(self) -> int | None:
        """The time up to which a link vouches that no trade is unknown; None before any."""
        return self._settled().until_ms

    @property
    def up_since_ms(self) -> int | None:
        """Since when, by our steady clock, a connection has been bringing all of it; None where none is."""
        return min((voucher.since_ms for voucher in self._vouchers()), default=None)

    def figures(self) -> SymbolFigures:
        now_ms = self._clock.steady_ms()
        lags = [connection.lag_of(self.symbol, now_ms) for connection in list(self.connections)]
        return SymbolFigures(
            symbol=self.symbol,
            trades=self.trades,
            duplicates=self.sequencer.duplicates,
            conflicts=self.sequencer.conflicts,
            head=self.sequencer.head,
            lag_ms=min((lag_ms for lag_ms in lags if lag_ms is not None), default=None),
            is_synced=bool(self._known.joined),
        )

    def _vouchers(self) -> list[Voucher]:
        return [connection.voucher for connection in list(self.connections)]

    def _settled(self) -> Known:
        waiting = self.sequencer.waiting or self._watch.is_overdue(self.symbol, self._clock.steady_ms())
        return self._known.settled(self._vouchers(), waiting=waiting)

    # What the connections bring

    @property
    def head(self) -> Mark | None:
        """The newest id that is known, and its time."""
        head = self.sequencer.head
        return None if head is None else Mark(head, self.sequencer.head_ms)

    def is_near(self, rows: TradeColumns) -> bool:
        """Whether all rows can be without a look at their times: mostly so, and cheap."""
        head = self.sequencer.head
        if head is None or not is_near(rows, head):
            return False
        self.plausibility.confirm()
        return True

    def sift(self, rows: TradeColumns, oldest_id: int | None, latest_ms: int) -> Sifted:
        """As `Plausibility.sift`, for rows that are not all near."""
        now_ms = self._clock.steady_ms()
        return self.plausibility.sift(rows, self.head, oldest_id, latest_ms=latest_ms, now_ms=now_ms)

    def give_up_held(self, latest_ms: int) -> TradeColumns:
        """Of the rows held behind a jump those that cannot be any more, by what has come since."""
        held, head = self.sequencer.held, self.head
        if head is None:
            return TradeColumns.empty()
        can_be = head.leads_to(held.id, np.minimum(held.time_ms, latest_ms))
        self.sequencer.keep_held(can_be)
        return held.take(~can_be)

    def settle(self) -> None:
        """Take note of what is known by now."""
        self._known = self._settled()

    def joined_by(self, voucher: Voucher) -> None:
        """A trade came through that vouches: its id says what is missing before."""
        self._known = self._known.joined_by(voucher)

    def mistrust(self) -> None:
        """Something that came of it cannot be, so that what should have come is lost: a connection vouches
        for it only once it has brought a trade of it again."""
        self.settle()
        self._known = self._known.in_doubt(self._known.until_ms or 0)

    def part_from(self, voucher: Voucher) -> None:
        """It vouches no longer, or not for what came before; what it has vouched for stays known."""
        self.settle()
        self._known = self._known.without(voucher)

    # What REST shows

    def shown(self, until_ms: int, event_ms: int) -> None:
        """Nothing is missing of what was traded before `until_ms`, steady, or `event_ms`, theirs."""
        self._known = self._known.shown(self._vouchers(), until_ms)
        if not self.sequencer.waiting:
            self.reach(event_ms)

    def doubt(self, traded_ms: int) -> None:
        """There is a trade of that time that no connection brought; one that was up should have."""
        if any(self._lacks(voucher, traded_ms) for voucher in self._vouchers()):
            self._known = self._known.in_doubt(traded_ms)

    def _lacks(self, voucher: Voucher, traded_ms: int) -> bool:
        return voucher.began_before(traded_ms) or self._watch.counts_for(voucher.since_ms, traded_ms)

    def reach(self, event_ms: int) -> None:
        """A row of that time is held, with whatever came before it or a gap in its place."""
        if self.is_shut_out:
            return
        self._known = self._known.reached(event_ms)

    # For the log

    def take_trades(self) -> int:
        """How many trades were added since the last call."""
        added, self._trades_before = self.trades - self._trades_before, self.trades
        return added
