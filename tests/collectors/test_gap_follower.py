"""Gaps from when they open until they are closed, and who closed them: against plain sets of ids."""

import itertools
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from collectors.gap_follower import CLOSERS, Change, Closed, Closer, GapFollower, Opened, Recovered
from storage.held_ids import Run
from storage.trades import Gap

NEWEST = 40


def gap(first_id: int, last_id: int, state: Literal["open", "certified"] = "open") -> Gap:
    return Gap(first_id, last_id, 0, 0, state)


def run(first_id: int, last_id: int) -> Run:
    return Run(first_id, last_id, 0, 0)


def test_a_gap_is_told_of_once_with_what_closed_it_and_when() -> None:
    gaps = GapFollower()
    for each, at_ms in ((gap(5, 6), 100), (gap(10, 12), 200), (gap(20, 20), 300)):
        assert gaps.opened(each, at_ms)
    gaps.brought("stream", [run(5, 6), run(11, 11)])
    gaps.brought("rest", [run(9, 13), run(20, 20)])
    assert gaps.look([gap(5, 6), gap(10, 12)], 1, 400) == [Closed(gap(20, 20), 100, {"rest": 1})]
    assert gaps.look([], 1, 500) == [
        Closed(gap(5, 6), 400, {"stream": 2}),
        Closed(gap(10, 12), 300, {"stream": 1, "rest": 2}),
    ]
    assert gaps.look([], 1, 600) == []
    assert (gaps.counts.opened, gaps.counts.filled) == (3, 3)
    assert gaps.counts.closed_ids == {"stream": 3, "rest": 3}


def test_what_neither_stream_nor_rest_brought_came_from_the_archive_or_is_deleted() -> None:
    gaps = GapFollower()
    gaps.look([gap(5, 9), gap(20, 29)], 1, 0)
    assert gaps.look([], 8, 1_000) == [
        Closed(gap(5, 9), 1_000, {"expired": 3, "archive": 2}),
        Closed(gap(20, 29), 1_000, {"archive": 10}),
    ]
    assert gaps.counts.filled == 1


def test_certified_ids_are_told_of_and_those_that_come_after_all_too() -> None:
    gaps = GapFollower()
    gaps.look([gap(20, 29)], 1, 0)
    gaps.brought("rest", [run(25, 29)])
    certified = gap(20, 24, "certified")
    assert gaps.look([certified], 1, 3_000) == [Closed(gap(20, 29), 3_000, {"rest": 5, "certified": 5})]
    assert gaps.look([replace(certified, first_id=22)], 1, 4_000) == [Recovered(certified, 2)]
    assert (gaps.counts.opened, gaps.counts.filled, gaps.counts.certified) == (1, 0, 1)
    assert gaps.counts.recovered_ids == 2


def test_certified_ids_that_are_deleted_with_all_around_them_have_not_come() -> None:
    gaps = GapFollower()
    gaps.look([gap(5, 9, "certified"), gap(20, 29, "certified")], 1, 0)
    assert gaps.look([gap(22, 29, "certified")], 20, 1_000) == [Recovered(gap(20, 29, "certified"), 2)]
    assert gaps.look([], 30, 2_000) == []
    assert gaps.counts.recovered_ids == 2


@dataclass(frozen=True)
class Counted(Gap):
    """Counts how often anybody wants to know how many ids it has."""

    asked: list[int] = field(default_factory=list, compare=False)

    @property
    def missing(self) -> int:
        self.asked.append(1)
        return self.last_id - self.first_id + 1


def test_certified_gaps_that_stay_as_they_are_are_not_gone_through_again() -> None:
    gaps, certified = GapFollower(), Counted(5, 9, 0, 0, "certified")
    for second in range(10):
        assert gaps.look([replace(certified)], 1, second) == []
    assert not certified.asked
    assert gaps.look([], 1, 10) == [Recovered(certified, 5)]
    assert certified.asked


def test_certified_gaps_that_are_there_at_the_start_are_no_news() -> None:
    assert GapFollower().look([gap(5, 9, "certified")], 1, 0) == []


def test_pages_of_history_that_overtake_others_open_nothing() -> None:
    gaps = GapFollower()
    assert gaps.look([gap(50, 59)], 40, 0, history=gap(1, 80)) == []
    assert gaps.look([], 1, 1_000) == []
    assert (gaps.counts.opened, gaps.counts.filled, gaps.counts.closed_ids) == (0, 0, {})


@dataclass
class World:
    """Ids 1 to `NEWEST` of a symbol as plain sets; `by` is who closed an id that was seen missing."""

    missing: set[int] = field(default_factory=lambda: set(range(2, NEWEST)))
    certified: set[int] = field(default_factory=set)
    by: dict[int, Closer] = field(default_factory=dict)
    oldest: int = 1
    came: set[int] = field(default_factory=set)  # certified ones, since the last look
    recovered: int = 0

    def look(self, gaps: GapFollower) -> list[Change]:
        self.recovered += sum(i >= self.oldest for i in self.came)
        self.came.clear()
        return gaps.look(self.gaps(), self.oldest, 0)

    def close(self, ids: set[int], by: Closer) -> None:
        closed = ids & self.missing
        self.by |= dict.fromkeys(closed, by)
        self.missing -= closed
        if by == "certified":
            self.certified |= closed

    def gaps(self) -> list[Gap]:
        found: list[Gap] = []
        for i in range(self.oldest, NEWEST):
            state: Literal["open", "certified"] = "open" if i in self.missing else "certified"
            if i not in self.missing | self.certified:
                continue
            if found and found[-1].last_id == i - 1 and found[-1].state == state:
                found[-1] = replace(found[-1], last_id=i)
            else:
                found.append(gap(i, i, state))
        return found


steps = st.lists(
    st.tuples(st.sampled_from(CLOSERS), st.integers(2, NEWEST - 1), st.integers(0, 12), st.booleans())
)


@given(steps)
def test_each_missing_id_is_told_of_once_with_who_closed_it(
    happening: list[tuple[Closer, int, int, bool]],
) -> None:
    world, gaps, told = World(), GapFollower(), list[Change]()
    told += world.look(gaps)
    for by, first_id, more, look in happening:
        last_id = min(first_id + more, NEWEST - 1)
        if by == "expired":
            world.oldest = max(world.oldest, first_id)
            first_id, last_id = 1, first_id - 1
            world.certified -= set(range(first_id, last_id + 1))
        new = set(range(first_id, last_id + 1)) & (world.missing | world.certified)
        world.close(set(range(first_id, last_id + 1)), by)
        if by in ("stream", "rest"):
            world.came |= new & world.certified
            world.certified -= new
            gaps.brought(by, [run(i, i) for i in new])
        if look or by not in ("stream", "rest"):
            told += world.look(gaps)
    world.close(set(world.missing), "archive")
    told += world.look(gaps)
    closed = [each for each in told if isinstance(each, Closed)]
    assert [each.gap for each in told if isinstance(each, Opened)] == [gap(2, NEWEST - 1)]
    assert sum(sum(each.by.values()) for each in closed) == NEWEST - 2
    assert not gaps.is_following
    assert Counter(gaps.counts.closed_ids) == Counter(world.by.values())
    assert gaps.counts.recovered_ids == world.recovered


def test_counts_are_read_from_another_thread_while_gaps_close() -> None:
    """As /metrics is: each time all of them, and none goes back."""
    followers, over, failures = [GapFollower()], threading.Event(), list[BaseException]()
    most = 0

    def scrape() -> None:
        nonlocal most
        try:
            while not over.is_set():
                gaps, before = followers[-1], 0
                for _ in range(20):
                    closed = gaps.counts.closed_ids
                    assert before <= len(closed)
                    before = len(closed)
                most = max(most, before)
        except BaseException as failure:
            failures.append(failure)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        rounds = itertools.count()
        while next(rounds) < 3_000 or not (most or failures):
            gaps = GapFollower()
            followers[:] = [gaps]
            gaps.look([gap(10, 14), gap(20, 24), gap(30, 34)], 1, 0)
            gaps.brought("stream", [run(10, 14)])
            gaps.look([gap(20, 24), gap(30, 34)], 1, 1)
            gaps.brought("rest", [run(20, 24)])
            gaps.look([gap(30, 34)], 1, 1)
            gaps.look([gap(30, 32)], 1, 1)
            gaps.look([], 33, 1)
    finally:
        over.set()
        scraper.join()
        sys.setswitchinterval(interval_s)
    assert not failures, failures
    assert most > 0
