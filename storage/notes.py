"""What a ledger notes beside its trades: venue, filters, contents that contradict what is held.

Invariant: a note is known at once, and durable with the next flush, which takes notes and trades of one
instant. Thread-safe; `take`, `give_back` and `forget` are for whoever holds the lock.
"""

import threading
from collections.abc import Collection, Sequence

from storage import keys
from storage.conflicts import MOST_KEPT, Conflict, pack_conflict, unpack_conflict
from storage.database import Database
from storage.errors import VenueMismatch
from storage.records import InstrumentHistory, Source, pack_instruments, pack_source
from storage.recovery import Recovered
from storage.trades import Instrument


class Notes:
    """The notes of one ledger."""

    def __init__(self, database: Database, recovered: Recovered, lock: threading.Lock) -> None:
        self._database = database
        self._lock = lock
        self._source = recovered.source
        self._instruments = recovered.instruments
        self._conflicts = recovered.conflicts
        self._pending: dict[bytes, bytes] = {}

    def take(self) -> dict[bytes, bytes]:
        """The records that await a write."""
        taken, self._pending = self._pending, {}
        return taken

    def give_back(self, taken: dict[bytes, bytes]) -> None:
        """The write failed: they await another, as far as nothing newer does."""
        self._pending = taken | self._pending

    def _note(self, key: bytes, value: bytes) -> None:
        with self._lock:
            self._pending[key] = value

    @property
    def venue(self) -> str | None:
        return self._source.venue if self._source else None

    def confirmed_at(self, addresses: Sequence[str]) -> bool:
        return self._source is None or self._source.addresses == list(addresses)

    def claim(self, venue: str, addresses: Sequence[str]) -> None:
        """Raises `VenueMismatch` where another venue is noted."""
        source = Source(venue, list(addresses))
        if self._source is not None and self._source.venue != venue:
            raise VenueMismatch(
                f"{self._database.path} holds the tape of {self._source.venue!r} and the exchange is "
                f"{venue!r}; choose another TAPEDECK_DATA_DIR"
            )
        if source != self._source:
            self._note(keys.SOURCE, pack_source(source))
            self._source = source

    @property
    def instruments(self) -> dict[str, Instrument]:
        return {symbol: versions[-1][1] for symbol, versions in self._instruments.items()}

    def versions(self, symbol: str) -> InstrumentHistory:
        """A symbol's filters, each with the time (UTC ms) from which it holds, oldest first."""
        return self._instruments.get(symbol, [])

    def status(self, symbol: str) -> tuple[str, int] | None:
        versions = self.versions(symbol)
        if not versions:
            return None
        status, since_ms = versions[-1][1].status, versions[-1][0]
        for seen_ms, known in reversed(versions):
            if known.status != status:
                break
            since_ms = seen_ms
        return status, since_ms

    def keep_instrument(self, instrument: Instrument, since_ms: int) -> None:
        versions = self.versions(instrument.symbol)
        if versions and versions[-1][1] == instrument:
            return
        versions = [*versions, (since_ms, instrument)]
        self._note(keys.instrument(instrument.symbol), pack_instruments(versions))
        self._instruments[instrument.symbol] = versions

    def keep_conflict(self, symbol: str, conflict: Conflict) -> bool:
        """Whether there was room for it: the first one of an id is kept, and `MOST_KEPT` of a symbol."""
        key = keys.conflict(symbol, keys.hour_of(conflict.time_ms), conflict.id)
        with self._lock:
            kept = self._conflicts.setdefault(symbol, set())
            if len(kept) >= MOST_KEPT or key in kept:
                return key in kept
            kept.add(key)
            self._pending[key] = pack_conflict(conflict)
        return True

    def conflicts(self, symbol: str) -> list[Conflict]:
        """By hour."""
        with self._lock:
            kept = sorted(self._conflicts.get(symbol, ()))
            pending = {key: self._pending[key] for key in kept if key in self._pending}
        found = [pending.get(key) or self._database.get(key) for key in kept]
        return [unpack_conflict(value) for value in found if value is not None]

    def forget(self, gone: Collection[bytes]) -> None:
        """The conflicts under these keys are deleted."""
        for kept in self._conflicts.values():
            kept.difference_update(gone)
