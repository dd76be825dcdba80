"""One order by id out of several links: duplicates dropped, neighbours put right, jumps waited for.

Invariant: rows are released in id order, each id once while it is remembered; an id is waited for until
two `settle` calls have passed, then what came after it is released and the hole is the ledger's to name.
No I/O and no clock: the caller's `settle` is the clock.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.trades import IntArray, TradeColumns

# A link that lags another by less than this many trades of a symbol has its duplicates compared.
REMEMBERED = 4096
# Releases are joined when there are more of them than this.
MOST_PARTS = 64
# Rows held behind a jump; beyond it the wait is over.
MOST_HELD = 50_000

# Conflicts kept until they are asked for; more are counted alone.
MOST_CONFLICTS = 100

_COMPARED = ("time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker")


@dataclass(frozen=True, slots=True, eq=False)
class Conflict:
    """Two contents under one id, a row each: the one that came first and goes on, and the other."""

    kept: TradeColumns
    other: TradeColumns


class Sequencer:
    """The order of one symbol's trades, whatever its links do."""

    def __init__(self, head: int | None = None) -> None:
        """`head` is the newest id that the ledger holds; None where it holds none."""
        self._head = head
        self._recent: list[TradeColumns] = []
        self._held = TradeColumns.empty()
        self._held_before = 0
        self._conflicting: list[Conflict] = []
        self.duplicates = 0
        self.conflicts = 0

    @property
    def head(self) -> int | None:
        """The newest id released."""
        return self._head

    @property
    def waiting(self) -> bool:
        """Whether rows are held behind a jump of the ids."""
        return len(self._held) > 0

    def accept(self, rows: TradeColumns) -> TradeColumns:
        """Take in rows in any order; what may go on, in id order."""
        if not len(self._held) and self._follows(rows):
            return self._remember(rows)
        self._held = self._without_duplicates(rows)
        if len(self._held) > MOST_HELD:
            return self._release(len(self._held))
        return self._release(self._contiguous())

    def settle(self) -> TradeColumns:
        """Stop waiting for what was waited for at the last call already; the rows behind it, in id order."""
        overdue = int(np.searchsorted(self._held.id, self._held_before, side="right"))
        released = self._release(max(overdue, self._contiguous(overdue)))
        self._held_before = int(self._held.id[-1]) if len(self._held) else 0
        return released

    def drain(self) -> TradeColumns:
        """All that is held, in id order: nothing more will come."""
        return self._release(len(self._held))

    def take_conflicts(self) -> list[Conflict]:
        """The contents under ids that another content had before, since the last call; bounded."""
        conflicting, self._conflicting = self._conflicting, []
        return conflicting

    def _follows(self, rows: TradeColumns) -> bool:
        """Whether the rows are the head's successors as they stand: the usual case, and a cheap one."""
        if self._head is None or len(rows) == 0 or int(rows.id[0]) != self._head + 1:
            return False
        return int(rows.id[-1]) == self._head + len(rows) and bool(np.all(np.diff(rows.id) == 1))

    def _without_duplicates(self, rows: TradeColumns) -> TradeColumns:
        """The rows held and the new ones among `rows`, ids ascending, the first of equal ids kept."""
        recent = self._recent_rows()
        released = _places_in(recent.id, rows.id)
        again = released >= 0
        self._count(rows.take(again), recent.take(released[again]))
        arrived = TradeColumns.concat([self._held, rows.take(~again)])
        arrived = arrived.take(np.argsort(arrived.id, kind="stable"))
        again = np.diff(arrived.id, prepend=-1) == 0
        first = np.flatnonzero(~again)[np.cumsum(~again) - 1]
        self._count(arrived.take(again), arrived.take(first[again]))
        return arrived.take(~again)

    def _count(self, repeated: TradeColumns, known: TradeColumns) -> None:
        """Note duplicates, and those that say something else than the row known under their id."""
        self.duplicates += len(repeated)
        differs = np.zeros(len(repeated), np.bool_)
        for name in _COMPARED:
            differs |= getattr(repeated, name) != getattr(known, name)
        places = np.flatnonzero(differs)
        self.conflicts += len(places)
        for place in places[: MOST_CONFLICTS - len(self._conflicting)].tolist():
            row = slice(place, place + 1)
            self._conflicting.append(Conflict(known.take(row), repeated.take(row)))

    def _contiguous(self, start: int = 0) -> int:
        """How many of the held rows may go on: those without a jump behind the head, at least `start`."""
        ids = self._held.id
        if len(ids) <= start:
            return start
        head = self._head if self._head is not None else int(ids[0]) - 1
        before = np.maximum(np.append(head, ids[:-1]), head)
        jumps = np.flatnonzero((ids - before)[start:] > 1)
        return start + int(jumps[0]) if len(jumps) else len(ids)

    def _release(self, count: int) -> TradeColumns:
        released, self._held = self._held.take(slice(0, count)), self._held.take(slice(count, None))
        return self._remember(released)

    def _remember(self, released: TradeColumns) -> TradeColumns:
        if len(released):
            newest = int(released.id[-1])
            self._head = newest if self._head is None else max(self._head, newest)
            self._recent.append(released)
            if len(self._recent) > MOST_PARTS:
                self._recent_rows()
        return released

    def _recent_rows(self) -> TradeColumns:
        """The newest rows released, ids ascending."""
        recent = TradeColumns.concat(self._recent)
        if len(self._recent) > 1:
            recent = recent.take(np.argsort(recent.id, kind="stable")[-REMEMBERED:])
            self._recent = [recent]
        return recent


def _places_in(ids: IntArray, wanted: IntArray) -> npt.NDArray[np.intp]:
    """Where each wanted id stands among ascending `ids`; -1 where it does not."""
    if len(ids) == 0:
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[at] == wanted, at, -1)
