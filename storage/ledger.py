"""The trade ledger: trades go in by id, in any order and as often as one likes, and come out exact.

Invariant: what `flush` returned from survives any crash of the process, every id is held once, and every
id between the oldest and the newest one is either held or in a gap. This is the only file that knows
LevelDB; one process owns a directory.

Thread-safety: `append`, `view` and the readers may be called from any thread; `flush` from one at a time.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import ormsgpack
import plyvel

from storage import keys
from storage.codec import by_second, decode_stored, encode_second_batch
from storage.errors import CorruptRecord, NewerFormat, StoreLocked, StoreUnavailable, VenueMismatch
from storage.held_ids import HeldIds, Run, gaps_between, runs_of, runs_without
from storage.records import (
    InstrumentHistory,
    TapeState,
    pack_gap,
    pack_instruments,
    pack_state,
    unpack_gap,
    unpack_instruments,
    unpack_state,
)
from storage.trades import Coverage, Gap, Instrument, PriceHistogram, TradeColumns
from storage.view import LedgerView

FORMAT = 1
# Values are dense, so compression costs CPU and gains little; reads are ranges, so a Bloom filter and a
# large cache do nothing.
OPTIONS = {"compression": None, "write_buffer_size": 8 << 20, "lru_cache_size": 8 << 20}


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of rows that were offered: how many were new, how many ids were held already."""

    new: int
    duplicates: int
    opened: tuple[Gap, ...]


@dataclass(slots=True)
class _Tape:
    """One symbol in memory: the ids held, and the rows that no write has acknowledged yet."""

    held: HeldIds = field(default_factory=HeldIds)
    warmup_from_ms: int | None = None
    stored_gaps: dict[int, Gap] = field(default_factory=dict)
    pending: list[TradeColumns] = field(default_factory=list)
    writing: list[TradeColumns] = field(default_factory=list)
    changed: bool = False

    @property
    def span(self) -> Run | None:
        runs = self.held.runs
        if not runs:
            return None
        return Run(runs[0].first_id, runs[-1].last_id, runs[0].first_ms, runs[-1].last_ms)

    @property
    def unwritten(self) -> TradeColumns:
        return TradeColumns.concat([*self.writing, *self.pending])


@dataclass(slots=True)
class _Flush:
    """What one write takes along."""

    records: dict[bytes, bytes] = field(default_factory=dict)
    removed: list[bytes] = field(default_factory=list)
    rows: dict[str, TradeColumns] = field(default_factory=dict)
    gaps: dict[str, dict[int, Gap]] = field(default_factory=dict)
    held_back: dict[str, list[TradeColumns]] = field(default_factory=dict)
    damage: CorruptRecord | None = None

    def take(self, symbol: str, tape: _Tape) -> None:
        """Move the pending rows of a symbol into this write, with the state that belongs to them."""
        gaps = {gap.first_id: gap for gap in gaps_between(tape.held.runs)}
        self.records[keys.state(symbol)] = pack_state(TapeState(tape.span, tape.warmup_from_ms))
        for first_id, gap in gaps.items():
            if tape.stored_gaps.get(first_id) != gap:
                self.records[keys.gap(symbol, first_id)] = pack_gap(gap)
        self.removed += [keys.gap(symbol, first_id) for first_id in tape.stored_gaps.keys() - gaps.keys()]
        self.rows[symbol] = TradeColumns.concat(tape.pending)
        self.gaps[symbol] = gaps
        tape.writing, tape.pending, tape.changed = tape.pending, [], False


class TradeLedger:
    """The trades of many symbols in one LevelDB directory."""

    def __init__(self, db: Any, path: Path) -> None:
        """Use `TradeLedger.open`."""
        self._db = db
        self._path = path
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._tapes: dict[str, _Tape] = {}
        self._instruments: dict[str, InstrumentHistory] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the ledger in `path`, or start one where the directory is new or empty.

        Raises `StoreLocked` when another process holds it, `NewerFormat`, `CorruptRecord`, and
        `StoreUnavailable` for whatever else the disk says.
        """
        ledger = cls(_open_database(path), path)
        try:
            ledger._check_format()
            ledger._load()
        except BaseException:
            ledger._db.close()
            raise
        return ledger

    def close(self) -> None:
        """Write what is pending and let go of the directory."""
        try:
            self.flush()
        finally:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is kept about the exchange

    @property
    def venue(self) -> str | None:
        """Where the trades come from; None before the first recording."""
        name: bytes | None = self._get(keys.SOURCE)
        return name.decode() if name is not None else None

    def claim(self, venue: str) -> None:
        """Name the venue of a new ledger; `VenueMismatch` where it was recorded from another."""
        known = self.venue
        if known is None:
            self._write({keys.SOURCE: venue.encode()})
        elif known != venue:
            raise VenueMismatch(
                f"{self._path} holds the tape of {known!r} and the exchange is {venue!r}; "
                "choose another TAPEDECK_DATA_DIR"
            )

    @property
    def instruments(self) -> dict[str, Instrument]:
        """Each symbol's filters as last seen."""
        return {symbol: versions[-1][1] for symbol, versions in self._instruments.items()}

    def keep_instrument(self, instrument: Instrument, since_ms: int) -> None:
        """Remember a symbol's filters; a change is added with the time from which it holds."""
        versions = self._instruments.get(instrument.symbol, [])
        if versions and versions[-1][1] == instrument:
            return
        versions = [*versions, (since_ms, instrument)]
        self._write({keys.instrument(instrument.symbol): pack_instruments(versions)})
        self._instruments[instrument.symbol] = versions

    # Trades in

    def append(self, symbol: str, trades: TradeColumns) -> Appended:
        """Take in the rows whose ids are not held; readers see them at once, `flush` makes them durable."""
        trades = trades.by_id()
        with self._lock:
            tape = self._tape(symbol)
            before = gaps_between(tape.held.runs)
            new = trades.take(~tape.held.contains(trades.id))
            for run in runs_of(new):
                tape.held.add(run)
            if len(new):
                tape.pending.append(new)
                tape.changed = True
            opened = tuple(gap for gap in gaps_between(tape.held.runs) if not _overlaps(gap, before))
        return Appended(len(new), len(trades) - len(new), opened)

    def set_warmup(self, symbol: str, from_ms: int) -> None:
        """Remember how far back the history of a symbol is wanted; durable with the next flush."""
        with self._lock:
            tape = self._tape(symbol)
            tape.warmup_from_ms = from_ms
            tape.changed = True

    def flush(self) -> int:
        """Write all that is pending in one synced batch; how many trades that was.

        Raises `StoreUnavailable` when the disk refuses: what was pending stays pending. Raises
        `CorruptRecord` when a stored second is damaged to which new rows belong: they stay in memory, the
        second is left in place, and all else is written.
        """
        with self._flushing:
            flush = self._take_pending()
            if not flush.records:
                return 0
            try:
                self._write(flush.records | self._second_batches(flush), flush.removed)
            except BaseException:
                self._take_back(flush)
                raise
            self._acknowledge(flush)
            if flush.damage is not None:
                raise flush.damage
            return sum(len(rows) for rows in flush.rows.values())

    def _take_pending(self) -> _Flush:
        flush = _Flush()
        with self._lock:
            for symbol, tape in self._tapes.items():
                if tape.changed:
                    flush.take(symbol, tape)
        return flush

    def _second_batches(self, flush: _Flush) -> dict[bytes, bytes]:
        """Each touched second whole: what is stored of it and what is new."""
        batches: dict[bytes, bytes] = {}
        for symbol, trades in flush.rows.items():
            for second_ms, new in by_second(trades):
                key = keys.trades(symbol, second_ms)
                try:
                    stored = self._stored_second(key)
                except CorruptRecord as damage:
                    flush.damage = damage
                    flush.held_back.setdefault(symbol, []).append(new)
                    continue
                batches[key] = encode_second_batch(TradeColumns.concat([stored, new]).by_id())
        return batches

    def _stored_second(self, key: bytes) -> TradeColumns:
        stored = self._get(key)
        return decode_stored([stored], key) if stored is not None else TradeColumns.empty()

    def _take_back(self, flush: _Flush) -> None:
        with self._lock:
            for symbol in flush.rows:
                tape = self._tapes[symbol]
                tape.pending, tape.writing, tape.changed = tape.writing + tape.pending, [], True

    def _acknowledge(self, flush: _Flush) -> None:
        with self._lock:
            for symbol, gaps in flush.gaps.items():
                tape = self._tapes[symbol]
                tape.writing, tape.stored_gaps = [], gaps
                if symbol in flush.held_back:
                    tape.pending = flush.held_back[symbol] + tape.pending
                    tape.changed = True

    # Questions

    @property
    def symbols(self) -> list[str]:
        """The symbols of which at least one trade is held."""
        with self._lock:
            return sorted(symbol for symbol, tape in self._tapes.items() if tape.held.runs)

    def runs(self, symbol: str) -> tuple[Run, ...]:
        """The runs of ids held, oldest first."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tape.held.runs if tape else ()

    def gaps(self, symbol: str) -> tuple[Gap, ...]:
        """The ids missing between the oldest and the newest one held."""
        return gaps_between(self.runs(symbol))

    def warmup_from_ms(self, symbol: str) -> int | None:
        """How far back the history of a symbol is wanted; None before its first start."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tape.warmup_from_ms if tape else None

    @contextmanager
    def view(self, symbol: str) -> Iterator["LedgerView"]:
        """All that one question needs of a symbol, as of one instant."""
        with self._lock:
            try:
                snapshot = self._db.snapshot()
            except RuntimeError as error:
                raise StoreUnavailable(f"{self._path} is closed") from error
            tape = self._tapes.get(symbol, _Tape())
            runs, unwritten = tape.held.runs, tape.unwritten
        try:
            yield LedgerView(symbol, runs, unwritten, lambda first, stop: _records(snapshot, first, stop))
        finally:
            snapshot.close()

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

    # LevelDB

    def _tape(self, symbol: str) -> _Tape:
        return self._tapes.setdefault(symbol, _Tape())

    def _get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except plyvel.CorruptionError as error:
            raise CorruptRecord(f"{key.decode()}: checksum differs; left in place") from error
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self._path} cannot be read: {error}") from error
        return value

    def _write(self, records: Mapping[bytes, bytes], removed: Sequence[bytes] = ()) -> None:
        try:
            with self._db.write_batch(sync=True) as batch:
                for key in removed:
                    batch.delete(key)
                for key, value in records.items():
                    batch.put(key, value)
        except (plyvel.Error, RuntimeError) as error:
            raise StoreUnavailable(f"{self._path} cannot be written: {error}; kept in memory") from error

    def _check_format(self) -> None:
        schema = self._get(keys.SCHEMA)
        if schema is None:
            self._write({keys.SCHEMA: ormsgpack.packb({"format": FORMAT}), keys.END: b""})
            return
        if self._get(keys.END) is None:
            raise CorruptRecord(f"{self._path} has lost its end sentinel; left in place")
        written = ormsgpack.unpackb(schema)["format"]
        if written > FORMAT:
            raise NewerFormat(
                f"{self._path} has format {written}, this tapedeck reads up to {FORMAT}; upgrade it"
            )

    def _load(self) -> None:
        """The state that the last flush left."""
        with self._db.snapshot() as snapshot:
            for key, value in _family(snapshot, "state"):
                state = unpack_state(value)
                self._tapes[key] = _Tape(warmup_from_ms=state.warmup_from_ms)
                if state.span is not None:
                    gaps = {gap.first_id: gap for gap in self._stored_gaps(snapshot, key)}
                    self._tapes[key].held = HeldIds(runs_without(gaps.values(), state.span))
                    self._tapes[key].stored_gaps = gaps
            for key, value in _family(snapshot, "meta"):
                if key not in ("schema", "source"):
                    self._instruments[key] = unpack_instruments(value)

    def _stored_gaps(self, snapshot: Any, symbol: str) -> list[Gap]:
        return [unpack_gap(value) for _, value in _family(snapshot, f"gaps:{symbol}")]


def _overlaps(gap: Gap, others: Sequence[Gap]) -> bool:
    return any(gap.first_id <= other.last_id and other.first_id <= gap.last_id for other in others)


def _family(snapshot: Any, prefix: str) -> Iterator[tuple[str, bytes]]:
    """The records whose key begins with `prefix` and a colon, named by the rest of it."""
    for key, value in _records(snapshot, f"{prefix}:".encode(), f"{prefix};".encode()):
        yield key.decode().removeprefix(f"{prefix}:"), value


def _records(snapshot: Any, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records with start <= key < stop.

    LevelDB ends an iteration early and silently when the last block is damaged, so the iterator runs on to
    a key beyond the range: the end sentinel stands behind every other key.
    """
    try:
        with snapshot.iterator(start=start, verify_checksums=True, fill_cache=False) as iterator:
            for key, value in iterator:
                if key >= stop:
                    return
                yield key, value
    except plyvel.CorruptionError as error:
        raise CorruptRecord(f"at or after {start.decode()}: checksum differs; left in place") from error
    except plyvel.Error as error:
        raise StoreUnavailable(f"{start.decode()} cannot be read: {error}") from error
    raise CorruptRecord(f"after {start.decode()}: the ledger ends before its end sentinel; left in place")


def _open_database(path: Path) -> Any:
    """LevelDB on `path`. It is created only where nothing is: on a directory that lost its CURRENT file,
    LevelDB would start an empty database and delete the data."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        present = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be used: {error.strerror}; choose another TAPEDECK_DATA_DIR"
        ) from error
    if present and "CURRENT" not in present:
        raise StoreUnavailable(
            f"{path} has files but no CURRENT, so it is no ledger or a damaged one; nothing was touched"
        )
    try:
        return plyvel.DB(str(path), create_if_missing=not present, **OPTIONS)
    except plyvel.IOError as error:
        if "lock" in str(error).lower():
            raise StoreLocked(
                f"{path} is open in another process; stop it or choose another TAPEDECK_DATA_DIR"
            ) from error
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
    except plyvel.CorruptionError as error:
        raise CorruptRecord(f"{path} is damaged: {error}; left in place") from error
    except plyvel.Error as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
