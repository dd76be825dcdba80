"""Verifying a ledger: every file, key, version, checksum, order and id range; blocks against histograms.

Invariant: the ledger is not changed. LevelDB's files are verified as a copy of links, which is opened in
their place.
"""

import heapq
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from storage import keys
from storage.absences import Absence, by_state, unheld
from storage.codec import decode_second_batches
from storage.conflicts import unpack_conflict
from storage.database import Database
from storage.errors import CorruptRecord, NewerFormat
from storage.findings import Finding, Kind, finding, given_up
from storage.held_ids import HeldIds, gaps_between, runs_of
from storage.keys import Name
from storage.ledger_files import (
    CHECKPOINTS,
    FileDamage,
    copy,
    damaged_logs,
    examined,
    leveldb_files,
    locked,
    mend_logs,
    mend_tables,
)
from storage.leveldb import Snapshot
from storage.opening import repair
from storage.records import (
    InstrumentHistory,
    pack_absence,
    pack_source,
    unpack_absence,
    unpack_instruments,
    unpack_schema,
    unpack_source,
    unpack_state,
)
from storage.recovery import FORMAT, family, schema_record, venue_of
from storage.sealed_hours import StoredHour, check_hour
from storage.trades import GapState, TradeColumns

# A step of the work: its name, how much of it is done and how much there is, None where that is not known.
Progress = Callable[[str, int, int | None], None]
TOLD_EVERY = 1000
FIRST_RECORDS = 2
SEALED = ("blocks", "candles", "rollup")


def untold(step: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


@dataclass(slots=True)
class Checked:
    """How much was looked at."""

    symbols: set[str] = field(default_factory=set)
    hours: set[tuple[str, int]] = field(default_factory=set)
    records: int = 0
    blocks: int = 0
    seconds: int = 0
    trades: int = 0


def verify(path: Path, progress: Progress = untold) -> tuple[list[Finding], Checked]:
    """What is wrong with a ledger that nobody has open. Raises `StoreLocked`, `NewerFormat`."""
    with locked(path), _linked(path) as directory:
        return verify_copy(directory, progress)


@contextmanager
def _linked(path: Path) -> Iterator[Path]:
    directory = path / CHECKPOINTS / f"verify-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    try:
        for file in leveldb_files(path):
            copy(file, directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def verify_copy(path: Path, progress: Progress = untold) -> tuple[list[Finding], Checked]:
    """What is wrong with a copy of a ledger, which is changed by it. Raises `NewerFormat`."""
    files = list(examined(path))
    mend_logs(damaged_logs(path))
    if all(damage.log for damage in files):
        try:
            records = verify_records(path, progress)
            return [*of_files(files), *records[0]], records[1]
        except CorruptRecord as error:
            files += unreadable(path, files, error)
    # What is left shows which hours are lost.
    mend_tables(path)
    repair(path)
    found, checked = verify_records(path, progress)
    return [*of_files(files), *found], checked


def unreadable(path: Path, known: list[FileDamage], error: CorruptRecord) -> list[FileDamage]:
    """What a failing checksum comes from."""
    found = [damage for damage in examined(path, tables=True) if damage not in known]
    return found or [FileDamage("LevelDB", f"cannot be read: {error}")]


def of_files(files: Iterable[FileDamage]) -> list[Finding]:
    """Damaged files: a finding for each symbol and hour of the keys that can be made out."""
    return [finding for damage in files for finding in _of_file(damage)]


def _of_file(damage: FileDamage) -> Iterator[Finding]:
    sound = "its sound records are kept" if damage.log else "what is sound is kept"
    remedy = f"all files set aside in damaged-<time>, {sound}"
    places: dict[tuple[str, int | None], list[bytes]] = {}
    for key in damage.keys:
        name = keys.parsed(key)
        places.setdefault((name.symbol, name.hour_ms) if name else ("", None), []).append(key)
    for (symbol, hour_ms), found in places.items():
        shown = [key.decode(errors="backslashreplace") for key in found]
        what = f"{damage}: {shown[0]}" + (f" to {shown[-1]}" if len(shown) > 1 else "")
        yield Finding("file", what, remedy=remedy, symbol=symbol, hour_ms=hour_ms)
    if not places:
        yield Finding("file", str(damage), remedy=remedy)


def verify_records(path: Path, progress: Progress = untold) -> tuple[list[Finding], Checked]:
    """What is wrong with the records of a directory whose files are sound. Raises `CorruptRecord` where they
    are not, and `NewerFormat`."""
    database = Database.open(path, create=False)
    try:
        return check_records(database, progress)
    finally:
        database.close()


def check_records(database: Database, progress: Progress = untold) -> tuple[list[Finding], Checked]:
    """What is wrong with the records of an open database."""
    found = list(_end_put_back(database))
    with database.reading(), database.snapshot() as snapshot:
        verification = _Verification(snapshot, database, progress)
        return found + list(verification.run()), verification.checked


def _end_put_back(database: Database) -> Iterator[Finding]:
    """The end sentinel is put back at once: without it nothing can be read to the end."""
    if database.get(keys.END) is None:
        database.write({keys.END: b""})
        yield finding("record", keys.END, "the end sentinel is gone", "put back")


class _Verification:
    def __init__(self, snapshot: Snapshot, database: Database, progress: Progress) -> None:
        self.checked = Checked()
        self._snapshot = snapshot
        self._database = database
        self._progress = progress
        self._sealed: dict[str, HeldIds] = {}
        self._open: dict[str, HeldIds] = {}
        self._expired: dict[str, HeldIds] = {}
        self._absences: dict[str, list[Absence]] = {}
        self._parts = 0

    def run(self) -> Iterator[Finding]:
        yield from self._first_records()
        yield from self._all_keys()
        yield from self._small_records()
        for done, (name, records) in enumerate(self._hours()):
            self._progress("hours", done, self._parts)
            yield from self._hour(name, records)
        for key, name, value in family(self._snapshot, "trades"):
            yield from self._second(key, name, value)
        yield from self._gaps()

    def _first_records(self) -> Iterator[Finding]:
        schema = self._database.get(keys.SCHEMA)
        what = "is gone"
        if schema is not None:
            try:
                if unpack_schema(schema) > FORMAT:
                    raise NewerFormat(f"format {unpack_schema(schema)}, this tapedeck reads up to {FORMAT}")
                return
            except CorruptRecord as error:
                what = str(error)
        put = {keys.SCHEMA: schema_record()} | ({keys.lost(keys.SCHEMA): schema} if schema else {})
        yield finding("record", keys.SCHEMA, what, "put back", put=put)

    def _all_keys(self) -> Iterator[Finding]:
        """Reads every record once: LevelDB verifies its checksum."""
        for key, value in self._snapshot.records(b"", keys.END):
            self.checked.records += 1
            if self.checked.records % TOLD_EVERY == 0:
                self._progress("records", self.checked.records, None)
            name = keys.parsed(key)
            if name is None:
                yield finding("note", key, f"key of no known form, {len(value)} bytes", "left in place")
            elif name.family == "lost":
                yield finding("note", key, f"damaged record kept, {len(value)} bytes", "left in place")
            elif name.family == "blocks":
                self._parts += 1

    def _small_records(self) -> Iterator[Finding]:
        instruments: dict[str, InstrumentHistory] = {}
        source = None
        for key, name, value in family(self._snapshot, "meta"):
            try:
                if key == keys.SOURCE:
                    source = unpack_source(value)
                elif key != keys.SCHEMA:
                    instruments[name.symbol] = unpack_instruments(value)
            except CorruptRecord as error:
                yield given_up("record", key, str(error), {key: value})
        for key, name, value in family(self._snapshot, "state"):
            try:
                self._expired[name.symbol] = HeldIds(unpack_state(value).expired)
            except CorruptRecord as error:
                yield given_up("record", key, str(error), {key: value})
        for key, _, value in family(self._snapshot, "conflict"):
            try:
                unpack_conflict(value)
            except CorruptRecord as error:
                yield given_up("record", key, str(error), {key: value})
        yield from self._lacking()
        if source is None and self.checked.records > FIRST_RECORDS:
            yield _lost_source(instruments)

    def _lacking(self) -> Iterator[Finding]:
        for key, name, value in family(self._snapshot, "gaps"):
            try:
                absence = unpack_absence(value)
                if absence.first_id != name.first_id:
                    raise CorruptRecord(f"absence of other ids, from {absence.first_id} on")
            except CorruptRecord as error:
                yield given_up("record", key, str(error), {key: value})
            else:
                self._absences.setdefault(name.symbol, []).append(absence)

    def _hours(self) -> Iterator[tuple[Name, dict[str, bytes]]]:
        """The records of each part of each sealed hour, whichever there are."""

        def place(record: tuple[bytes, Name, bytes]) -> tuple[str, int, int]:
            return f"{record[1].symbol}:", record[1].time_ms or 0, record[1].part

        families = [sorted_family(self._snapshot, name) for name in SEALED]
        for _, group in groupby(heapq.merge(*families, key=place), key=place):
            records = list(group)
            yield records[0][1], {name.family: value for _, name, value in records}

    def _hour(self, name: Name, records: dict[str, bytes]) -> Iterator[Finding]:
        assert name.time_ms is not None
        hour = StoredHour(name.symbol, name.time_ms, name.part, records)
        self.checked.symbols.add(name.symbol)
        self.checked.hours.add((name.symbol, name.time_ms))
        rows, findings = check_hour(hour)
        held = self._sealed.setdefault(name.symbol, HeldIds())
        if rows is not None and bool(held.contains(rows.id).any()):
            findings = [hour.given_up("blocks", "ids of this block are in another one")]
            rows = None
        yield from findings
        if rows is not None:
            self._count(held, rows)
            self.checked.blocks += 1

    def _count(self, held: HeldIds, rows: TradeColumns) -> None:
        for run in runs_of(rows):
            held.add(run)
        self.checked.trades += len(rows)

    def _second(self, key: bytes, name: Name, value: bytes) -> Iterator[Finding]:
        self.checked.symbols.add(name.symbol)
        self.checked.hours.add((name.symbol, name.hour_ms or 0))
        held = self._open.setdefault(name.symbol, HeldIds())
        sealed = self._sealed.get(name.symbol, HeldIds())
        try:
            rows = decode_second_batches([value])
            _check_second(rows, name.time_ms or 0)
        except CorruptRecord as error:
            yield given_up("record", key, str(error), {key: value})
            return
        leftover = sealed.contains(rows.id)
        if bool(leftover.any()):
            what = f"{int(leftover.sum())} of {len(rows)} trades are in a block already"
            yield finding("note", key, what, "left in place: the block's count")
            rows = rows.take(~leftover)
        if bool(held.contains(rows.id).any()):
            yield given_up("mismatch", key, "ids of this second are in another one", {key: value})
            return
        self._count(held, rows)
        self.checked.seconds += 1

    def _gaps(self) -> Iterator[Finding]:
        """What is missing between the ids held: no damage, the server fetches it or the exchange lacks it."""
        for symbol in sorted(self.checked.symbols):
            parts = (self._expired, self._sealed, self._open)
            held = HeldIds(run for part in parts if symbol in part for run in part[symbol].runs)
            absences = self._absences.get(symbol, [])
            yield from (found for each in absences for found in _contradicted(symbol, each, held))
            certified = [each for each in absences if each.state == "certified"]
            for gap in by_state(gaps_between(held.runs), certified):
                ids = f"ids {gap.first_id} to {gap.last_id} are missing, {gap.missing} trades"
                kind, why = _GAPS[gap.state]
                yield Finding(kind, f"{ids}: {why}", symbol=symbol, hour_ms=keys.hour_of(gap.after_ms))


def sorted_family(snapshot: Snapshot, prefix: str) -> Iterator[tuple[bytes, Name, bytes]]:
    """The records of a family, the parts of an hour by number: by bytes part 10 comes before part 2."""
    for _, group in groupby(family(snapshot, prefix), key=lambda record: record[1][1:3]):
        yield from sorted(group, key=lambda record: record[1].part)


_GAPS: Mapping[GapState, tuple[Kind, str]] = {
    "open": ("gap", "an open gap"),
    "certified": ("certified", "the exchange has none, certified"),
}


def _contradicted(symbol: str, absence: Absence, held: HeldIds) -> Iterator[Finding]:
    """A record of ids that are held all the same: the rows count."""
    left = unheld(absence, held.runs)
    if left == [absence]:
        return
    key = keys.absence(symbol, absence.first_id)
    put = {keys.absence(symbol, part.first_id): pack_absence(part) for part in left}
    held_ids = absence.missing - sum(part.missing for part in left)
    what = f"says that the exchange lacks ids, {held_ids} of which are held"
    yield finding(
        "mismatch", key, what, "cut to those that are not", put=put, removed=(key,) * (key not in put)
    )


def _check_second(rows: TradeColumns, second_ms: int) -> None:
    if bool((rows.time_ms // keys.SECOND_MS * keys.SECOND_MS != second_ms).any()):
        raise CorruptRecord("second-batch of another second than its key says")
    if int(rows.price_int.min()) < 0:
        raise CorruptRecord("second-batch with a negative price")


def _lost_source(instruments: dict[str, InstrumentHistory]) -> Finding:
    """Without a venue any exchange could go on with the tape."""
    source = venue_of(instruments)
    if source is None:
        what = "no record and no filters say the venue: the next start takes that of its exchange"
        return finding("note", keys.SOURCE, what)
    remedy = f"put back from the filters: {source.venue}, addresses to be confirmed"
    return finding("record", keys.SOURCE, "the venue is gone", remedy, put={keys.SOURCE: pack_source(source)})
