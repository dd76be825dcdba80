"""Rows into the ledger's memory, each symbol's in its one order by id, and what follows from how they fare.

Invariant: all that a symbol's sequencer lets go of is appended here and nowhere else; a symbol of which
something was refused is vouched for by nobody until an id or REST has shown what is missing. Nothing waits.
"""

from collectors.gap_reports import GapReports
from collectors.oddities import Oddities
from collectors.recording import Recording
from collectors.recordings import Recordings
from storage.held_ids import latest
from storage.ledger import TradeLedger
from storage.trades import TradeColumns


class Posting:
    """`gaps` is told what is missing and by whom it came."""

    def __init__(
        self, ledger: TradeLedger, recordings: Recordings, gaps: GapReports, oddities: Oddities
    ) -> None:
        self._ledger = ledger
        self._recordings = recordings
        self._gaps = gaps
        self._oddities = oddities

    def accept(self, recording: Recording, rows: TradeColumns) -> bool:
        """A connection has brought these rows, in any order. Whether all is well: nothing had to be refused,
        and nothing new came under ids that are held."""
        is_well = self._append(recording, recording.sequencer.accept(rows))
        self._keep_conflicts(recording)
        return is_well

    def remember(self, symbol: str, rows: TradeColumns) -> None:
        """REST has shown these rows, and the ledger holds them: links bring them again, or something else
        under their ids."""
        recording = self._recordings.get(symbol)
        if recording is None:
            return
        recording.plausibility.confirm()
        self._append(recording, recording.sequencer.remember(rows))
        self._keep_conflicts(recording)

    def settle(self, recording: Recording) -> None:
        """Stop waiting for what was waited for at the last call already."""
        self._append(recording, recording.sequencer.settle())

    def restart(self, recording: Recording) -> None:
        """What comes next is a beginning, whatever its ids."""
        self._append(recording, recording.sequencer.restart())

    def drain(self) -> None:
        """Wait no more for what is missing: all that came is taken in."""
        for recording in self._recordings:
            self._append(recording, recording.sequencer.drain())

    def _append(self, recording: Recording, rows: TradeColumns) -> bool:
        if len(rows) == 0:
            return True
        added = self._ledger.append(recording.symbol, rows)
        recording.trades += added.new
        if added.new:
            recording.is_shut_out = False
        if added.refused:
            self._note_refused(recording, rows, added.refused)
            return False
        if not added.new and self._is_newer(recording.symbol, rows):
            self._note_shut_out(recording, rows)
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

    def _note_refused(self, recording: Recording, rows: TradeColumns, refused: int) -> None:
        awaiting_disk = self._ledger.condition.unwritten
        self._oddities.note_refused(recording.symbol, rows, refused, awaiting_disk)
        for connection in recording.connections:
            self._recordings.tear(connection)

    def _note_shut_out(self, recording: Recording, rows: TradeColumns) -> None:
        recording.is_shut_out = True
        self._oddities.note_shut_out(recording.symbol, rows)
        recording.mistrust()

    def _keep_conflicts(self, recording: Recording) -> None:
        for conflict in recording.sequencer.take_conflicts():
            kept = self._ledger.keep_conflict(recording.symbol, conflict)
            self._oddities.note_conflict(recording.symbol, conflict, kept=kept)
