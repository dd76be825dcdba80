"""Filling a ledger with whole tapes: as the server does it, an hour a write instead of a second.

Invariant: the records are those that a recording second by second would have left.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Spent
from bench.synthetic import SyntheticTape
from bench.windows import NOW_MS
from storage import keys
from storage.database import Database
from storage.keys import HOUR_MS
from storage.ledger import TradeLedger
from storage.sealing import SEAL_GRACE_MS

LAST_HOURS = 24


@dataclass(frozen=True, slots=True)
class Filled:
    """Trades in sealed hours by symbol, milliseconds of each sealing (an hour of all symbols), and the most
    bytes a trade that the directory had in the last 24 h after the hourly compaction."""

    trades: int
    sealed: dict[str, int]
    seal_ms: list[float]
    directory_bytes_a_trade: float

    @property
    def seal_us_a_trade(self) -> float:
        return sum(self.seal_ms) * 1000 / sum(self.sealed.values())

    @property
    def seal_ms_an_hour(self) -> float:
        return statistics.median(self.seal_ms)


def fill(path: Path, tapes: Sequence[SyntheticTape]) -> Filled:
    """Each hour is appended, written, sealed 60 s after its end and compacted, until `NOW_MS`."""
    sealed = {tape.instrument.symbol: 0 for tape in tapes}
    seal_ms, sizes, held = [], [], 0
    with TradeLedger.open(path) as ledger:
        for tape in tapes:
            ledger.keep_instrument(tape.instrument, min(tape.hours))
        for hour_ms in tapes[0].hours:
            for tape in tapes:
                ledger.append(tape.instrument.symbol, tape.hours[hour_ms])
                held += len(tape.hours[hour_ms])
            ledger.flush()
            sealing = Spent()
            with sealing.counting():
                hours = ledger.seal(min(hour_ms + HOUR_MS + SEAL_GRACE_MS, NOW_MS))
            if hours:
                seal_ms.append(sealing.wall_s * 1000)
            for hour in hours:
                sealed[hour.symbol] += hour.rows
            ledger.compact_seconds()
            sizes.append(ledger.bytes_on_disk / held)
    return Filled(held, sealed, seal_ms, max(sizes[-LAST_HOURS:]))


def sealed_bytes(path: Path, symbol: str) -> int:
    """Keys and values of all records of the symbol's sealed hours: blocks, histograms, candles."""
    database = Database.open(path, create=False)
    try:
        with database.reading(), database.snapshot() as snapshot:
            return sum(
                len(key) + len(value)
                for family in keys.SEALED_FAMILIES
                for key, value in snapshot.records(*keys.span(family, symbol))
            )
    finally:
        database.close()
