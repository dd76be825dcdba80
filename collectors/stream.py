"""The stream's way into the ledger: each connection's texts to columns, columns to one order by id, and that
into the memory of the ledger; with it, up to when each symbol is known.

Invariant: nothing here waits, for disk, REST or a reader; a text that cannot be read loses itself alone, and
a symbol that may have missed something counts as up to date again only once an id or REST has shown it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from collectors.clock import Clock
from collectors.continuity import Known, Voucher
from collectors.figures import SymbolFigures
from collectors.gap_reports import GapReports
from collectors.links import Connection, Delivered
from collectors.sequencer import Sequencer
from collectors.stream_frames import Batch, Parsed
from collectors.watch import LagOfLate, Watch
from storage.conflicts import Conflict
from storage.ledger import TradeLedger
from storage.trades import TradeColumns

log = structlog.get_logger()

# A time further ahead of our clock than this is wrong, and vouches for nothing.
CLOCK_SKEW_MS = 5_000
# What is taken of a ring at once, and how many texts are read between two looks at the time.
MOST_TAKEN = 4_000
STEP = 100
# The event loop is given its turn after so long.
TURN_S = 0.002
# While little comes, texts are gathered for so long, so that numpy has something to do.
GATHER_S = 0.1
# Of texts that cannot be read at most so many a minute are logged; the others are counted.
MOST_TOLD = 20
MOST_LAG_WINDOW_MS = 60_000


@dataclass(slots=True)
class _Recording:
    """What is known of one symbol while it is recorded."""

    sequencer: Sequencer
    known: Known = field(default_factory=Known)
    connections: list[Connection] = field(default_factory=list)
    trades: int = 0
    trades_before: int = 0
    # A gap is news once the symbol has been up to date.
    was_synced: bool = False

    @property
    def vouchers(self) -> list[Voucher]:
        return [connection.voucher for connection in list(self.connections)]


@dataclass(slots=True)
class Counts:
    """What the connections brought that was not kept, since the start."""

    malformed: int = 0
    dropped: int = 0
    refused: int = 0
    errors: int = 0


class Stream:
    """What connections bring of some symbols, on its way to the ledger.

    `filled` is set by the connections' rings; `watch` is told what is the newest of each symbol, `gaps` what
    is missing.
    """

    def __init__(
        self,
        ledger: TradeLedger,
        symbols: Iterable[str],
        clock: Clock,
        watch: Watch,
        gaps: GapReports,
        filled: asyncio.Event,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._watch = watch
        self._gaps = gaps
        self._filled = filled
        self._recordings: dict[str, _Recording] = {}
        for symbol in symbols:
            runs = ledger.runs(symbol)
            self._recordings[symbol] = _Recording(Sequencer(runs[-1].last_id if runs else None))
        self._connections: list[Connection] = []
        self.counts = Counts()
        self._most_lag = LagOfLate(max, MOST_LAG_WINDOW_MS)
        self._told = Counter[str]()
        self._behind = False

    @property
    def symbols(self) -> list[str]:
        return list(self._recordings)

    def is_synced(self, symbol: str) -> bool:
        """Whether nothing can have been missed of the symbol unseen; what is missing is in gaps."""
        return bool(self._known(symbol).joined)

    def is_doubted(self, symbol: str) -> bool:
        """Whether REST has shown what no connection brought, and not all of them have brought a trade of the
        symbol since."""
        return self._known(symbol).doubted

    def live_until_ms(self, symbol: str) -> int | None:
        """The time up to which a link vouches that no trade of the symbol is unknown; None before any."""
        return self._known(symbol).until_ms

    def _known(self, symbol: str) -> Known:
        """As of now. Threads ask this, so it writes nothing: `known` is replaced on the event loop alone."""
        recording = self._recordings.get(symbol)
        return Known() if recording is None else self._settled(symbol, recording)

    def _settled(self, symbol: str, recording: _Recording) -> Known:
        waiting = recording.sequencer.waiting or self._watch.is_overdue(symbol, self._clock())
        return recording.known.settled(recording.vouchers, waiting=waiting)

    def _settle(self, symbol: str, recording: _Recording) -> None:
        recording.known = self._settled(symbol, recording)

    def up_since_ms(self, symbol: str) -> int | None:
        """Since when, by our clock, a connection has been bringing all of the symbol; None where none is."""
        recording = self._recordings.get(symbol)
        vouchers = recording.vouchers if recording else []
        return min((voucher.since_ms for voucher in vouchers), default=None)

    def drop(self, symbol: str) -> None:
        """The symbol is recorded no more."""
        self._recordings.pop(symbol, None)
        self._watch.drop(symbol)

    # Connections

    def add(self, connection: Connection) -> None:
        """Take in what this connection brings."""
        self._connections.append(connection)
        for _, recording in self._of(connection):
            recording.connections.append(connection)
        self.wake()  # for what it brought before this

    def _remove(self, connection: Connection) -> None:
        """The connection is over, and all that it brought is taken in."""
        self._connections.remove(connection)
        for symbol, recording in self._of(connection):
            self._settle(symbol, recording)
            recording.known = recording.known.without(connection.voucher)
            recording.connections.remove(connection)

    def _tear(self, connection: Connection) -> None:
        """Something that the connection brought is lost: it vouches for what comes from now on."""
        torn, connection.voucher = connection.voucher, Voucher(self._clock())
        for symbol, recording in self._of(connection):
            self._settle(symbol, recording)
            recording.known = recording.known.without(torn)

    def _of(self, connection: Connection) -> Iterable[tuple[str, _Recording]]:
        found = ((symbol, self._recordings.get(symbol)) for symbol in connection.symbols)
        return [(symbol, recording) for symbol, recording in found if recording is not None]

    # Texts in

    async def pump(self, stop: asyncio.Event) -> None:
        """Take in what comes; once `stop` is set, until nothing is left."""
        while not (stop.is_set() and not self._left):
            await self._filled.wait()
            self._filled.clear()
            taken = 0
            for connection in list(self._connections):
                taken = max(taken, await self._take(connection))
                if not (connection.is_up or connection.ring):
                    self._remove(connection)
                await asyncio.sleep(0)
            self._behind = taken == MOST_TAKEN
            if self._left:
                self._filled.set()
            if not stop.is_set():
                await asyncio.sleep(0 if self._behind else GATHER_S)

    @property
    def _left(self) -> int:
        return sum(len(connection.ring) for connection in self._connections)

    def wake(self) -> None:
        """Have `pump` look whether it is to stop, or whether a connection is over."""
        self._filled.set()

    async def _take(self, connection: Connection) -> int:
        """Parse and append what a connection brought, or some of it; how many texts that was."""
        texts, received_ms = connection.ring.take(MOST_TAKEN)
        if received_ms is None:
            return 0
        turn = _Turn()
        parsed = await _parse(texts, turn)
        lost = self._note_oddities(connection, parsed)
        if lost:
            self._tear(connection)
        try:
            await self._take_in(connection, parsed, received_ms, None if lost else connection.voucher, turn)
        except Exception:
            self._tear(connection)
            raise
        return len(texts)

    async def _take_in(
        self,
        connection: Connection,
        parsed: Parsed,
        received_ms: int,
        voucher: Voucher | None,
        turn: "_Turn",
    ) -> None:
        """`voucher` is None where something in the batch was lost: nothing vouches for it."""
        for symbol, rows in parsed.trades.items():
            recording = self._recordings.get(symbol)
            if recording is None or connection not in recording.connections:
                continue
            self._settle(symbol, recording)
            self._note(connection, symbol, rows, received_ms)
            if self._append(symbol, recording.sequencer.accept(rows)) and voucher is connection.voucher:
                recording.known = recording.known.joined_by(voucher)
            self._keep_conflicts(symbol, recording.sequencer.take_conflicts())
            await turn.give_way()
        if parsed.newest_event_ms is not None:
            connection.lag_ms = received_ms - parsed.newest_event_ms
            self._most_lag.note(connection.lag_ms, received_ms)
            newest_ms = _newest_trade_ms(parsed)
            if voucher is connection.voucher and newest_ms is not None:
                voucher.extend(min(newest_ms, parsed.newest_event_ms, self._clock() + CLOCK_SKEW_MS))
        connection.shuts_down |= parsed.shutdown

    def _note(self, connection: Connection, symbol: str, rows: TradeColumns, received_ms: int) -> None:
        """Who brought what, and how late."""
        newest = int(rows.id.argmax())
        newest_id = int(rows.id[newest])
        delivered = connection.delivered.get(symbol)
        if delivered is None:
            connection.delivered[symbol] = Delivered(int(rows.id.min()), newest_id)
        else:
            delivered.newest_id = max(delivered.newest_id, newest_id)
        traded_ms = int(rows.time_ms[newest])
        connection.trade_lag_ms = received_ms - traded_ms
        self._watch.note_lag(connection.trade_lag_ms, received_ms)
        self._watch.note(symbol, newest_id, traded_ms, received_ms)

    def _note_oddities(self, connection: Connection, parsed: Parsed) -> bool:
        """Count and tell what could not be read; whether a trade may be lost by it."""
        dropped = connection.ring.take_dropped()
        self.counts.dropped += dropped
        self.counts.malformed += len(parsed.malformed)
        self.counts.errors += len(parsed.errors)
        for malformed in parsed.malformed:
            if self._may_tell("malformed"):
                log.warning(
                    "message skipped", link=connection.number, reason=malformed.reason, text=malformed.text
                )
        for error in parsed.errors:
            if self._may_tell("errors"):
                log.error("exchange refused", link=connection.number, code=error.code, reason=error.msg)
        if dropped and self._may_tell("dropped"):
            log.warning("messages given up", link=connection.number, dropped=dropped, healed_by="their ids")
        return bool(dropped or parsed.malformed)

    def _may_tell(self, kind: str, most: int = MOST_TOLD) -> bool:
        self._told[kind] += 1
        return self._told[kind] <= most

    # The order, and the ledger

    def settle(self) -> None:
        """Stop waiting for what was waited for at the last call already, unless it may be in a ring still;
        note what is known by now."""
        for symbol, recording in list(self._recordings.items()):
            if recording.sequencer.waiting and not self._behind:
                self._append(symbol, recording.sequencer.settle())
            self._settle(symbol, recording)

    def drain(self) -> None:
        """Wait no more for what is missing: all that came goes to the ledger."""
        for symbol, recording in self._recordings.items():
            self._append(symbol, recording.sequencer.drain())

    def shown(self, symbol: str, until_ms: int, event_ms: int) -> None:
        """REST has shown that nothing is missing of what was traded before `until_ms` of our clock, which is
        `event_ms` of the exchange's."""
        recording = self._recordings.get(symbol)
        if recording is None:
            return
        recording.known = recording.known.shown(recording.vouchers, until_ms)
        if not recording.sequencer.waiting:
            recording.known = recording.known.reached(event_ms)

    def doubt(self, symbol: str, traded_ms: int) -> None:
        """REST has shown a trade of that time that no connection brought; one that was up should have."""
        recording = self._recordings.get(symbol)
        vouchers = recording.vouchers if recording else []
        if recording and any(self._lacks(voucher, traded_ms) for voucher in vouchers):
            recording.known = recording.known.in_doubt(traded_ms)

    def _lacks(self, voucher: Voucher, traded_ms: int) -> bool:
        return voucher.began_before(traded_ms) or self._watch.counts_for(voucher.since_ms, traded_ms)

    def reach(self, symbol: str, event_ms: int) -> None:
        """A row of that time is held, with whatever came before it or a gap in its place."""
        recording = self._recordings.get(symbol)
        if recording is not None:
            recording.known = recording.known.reached(event_ms)

    def _append(self, symbol: str, rows: TradeColumns) -> bool:
        """Whether all is well: nothing had to be refused."""
        if len(rows) == 0:
            return True
        recording = self._recordings[symbol]
        added = self._ledger.append(symbol, rows)
        recording.trades += added.new
        if added.refused:
            self._note_refused(symbol, rows, added.refused)
            return False
        self._gaps.brought(symbol, "stream", rows)
        # The first rows after a start lie beyond what was missed: that is no news.
        self._gaps.opened(symbol, added.opened, is_news=recording.was_synced)
        recording.was_synced = True
        return True

    def _keep_conflicts(self, symbol: str, conflicts: Sequence[Conflict]) -> None:
        for conflict in conflicts:
            kept = self._ledger.keep_conflict(symbol, conflict)
            if self._may_tell("conflicts"):
                log.warning("conflict", symbol=symbol, id=conflict.id, first_stays=True, other_kept=kept)

    def _note_refused(self, symbol: str, rows: TradeColumns, refused: int) -> None:
        """Too much awaits the disk: these ids are missing until it writes again and REST brings them."""
        if self._may_tell("refused", most=1):
            log.error(
                "trades refused",
                symbol=symbol,
                first_id=int(rows.id[0]),
                last_id=int(rows.id[-1]),
                refused=refused,
                awaiting_disk=self._ledger.condition.unwritten,
                fix="make room on the disk; REST brings them then",
            )
        self.counts.refused += refused
        for connection in self._recordings[symbol].connections:
            self._tear(connection)

    # In figures

    @property
    def most_lag_ms(self) -> int | None:
        """The greatest lag of any link in the last minute or two."""
        return self._most_lag.ms_at(self._clock())

    def figures(self) -> tuple[SymbolFigures, ...]:
        return tuple(self._figures(symbol, each) for symbol, each in list(self._recordings.items()))

    def _figures(self, symbol: str, recording: _Recording) -> SymbolFigures:
        lags = [
            connection.lag_ms for connection in list(recording.connections) if connection.lag_ms is not None
        ]
        return SymbolFigures(
            symbol=symbol,
            trades=recording.trades,
            duplicates=recording.sequencer.duplicates,
            conflicts=recording.sequencer.conflicts,
            head=recording.sequencer.head,
            lag_ms=min(lags, default=None),
            is_synced=bool(recording.known.joined),
        )

    async def summarise(self, over_s: float) -> None:
        """One line a symbol of what came since the last call, which was `over_s` ago."""
        turn = _Turn()
        for symbol, recording in list(self._recordings.items()):
            now = self._figures(symbol, recording)
            trades, recording.trades_before = now.trades - recording.trades_before, now.trades
            log.info(
                "recorded",
                symbol=symbol,
                trades=trades,
                per_s=round(trades / over_s, 1),
                lag_ms=now.lag_ms,
                head=now.head,
                missing=self._ledger.missing(symbol),
            )
            await turn.give_way()
        untold = {kind: count for kind, count in self._told.items() if count > MOST_TOLD}
        if untold:
            log.warning("more of the same", **untold)
        self._told.clear()


def _newest_trade_ms(parsed: Parsed) -> int | None:
    """Up to when a connection has brought trades; a server that is behind stamps its events with now."""
    return max((int(rows.time_ms.max()) for rows in parsed.trades.values() if len(rows)), default=None)


class _Turn:
    """A turn of the event loop, and its end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends_s = self._loop.time() + TURN_S

    async def give_way(self) -> None:
        """Let others have their turn where this one has been long enough."""
        if self._loop.time() > self._ends_s:
            await asyncio.sleep(0)
            self._ends_s = self._loop.time() + TURN_S


async def _parse(texts: list[bytes], turn: _Turn) -> Parsed:
    """As `parse_messages`, in turns."""
    batch = Batch()
    for at in range(0, len(texts), STEP):
        batch.add(texts[at : at + STEP])
        await turn.give_way()
    trades = {}
    for symbol in batch.symbols:
        trades[symbol] = batch.columns(symbol)
        await turn.give_way()
    return batch.parsed(trades)
