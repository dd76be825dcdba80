"""Which page of history to ask REST for next.

Invariant: newest first, by id; what is asked for, has been put off or lies too far back is not asked for now.
No I/O and no clock: values in, values out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from storage.held_ids import HeldIds, Run
from storage.trades import Gap, IntArray

# Of the 1,000 rows of a page one is of the id before those wanted: where it comes, nothing was jumped over.
PAGE_IDS = 999
FIRST_DELAY_MS = 1_000
LONGEST_DELAY_MS = 300_000


@dataclass(frozen=True, slots=True)
class Page:
    """The ids first_id..last_id of a symbol, which are missing.

    `time_ms` is about when the last of them was traded; `known_absent` ones the exchange lacked before;
    `overlaps`: the id before them is asked for with them.
    """

    symbol: str
    first_id: int
    last_id: int
    time_ms: int
    known_absent: bool = False
    overlaps: bool = True

    @property
    def from_id(self) -> int:
        """What REST is asked for: the first row of the answer."""
        return max(0, self.first_id - self.overlaps)

    @property
    def run(self) -> Run:
        return Run(self.first_id, self.last_id, self.time_ms, self.time_ms)


def newest_page(
    symbol: str,
    gaps: Iterable[Gap],
    spoken_for: Sequence[Run],
    kept_from_ms: int = 0,
    *,
    page_ids: int = PAGE_IDS,
) -> Page | None:
    """The newest page of the open gaps, newest first, that is in none of the runs `spoken_for`.

    What lies in gaps that end before `kept_from_ms` would be deleted again.
    """
    for gap in gaps:
        if gap.state != "open" or gap.before_ms < kept_from_ms:
            continue
        free = HeldIds([Run(gap.first_id, gap.last_id, gap.after_ms, gap.before_ms)])
        for run in spoken_for:
            if run.first_id <= gap.last_id and run.last_id >= gap.first_id:
                free.remove(run)
        if free.runs:
            last_id = free.runs[-1].last_id
            first_id = max(free.runs[-1].first_id, last_id - page_ids + 1)
            time_ms = _time_of(gap, last_id)
            # About times far back nothing is known exactly: an estimate must not end the search too early.
            if time_ms >= kept_from_ms or last_id == gap.last_id:
                return Page(symbol, first_id, last_id, time_ms)
    return None


def _time_of(gap: Gap, identity: int) -> int:
    """About when an id was traded, as if trades came evenly."""
    share = (identity - gap.first_id + 1) / (gap.missing + 1)
    return round(gap.after_ms + share * (gap.before_ms - gap.after_ms))


def is_overlap_alone(page: Page, ids: IntArray) -> bool:
    """Whether an answer is the row before those wanted and no other: its page is that short, or the
    exchange's head is there."""
    return page.overlaps and len(ids) == 1 and int(ids[0]) < page.first_id


def overlaps_next(page: Page, ids: IntArray) -> bool:
    """Whether the next page is to overlap again: not while pages hold a single row, which has to be new."""
    return not is_overlap_alone(page, ids) if page.overlaps else len(ids) > 1


def not_answered(page: Page, ids: IntArray, *, sound: bool) -> list[Run]:
    """The ids of a page that its answer leaves open without proving anything; `ids` ascend.

    Ids in front of the answer, and all where none is wanted: REST jumped ahead or lags. Behind it, where
    anything came, REST is asked on at once. Between its ids nothing is proven only where some could not be
    read (not `sound`).
    """
    inside = ids[(ids >= page.first_id) & (ids <= page.last_id)]
    if len(inside) == 0:
        proven = sound and len(ids) and ids[0] < page.first_id and ids[-1] > page.last_id
        return [] if proven else [page.run]
    open_ids = HeldIds([page.run])
    for identity in ids.tolist() if not sound else []:
        open_ids.remove(Run(identity, identity, page.time_ms, page.time_ms))
    if not sound:
        return list(open_ids.runs)
    in_front = Run(page.first_id, int(inside[0]) - 1, page.time_ms, page.time_ms)
    shown_before = int(ids[0]) < page.first_id
    return [] if shown_before or in_front.first_id > in_front.last_id else [in_front]


@dataclass(slots=True)
class _PutOff:
    run: Run
    until_ms: int
    delay_ms: int


@dataclass(slots=True)
class PutOff:
    """Pages of one symbol that were asked for in vain, and for how long they are left alone."""

    _pages: list[_PutOff] = field(default_factory=list)

    def until_later(self, now_ms: int) -> list[Run]:
        """What is not to be asked for now."""
        return [each.run for each in self._pages if each.until_ms > now_ms]

    @property
    def runs(self) -> list[Run]:
        """All that was asked for in vain last time."""
        return [each.run for each in self._pages]

    def keep(self, gaps: Iterable[Gap]) -> None:
        """Forget what is missing no more."""
        if self._pages:
            missing = [Run(gap.first_id, gap.last_id, gap.after_ms, gap.before_ms) for gap in gaps]
            self._pages = [each for each in self._pages if any(_overlap(each.run, gap) for gap in missing)]

    def answered(self, page: Page, left: Iterable[Run], now_ms: int) -> list[int]:
        """Note an answer, which left these ids open; for how long each of them is left alone."""
        again = [each for each in self._pages if _overlap(each.run, page.run)]
        self._pages = [each for each in self._pages if each not in again]
        delays = []
        for run in left:
            before = max((each.delay_ms for each in again if _overlap(each.run, run)), default=None)
            delay_ms = FIRST_DELAY_MS if before is None else min(before * 2, LONGEST_DELAY_MS)
            self._pages.append(_PutOff(run, now_ms + delay_ms, delay_ms))
            delays.append(delay_ms)
        return delays


def _overlap(one: Run, other: Run) -> bool:
    return one.first_id <= other.last_id and other.first_id <= one.last_id
