"""Rows of the past into a ledger: what is new is taken in, what is held is compared and stays.

Invariant: no row that is held is changed.
"""

from dataclasses import dataclass
from typing import Protocol

from storage.difference import difference
from storage.errors import StoreUnavailable
from storage.ledger import TradeLedger
from storage.trades import TradeColumns

# Rows handed over at once: some milliseconds under the ledger's lock.
MOST_AT_ONCE = 20_000
FLUSHED_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of rows: ids that were `new`, ids `held` already, and those held with other content."""

    new: int = 0
    held: int = 0
    conflicts: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(self.new + other.new, self.held + other.held, self.conflicts + other.conflicts)


class Intake(Protocol):
    """Where rows of the past go."""

    def put(self, symbol: str, rows: TradeColumns) -> None:
        """Hand over rows, ids ascending, at most `MOST_AT_ONCE`; raises `LedgerError`."""

    def finish(self) -> Taken:
        """Wait until all that was put is on disk and sealed; what became of it since the last time."""


class OwnIntake:
    """Into a ledger that this process has open."""

    def __init__(self, ledger: TradeLedger, now_ms: int) -> None:
        self._ledger = ledger
        self._now_ms = now_ms
        self._taken = Taken()

    def put(self, symbol: str, rows: TradeColumns) -> None:
        self._taken += take_in(self._ledger, symbol, rows)
        if self._ledger.condition.unwritten > FLUSHED_ROWS:
            self._ledger.flush()

    def finish(self) -> Taken:
        settle(self._ledger, self._now_ms)
        taken, self._taken = self._taken, Taken()
        return taken


def take_in(ledger: TradeLedger, symbol: str, rows: TradeColumns) -> Taken:
    """Append rows of the past; those whose ids are held are compared with what is held."""
    added = ledger.append(symbol, rows, restoring=True)
    if added.refused:
        raise StoreUnavailable("too many rows await the disk; make room on it and try again")
    conflicts = _conflicts(ledger, symbol, rows) if added.duplicates else 0
    return Taken(added.new, added.duplicates, conflicts)


def _conflicts(ledger: TradeLedger, symbol: str, rows: TradeColumns) -> int:
    """How many of the rows, all of them held, are held with other content."""
    held = ledger.trades(symbol, int(rows.time_ms.min()), int(rows.time_ms.max()) + 1)
    return len(rows) - difference(rows.by_id(), held).same


def settle(ledger: TradeLedger, now_ms: int) -> None:
    """Seal what has come in and give its second-batches' space back."""
    # An hour with a gap is sealed when a second look finds it unchanged.
    ledger.seal(now_ms)
    ledger.seal(now_ms)
    ledger.compact_seconds()
