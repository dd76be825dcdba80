"""The trade ledger: trades go in by id, in any order and as often as one likes, and come out exact.

Invariant: what `flush` returned from survives any crash of the process, every id is held once, and every
id between the oldest and the newest one is either held or in a gap. One process owns a directory.

Thread-safety: `append`, `view` and the readers may be called from any thread. What writes (`flush`, `seal`,
`expire`, `shrink`, `checkpoint`) waits for the disk and for each other: call it from a worker thread.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from storage import keys
from storage.absences import Absence
from storage.codec import encode_second_batch
from storage.conflicts import MOST_KEPT, Conflict, pack_conflict, unpack_conflict
from storage.database import Database
from storage.errors import CorruptRecord, StoreUnavailable, VenueMismatch
from storage.held_ids import Run, gaps_beyond
from storage.histograms import PriceHistogram
from storage.hour_records import interruptible
from storage.leveldb import Snapshot
from storage.recent import WorkedOut
from storage.records import Source, pack_absence, pack_instruments, pack_source, pack_state
from storage.recovery import Recovered, block_rows, recover
from storage.retention import Expired, expiry_of
from storage.sealing import MOST_IN_BLOCK, SEAL_GRACE_MS, Sealed, sealing_of
from storage.tape import Taken, Tape
from storage.trades import Coverage, Gap, Instrument, TradeColumns
from storage.view import LedgerView

# Rows that are kept in memory while the disk refuses, some 200 MB; further ones are refused.
MOST_UNWRITTEN = 4_000_000
# A ledger that has outgrown its limit is brought to this share of it, so that it stays below for a while.
SHRINK_SHARE = 0.9
SEALED_FAMILIES = ("blocks", "rollup", "candles")


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of rows that were offered.

    `new` were taken in, the ids of `duplicates` were held already, and `refused` ones were left out because
    too much awaits the disk: their ids are missing. `opened` are the gaps that came about.
    """

    new: int
    duplicates: int
    opened: tuple[Gap, ...]
    refused: int = 0

    @property
    def offered(self) -> int:
        return self.new + self.duplicates + self.refused


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
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._tapes = recovered.tapes
        self._instruments = recovered.instruments
        self._source = recovered.source
        self._damage = recovered.damage
        self._conflicts = recovered.conflicts
        self._notes: dict[bytes, bytes] = {}
        self._unwritten = 0
        self._refused = 0
        self._worked_out = WorkedOut()
        self._error: str | None = None
        self._before: Snapshot | None = None

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
        return self._source.venue if self._source else None

    def confirmed_at(self, addresses: Sequence[str]) -> bool:
        """Whether these addresses were the ledger's venue when last asked, or it has none yet."""
        return self._source is None or self._source.addresses == list(addresses)

    def claim(self, venue: str, addresses: Sequence[str] = ()) -> None:
        """Name the venue of a new ledger; `VenueMismatch` where it was recorded from another.

        Durable with the next flush, before or with any trade.
        """
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
        """Each symbol's filters as last seen."""
        return {symbol: versions[-1][1] for symbol, versions in self._instruments.items()}

    def status(self, symbol: str) -> tuple[str, int] | None:
        """A symbol's status as last seen, and since when it was seen so (UTC ms); None before it is known."""
        versions = self._instruments.get(symbol)
        if not versions:
            return None
        status, since_ms = versions[-1][1].status, versions[-1][0]
        for seen_ms, known in reversed(versions):
            if known.status != status:
                break
            since_ms = seen_ms
        return status, since_ms

    def keep_instrument(self, instrument: Instrument, since_ms: int) -> None:
        """Remember a symbol's filters; a change is added with the time from which it holds. Durable with the
        next flush."""
        versions = self._instruments.get(instrument.symbol, [])
        if versions and versions[-1][1] == instrument:
            return
        versions = [*versions, (since_ms, instrument)]
        self._note(keys.instrument(instrument.symbol), pack_instruments(versions))
        self._instruments[instrument.symbol] = versions

    def _note(self, key: bytes, value: bytes) -> None:
        with self._lock:
            self._notes[key] = value

    def take_damage(self) -> list[str]:
        """What was found damaged since the last call, and what became of it; an operator wants to know."""
        found, self._damage = self._damage, []
        return found

    # Contents that contradict what is held

    def keep_conflict(self, symbol: str, conflict: Conflict) -> bool:
        """Keep another content under an id beside the one that is held; whether there was room for it.

        The first one of an id is kept, and `MOST_KEPT` of a symbol. Durable with the next flush.
        """
        key = keys.conflict(symbol, keys.hour_of(conflict.time_ms), conflict.id)
        with self._lock:
            kept = self._conflicts.setdefault(symbol, set())
            if len(kept) >= MOST_KEPT or key in kept:
                return key in kept
            kept.add(key)
            self._notes[key] = pack_conflict(conflict)
        return True

    def conflicts(self, symbol: str) -> list[Conflict]:
        """The contents kept beside those that are held, by hour."""
        with self._lock:
            kept = sorted(self._conflicts.get(symbol, ()))
            pending = {key: self._notes[key] for key in kept if key in self._notes}
        found = [pending.get(key) or self._database.get(key) for key in kept]
        return [unpack_conflict(value) for value in found if value is not None]

    # Trades in

    def append(self, symbol: str, trades: TradeColumns, *, restoring: bool = False) -> Appended:
        """Take in the rows whose ids are not held; readers see them at once, `flush` makes them durable.

        Expired ids count as held; with `restoring` rows of theirs are taken in again.
        """
        trades = trades.by_id()
        with self._lock:
            tape = self._tape(symbol)
            if restoring:
                tape.restore(trades)
            before = tape.held.runs
            new = tape.new_among(trades)
            duplicates = len(trades) - len(new)
            if self._unwritten + len(new) > MOST_UNWRITTEN:
                self._refused += len(new)
                return Appended(0, duplicates, (), len(new))
            if len(new):
                tape.take_in(new)
            self._unwritten += len(new)
            opened = gaps_beyond(tape.held.runs, before[0].first_id, before[-1].last_id) if before else []
        return Appended(len(new), duplicates, tuple(opened))

    def set_warmup(self, symbol: str, from_ms: int, from_id: int | None = None) -> None:
        """Remember how far back the history of a symbol is wanted, and with which id it begins, where there
        is any; durable with the next flush."""
        with self._lock:
            tape = self._tape(symbol)
            tape.state = replace(tape.state, warmup_from_ms=from_ms, warmup_from_id=from_id)
            tape.changed = True

    def keep_absence(self, symbol: str, absence: Absence) -> None:
        """Remember ids that the exchange lacks, as far as no row of them is held; durable with the next
        flush."""
        with self._lock:
            self._tape(symbol).keep_absence(absence)

    @property
    def condition(self) -> Condition:
        """How it stands with the disk."""
        return Condition(self._unwritten, self._refused, self._error)

    @property
    def is_behind(self) -> bool:
        """Whether so much awaits the disk that history should wait and leave the room to live trades."""
        return self._unwritten > MOST_UNWRITTEN // 2

    # Trades to disk

    def flush(self) -> int:
        """Write all that is pending in one synced batch; how many trades that was.

        Raises `StoreUnavailable` when the disk refuses: what was pending stays pending.
        """
        with self._writing:
            return self._flush()

    def _flush(self) -> int:
        with self._lock:
            taken = {symbol: tape.take() for symbol, tape in self._tapes.items() if tape.changed}
            notes, self._notes = self._notes, {}
        try:
            records = notes | _records_of(taken)
            if records:
                self._write(records, _removed_of(taken))
        except BaseException:
            with self._lock:
                self._notes = notes | self._notes
            self._settle(taken, Tape.give_back)
            raise
        self._settle(taken, Tape.acknowledge)
        return sum(part.rows for part in taken.values())

    def _settle(self, taken: Mapping[str, Taken], outcome: Callable[[Tape, Taken], None]) -> None:
        with self._lock:
            for symbol, part in taken.items():
                outcome(self._tapes[symbol], part)
            self._unwritten = sum(tape.unwritten for tape in self._tapes.values())

    def _write(self, records: Mapping[bytes, bytes], removed: Sequence[bytes] = ()) -> None:
        try:
            self._database.write(records, removed)
        except StoreUnavailable as error:
            self._error = str(error)
            raise
        self._error = None

    def _replace(
        self, records: Mapping[bytes, bytes], removed: Sequence[bytes], settle: Callable[[], None]
    ) -> None:
        """Write, then change the memory accordingly; views see disk and memory both before it or both after.

        Raises `StoreUnavailable` also once the ledger is being closed.
        """
        self._database.refuse_when_closing()
        self._database.mend()
        with self._database.snapshot() as before:
            self._show(before)
            try:
                self._write(records, removed)
            except BaseException:
                self._show(None)
                raise
            with self._lock:
                settle()
                self._before = None

    def _show(self, before: Snapshot | None) -> None:
        """From now on views see the disk as it was `before`; None: as it is."""
        with self._lock:
            self._before = before

    def seal(self, now_ms: int) -> list[Sealed]:
        """Turn finished hours into blocks, rollups and candles; which ones. Writes what is pending first.

        An hour's records and the removal of its second-batches are one synced write: a crash leaves either
        form. Raises as `flush` does, and then nothing more is sealed.
        """
        with self._writing:
            self._flush()
            with self._lock:
                due = [
                    (symbol, hour_ms, tuple(tape.open[hour_ms]))
                    for symbol, tape in self._tapes.items()
                    for hour_ms in tape.due(now_ms - SEAL_GRACE_MS, MOST_IN_BLOCK)
                ]
            sealed = (self._seal_or_note(symbol, hour_ms, parts) for symbol, hour_ms, parts in due)
            return [hour for hour in sealed if hour is not None]

    def _seal_or_note(self, symbol: str, hour_ms: int, parts: Sequence[TradeColumns]) -> Sealed | None:
        """An hour whose block cannot be read stays as it is, its new rows as second-batches."""
        try:
            return self._seal(symbol, hour_ms, TradeColumns.concat(parts).by_id())
        except CorruptRecord as damage:
            self._damage.append(str(damage))
            self._tapes[symbol].unsealable.add(hour_ms)
            return None

    def _seal(self, symbol: str, hour_ms: int, rows: TradeColumns) -> Sealed:
        tape = self._tapes[symbol]
        known = tape.sealed.get(hour_ms, {})
        stored = partial(self._block_rows, symbol, hour_ms)
        sealing = sealing_of(symbol, hour_ms, rows, known, stored, most_rows=MOST_IN_BLOCK)
        settle = partial(tape.settle, hour_ms, rows, sealing.part, sealing.rollup)
        self._replace(sealing.records, sealing.removed, settle)
        return Sealed(symbol, hour_ms, sealing.rollup.rows, sum(map(len, sealing.records.values())))

    def _block_rows(self, symbol: str, hour_ms: int, part: int) -> TradeColumns:
        stored = self._database.get(keys.block(symbol, hour_ms, part))
        return block_rows(stored, symbol, hour_ms, part)

    def expire(self, before_ms: int, gone: Callable[[Expired], object] = lambda _: None) -> list[Expired]:
        """Delete the hours that end at or before `before_ms`, and give their space back; what went.

        `gone` is told of each symbol's as soon as it has gone: a disk that refuses may leave the rest. Views
        that are open keep what they see. Raises as `flush` does.
        """
        with self._writing:
            self._flush()
            symbols = list(self._tapes)
            went = [what for symbol in symbols if (what := self._expire(symbol, before_ms, gone))]
            outdated = self._outdated(before_ms)
            if outdated:
                self._write({}, outdated)
            with self._lock:
                for kept in self._conflicts.values():
                    kept.difference_update(outdated)
            return went

    def _expire(self, symbol: str, before_ms: int, gone: Callable[[Expired], object]) -> Expired | None:
        tape = self._tapes[symbol]
        with self._lock:
            hours = tape.hours_before(before_ms)
            if not hours:
                return None
            tape.settle_before(hours)
            seen = tape.copied()
        expiry = expiry_of(symbol, seen, hours, partial(self._block_rows, symbol))
        state = replace(seen.state, expired=expiry.expired)
        settle = partial(tape.let_go, seen, hours, expiry.expired)
        self._replace({keys.state(symbol): pack_state(state)}, expiry.removed, settle)
        gone(expiry.what)
        for family in SEALED_FAMILIES:
            self._database.compact(
                f"{family}:{symbol}:".encode(), f"{family}:{symbol}:{before_ms:013d}".encode()
            )
        return expiry.what

    def _outdated(self, before_ms: int) -> list[bytes]:
        """Damaged records and conflicts of hours that have expired."""
        with self._database.reading(), self._database.snapshot() as snapshot:
            found = [
                key
                for family in ("conflict", "lost")
                for key, _ in snapshot.records(f"{family}:".encode(), f"{family};".encode())
            ]
        return [key for key in found if _ends_by(key, before_ms)]

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
            before_ms = self._oldest_worth(size - int(most_bytes * SHRINK_SHARE))
        return self.expire(before_ms, gone) if before_ms is not None else []

    def _oldest_worth(self, excess: int) -> int | None:
        """The end of the oldest sealed hours whose records hold `excess` bytes together; None without any.

        The newest hour of all is not among them.
        """
        with self._lock:
            newest = max((hour_ms for tape in self._tapes.values() for hour_ms in tape.hours()), default=0)
            sealed = sorted(
                (hour_ms, symbol, part)
                for symbol, tape in self._tapes.items()
                for hour_ms, parts in tape.sealed.items()
                for part in parts
                if hour_ms < newest
            )
        before_ms = None
        for hour_ms, symbol, part in sealed:
            if excess <= 0 and before_ms is not None and hour_ms >= before_ms:
                break
            names = (key(symbol, hour_ms, part) for key in (keys.block, keys.rollup, keys.candles))
            excess -= sum(len(self._database.get(name) or b"") for name in names)
            before_ms = hour_ms + keys.HOUR_MS
        return before_ms

    def compact(self) -> None:
        """Give the space of deleted records back; LevelDB does not do so by itself."""
        with self._writing:
            for family in ("trades", *SEALED_FAMILIES):
                self._database.compact(f"{family}:".encode(), f"{family};".encode())

    def compact_seconds(self) -> None:
        """Give the space of sealed second-batches back."""
        with self._writing:
            self._database.compact(b"trades:", b"trades;")

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
        families = ("trades", *SEALED_FAMILIES)
        spans = [(f"{family}:{symbol}:".encode(), f"{family}:{symbol};".encode()) for family in families]
        return sum(self._database.bytes_between(*span) for span in spans)

    # Questions

    @property
    def symbols(self) -> list[str]:
        """The symbols of which at least one trade is held."""
        with self._lock:
            return sorted(symbol for symbol, tape in self._tapes.items() if tape.sealed or tape.open)

    def rows(self, symbol: str) -> int:
        """How many rows are held of a symbol."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tape.rows if tape else 0

    @property
    def open_bytes(self) -> int:
        """The memory of the columns of hours that are not sealed."""
        with self._lock:
            return sum(tape.open_bytes for tape in self._tapes.values())

    def runs(self, symbol: str) -> tuple[Run, ...]:
        """The runs of ids held, oldest first."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tape.held.runs if tape else ()

    def gaps(self, symbol: str) -> tuple[Gap, ...]:
        """The ids missing between the oldest and the newest one held: open gaps and certified ones."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tuple(tape.gaps()) if tape else ()

    def missing(self, symbol: str) -> int:
        """How many ids are missing in open gaps."""
        return sum(gap.missing for gap in self.gaps(symbol) if gap.state == "open")

    def history_wanted(self, symbol: str) -> Gap | None:
        """The ids of a first start's history that are still to come, below all that are held."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tape.history_wanted if tape else None

    def absences(self, symbol: str) -> tuple[Absence, ...]:
        """The ids that the exchange lacked when asked, in id order: certified, or on the way there."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tuple(tape.absences) if tape else ()

    def warmup_from_ms(self, symbol: str) -> int | None:
        """How far back the history of a symbol is wanted; None before its first start."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tape.state.warmup_from_ms if tape else None

    @contextmanager
    def view(self, symbol: str, before_each: Callable[[], None] | None = None) -> Iterator[LedgerView]:
        """All that one question needs of a symbol, as of one instant.

        `before_each` is called before each record that is read; what it raises ends the question.
        """
        with self._database.reading(), ExitStack() as stack:
            with self._lock:
                stored = stack.enter_context(self._before or self._database.snapshot())
                held = self._tapes.get(symbol, Tape()).now()
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

    def _tape(self, symbol: str) -> Tape:
        return self._tapes.setdefault(symbol, Tape())


def _ends_by(key: bytes, before_ms: int) -> bool:
    """Whether the hour in the key ends at or before that time."""
    name = keys.parsed(key)
    return name is not None and name.hour_ms is not None and name.hour_ms + keys.HOUR_MS <= before_ms


def _records_of(taken: Mapping[str, Taken]) -> dict[bytes, bytes]:
    """Each touched second whole, with the symbols' state."""
    records = {keys.state(symbol): pack_state(part.state) for symbol, part in taken.items()}
    for symbol, part in taken.items():
        for second_ms, rows in part.seconds():
            records[keys.trades(symbol, second_ms)] = encode_second_batch(rows)
        for first_id, absence in part.absences.items():
            if absence is not None:
                records[keys.absence(symbol, first_id)] = pack_absence(absence)
    return records


def _removed_of(taken: Mapping[str, Taken]) -> list[bytes]:
    """The absences that are none any more."""
    return [
        keys.absence(symbol, first_id)
        for symbol, part in taken.items()
        for first_id, absence in part.absences.items()
        if absence is None
    ]
