"""Opening a ledger: what its records say, and what becomes of those that cannot be read.

Invariant: the ids held are those of rows that can be read (or have expired), and no others. There is no other
path after a crash.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TypeVar

import ormsgpack

from storage import keys
from storage.blocks import decode_block
from storage.codec import decode_second_batches
from storage.database import Database, Snapshot
from storage.errors import CorruptRecord, LedgerError, NewerFormat
from storage.held_ids import Run
from storage.records import InstrumentHistory, Source, unpack_instruments, unpack_source, unpack_state
from storage.rollups import Rollup, decode_rollup, encode_rollup, rollup_of
from storage.tape import Tape
from storage.trades import TradeColumns

FORMAT = 1
# Second-batches that are decoded together: an hour of a busy symbol.
SECONDS_AT_ONCE = 3600

T = TypeVar("T")


@dataclass(slots=True)
class Recovered:
    """What a ledger holds, and what was found damaged on the way."""

    source: Source | None = None
    tapes: dict[str, Tape] = field(default_factory=dict)
    instruments: dict[str, InstrumentHistory] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)

    def tape(self, symbol: str) -> Tape:
        return self.tapes.setdefault(symbol, Tape())


def recover(database: Database) -> Recovered:
    """Read a ledger, or begin one in an empty database. Raises `NewerFormat` and `CorruptRecord`."""
    _check_format(database)
    return _Recovery(database).run()


def schema_record() -> bytes:
    return ormsgpack.packb({"format": FORMAT})


def _check_format(database: Database) -> None:
    schema = database.get(keys.SCHEMA)
    if schema is None:
        database.write({keys.SCHEMA: schema_record(), keys.END: b""})
        return
    if database.get(keys.END) is None:
        raise CorruptRecord(f"{database.path} has lost its end sentinel; left in place")
    written = ormsgpack.unpackb(schema)["format"]
    if written > FORMAT:
        raise NewerFormat(
            f"{database.path} has format {written}, this tapedeck reads up to {FORMAT}; upgrade it"
        )


def family(snapshot: Snapshot, prefix: str) -> Iterator[tuple[str, bytes]]:
    """The records whose key begins with `prefix` and a colon, named by the rest of it."""
    for key, value in snapshot.records(f"{prefix}:".encode(), f"{prefix};".encode()):
        yield key.decode().removeprefix(f"{prefix}:"), value


def block_rows(stored: bytes | None, symbol: str, hour_ms: int, part: int) -> TradeColumns:
    """The rows of a stored block; its key is named where it cannot be read."""
    key = keys.block(symbol, hour_ms, part).decode()
    if stored is None:
        raise CorruptRecord(f"{key} is gone although its rollup stands")
    try:
        return decode_block(stored).trades()
    except LedgerError as error:
        raise type(error)(f"{key}: {error}; left in place") from error


class _Recovery:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._found = Recovered()
        self._broken: dict[bytes, bytes] = {}

    def run(self) -> Recovered:
        with self._database.reading(), self._database.snapshot() as snapshot:
            self._load_small_records(snapshot)
            self._load_sealed_hours(snapshot)
            seconds = groupby(family(snapshot, "trades"), lambda record: record[0].partition(":")[0])
            for symbol, records in seconds:
                for batch in batched(records, SECONDS_AT_ONCE):
                    self._load_seconds(symbol, batch)
        if self._broken:
            lost = {keys.lost(key): value for key, value in self._broken.items()}
            self._database.write(lost, list(self._broken))
        return self._found

    def _load_small_records(self, snapshot: Snapshot) -> None:
        for name, value in family(snapshot, "meta"):
            if name == "source":
                self._found.source = unpack_source(value)
            elif name != "schema":
                self._found.instruments[name] = unpack_instruments(value)
        for symbol, value in family(snapshot, "state"):
            tape = self._found.tape(symbol)
            tape.state = unpack_state(value)
            for run in tape.state.expired:
                tape.held.add(run)

    def _load_sealed_hours(self, snapshot: Snapshot) -> None:
        for name, value in family(snapshot, "rollup"):
            symbol, hour_ms, part = keys.sealed_hour(name)
            with self._noting(keys.rollup(symbol, hour_ms, part), value):
                self._load_sealed(symbol, hour_ms, part, self._rollup(symbol, hour_ms, part, value))
                continue
            # Without its rollup a block would be found by nobody but a question that trips over it.
            block = keys.block(symbol, hour_ms, part)
            with suppress(CorruptRecord):
                self._broken[block] = self._database.get(block) or b""

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
            tape.hold(self._rows(symbol, hour_ms, part))
        tape.sealed.setdefault(hour_ms, {})[part] = rollup

    def _rollup(self, symbol: str, hour_ms: int, part: int, value: bytes) -> Rollup:
        """A damaged rollup is made anew from its block."""
        try:
            return decode_rollup(value)
        except CorruptRecord as damage:
            rollup = rollup_of(self._rows(symbol, hour_ms, part))
            key = keys.rollup(symbol, hour_ms, part)
            self._found.damage.append(f"{key.decode()}: {damage}; made anew from its block")
            self._database.write({key: encode_rollup(rollup)})
            return rollup

    def _rows(self, symbol: str, hour_ms: int, part: int) -> TradeColumns:
        stored = self._database.get(keys.block(symbol, hour_ms, part))
        return block_rows(stored, symbol, hour_ms, part)

    def _load_seconds(self, symbol: str, records: list[tuple[str, bytes]]) -> None:
        """Decoded together, which is twenty times as fast; where one is damaged each by itself."""
        try:
            self._hold_unsealed(symbol, decode_second_batches([value for _, value in records]))
        except CorruptRecord:
            for name, value in records:
                with self._noting(f"trades:{name}".encode(), value):
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
