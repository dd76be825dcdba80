"""Opening a ledger: what its records say, and what becomes of those that cannot be read.

Invariant: the ids held are those of rows that can be read (or have expired), and no others. There is no other
path after a crash.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TypeVar

from storage import keys
from storage.absences import Absence
from storage.blocks import decode_block
from storage.codec import decode_second_batches
from storage.conflicts import unpack_conflict
from storage.database import Database
from storage.errors import LEFT, CorruptRecord, LedgerError, NewerFormat
from storage.held_ids import Run
from storage.keys import Name
from storage.leveldb import Snapshot
from storage.records import (
    InstrumentHistory,
    Source,
    pack_schema,
    unpack_absence,
    unpack_instruments,
    unpack_schema,
    unpack_source,
    unpack_state,
)
from storage.rollups import Rollup, decode_rollup, encode_rollup, rollup_of
from storage.tape import Tape
from storage.trades import TradeColumns

FORMAT = 1
# Second-batches that are decoded together: fewer leave less memory behind, more are hardly faster.
SECONDS_AT_ONCE = 500

T = TypeVar("T")


@dataclass(slots=True)
class Recovered:
    """What a ledger holds, and what was found damaged on the way."""

    source: Source | None = None
    tapes: dict[str, Tape] = field(default_factory=dict)
    instruments: dict[str, InstrumentHistory] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    conflicts: dict[str, set[bytes]] = field(default_factory=dict)

    def tape(self, symbol: str) -> Tape:
        return self.tapes.setdefault(symbol, Tape())


def recover(database: Database) -> Recovered:
    """Read a ledger, or begin one in an empty database. Raises `NewerFormat` and `CorruptRecord`."""
    _check_format(database)
    found = _Recovery(database).run()
    found.damage = [*database.damage, *found.damage]
    return found


def schema_record() -> bytes:
    return pack_schema(FORMAT)


def _check_format(database: Database) -> None:
    """A database without the first records is a damaged one, unless it is new: a crash while it was being
    made leaves it so."""
    schema = database.get(keys.SCHEMA)
    if schema is None and database.is_new:
        database.write({keys.SCHEMA: schema_record(), keys.END: b""})
    elif schema is None:
        raise CorruptRecord(f"{database.path} has lost {keys.SCHEMA.decode()}; {LEFT}")
    elif database.get(keys.END) is None:
        raise CorruptRecord(f"{database.path} has lost its end sentinel; {LEFT}")
    elif (written := unpack_schema(schema)) > FORMAT:
        raise NewerFormat(
            f"{database.path} has format {written}, this tapedeck reads up to {FORMAT}; upgrade it"
        )
    if database.is_new:
        database.begun()


def family(snapshot: Snapshot, prefix: str) -> Iterator[tuple[bytes, Name, bytes]]:
    """The records whose key begins with `prefix` and a colon and is one of ours."""
    for key, value in snapshot.records(*keys.span(prefix)):
        name = keys.parsed(key)
        if name is not None:
            yield key, name, value


def stored_rows(database: Database, symbol: str, hour_ms: int, part: int) -> TradeColumns:
    """The rows of a block on disk; its key is named where it cannot be read."""
    key = keys.block(symbol, hour_ms, part)
    stored = database.get(key)
    if stored is None:
        raise CorruptRecord(f"{key.decode()} is gone although its rollup stands; {LEFT}")
    try:
        return decode_block(stored).trades()
    except LedgerError as error:
        raise type(error)(f"{key.decode()}: {error}; {LEFT}") from error


def venue_of(instruments: dict[str, InstrumentHistory]) -> Source | None:
    """The source as far as the filters tell it; its addresses have to be confirmed."""
    venues = {known.venue for history in instruments.values() for _, known in history}
    return Source(venues.pop(), []) if len(venues) == 1 else None


class _Recovery:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._found = Recovered()
        self._broken: dict[bytes, bytes] = {}
        self._absences: dict[str, list[Absence]] = {}

    def run(self) -> Recovered:
        with self._database.reading(), self._database.snapshot() as snapshot:
            self._load_small_records(snapshot)
            self._load_sealed_hours(snapshot)
            seconds = snapshot.records(*keys.span("trades"))
            for symbol, records in groupby(seconds, lambda record: keys.symbol_of_second(record[0])):
                if symbol is None:
                    continue
                for batch in batched(records, SECONDS_AT_ONCE):
                    self._load_seconds(symbol, batch)
        for symbol, tape in self._found.tapes.items():
            tape.recovered(self._absences.get(symbol, ()))
        if self._broken:
            lost = {keys.lost(key): value for key, value in self._broken.items()}
            self._database.write(lost, list(self._broken))
        return self._found

    def _load_small_records(self, snapshot: Snapshot) -> None:
        for key, name, value in family(snapshot, "meta"):
            with self._noting(key, value):
                if key == keys.SOURCE:
                    self._found.source = unpack_source(value)
                elif key != keys.SCHEMA:
                    self._found.instruments[name.symbol] = unpack_instruments(value)
        if self._found.source is None:
            self._found.source = venue_of(self._found.instruments)
        if self._found.source is None and keys.SOURCE in self._broken:
            raise CorruptRecord(
                f"{self._found.damage[0].partition('; kept')[0]}, nothing says the venue; {LEFT}"
            )
        for key, name, value in family(snapshot, "state"):
            with self._noting(key, value):
                tape = self._found.tape(name.symbol)
                tape.state = unpack_state(value)
                for run in tape.state.expired:
                    tape.held.add(run)
        for key, name, value in family(snapshot, "gaps"):
            with self._noting(key, value):
                absence = unpack_absence(value)
                if absence.first_id != name.first_id:
                    raise CorruptRecord(f"absence of other ids, from {absence.first_id} on")
                self._absences.setdefault(name.symbol, []).append(absence)

        for key, name, value in family(snapshot, "conflict"):
            with self._noting(key, value):
                unpack_conflict(value)
                self._found.conflicts.setdefault(name.symbol, set()).add(key)

    def _load_sealed_hours(self, snapshot: Snapshot) -> None:
        for key, name, value in family(snapshot, "rollup"):
            assert name.time_ms is not None
            symbol, hour_ms, part = name.symbol, name.time_ms, name.part
            with self._noting(key, value):
                self._load_sealed(symbol, hour_ms, part, self._rollup(symbol, hour_ms, part, value))
                continue
            # Without its rollup a block would be found by nobody but a question that trips over it.
            block = keys.block(symbol, hour_ms, part)
            with suppress(CorruptRecord):
                stored = self._database.get(block)
                if stored is not None:
                    self._broken[block] = stored

    @contextmanager
    def _noting(self, key: bytes, value: bytes) -> Iterator[None]:
        """A record that cannot be read is set aside, and its ids are missing: they are fetched again."""
        try:
            yield
        except CorruptRecord as damage:
            self._broken[key] = value
            self._found.damage.append(f"{key.decode()}: {damage}; kept as lost:{key.decode()}")

    def _load_sealed(self, symbol: str, hour_ms: int, part: int, rollup: Rollup) -> None:
        tape = self._found.tape(symbol)
        if rollup.rows == rollup.last_id - rollup.first_id + 1:
            tape.held.add(Run(rollup.first_id, rollup.last_id, rollup.first_ms, rollup.last_ms))
        else:
            tape.hold(stored_rows(self._database, symbol, hour_ms, part))
        tape.sealed.setdefault(hour_ms, {})[part] = rollup

    def _rollup(self, symbol: str, hour_ms: int, part: int, value: bytes) -> Rollup:
        """A damaged rollup is made anew from its block."""
        try:
            return decode_rollup(value)
        except CorruptRecord as damage:
            rollup = rollup_of(stored_rows(self._database, symbol, hour_ms, part))
            key = keys.rollup(symbol, hour_ms, part)
            self._found.damage.append(f"{key.decode()}: {damage}; made anew from its block")
            self._database.write({key: encode_rollup(rollup)})
            return rollup

    def _load_seconds(self, symbol: str, records: list[tuple[bytes, bytes]]) -> None:
        """Decoded together, which is twenty times as fast; where one is damaged each by itself."""
        try:
            self._hold_unsealed(symbol, decode_second_batches([value for _, value in records]))
        except CorruptRecord:
            for key, value in records:
                with self._noting(key, value):
                    self._hold_unsealed(symbol, decode_second_batches([value]))

    def _hold_unsealed(self, symbol: str, rows: TradeColumns) -> None:
        """Rows that are in no block; those in one already are left out."""
        tape = self._found.tape(symbol)
        rows = tape.new_among(rows)
        tape.hold(rows)
        tape.keep_open(rows)


def batched(records: Iterable[T], size: int) -> Iterator[list[T]]:
    """The records in lists of `size`, the last one of what is left."""
    iterator = iter(records)
    while batch := list(islice(iterator, size)):
        yield batch
