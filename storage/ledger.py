"""The trade ledger: trades go in by id, in any order and as often as one likes, and come out exact.

Invariant: what `flush` returned from survives any crash of the process, every id is held once, and every
id between the oldest and the newest one is either held or in a gap. This is the only file that knows
LevelDB; one process owns a directory.

Thread-safety: `append`, `view` and the readers may be called from any thread; `flush` from one at a time.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import ormsgpack
import plyvel

from storage import keys
from storage.blocks import decode_block, encode_block
from storage.codec import decode_second_batches, encode_second_batch
from storage.errors import (
    CorruptRecord,
    LedgerError,
    NewerFormat,
    StoreLocked,
    StoreUnavailable,
    VenueMismatch,
)
from storage.held_ids import Run, gaps_between, gaps_beyond
from storage.records import (
    InstrumentHistory,
    Source,
    pack_instruments,
    pack_source,
    pack_state,
    unpack_instruments,
    unpack_source,
    unpack_state,
)
from storage.rollups import Rollup, decode_rollup, encode_rollup, rollup_of
from storage.tape import Taken, Tape
from storage.trades import Coverage, Gap, Instrument, PriceHistogram, TradeColumns
from storage.view import LedgerView

FORMAT = 1
# Values are dense, so compression costs CPU and gains little; reads are ranges, so a Bloom filter and a
# large cache do nothing.
OPTIONS = {"compression": None, "write_buffer_size": 8 << 20, "lru_cache_size": 8 << 20}


# An hour is finished this long after its end: trades are at most seconds late.
SEAL_GRACE_MS = 60_000
# Rows in a block beyond which further ones go into a block of their own.
MOST_IN_BLOCK = 1_000_000


@dataclass(frozen=True, slots=True)
class Sealed:
    """An hour (or a part of one) that became a block: its rows and the bytes of block and rollup."""

    symbol: str
    hour_ms: int
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of rows that were offered: how many were new, how many ids were held already."""

    new: int
    duplicates: int
    opened: tuple[Gap, ...]


class TradeLedger:
    """The trades of many symbols in one LevelDB directory."""

    def __init__(self, db: Any, path: Path) -> None:
        """Use `TradeLedger.open`."""
        self._db = db
        self._path = path
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._tapes: dict[str, Tape] = {}
        self._instruments: dict[str, InstrumentHistory] = {}
        self._source: Source | None = None
        self._closing = False
        self._views = 0
        self._views_ended = threading.Condition(self._lock)
        self._damage: list[str] = []

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
        """Write what is pending and let go of the directory; questions under way are refused and ended."""
        try:
            self.flush()
        finally:
            with self._lock:
                self._closing = True
                self._views_ended.wait_for(lambda: self._views == 0)
            self._db.close()

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
        """Name the venue of a new ledger; `VenueMismatch` where it was recorded from another."""
        source = Source(venue, list(addresses))
        if self._source is not None and self._source.venue != venue:
            raise VenueMismatch(
                f"{self._path} holds the tape of {self._source.venue!r} and the exchange is {venue!r}; "
                "choose another TAPEDECK_DATA_DIR"
            )
        if source != self._source:
            self._write({keys.SOURCE: pack_source(source)})
            self._source = source

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

    def take_damage(self) -> list[str]:
        """What was found damaged since the last call, and what became of it; an operator wants to know."""
        found, self._damage = self._damage, []
        return found

    # Trades in

    def append(self, symbol: str, trades: TradeColumns) -> Appended:
        """Take in the rows whose ids are not held; readers see them at once, `flush` makes them durable."""
        trades = trades.by_id()
        with self._lock:
            tape = self._tape(symbol)
            before = tape.held.runs
            new = tape.append(trades)
            opened = gaps_beyond(tape.held.runs, before[0].first_id, before[-1].last_id) if before else []
        return Appended(len(new), len(trades) - len(new), tuple(opened))

    def set_warmup(self, symbol: str, from_ms: int) -> None:
        """Remember how far back the history of a symbol is wanted; durable with the next flush."""
        with self._lock:
            tape = self._tape(symbol)
            tape.warmup_from_ms = from_ms
            tape.changed = True

    def flush(self) -> int:
        """Write all that is pending in one synced batch; how many trades that was.

        Raises `StoreUnavailable` when the disk refuses: what was pending stays pending.
        """
        with self._flushing:
            with self._lock:
                taken = self._take_pending()
            return self._write_pending(taken)

    def seal(self, now_ms: int) -> list[Sealed]:
        """Turn finished hours into blocks with their rollups; which ones. Writes what is pending first.

        A block and the removal of its second-batches are one synced write: a crash leaves either form. Raises
        as `flush` does, and then nothing more is sealed.
        """
        with self._flushing:
            with self._lock:
                taken = self._take_pending()
                due = [
                    (symbol, hour_ms, tuple(tape.open[hour_ms]))
                    for symbol, tape in self._tapes.items()
                    for hour_ms in tape.due(now_ms - SEAL_GRACE_MS, MOST_IN_BLOCK)
                ]
            self._write_pending(taken)
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
        """One hour's rows into its block, or into a further one where that would grow too large."""
        tape = self._tapes[symbol]
        known = tape.sealed.get(hour_ms, {})
        part, merged = max(known, default=-1) + 1, rows
        if known and known[part - 1].rows + len(rows) <= MOST_IN_BLOCK:
            part -= 1
            stored = self._get(keys.block(symbol, hour_ms, part))
            merged = TradeColumns.concat([self._block_rows(stored, symbol, hour_ms, part), rows]).by_id()
        rollup = rollup_of(merged)
        records = {
            keys.block(symbol, hour_ms, part): encode_block(merged),
            keys.rollup(symbol, hour_ms, part): encode_rollup(rollup),
        }
        seconds = np.unique(rows.time_ms // keys.SECOND_MS * keys.SECOND_MS)
        self._write(records, [keys.trades(symbol, second_ms) for second_ms in seconds.tolist()])
        with self._lock:
            tape.settle(hour_ms, rows, part, rollup)
        return Sealed(symbol, hour_ms, len(merged), sum(map(len, records.values())))

    def compact(self) -> None:
        """Give the space of deleted second-batches back; LevelDB does not do so by itself."""
        self._db.compact_range(start=b"trades:", stop=b"trades;")

    def _take_pending(self) -> dict[str, Taken]:
        return {symbol: tape.take() for symbol, tape in self._tapes.items() if tape.changed}

    def _write_pending(self, taken: Mapping[str, Taken]) -> int:
        """One write of each touched second whole, with the symbols' state."""
        records = {keys.state(symbol): pack_state(part.warmup_from_ms) for symbol, part in taken.items()}
        try:
            for symbol, part in taken.items():
                for second_ms, rows in part.seconds():
                    records[keys.trades(symbol, second_ms)] = encode_second_batch(rows)
            if records:
                self._write(records)
        except BaseException:
            self._settle(taken, Tape.give_back)
            raise
        self._settle(taken, Tape.acknowledge)
        return sum(map(len, taken.values()))

    def _settle(self, symbols: Iterable[str], outcome: Callable[[Tape], None]) -> None:
        with self._lock:
            for symbol in symbols:
                outcome(self._tapes[symbol])

    def _block_rows(self, stored: bytes | None, symbol: str, hour_ms: int, part: int) -> TradeColumns:
        key = keys.block(symbol, hour_ms, part).decode()
        if stored is None:
            raise CorruptRecord(f"{key} is gone although its rollup stands")
        try:
            return decode_block(stored).trades()
        except LedgerError as error:
            raise type(error)(f"{key}: {error}; left in place") from error

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
        return tuple(gaps_between(self.runs(symbol)))

    def warmup_from_ms(self, symbol: str) -> int | None:
        """How far back the history of a symbol is wanted; None before its first start."""
        with self._lock:
            tape = self._tapes.get(symbol)
            return tape.warmup_from_ms if tape else None

    @contextmanager
    def view(self, symbol: str) -> Iterator[LedgerView]:
        """All that one question needs of a symbol, as of one instant."""
        with self._lock:
            if self._closing:
                raise StoreUnavailable(f"{self._path} is closed")
            snapshot = self._db.snapshot()
            held = self._tapes.get(symbol, Tape()).now()
            self._views += 1
        try:
            yield LedgerView(symbol, held, lambda first, stop: self._until_closing(snapshot, first, stop))
        finally:
            snapshot.close()
            with self._lock:
                self._views -= 1
                self._views_ended.notify_all()

    def _until_closing(self, snapshot: Any, first: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for record in _records(snapshot, first, stop):
            if self._closing:
                raise StoreUnavailable(f"{self._path} is being closed")
            yield record

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

    def _tape(self, symbol: str) -> Tape:
        return self._tapes.setdefault(symbol, Tape())

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
        """What the records say; `held` ids are those of the rows that can be read, and no others."""
        broken: dict[bytes, bytes] = {}
        with self._db.snapshot() as snapshot:
            source = self._get(keys.SOURCE)
            self._source = unpack_source(source) if source is not None else None
            for symbol, value in _family(snapshot, "state"):
                self._tape(symbol).warmup_from_ms = unpack_state(value)
            for name, value in _family(snapshot, "meta"):
                if name not in ("schema", "source"):
                    self._instruments[name] = unpack_instruments(value)
            for name, value in _family(snapshot, "rollup"):
                symbol, hour_ms, part = keys.sealed_hour(name)
                with self._noting(broken, keys.rollup(symbol, hour_ms, part), value):
                    self._load_sealed(symbol, hour_ms, part, self._rollup(symbol, hour_ms, part, value))
                    continue
                # Without its rollup a block would be found by nobody but a question that trips over it.
                block = keys.block(symbol, hour_ms, part)
                with suppress(CorruptRecord):
                    broken[block] = self._get(block) or b""
            for name, value in _family(snapshot, "trades"):
                symbol, _, second_ms = name.partition(":")
                with self._noting(broken, keys.trades(symbol, int(second_ms)), value):
                    self._load_second(symbol, decode_second_batches([value]))
        if broken:
            self._write({keys.lost(key): value for key, value in broken.items()}, list(broken))

    @contextmanager
    def _noting(self, broken: dict[bytes, bytes], key: bytes, value: bytes) -> Iterator[None]:
        """A record that cannot be read is set aside, and its ids are missing: they are fetched again."""
        try:
            yield
        except CorruptRecord as damage:
            broken[key] = value
            self._damage.append(f"{key.decode()}: {damage}; kept as lost:{key.decode()}")

    def _load_sealed(self, symbol: str, hour_ms: int, part: int, rollup: Rollup) -> None:
        tape = self._tape(symbol)
        if rollup.rows == rollup.last_id - rollup.first_id + 1:
            tape.held.add(Run(rollup.first_id, rollup.last_id, rollup.first_ms, rollup.last_ms))
        else:
            tape.hold(self._block_rows(self._get(keys.block(symbol, hour_ms, part)), symbol, hour_ms, part))
        tape.sealed.setdefault(hour_ms, {})[part] = rollup

    def _rollup(self, symbol: str, hour_ms: int, part: int, value: bytes) -> Rollup:
        """A damaged rollup is made anew from its block."""
        try:
            return decode_rollup(value)
        except CorruptRecord as damage:
            block = self._get(keys.block(symbol, hour_ms, part))
            rollup = rollup_of(self._block_rows(block, symbol, hour_ms, part))
            key = keys.rollup(symbol, hour_ms, part)
            self._damage.append(f"{key.decode()}: {damage}; made anew from its block")
            self._write({key: encode_rollup(rollup)})
            return rollup

    def _load_second(self, symbol: str, rows: TradeColumns) -> None:
        """Rows that are in no block; those in one already are left out."""
        tape = self._tape(symbol)
        rows = rows.take(~tape.held.contains(rows.id))
        tape.hold(rows)
        tape.keep_open(rows)


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
        present = {entry.name for entry in path.iterdir()} - {"LOCK", "LOG", "lost+found"}
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
