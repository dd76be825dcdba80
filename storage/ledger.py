"""The trade ledger: trades go in by id, in any order and as often as one likes, and come out exact.

Invariant: what `flush` returned from survives any crash of the process, every id is held once, and every
id between the oldest and the newest one is either held or in a gap. One process owns a directory.

Thread-safety: `append`, `view` and the readers may be called from any thread. What writes (`flush`, `seal`,
`expire`, `shrink`, `checkpoint`) waits for the disk and for each other: call it from a worker thread.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from storage import keys
from storage.absences import Absence
from storage.conflicts import Conflict
from storage.database import Database
from storage.expirer import Expirer
from storage.held_ids import Run
from storage.histograms import PriceHistogram
from storage.hour_records import interruptible
from storage.notes import Notes
from storage.recent import WorkedOut
from storage.recovery import Recovered, recover
from storage.retention import Expired
from storage.sealer import Sealer
from storage.sealing import Sealed
from storage.tapes import Appended, Tapes
from storage.trades import Coverage, Gap, Instrument, TradeColumns
from storage.view import LedgerView
from storage.writer import Writer

# A ledger that has outgrown its limit is brought to this share of it, so that it stays below for a while.
SHRINK_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Condition:
    """How it stands with the disk: rows that no write has acknowledged, rows refused since the ledger was
    opened because too many awaited the disk, and the last write's error, None where it succeeded."""

    unwritten: int
    refused: int
    error: str | None


class TradeLedger:
    """The trades of many symbols in one LevelDB directory."""

    def __init__(self, database: Database, recovered: Recovered) -> None:
        """Use `TradeLedger.open`."""
        self._database = database
        self._writing = threading.Lock()
        self._damage = recovered.damage
        self._tapes = Tapes(recovered.tapes)
        self._lock = self._tapes.lock
        self._notes = Notes(database, recovered, self._lock)
        self._writer = Writer(database, self._lock)
        self._sealer = Sealer(database, self._writer, self._tapes)
        self._expirer = Expirer(database, self._writer, self._tapes, self._notes)
        self._worked_out = WorkedOut()

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open the ledger in `path`, or start one where the directory is new or empty.

        Raises `StoreLocked` when another process holds it, `NewerFormat`, `CorruptRecord`, and
        `StoreUnavailable` for whatever else the disk says; without `create` also where there is no ledger.
        """
        database = Database.open(path, create=create)
        try:
            return cls(database, recover(database))
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Write what is pending and let go of the directory; questions under way are refused and ended.

        Raises as `flush` does; the directory is let go of all the same.
        """
        self._database.end_reading()
        try:
            self.flush()
            with self._writing:
                self._database.settle()
        finally:
            with self._writing:
                self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is kept about the exchange

    @property
    def venue(self) -> str | None:
        """Where the trades come from; None before the first recording."""
        return self._notes.venue

    def confirmed_at(self, addresses: Sequence[str]) -> bool:
        """Whether these addresses were the ledger's venue when last asked, or it has none yet."""
        return self._notes.confirmed_at(addresses)

    def claim(self, venue: str, addresses: Sequence[str] = ()) -> None:
        """Name the venue of a new ledger; `VenueMismatch` where it was recorded from another.

        Durable with the next flush, before or with any trade.
        """
        self._notes.claim(venue, addresses)

    @property
    def instruments(self) -> dict[str, Instrument]:
        """Each symbol's filters as last seen."""
        return self._notes.instruments

    def status(self, symbol: str) -> tuple[str, int] | None:
        """A symbol's status as last seen, and since when it was seen so (UTC ms); None before it is known."""
        return self._notes.status(symbol)

    def keep_instrument(self, instrument: Instrument, since_ms: int) -> None:
        """Remember a symbol's filters; a change is added with the time from which it holds. Durable with the
        next flush."""
        self._notes.keep_instrument(instrument, since_ms)

    def take_damage(self) -> list[str]:
        """What was found damaged since the last call, and what became of it; an operator wants to know."""
        found, self._damage = self._damage, []
        return found

    # Contents that contradict what is held

    def keep_conflict(self, symbol: str, conflict: Conflict) -> bool:
        """Keep another content under an id beside the one that is held; whether there was room for it.

        The first one of an id is kept, and a bounded number of a symbol's. Durable with the next flush.
        """
        return self._notes.keep_conflict(symbol, conflict)

    def conflicts(self, symbol: str) -> list[Conflict]:
        """The contents kept beside those that are held, by hour."""
        return self._notes.conflicts(symbol)

    # Trades in

    def append(self, symbol: str, trades: TradeColumns, *, restoring: bool = False) -> Appended:
        """Take in the rows whose ids are not held; readers see them at once, `flush` makes them durable.

        Expired ids count as held; with `restoring` rows of theirs are taken in again.
        """
        trades = trades.by_id()
        with self._lock:
            return self._tapes.append(symbol, trades, restoring=restoring)

    def set_warmup(self, symbol: str, from_ms: int, from_id: int | None = None) -> None:
        """Remember how far back the history of a symbol is wanted, and with which id it begins, where there
        is any; durable with the next flush."""
        with self._lock:
            tape = self._tapes.begun(symbol)
            tape.state = replace(tape.state, warmup_from_ms=from_ms, warmup_from_id=from_id)
            tape.changed = True

    def keep_absence(self, symbol: str, absence: Absence) -> None:
        """Remember ids that the exchange lacks, as far as no row of them is held; durable with the next
        flush."""
        with self._lock:
            self._tapes.begun(symbol).keep_absence(absence)

    @property
    def condition(self) -> Condition:
        """How it stands with the disk."""
        return Condition(self._tapes.unwritten, self._tapes.refused, self._writer.error)

    @property
    def is_behind(self) -> bool:
        """Whether so much awaits the disk that history should wait and leave the room to live trades."""
        return self._tapes.is_behind

    # Trades to disk

    def flush(self) -> int:
        """Write all that is pending in one synced batch; how many trades that was.

        Raises `StoreUnavailable` when the disk refuses: what was pending stays pending.
        """
        with self._writing:
            return self._flush()

    def _flush(self) -> int:
        with self._lock:
            batch, noted = self._tapes.take(), self._notes.take()
        try:
            records = noted | batch.records()
            if records:
                self._writer.write(records, batch.removed())
        except BaseException:
            with self._lock:
                self._notes.give_back(noted)
                self._tapes.give_back(batch)
            raise
        with self._lock:
            self._tapes.acknowledge(batch)
        return batch.rows

    def seal(self, now_ms: int) -> list[Sealed]:
        """Turn finished hours into blocks, rollups and candles; which ones. Writes what is pending first.

        An hour's records and the removal of its second-batches are one synced write: a crash leaves either
        form. Raises as `flush` does, and then nothing more is sealed.
        """
        with self._writing:
            self._flush()
            return self._sealer.seal(now_ms, self._notice)

    def _notice(self, damage: str) -> None:
        self._damage.append(damage)

    def expire(self, before_ms: int, gone: Callable[[Expired], object] = lambda _: None) -> list[Expired]:
        """Delete the hours that end at or before `before_ms`, and give their space back; what went.

        `gone` is told of each symbol's as soon as it has gone: a disk that refuses may leave the rest. Views
        that are open keep what they see. Raises as `flush` does.
        """
        with self._writing:
            self._flush()
            return self._expirer.expire(before_ms, gone)

    def shrink(self, most_bytes: int, gone: Callable[[Expired], object] = lambda _: None) -> list[Expired]:
        """Delete the oldest hours of all symbols, never the newest one, where the files exceed `most_bytes`
        although the space of what is deleted came back; as `expire` does."""
        if self._database.bytes_on_disk() <= most_bytes:
            return []
        self.compact()
        size = self._database.bytes_on_disk()
        if size <= most_bytes:
            return []
        with self._writing:
            before_ms = self._expirer.oldest_worth(size - int(most_bytes * SHRINK_SHARE))
        return self.expire(before_ms, gone) if before_ms is not None else []

    def compact(self) -> None:
        """Give the space of deleted records back; LevelDB does not do so by itself."""
        with self._writing:
            for family in ("trades", *keys.SEALED_FAMILIES):
                self._database.compact(*keys.span(family))

    def compact_seconds(self) -> None:
        """Give the space of sealed second-batches back."""
        with self._writing:
            self._database.compact(*keys.span("trades"))

    def checkpoint(self, name: str) -> Path:
        """A copy of all that was appended so far, in a directory that opens as a ledger of its own.

        Its tables are hard links, so it costs no space until the ledger changes. Delete it after use.
        """
        with self._writing:
            self._flush()
            return self._database.checkpoint(name)

    def keep_reserve(self) -> bool:
        """Set space aside for the day the disk is full, where there is room; whether it is there now."""
        return self._database.keep_reserve()

    @property
    def bytes_on_disk(self) -> int:
        """The size of the ledger's files."""
        return self._database.bytes_on_disk()

    def bytes_of(self, symbol: str) -> int:
        """About how many bytes the symbol's trades take; reads none, and leaves out what was written last."""
        families = ("trades", *keys.SEALED_FAMILIES)
        return sum(self._database.bytes_between(*keys.span(family, symbol)) for family in families)

    # Questions

    @property
    def symbols(self) -> list[str]:
        """The symbols of which at least one trade is held."""
        with self._lock:
            return sorted(symbol for symbol, tape in self._tapes.items() if tape.sealed or tape.open)

    def rows(self, symbol: str) -> int:
        """How many rows are held of a symbol."""
        with self._lock:
            return self._tapes.of(symbol).rows

    @property
    def open_bytes(self) -> int:
        """The memory of the columns of hours that are not sealed."""
        with self._lock:
            return sum(tape.open_bytes for _, tape in self._tapes.items())

    def runs(self, symbol: str) -> tuple[Run, ...]:
        """The runs of ids held, oldest first."""
        with self._lock:
            return self._tapes.of(symbol).held.runs

    def gaps(self, symbol: str) -> tuple[Gap, ...]:
        """The ids missing between the oldest and the newest one held: open gaps and certified ones."""
        with self._lock:
            return tuple(self._tapes.of(symbol).gaps())

    def missing(self, symbol: str) -> int:
        """How many ids are missing in open gaps."""
        return sum(gap.missing for gap in self.gaps(symbol) if gap.state == "open")

    def history_wanted(self, symbol: str) -> Gap | None:
        """The ids of a first start's history that are still to come, below all that are held."""
        with self._lock:
            return self._tapes.of(symbol).history_wanted

    def absences(self, symbol: str) -> tuple[Absence, ...]:
        """The ids that the exchange lacked when asked, in id order: certified, or on the way there."""
        with self._lock:
            return tuple(self._tapes.of(symbol).absences)

    def warmup_from_ms(self, symbol: str) -> int | None:
        """How far back the history of a symbol is wanted; None before its first start."""
        with self._lock:
            return self._tapes.of(symbol).state.warmup_from_ms

    @contextmanager
    def view(self, symbol: str, before_each: Callable[[], None] | None = None) -> Iterator[LedgerView]:
        """All that one question needs of a symbol, as of one instant.

        `before_each` is called before each record that is read; what it raises ends the question.
        """
        with self._writer.instant(lambda: self._tapes.of(symbol).now()) as (stored, held):
            records = stored.records if before_each is None else interruptible(stored.records, before_each)
            yield LedgerView(symbol, held, records, self._worked_out)

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        """The rows with start_ms <= T < end_ms in id order, those still in memory included."""
        with self.view(symbol) as view:
            return view.trades(start_ms, end_ms)

    def histogram(self, symbol: str, start_ms: int, end_ms: int) -> PriceHistogram:
        """Quantity at each exact price over [start_ms, end_ms)."""
        with self.view(symbol) as view:
            return view.histogram(start_ms, end_ms)

    def coverage(self, symbol: str, start_ms: int, end_ms: int, live_until_ms: int | None = None) -> Coverage:
        """Which trades of [start_ms, end_ms) are held; see `LedgerView.coverage`."""
        with self.view(symbol) as view:
            return view.coverage(start_ms, end_ms, live_until_ms)
