"""The tapes of all symbols in memory: rows in by id, and what a write takes of them.

Invariant: rows are refused once `MOST_UNWRITTEN` await a write, and are lost in no other way.

Not thread-safe: who uses tapes, or one of them, holds `lock`. Who alone writes may do without it to look at
what nobody else changes.
"""

import threading
from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass

from storage import keys
from storage.codec import encode_second_batch
from storage.held_ids import gaps_beyond
from storage.records import pack_absence, pack_state
from storage.tape import Taken, Tape
from storage.trades import Gap, TradeColumns

# Rows that are kept in memory while the disk refuses, some 200 MB; further ones are refused.
MOST_UNWRITTEN = 4_000_000


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
class Batch:
    """What a write takes of all symbols. Needs no lock."""

    taken: Mapping[str, Taken]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.taken.values())

    def records(self) -> dict[bytes, bytes]:
        """Each touched second whole, with the symbols' state."""
        records = {keys.state(symbol): pack_state(part.state) for symbol, part in self.taken.items()}
        for symbol, part in self.taken.items():
            for second_ms, rows in part.seconds():
                records[keys.trades(symbol, second_ms)] = encode_second_batch(rows)
            for first_id, absence in part.absences.items():
                if absence is not None:
                    records[keys.absence(symbol, first_id)] = pack_absence(absence)
        return records

    def removed(self) -> list[bytes]:
        """The absences that are none any more."""
        return [
            keys.absence(symbol, first_id)
            for symbol, part in self.taken.items()
            for first_id, absence in part.absences.items()
            if absence is None
        ]


class Tapes:
    """The tapes by symbol, and how many of their rows no write has acknowledged or none could be taken in."""

    def __init__(self, tapes: dict[str, Tape]) -> None:
        self.lock = threading.Lock()
        self.unwritten = 0
        self.refused = 0
        self._tapes = tapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._tapes)

    def items(self) -> ItemsView[str, Tape]:
        return self._tapes.items()

    def of(self, symbol: str) -> Tape:
        """A symbol's tape, to look at: an empty one where there is none."""
        return self._tapes.get(symbol) or Tape()

    def begun(self, symbol: str) -> Tape:
        """A symbol's tape, to write on: from now on there is one."""
        return self._tapes.setdefault(symbol, Tape())

    @property
    def is_behind(self) -> bool:
        """Whether half of what may await a write does."""
        return self.unwritten > MOST_UNWRITTEN // 2

    def append(self, symbol: str, trades: TradeColumns, *, restoring: bool) -> Appended:
        """Take in the rows, ids ascending, whose ids are not held; `restoring` also those of expired ids."""
        tape = self.begun(symbol)
        if restoring:
            tape.restore(trades)
        before = tape.held.runs
        new = tape.new_among(trades)
        duplicates = len(trades) - len(new)
        if self.unwritten + len(new) > MOST_UNWRITTEN:
            self.refused += len(new)
            return Appended(0, duplicates, (), len(new))
        if len(new):
            tape.take_in(new)
        self.unwritten += len(new)
        opened = gaps_beyond(tape.held.runs, before[0].first_id, before[-1].last_id) if before else []
        return Appended(len(new), duplicates, tuple(opened))

    def take(self) -> Batch:
        """Move what is pending into a write."""
        return Batch({symbol: tape.take() for symbol, tape in self._tapes.items() if tape.changed})

    def give_back(self, batch: Batch) -> None:
        """The write failed: its rows are pending again."""
        for symbol, part in batch.taken.items():
            self._tapes[symbol].give_back(part)
        self._count()

    def acknowledge(self, batch: Batch) -> None:
        """The write succeeded."""
        for symbol, part in batch.taken.items():
            self._tapes[symbol].acknowledge(part)
        self._count()

    def _count(self) -> None:
        self.unwritten = sum(tape.unwritten for tape in self._tapes.values())
