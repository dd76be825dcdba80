"""Trades that cannot be, taken out of what connections bring; and the ids begun anew where what was known of
them is wrong.

Invariant: a symbol of which something is left out is in doubt from then on; whatever stays has passed
`Plausibility`, or is near the newest id known.
"""

from collections.abc import Callable, Set
from dataclasses import replace

import structlog

from collectors.links import Connection
from collectors.oddities import Oddities
from collectors.plausibility import CLOCK_SKEW_MS
from collectors.posting import Posting
from collectors.recording import Recording
from collectors.recordings import Recordings
from collectors.stream_frames import Parsed
from collectors.watch import Watch
from storage.ledger import TradeLedger
from storage.trades import TradeColumns

log = structlog.get_logger()


class Sifting:
    """`exchange_ms` is the exchange's time as far as is known."""

    def __init__(
        self,
        ledger: TradeLedger,
        recordings: Recordings,
        posting: Posting,
        watch: Watch,
        oddities: Oddities,
        exchange_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._recordings = recordings
        self._posting = posting
        self._watch = watch
        self._oddities = oddities
        self._exchange_ms = exchange_ms

    @property
    def latest_ms(self) -> int:
        """The latest time that a trade can be of."""
        return self._exchange_ms() + CLOCK_SKEW_MS

    def sifted(self, connection: Connection, parsed: Parsed) -> tuple[Parsed, Set[str]]:
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
        sifted = recording.sift(rows, self._oldest_id(recording.symbol), self.latest_ms)
        if sifted.begins_anew:
            self._begin_anew(recording, sifted.rows, connection.host)
        if sifted.left_out is not None:
            self._oddities.note_implausible(recording.symbol, sifted.left_out, head, connection.number)
        return sifted.rows

    def _oldest_id(self, symbol: str) -> int | None:
        runs = self._ledger.runs(symbol)
        return runs[0].first_id if runs else None

    def give_up_held(self, recording: Recording) -> None:
        """A jump that could be when it came, and cannot beside what another link has brought since."""
        left_out = recording.give_up_held(self.latest_ms)
        if not len(left_out):
            return
        self._oddities.note_implausible(recording.symbol, left_out, recording.sequencer.head)
        self._forget_newest(recording)
        recording.mistrust()

    def begin_anew(self, symbol: str, rows: TradeColumns) -> None:
        """REST's newest rows, which the ledger holds, are not what the newest id known leads to."""
        recording = self._recordings.get(symbol)
        if recording is not None:
            self._begin_anew(recording, rows, "REST")
            self._posting.remember(symbol, rows)

    def _begin_anew(self, recording: Recording, rows: TradeColumns, by: str) -> None:
        """The newest id that was known is wrong, or the exchange counts anew."""
        log.warning(
            "ids begin anew",
            symbol=recording.symbol,
            head=recording.sequencer.head,
            first_id=int(rows.id.min()),
            shown_by=by,
        )
        self._posting.restart(recording)
        self._forget_newest(recording)

    def _forget_newest(self, recording: Recording) -> None:
        self._watch.begin_anew(recording.symbol)
        for connection in recording.connections:
            connection.delivered.pop(recording.symbol, None)
