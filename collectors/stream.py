"""What connections bring: taken out of their rings, read, judged and posted, and who brought what how late.

Invariant: nothing here waits, for disk, REST or a reader; a text that cannot be read loses itself alone, and
a symbol that may have missed something counts as up to date again only once an id or REST has shown it.
"""

import asyncio
from collections.abc import Set
from dataclasses import dataclass

from collectors.clock import Clock
from collectors.continuity import Voucher
from collectors.links import Connection, Delivered
from collectors.oddities import Oddities
from collectors.posting import Posting
from collectors.recordings import Recordings
from collectors.sifting import Sifting
from collectors.stream_frames import Batch, Parsed
from collectors.turn import Turn
from collectors.watch import LagOfLate, Watch
from storage.trades import TradeColumns

# What is taken of a ring at once, and how many texts are read between two looks at the time.
MOST_TAKEN = 4_000
STEP = 100
MOST_LAG_WINDOW_MS = 60_000


@dataclass(frozen=True, slots=True)
class _Arrival:
    """What was taken of a connection's ring at once, the last of it received at `received_ms`, steady.

    `voucher` is None where something of it was lost: nothing vouches for the rest, nor for what it has of
    the symbols `mistrusted`.
    """

    connection: Connection
    parsed: Parsed
    mistrusted: Set[str]
    received_ms: int
    voucher: Voucher | None


class Stream:
    """What connections bring of the symbols recorded, on its way to the ledger.

    `filled` is set by the connections' rings; `watch` is told what is the newest of each symbol. While little
    comes, texts are gathered for `gather_s`.
    """

    def __init__(
        self,
        recordings: Recordings,
        sifting: Sifting,
        posting: Posting,
        watch: Watch,
        oddities: Oddities,
        clock: Clock,
        filled: asyncio.Event,
        gather_s: float,
    ) -> None:
        self._recordings = recordings
        self._sifting = sifting
        self._posting = posting
        self._watch = watch
        self._oddities = oddities
        self._clock = clock
        self._filled = filled
        self._gather_s = gather_s
        self._most_lag = LagOfLate(max, MOST_LAG_WINDOW_MS)
        self._behind = False

    @property
    def most_lag_ms(self) -> int | None:
        """The greatest lag of any link in the last minute or two."""
        return self._most_lag.ms_at(self._clock.steady_ms())

    def add(self, connection: Connection) -> None:
        """Take in what this connection brings."""
        self._recordings.add(connection)
        self.wake()  # for what it brought before this

    def wake(self) -> None:
        """Have `pump` look whether it is to stop, or whether a connection is over."""
        self._filled.set()

    async def pump(self, stop: asyncio.Event) -> None:
        """Take in what comes; once `stop` is set, until nothing is left."""
        while not (stop.is_set() and not self._left):
            await self._filled.wait()
            self._filled.clear()
            taken = 0
            for connection in list(self._recordings.connections):
                taken = max(taken, await self._take(connection))
                if not (connection.is_up or connection.ring):
                    self._recordings.remove(connection)
                await asyncio.sleep(0)
            self._behind = taken == MOST_TAKEN
            if self._left:
                self._filled.set()
            if not stop.is_set():
                await self._clock.sleep(0 if self._behind else self._gather_s)

    @property
    def _left(self) -> int:
        return sum(len(connection.ring) for connection in self._recordings.connections)

    def settle(self) -> None:
        """Stop waiting for what was waited for at the last call already, unless it may be in a ring still;
        note what is known by now."""
        for recording in self._recordings:
            if recording.sequencer.waiting and not self._behind:
                self._sifting.give_up_held(recording)
                self._posting.settle(recording)
            recording.settle()

    async def _take(self, connection: Connection) -> int:
        """Read and take in what a connection brought, or some of it; how many texts that was."""
        texts, received_ms = connection.ring.take(MOST_TAKEN)
        if received_ms is None:
            return 0
        turn = Turn()
        parsed, mistrusted = self._sifting.sifted(connection, await _parse(texts, turn))
        lost = self._note_oddities(connection, parsed)
        if lost:
            self._recordings.tear(connection)
        voucher = None if lost else connection.voucher
        try:
            await self._take_in(_Arrival(connection, parsed, mistrusted, received_ms, voucher), turn)
        except Exception:
            self._recordings.tear(connection)
            raise
        return len(texts)

    def _note_oddities(self, connection: Connection, parsed: Parsed) -> bool:
        """Count and tell what could not be read; whether a trade may be lost by it."""
        dropped = connection.ring.take_dropped()
        self._oddities.note_dropped(connection.number, dropped)
        self._oddities.note_unread(connection.number, parsed)
        return bool(dropped or parsed.malformed)

    async def _take_in(self, arrival: _Arrival, turn: Turn) -> None:
        connection, parsed = arrival.connection, arrival.parsed
        utc_ms = self._clock() - self._clock.steady_ms() + arrival.received_ms
        for symbol, rows in parsed.trades.items():
            self._take_in_symbol(arrival, symbol, rows, utc_ms - parsed.events_ms[symbol])
            await turn.give_way()
        if parsed.newest_event_ms is not None:
            self._note_newest(arrival, parsed.newest_event_ms, utc_ms - parsed.newest_event_ms)
        connection.shuts_down |= parsed.shutdown

    def _take_in_symbol(self, arrival: _Arrival, symbol: str, rows: TradeColumns, lag_ms: int) -> None:
        connection, voucher = arrival.connection, arrival.voucher
        recording = self._recordings.get(symbol)
        if recording is None or connection not in recording.connections:
            return
        recording.settle()
        self._note_brought(connection, symbol, rows, arrival.received_ms, lag_ms)
        is_well = self._posting.accept(recording, rows) and symbol not in arrival.mistrusted
        if is_well and voucher is not None and voucher is connection.voucher:
            recording.joined_by(voucher)

    def _note_brought(
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
        traded_ms, latest_ms = int(rows.time_ms[newest]), self._sifting.latest_ms
        if traded_ms <= latest_ms:  # one of the future says nothing of how late it is
            # Of any sign: the steady clock counts from anywhere.
            connection.trade_lag_ms = received_ms - traded_ms
            self._watch.note_lag(connection.trade_lag_ms, received_ms)
        self._watch.note(symbol, newest_id, min(traded_ms, latest_ms), received_ms)

    def _note_newest(self, arrival: _Arrival, event_ms: int, lag_ms: int) -> None:
        """Up to when the connection has brought all, and how late."""
        connection, voucher = arrival.connection, arrival.voucher
        connection.lag_ms = lag_ms
        self._most_lag.note(lag_ms, arrival.received_ms)
        trade_ms = _newest_trade_ms(arrival.parsed)
        if voucher is connection.voucher and trade_ms is not None:
            voucher.extend(min(trade_ms, event_ms, self._sifting.latest_ms))


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
