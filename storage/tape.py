"""One symbol's tape in memory: which ids are held, the rows of unsealed hours, and what awaits a write.

Invariant: `held` has the ids of the rows that can be read or have expired, and no others; ids below
`settled` matter no more and are in it no more. A row that was appended is in `open` until its hour's block
holds it, and its second is in `pending` or `writing` until a write has acknowledged it. Not thread-safe: the
ledger's lock guards it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from storage import keys
from storage.absences import Absence, Absences, by_state
from storage.codec import by_second
from storage.held import Held
from storage.held_ids import HeldIds, Run, gaps_between, runs_of
from storage.records import SymbolState
from storage.rollups import Rollup
from storage.trades import Gap, TradeColumns

# Parts of an hour are joined when there are more of them, all but a large first one, so that a question has
# few to look at and most rows are copied a few times only.
MOST_PARTS = 16


@dataclass(slots=True)
class Unwritten:
    """Seconds (UTC ms) that have rows which no write has acknowledged, and how many rows those are."""

    seconds: set[int] = field(default_factory=set)
    rows: int = 0

    def add(self, rows: TradeColumns) -> None:
        self.seconds.update(np.unique(rows.time_ms // keys.SECOND_MS * keys.SECOND_MS).tolist())
        self.rows += len(rows)


@dataclass(slots=True)
class Tape:
    held: HeldIds = field(default_factory=HeldIds)
    state: SymbolState = field(default_factory=SymbolState)
    sealed: dict[int, dict[int, Rollup]] = field(default_factory=dict)
    open: dict[int, list[TradeColumns]] = field(default_factory=dict)
    pending: Unwritten = field(default_factory=Unwritten)
    writing: Unwritten = field(default_factory=Unwritten)
    changed: bool = False
    sizes_before: dict[int, int] = field(default_factory=dict)
    unsealable: set[int] = field(default_factory=set)
    settled: int = 0
    absences: Absences = field(default_factory=Absences)

    @property
    def rows(self) -> int:
        """How many rows are held."""
        sealed = sum(rollup.rows for parts in self.sealed.values() for rollup in parts.values())
        return sealed + sum(len(part) for parts in self.open.values() for part in parts)

    @property
    def open_bytes(self) -> int:
        """The memory of the columns of unsealed hours."""
        return sum(part.nbytes for parts in self.open.values() for part in parts)

    @property
    def unwritten(self) -> int:
        """How many rows no write has acknowledged."""
        return self.pending.rows + self.writing.rows

    def new_among(self, trades: TradeColumns) -> TradeColumns:
        """The rows whose ids are not held and have not expired."""
        new = ~self.held.contains(trades.id) & (trades.id >= self.settled)
        return trades if bool(new.all()) else trades.take(new)

    def restore(self, rows: TradeColumns) -> None:
        """Where rows of expired ids come back, or of ids before them, no expired id counts as held or settled
        any more: history of that time is wanted again."""
        expired = rows.id < self.settled
        for run in self.state.expired:
            expired |= (rows.id >= run.first_id) & (rows.id <= run.last_id)
        if not expired.any():
            return
        for run in self.state.expired:
            self.held.remove(run)
        self.state = replace(self.state, expired=())
        self.settled = 0
        self.changed = True

    def take_in(self, new: TradeColumns) -> None:
        """Hold rows whose ids were not held, ids ascending, until a write has taken them."""
        self.hold(new)
        self.keep_open(new)
        self.pending.add(new)
        self.changed = True

    def hold(self, rows: TradeColumns) -> None:
        """Count the ids of these rows, ids ascending, as held."""
        for run in runs_of(rows):
            self.held.add(run)
            if len(self.absences):
                self.absences.came(run)

    def keep_absence(self, absence: Absence) -> None:
        """What the exchange lacks, as far as no row of it is held and it is missing."""
        self.absences.put(absence, self.held.runs, self._oldest_wanted())
        self.changed = True

    def _oldest_wanted(self) -> int:
        """The oldest id held, or of the history that is still to come."""
        history = self.history_wanted
        if history is not None:
            return history.first_id
        return self.held.runs[0].first_id if self.held.runs else 0

    def gaps(self, *, newest_first: bool = False) -> Iterator[Gap]:
        """The ids missing between the oldest and the newest one held, those certified apart."""
        return by_state(gaps_between(self.held.runs, newest_first=newest_first), self.certified)

    @property
    def certified(self) -> tuple[Absence, ...]:
        """In id order."""
        return tuple(absence for absence in self.absences if absence.state == "certified")

    @property
    def history_wanted(self) -> Gap | None:
        """The ids of the first start's history that are still to come, below all that are held."""
        from_ms, from_id = self.state.warmup_from_ms, self.state.warmup_from_id
        if from_ms is None or from_id is None or not self.held.runs:
            return None
        first_id, oldest = max(from_id, self.settled), self.held.runs[0]
        if first_id >= oldest.first_id:
            return None
        return Gap(first_id, oldest.first_id - 1, after_ms=from_ms, before_ms=oldest.first_ms)

    def keep_open(self, rows: TradeColumns) -> None:
        """Hold rows in memory, by hour, until they are sealed."""
        for hour_ms in _hours_of(rows):
            parts = self.open.setdefault(hour_ms, [])
            parts.append(rows.within(hour_ms, hour_ms + keys.HOUR_MS))
            if len(parts) > MOST_PARTS:
                first = 1 if 2 * len(parts[0]) > sum(map(len, parts)) else 0
                parts[first:] = [TradeColumns.concat(parts[first:]).by_id()]

    def take(self) -> "Taken":
        """Move what is pending into a write."""
        self.writing, self.pending, self.changed = self.pending, Unwritten(), False
        hours = sorted({keys.hour_of(second_ms) for second_ms in self.writing.seconds})
        parts = tuple(part for hour_ms in hours for part in self.open.get(hour_ms, ()))
        absences = {first_id: self.absences.get(first_id) for first_id in self.absences.changed}
        self.absences.changed = set()
        return Taken(frozenset(self.writing.seconds), self.writing.rows, parts, self.state, absences)

    def give_back(self, taken: "Taken") -> None:
        """The write failed: its rows are pending again."""
        self.absences.changed |= taken.absences.keys()
        self.pending.seconds |= self.writing.seconds
        self.pending.rows += self.writing.rows
        self.writing, self.changed = Unwritten(), True

    def acknowledge(self, _: "Taken") -> None:
        """The write succeeded."""
        self.writing = Unwritten()

    def now(self) -> Held:
        """What is held at this instant."""
        open_hours = {hour_ms: tuple(parts) for hour_ms, parts in self.open.items()}
        sealed = {hour_ms: dict(parts) for hour_ms, parts in self.sealed.items()}
        return Held(self.held.runs, sealed, open_hours, self.certified)

    def copied(self) -> "Tape":
        """The same tape for a look at leisure; what is appended meanwhile is not in it."""
        return Tape(
            HeldIds(self.held.runs),
            self.state,
            {hour_ms: dict(parts) for hour_ms, parts in self.sealed.items()},
            {hour_ms: list(parts) for hour_ms, parts in self.open.items()},
            settled=self.settled,
            absences=Absences(self.absences),
        )

    def recovered(self, absences: Iterable[Absence]) -> None:
        """All rows that can be read are held now: what lies before the oldest expired id has expired too, if
        no row does; of absences counts what no row contradicts."""
        if self.state.expired and self.held.runs[0].first_id == self.state.expired[0].first_id:
            self.settled = self.state.expired[0].first_id
        self.absences = Absences(absences)
        self.absences.hold(self.held.runs, self._oldest_wanted())
        self.changed |= bool(self.absences.changed)

    def due(self, finished_before_ms: int, most_rows: int) -> list[int]:
        """The open hours to be sealed now: finished and quiet since the last call, or grown too large.

        An hour without a gap in or beside it is complete and need not be quiet.
        """
        sizes = {
            hour_ms: sum(map(len, parts))
            for hour_ms, parts in self.open.items()
            if hour_ms not in self.unsealable
        }
        before, self.sizes_before = self.sizes_before, sizes
        gaps = (*gaps_between(self.held.runs), *filter(None, [self.history_wanted]))
        return [
            hour_ms
            for hour_ms, size in sorted(sizes.items())
            if size > most_rows
            or (
                hour_ms + keys.HOUR_MS <= finished_before_ms
                and (before.get(hour_ms) == size or not _touched(hour_ms, gaps))
            )
        ]

    def settle(self, hour_ms: int, rows: TradeColumns, part: int, rollup: Rollup) -> None:
        """Part `part` of the hour holds these rows now: keep in memory what came meanwhile."""
        self._close(hour_ms, rows)
        self.sealed.setdefault(hour_ms, {})[part] = rollup

    def _close(self, hour_ms: int, rows: TradeColumns) -> None:
        """These rows of an hour need not be in memory any more; what came meanwhile stays."""
        rest = TradeColumns.concat(self.open.get(hour_ms, []))
        rest = rest.take(~np.isin(rest.id, rows.id))
        if len(rest):
            self.open[hour_ms] = [rest]
        else:
            self.open.pop(hour_ms, None)

    def hours(self) -> list[int]:
        """The starts of the hours of which rows are held, oldest first."""
        return sorted(self.sealed.keys() | self.open.keys())

    def hours_before(self, end_ms: int) -> list[int]:
        """The hours that end at or before `end_ms`, oldest first."""
        return [hour_ms for hour_ms in self.hours() if hour_ms + keys.HOUR_MS <= end_ms]

    def oldest_id(self, hours: list[int]) -> int | None:
        """The smallest id in these hours."""
        sealed = [part.first_id for hour_ms in hours for part in self.sealed.get(hour_ms, {}).values()]
        rows = [int(part.id.min()) for hour_ms in hours for part in self.open.get(hour_ms, ())]
        return min(sealed + rows, default=None)

    def settle_before(self, hours: list[int]) -> None:
        """These hours are about to expire: ids before the newest held one that lies before all others kept
        matter no more."""
        kept = self.oldest_id([hour_ms for hour_ms in self.hours() if hour_ms not in hours])
        newest = self.held.runs[-1].last_id
        edge = self.held.last_up_to(newest if kept is None else kept - 1)
        self.settled = max(self.settled, edge or 0)

    def let_go(self, expiring: "Tape", hours: list[int], expired: tuple[Run, ...]) -> None:
        """These hours of the `expiring` copy have expired; `expired` are their ids, as far as they matter."""
        for hour_ms in hours:
            self.sealed.pop(hour_ms, None)
            self._close(hour_ms, TradeColumns.concat(expiring.open.get(hour_ms, [])))
            self.unsealable.discard(hour_ms)
        self.state = replace(self.state, expired=expired)
        if expired and expired[0].first_id == self.settled:
            self.held.forget_before(expired[0])
        self.absences.forget_through(self.settled)


def _touched(hour_ms: int, gaps: tuple[Gap, ...]) -> bool:
    return any(gap.after_ms < hour_ms + keys.HOUR_MS and gap.before_ms >= hour_ms for gap in gaps)


def _hours_of(rows: TradeColumns) -> list[int]:
    """The starts of the hours in which the rows were traded."""
    if len(rows) == 0:
        return []
    first, last = keys.hour_of(int(rows.time_ms.min())), keys.hour_of(int(rows.time_ms.max()))
    if first == last:
        return [first]
    hours: list[int] = np.unique(rows.time_ms // keys.HOUR_MS * keys.HOUR_MS).tolist()
    return hours


@dataclass(frozen=True, slots=True)
class Taken:
    """What a write takes of one symbol: its touched seconds, the rows of their unsealed hours, its state, and
    absences by their first id, None where there is none any more."""

    touched: frozenset[int]
    rows: int
    hours: tuple[TradeColumns, ...]
    state: SymbolState
    absences: Mapping[int, Absence | None]

    def seconds(self) -> Iterator[tuple[int, TradeColumns]]:
        """Each touched second with all rows that are held of it unsealed."""
        if not self.touched:
            return
        span = min(self.touched), max(self.touched) + keys.SECOND_MS
        rows = TradeColumns.concat([part.within(*span) for part in self.hours]).by_id()
        for second_ms, batch in by_second(rows):
            if second_ms in self.touched:
                yield second_ms, batch
