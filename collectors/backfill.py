"""Which page of history to ask REST for next.

Invariant: newest first, by id; what is asked for, has been put off or lies too far back is not asked for now.
No I/O and no clock: values in, values out.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.held_ids import HeldIds, Run
from storage.trades import Gap, IntArray

# Of the 1,000 rows of a page one is of the id before those wanted: where it comes, nothing was jumped over.
PAGE_IDS = 999
# So many pages of a gap that were asked for in vain: then it is asked for from below, then not for now. One
# gap that nobody can fill must not precede older ones for ever.
FROM_BELOW = 4
MOST_IN_VAIN = 8


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
    spoken_for: Iterable[Run],
    kept_from_ms: int = 0,
    *,
    in_vain: Sequence[Run] = (),
    page_ids: int = PAGE_IDS,
) -> Page | None:
    """The newest page of the open gaps, newest first, that is in none of the runs `spoken_for`.

    `in_vain`, in id order and spoken for, was asked for a moment ago: where some of it lies in a gap, that is
    asked for from its other end, whose page may have rows on both sides; and where more does, not at all for
    now. What lies in gaps that end before `kept_from_ms` would be deleted again.
    """
    spoken = HeldIds(spoken_for).runs
    for gap in gaps:
        if gap.state != "open" or gap.before_ms < kept_from_ms:
            continue
        free, vain = _free(gap, spoken), len(_shared(gap, in_vain))
        if not free or vain >= MOST_IN_VAIN:
            continue
        first_id, last_id = free[-1] if vain < FROM_BELOW else free[0]
        if vain < FROM_BELOW:
            first_id = max(first_id, last_id - page_ids + 1)
        else:
            last_id = min(last_id, first_id + page_ids - 1)
        time_ms = _time_of(gap, last_id)
        # About times far back nothing is known exactly: an estimate must not end the search too early.
        if time_ms >= kept_from_ms or last_id == gap.last_id:
            return Page(symbol, first_id, last_id, time_ms)
    return None


def _free(gap: Gap, spoken: Sequence[Run]) -> list[tuple[int, int]]:
    """The ids of a gap that are in none of the runs, which are apart and in id order: from and to."""
    free, first_id = [], gap.first_id
    for run in _shared(gap, spoken):
        if run.first_id > first_id:
            free.append((first_id, run.first_id - 1))
        first_id = run.last_id + 1
    return [*free, (first_id, gap.last_id)] if first_id <= gap.last_id else free


def _shared(gap: Gap, runs: Sequence[Run]) -> Sequence[Run]:
    """Of runs that are apart and in id order those that share an id with the gap."""
    low = bisect_left(runs, gap.first_id, key=lambda run: run.last_id)
    return runs[low : bisect_left(runs, gap.last_id + 1, lo=low, key=lambda run: run.first_id)]


def common_ids(gap: Gap, runs: Sequence[Run]) -> int:
    """How many ids a gap has in common with runs that are apart and in id order."""
    return sum(
        min(run.last_id, gap.last_id) - max(run.first_id, gap.first_id) + 1 for run in _shared(gap, runs)
    )


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
