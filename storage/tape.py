"""One symbol's tape in memory: which ids are held, the rows of unsealed hours, and what awaits a write.

Invariant: `held` has the ids of the rows that can be read and no others. A row that was appended is in `open`
until its hour's block holds it, and in `pending` or `writing` until a write has acknowledged it.
Not thread-safe: the ledger's lock guards it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from storage import keys
from storage.codec import by_second
from storage.held_ids import HeldIds, gaps_between, runs_of
from storage.rollups import Rollup
from storage.trades import Gap, TradeColumns
from storage.view import Held

# Small parts of an hour are joined when there are more of them, so that a question has few to join.
MOST_PARTS = 64


@dataclass(slots=True)
class Tape:
    held: HeldIds = field(default_factory=HeldIds)
    warmup_from_ms: int | None = None
    sealed: dict[int, dict[int, Rollup]] = field(default_factory=dict)
    open: dict[int, list[TradeColumns]] = field(default_factory=dict)
    pending: list[TradeColumns] = field(default_factory=list)
    writing: list[TradeColumns] = field(default_factory=list)
    changed: bool = False
    sizes_before: dict[int, int] = field(default_factory=dict)
    unsealable: set[int] = field(default_factory=set)

    def append(self, trades: TradeColumns) -> TradeColumns:
        """Take in the rows whose ids are not held; those rows."""
        new = trades.take(~self.held.contains(trades.id))
        if len(new):
            self.hold(new)
            self.keep_open(new)
            self.pending.append(new)
            self.changed = True
        return new

    def hold(self, rows: TradeColumns) -> None:
        """Count the ids of these rows, ids ascending, as held."""
        for run in runs_of(rows):
            self.held.add(run)

    def keep_open(self, rows: TradeColumns) -> None:
        """Hold rows in memory, by hour, until they are sealed."""
        for hour_ms in _hours_of(rows):
            parts = self.open.setdefault(hour_ms, [])
            parts.append(rows.within(hour_ms, hour_ms + keys.HOUR_MS))
            if len(parts) > MOST_PARTS:
                parts[:] = [TradeColumns.concat(parts).by_id()]

    def take(self) -> "Taken":
        """Move what is pending into a write."""
        self.writing, self.pending, self.changed = self.pending, [], False
        hours = {hour_ms for part in self.writing for hour_ms in _hours_of(part)}
        parts = tuple(part for hour_ms in sorted(hours) for part in self.open.get(hour_ms, ()))
        return Taken(tuple(self.writing), parts, self.warmup_from_ms)

    def give_back(self) -> None:
        """The write failed: its rows are pending again."""
        self.pending, self.writing, self.changed = self.writing + self.pending, [], True

    def acknowledge(self) -> None:
        """The write succeeded."""
        self.writing = []

    def now(self) -> Held:
        """What is held at this instant."""
        open_hours = {hour_ms: tuple(parts) for hour_ms, parts in self.open.items()}
        sealed = {hour_ms: tuple(parts.values()) for hour_ms, parts in self.sealed.items()}
        return Held(self.held.runs, sealed, open_hours)

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
        gaps = tuple(gaps_between(self.held.runs))
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
        rest = TradeColumns.concat(self.open[hour_ms])
        rest = rest.take(~np.isin(rest.id, rows.id))
        if len(rest):
            self.open[hour_ms] = [rest]
        else:
            del self.open[hour_ms]
        self.sealed.setdefault(hour_ms, {})[part] = rollup


def _touched(hour_ms: int, gaps: tuple[Gap, ...]) -> bool:
    return any(gap.after_ms < hour_ms + keys.HOUR_MS and gap.before_ms >= hour_ms for gap in gaps)


def _hours_of(rows: TradeColumns) -> list[int]:
    """The starts of the hours in which the rows were traded."""
    hours: list[int] = np.unique(rows.time_ms // keys.HOUR_MS * keys.HOUR_MS).tolist()
    return hours


@dataclass(frozen=True, slots=True)
class Taken:
    """What a write takes along of one symbol: the new rows, and all that is held of their unsealed hours."""

    new: tuple[TradeColumns, ...]
    hours: tuple[TradeColumns, ...]
    warmup_from_ms: int | None

    def __len__(self) -> int:
        return sum(map(len, self.new))

    def seconds(self) -> Iterator[tuple[int, TradeColumns]]:
        """Each second that has a new row, with all rows that are held of it unsealed."""
        new = TradeColumns.concat(self.new)
        if len(new) == 0:
            return
        touched = set((new.time_ms // keys.SECOND_MS * keys.SECOND_MS).tolist())
        span = min(touched), max(touched) + keys.SECOND_MS
        rows = TradeColumns.concat([part.within(*span) for part in self.hours]).by_id()
        for second_ms, batch in by_second(rows):
            if second_ms in touched:
                yield second_ms, batch
