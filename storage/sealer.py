"""Finished hours into blocks, rollups and candles on disk, and out of memory.

Invariant: an hour's records and the removal of its second-batches are one synced write: a crash leaves either
form. For one thread at a time, which alone writes.
"""

from collections.abc import Callable, Sequence
from functools import partial

from storage.database import Database
from storage.errors import CorruptRecord
from storage.recovery import stored_rows
from storage.sealing import MOST_IN_BLOCK, SEAL_GRACE_MS, Sealed, sealing_of
from storage.tapes import Tapes
from storage.trades import TradeColumns
from storage.writer import Writer


class Sealer:
    """Seals what is due of a ledger's tapes."""

    def __init__(self, database: Database, writer: Writer, tapes: Tapes) -> None:
        self._database = database
        self._writer = writer
        self._tapes = tapes

    def seal(self, now_ms: int, noticed: Callable[[str], object]) -> list[Sealed]:
        """The hours that were sealed; `noticed` is told of blocks that cannot be read.

        Raises `StoreUnavailable`, and then nothing more is sealed.
        """
        with self._tapes.lock:
            due = [
                (symbol, hour_ms, tuple(tape.open[hour_ms]))
                for symbol, tape in self._tapes.items()
                for hour_ms in tape.due(now_ms - SEAL_GRACE_MS, MOST_IN_BLOCK)
            ]
        sealed = []
        for symbol, hour_ms, parts in due:
            try:
                sealed.append(self._seal(symbol, hour_ms, parts))
            except CorruptRecord as damage:
                # The hour stays as it is, its new rows as second-batches.
                noticed(str(damage))
                self._tapes.of(symbol).unsealable.add(hour_ms)
        return sealed

    def _seal(self, symbol: str, hour_ms: int, parts: Sequence[TradeColumns]) -> Sealed:
        tape, rows = self._tapes.of(symbol), TradeColumns.concat(parts).by_id()
        known = tape.sealed.get(hour_ms, {})
        stored = partial(stored_rows, self._database, symbol, hour_ms)
        sealing = sealing_of(symbol, hour_ms, rows, known, stored, most_rows=MOST_IN_BLOCK)
        settle = partial(tape.settle, hour_ms, rows, sealing.part, sealing.rollup)
        self._writer.replace(sealing.records, sealing.removed, settle)
        return Sealed(symbol, hour_ms, sealing.rollup.rows, sum(map(len, sealing.records.values())))
