"""One order by id out of several links: duplicates dropped, neighbours put right, jumps waited for.

Invariant: rows are released in id order, each id once while it is remembered; an id is waited for until
two `settle` calls have passed, then what came after it is released and the hole is the ledger's to name.
No I/O and no clock: the caller's `settle` is the clock.
"""

import numpy as np
import numpy.typing as npt

from storage.conflicts import Conflict
from storage.trades import BoolArray, IntArray, TradeColumns

# A link that lags another by less than this many trades of a symbol has its duplicates compared.
REMEMBERED = 4096
# Releases are joined when there are more of them than this.
MOST_PARTS = 64
# So many of the newest rows are at hand for the usual repetition: the same trade by another link.
AT_HAND = 512
# Rows held behind a jump; beyond it the wait is over.
MOST_HELD = 50_000

# Conflicts kept until they are asked for; more are counted alone.
MOST_CONFLICTS = 100

_COMPARED = ("time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker")


class Sequencer:
    """The order of one symbol's trades, whatever its links do."""

    def __init__(self, head: int | None = None, head_ms: int = 0) -> None:
        """`head` is the newest id that the ledger holds, traded at `head_ms`; None where it holds none."""
        self._head = head
        self._head_ms = head_ms
        self._recent: list[TradeColumns] = []
        self._at_hand = TradeColumns.empty()
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
    def head_ms(self) -> int:
        """When that was traded; 0 before any."""
        return self._head_ms

    @property
    def held(self) -> TradeColumns:
        """The rows held behind a jump, in id order."""
        return self._held

    @property
    def waiting(self) -> bool:
        """Whether rows are held behind a jump of the ids."""
        return len(self._held) > 0

    def accept(self, rows: TradeColumns) -> TradeColumns:
        """Take in rows in any order; what may go on, in id order."""
        repeated = self._repeated(rows)
        if repeated is not None:
            self.duplicates += repeated
            return self._remember(rows.take(slice(repeated, None)) if repeated else rows)
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

    def remember(self, rows: TradeColumns) -> TradeColumns:
        """Rows that the ledger holds by another way: what links bring under their ids is compared with them.
        What may go on of the rows held, in id order."""
        rows, recent = rows.by_id(), self._recent_rows()
        released = _places_in(recent.id, rows.id)
        known = released >= 0
        self._compare(rows.take(known), recent.take(released[known]))
        self._remember(rows.take(~known))
        self._held = self._without_duplicates(TradeColumns.empty())
        return self._release(self._contiguous())

    def restart(self) -> TradeColumns:
        """What comes next is a beginning, whatever its ids; all that is held, in id order."""
        drained = self.drain()
        self._head = None
        return drained

    def keep_held(self, rows: BoolArray) -> None:
        """Give up the other rows that are held."""
        self._held = self._held.take(rows)

    def take_conflicts(self) -> list[Conflict]:
        """The contents under ids that another content had before, since the last call; bounded."""
        conflicting, self._conflicting = self._conflicting, []
        return conflicting

    def _repeated(self, rows: TradeColumns) -> int | None:
        """How many of the rows repeat the newest ones, the others being the head's successors; None where it
        is not as simple as that. It mostly is, and this is cheap."""
        if self._head is None or len(self._held) or not len(rows) or not _ascends_by_one(rows.id):
            return None
        repeated = min(self._head + 1 - int(rows.id[0]), len(rows))
        if repeated == 0:
            return 0
        known = self._at_hand.id
        at = int(rows.id[0] - known[0]) if len(known) else -1
        if repeated < 0 or at < 0:
            return None
        known_rows = self._at_hand.take(slice(at, at + repeated))
        same = _is_same(known_rows, rows.take(slice(0, repeated)))
        return repeated if same else None

    def _without_duplicates(self, rows: TradeColumns) -> TradeColumns:
        """The rows held and the new ones among `rows`, ids ascending, the first of equal ids kept."""
        arrived = self._unreleased(TradeColumns.concat([self._held, rows]))
        arrived = arrived.take(np.argsort(arrived.id, kind="stable"))
        again = np.diff(arrived.id, prepend=-1) == 0
        first = np.flatnonzero(~again)[np.cumsum(~again) - 1]
        self._count(arrived.take(again), arrived.take(first[again]))
        return arrived.take(~again)

    def _unreleased(self, rows: TradeColumns) -> TradeColumns:
        """Without those that repeat what was released."""
        recent = self._recent_rows()
        released = _places_in(recent.id, rows.id)
        again = released >= 0
        self._count(rows.take(again), recent.take(released[again]))
        return rows.take(~again)

    def _count(self, repeated: TradeColumns, known: TradeColumns) -> None:
        """Note what links brought again."""
        self.duplicates += len(repeated)
        self._compare(repeated, known)

    def _compare(self, repeated: TradeColumns, known: TradeColumns) -> None:
        """Note those that say something else than the row known under their id."""
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
            if self._head is None or newest > self._head:
                self._head, self._head_ms = newest, int(released.time_ms[-1])
            self._recent.append(released)
            at_hand = TradeColumns.concat([self._at_hand, released])
            self._at_hand = at_hand.take(slice(-AT_HAND, None)) if len(at_hand) > 2 * AT_HAND else at_hand
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


def _ascends_by_one(ids: IntArray) -> bool:
    return int(ids[-1] - ids[0]) == len(ids) - 1 and bool((ids[1:] > ids[:-1]).all())


def _is_same(rows: TradeColumns, others: TradeColumns) -> bool:
    return all(np.array_equal(getattr(rows, name), getattr(others, name)) for name in ("id", *_COMPARED))
