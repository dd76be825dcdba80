"""The stream's way into the ledger: each connection's texts to columns, columns to one order by id, and that
into the memory of the ledger.

Invariant: nothing here waits, for disk, REST or a reader; a text that cannot be read loses itself alone, and
a symbol that may have missed something counts as up to date again only once an id or REST has shown it.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace

import structlog

from collectors.clock import Clock
from collectors.continuity import Voucher
from collectors.figures import SymbolFigures
from collectors.gap_reports import GapReports
from collectors.links import Connection, Delivered
from collectors.oddities import Counts, Oddities
from collectors.plausibility import CLOCK_SKEW_MS
from collectors.recording import Recording
from collectors.sequencer import Sequencer
from collectors.stream_frames import Batch, Parsed
from collectors.turn import Turn
from collectors.watch import LagOfLate, Watch
from storage.conflicts import Conflict
from storage.held_ids import latest
from storage.ledger import TradeLedger
from storage.trades import TradeColumns

log = structlog.get_logger()

# What is taken of a ring at once, and how many texts are read between two looks at the time.
MOST_TAKEN = 4_000
STEP = 100
MOST_LAG_WINDOW_MS = 60_000


class Stream:
    """What connections bring of some symbols, on its way to the ledger.

    `filled` is set by the connections' rings; `watch` is told what is the newest of each symbol, `gaps` what
    is missing; `exchange_ms` is the exchange's time as far as is known. While little comes, texts are
    gathered for `gather_s`.
    """

    def __init__(
        self,
        ledger: TradeLedger,
        symbols: Iterable[str],
        clock: Clock,
        watch: Watch,
        gaps: GapReports,
        filled: asyncio.Event,
        gather_s: float,
        exchange_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._watch = watch
        self._gaps = gaps
        self._filled = filled
        self._gather_s = gather_s
        self._exchange_ms = exchange_ms
        self._recordings: dict[str, Recording] = {}
        for symbol in symbols:
            newest = latest(ledger.runs(symbol))
            sequencer = Sequencer() if newest is None else Sequencer(newest.last_id, newest.last_ms)
            self._recordings[symbol] = Recording(symbol, sequencer, watch, clock)
        self._connections: list[Connection] = []
        self._oddities = Oddities()
        self._most_lag = LagOfLate(max, MOST_LAG_WINDOW_MS)
        self._behind = False

    @property
    def symbols(self) -> list[str]:
        return list(self._recordings)

    def recording(self, symbol: str) -> Recording:
        """The symbol's recording; one without any connection where it is not recorded. For any thread."""
        recording = self._recordings.get(symbol)
        return Recording(symbol, Sequencer(), self._watch, self._clock) if recording is None else recording

    def drop(self, symbol: str) -> None:
        """The symbol is recorded no more."""
        self._recordings.pop(symbol, None)
        self._watch.drop(symbol)

    # Connections

    def add(self, connection: Connection) -> None:
        """Take in what this connection brings."""
        self._connections.append(connection)
        for recording in self._of(connection):
            recording.connections.append(connection)
        self.wake()  # for what it brought before this

    def _remove(self, connection: Connection) -> None:
        """The connection is over, and all that it brought is taken in."""
        self._connections.remove(connection)
        for recording in self._of(connection):
            recording.part_from(connection.voucher)
            recording.connections.remove(connection)

    def _tear(self, connection: Connection) -> None:
        """Something that the connection brought is lost: it vouches for what comes from now on."""
        torn, connection.voucher = connection.voucher, Voucher(self._clock.steady_ms())
        for recording in self._of(connection):
            recording.part_from(torn)

    def _of(self, connection: Connection) -> Iterable[Recording]:
        found = map(self._recordings.get, connection.symbols)
        return [recording for recording in found if recording is not None]

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
                await self._clock.sleep(0 if self._behind else self._gather_s)

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
        turn = Turn()
        parsed = await _parse(texts, turn)
        parsed, mistrusted = self._sifted(connection, parsed)
        lost = self._note_oddities(connection, parsed)
        if lost:
            self._tear(connection)
        voucher = None if lost else connection.voucher
        try:
            await self._take_in(connection, parsed, received_ms, voucher, mistrusted, turn)
        except Exception:
            self._tear(connection)
            raise
        return len(texts)

    def _sifted(self, connection: Connection, parsed: Parsed) -> tuple[Parsed, Set[str]]:
        """Without the trades that cannot be, and the symbols of which there were some."""
        sifted, mistrusted = {}, set()
        for symbol, rows in parsed.trades.items():
            recording = self._recordings.get(symbol)
            if recording is not None and not recording.is_near(rows):
                sifted[symbol] = self._sift(connection, recording, rows)
                if len(sifted[symbol]) < len(rows):
                    recording.mistrust()
                    mistrusted.add(symbol)
        if not sifted:
            return parsed, mistrusted
        trades = {symbol: rows for symbol, rows in (parsed.trades | sifted).items() if len(rows)}
        return replace(parsed, trades=trades), mistrusted

    def _sift(self, connection: Connection, recording: Recording, rows: TradeColumns) -> TradeColumns:
        head = recording.sequencer.head
        sifted = recording.sift(rows, self._oldest_id(recording.symbol), self._latest_ms())
        if sifted.begins_anew:
            self._begin_anew(recording, sifted.rows, connection.host)
        if sifted.left_out is not None:
            self._oddities.note_implausible(recording.symbol, sifted.left_out, head, connection.number)
        return sifted.rows

    def _oldest_id(self, symbol: str) -> int | None:
        runs = self._ledger.runs(symbol)
        return runs[0].first_id if runs else None

    def _latest_ms(self) -> int:
        """The latest time that a trade can be of."""
        return self._exchange_ms() + CLOCK_SKEW_MS

    def begin_anew(self, symbol: str, rows: TradeColumns) -> None:
        """REST's newest rows, which the ledger holds, are not what the newest id known leads to."""
        recording = self._recordings.get(symbol)
        if recording is not None:
            self._begin_anew(recording, rows, "REST")
            self.remember(symbol, rows)

    def _begin_anew(self, recording: Recording, rows: TradeColumns, by: str) -> None:
        """The newest id that was known is wrong, or the exchange counts anew."""
        log.warning(
            "ids begin anew",
            symbol=recording.symbol,
            head=recording.sequencer.head,
            first_id=int(rows.id.min()),
            shown_by=by,
        )
        self._append(recording, recording.sequencer.restart())
        self._forget_newest(recording)

    def _forget_newest(self, recording: Recording) -> None:
        self._watch.begin_anew(recording.symbol)
        for connection in recording.connections:
            connection.delivered.pop(recording.symbol, None)

    async def _take_in(
        self,
        connection: Connection,
        parsed: Parsed,
        received_ms: int,
        voucher: Voucher | None,
        mistrusted: Set[str],
        turn: Turn,
    ) -> None:
        """`voucher` is None where something in the batch was lost: nothing vouches for it, nor for what it
        has of the symbols `mistrusted`."""
        utc_ms = self._clock() - self._clock.steady_ms() + received_ms
        for symbol, rows in parsed.trades.items():
            recording = self._recordings.get(symbol)
            if recording is None or connection not in recording.connections:
                continue
            recording.settle()
            self._note(connection, symbol, rows, received_ms, utc_ms - parsed.events_ms[symbol])
            is_well = self._append(recording, recording.sequencer.accept(rows)) and symbol not in mistrusted
            if is_well and voucher is not None and voucher is connection.voucher:
                recording.joined_by(voucher)
            self._keep_conflicts(symbol, recording.sequencer.take_conflicts())
            await turn.give_way()
        if parsed.newest_event_ms is not None:
            connection.lag_ms = utc_ms - parsed.newest_event_ms
            self._most_lag.note(connection.lag_ms, received_ms)
            newest_ms = _newest_trade_ms(parsed)
            if voucher is connection.voucher and newest_ms is not None:
                voucher.extend(min(newest_ms, parsed.newest_event_ms, self._latest_ms()))
        connection.shuts_down |= parsed.shutdown

    def _note(
        self, connection: Connection, symbol: str, rows: TradeColumns, received_ms: int, lag_ms: int
    ) -> None:
        """Who brought what, and how late."""
        newest = int(rows.id.argmax())
        newest_id = int(rows.id[newest])
        delivered = connection.delivered.get(symbol)
        if delivered is None:
            delivered = connection.delivered[symbol] = Delivered(int(rows.id.min()), newest_id)
        delivered.newest_id = max(delivered.newest_id, newest_id)
        delivered.received_ms, delivered.lag_ms = received_ms, lag_ms
        traded_ms, latest_ms = int(rows.time_ms[newest]), self._latest_ms()
        if traded_ms <= latest_ms:  # one of the future says nothing of how late it is
            # Of any sign: the steady clock counts from anywhere.
            connection.trade_lag_ms = received_ms - traded_ms
            self._watch.note_lag(connection.trade_lag_ms, received_ms)
        self._watch.note(symbol, newest_id, min(traded_ms, latest_ms), received_ms)

    def _note_oddities(self, connection: Connection, parsed: Parsed) -> bool:
        """Count and tell what could not be read; whether a trade may be lost by it."""
        dropped = connection.ring.take_dropped()
        self._oddities.note_dropped(connection.number, dropped)
        self._oddities.note_unread(connection.number, parsed)
        return bool(dropped or parsed.malformed)

    # The order, and the ledger

    def remember(self, symbol: str, rows: TradeColumns) -> None:
        """REST has shown these rows, and the ledger holds them: links bring them again, or something else
        under their ids."""
        recording = self._recordings.get(symbol)
        if recording is None:
            return
        recording.plausibility.confirm()
        self._append(recording, recording.sequencer.remember(rows))
        self._keep_conflicts(symbol, recording.sequencer.take_conflicts())

    def settle(self) -> None:
        """Stop waiting for what was waited for at the last call already, unless it may be in a ring still;
        note what is known by now."""
        for recording in list(self._recordings.values()):
            if recording.sequencer.waiting and not self._behind:
                self._give_up_held(recording)
                self._append(recording, recording.sequencer.settle())
            recording.settle()

    def _give_up_held(self, recording: Recording) -> None:
        """A jump that could be when it came, and cannot beside what another link has brought since."""
        left_out = recording.give_up_held(self._latest_ms())
        if not len(left_out):
            return
        self._oddities.note_implausible(recording.symbol, left_out, recording.sequencer.head)
        self._forget_newest(recording)
        recording.mistrust()

    def drain(self) -> None:
        """Wait no more for what is missing: all that came goes to the ledger."""
        for recording in self._recordings.values():
            self._append(recording, recording.sequencer.drain())

    def _append(self, recording: Recording, rows: TradeColumns) -> bool:
        """Whether all is well: nothing had to be refused, and nothing new came under ids that are held."""
        if len(rows) == 0:
            return True
        added = self._ledger.append(recording.symbol, rows)
        recording.trades += added.new
        if added.new:
            recording.is_shut_out = False
        elif not added.refused and self._is_newer(recording.symbol, rows):
            recording.is_shut_out = True
            self._oddities.note_shut_out(recording.symbol, rows)
            recording.mistrust()
            return False
        if added.refused:
            awaiting_disk = self._ledger.condition.unwritten
            self._oddities.note_refused(recording.symbol, rows, added.refused, awaiting_disk)
            for connection in recording.connections:
                self._tear(connection)
            return False
        self._gaps.brought(recording.symbol, "stream", rows)
        # The first rows after a start lie beyond what was missed: that is no news.
        self._gaps.opened(recording.symbol, added.opened, is_news=recording.was_synced)
        recording.was_synced = True
        return True

    def _is_newer(self, symbol: str, rows: TradeColumns) -> bool:
        """Whether the rows were traded after all that is held."""
        newest = latest(self._ledger.runs(symbol))
        return newest is None or int(rows.time_ms.max()) > newest.last_ms

    def _keep_conflicts(self, symbol: str, conflicts: Sequence[Conflict]) -> None:
        for conflict in conflicts:
            kept = self._ledger.keep_conflict(symbol, conflict)
            self._oddities.note_conflict(symbol, conflict, kept=kept)

    # In figures

    @property
    def most_lag_ms(self) -> int | None:
        """The greatest lag of any link in the last minute or two."""
        return self._most_lag.ms_at(self._clock.steady_ms())

    @property
    def counts(self) -> Counts:
        """What was not kept as it came."""
        return self._oddities.counts

    def figures(self) -> tuple[SymbolFigures, ...]:
        return tuple(recording.figures() for recording in list(self._recordings.values()))

    async def summarise(self, over_s: float) -> None:
        """One line a symbol of what came since the last call, which was `over_s` ago."""
        turn = Turn()
        for recording in list(self._recordings.values()):
            now, trades = recording.figures(), recording.take_trades()
            runs = self._ledger.runs(now.symbol)
            log.info(
                "recorded",
                symbol=now.symbol,
                trades=trades,
                per_s=round(trades / over_s, 1),
                lag_ms=now.lag_ms,
                head=runs[-1].last_id if runs else None,
                missing=self._ledger.missing(now.symbol),
            )
            await turn.give_way()
        self._oddities.tell_more()


def _newest_trade_ms(parsed: Parsed) -> int | None:
    """Up to when a connection has brought trades; a server that is behind stamps its events with now."""
    return max((int(rows.time_ms.max()) for rows in parsed.trades.values() if len(rows)), default=None)


async def _parse(texts: list[bytes], turn: Turn) -> Parsed:
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
