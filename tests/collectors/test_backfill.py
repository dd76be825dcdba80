"""Which page to ask for, what an answer proves, and when that is enough: against a REST of plain sets."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.backfill import (
    FROM_BELOW,
    MOST_IN_VAIN,
    Page,
    common_ids,
    is_overlap_alone,
    newest_page,
    not_answered,
    overlaps_next,
)
from collectors.certification import DAY_MS, Rule, after_asking, lacking
from collectors.put_off import FIRST_DELAY_MS, LONGEST_DELAY_MS, LONGEST_END_MS, MOST_KEPT, PutOff
from storage.absences import Absence, Absences, Seen, span
from storage.held_ids import HeldIds, Run, gaps_between
from storage.trades import Gap, TradeColumns
from tests.tapes import START_MS, columns

PAGE_IDS = 4
RULE = Rule()
spans = st.lists(st.tuples(st.integers(2, 58), st.integers(0, 6)), max_size=8)


def ms_of(identity: int) -> int:
    return START_MS + identity * 1_000


def rows(*ids: int) -> TradeColumns:
    return columns([(i, ms_of(i), 10**8, 10**8, i, i, False) for i in ids])


def run(first_id: int, last_id: int) -> Run:
    return Run(first_id, last_id, ms_of(first_id), ms_of(last_id))


def gap(first_id: int, last_id: int) -> Gap:
    return Gap(first_id, last_id, ms_of(first_id - 1), ms_of(last_id + 1))


def ids_in(parts: list[tuple[int, int]]) -> set[int]:
    return {i for first, more in parts for i in range(first, first + more + 1)}


@dataclass
class Rest:
    """Shows these ids, a page of so many rows at a time."""

    shown: set[int]
    rows: int = PAGE_IDS + 1

    def page(self, from_id: int) -> TradeColumns:
        return rows(*sorted(i for i in self.shown if i >= from_id)[: self.rows])


class Asker:
    """Fills gaps by the pure decisions, as `Filling` does with a real REST."""

    def __init__(self, rest: Rest, held: set[int], *, floor: int = 0) -> None:
        self.rest = rest
        self.held = HeldIds(run(i, i) for i in held)
        self.absences = Absences()
        self.put_off = PutOff()
        self.overlaps = True
        self.asked: list[Page] = []
        self.now_ms = START_MS

    def next(self) -> Page | None:
        in_vain = self.put_off.pages(self.now_ms)
        spoken_for = [*in_vain, *self.put_off.beyond_end(self.now_ms), *map(span, self.absences)]
        gaps = gaps_between(self.held.runs, newest_first=True)
        page = newest_page("X", gaps, spoken_for, in_vain=in_vain, page_ids=PAGE_IDS)
        return page and replace(page, overlaps=self.overlaps)

    def take(self, page: Page) -> None:
        self.asked.append(page)
        answer = self.rest.page(page.from_id)
        if not len(answer):
            is_first = self.put_off.end_id in (None, page.first_id)
            end_id = page.first_id if is_first else max(self.rest.shown) + 1
            self.put_off.ends_at(end_id, self.now_ms)
            return
        if self.put_off.end_id is not None and page.last_id >= self.put_off.end_id:
            self.put_off.shows(int(answer.id[-1]))
        for identity in answer.id.tolist():
            if page.first_id <= identity <= page.last_id:
                self.held.add(run(identity, identity))
                self.absences.came(run(identity, identity))
        known = list(self.absences)
        for found in lacking(answer, self.now_ms):
            for absence in after_asking(known, found, RULE):
                self.absences.put(absence, self.held.runs, 0)
        self.overlaps = overlaps_next(page, answer.id)
        if not is_overlap_alone(page, answer.id):
            self.put_off.answered(page.run, not_answered(page, answer.id, sound=True), self.now_ms)

    def work(self) -> None:
        while (page := self.next()) is not None:
            self.take(page)
            assert len(self.asked) < 500


@given(spans, spans)
def test_all_that_rest_shows_is_fetched_and_only_what_it_lacks_between_rows_counts_as_lacking(
    held_parts: list[tuple[int, int]], lacking_parts: list[tuple[int, int]]
) -> None:
    """REST shows what is not in the holes; the ends, 1 and 70, are held and shown."""
    held = {1, 70} | ids_in(held_parts)
    holes = ids_in(lacking_parts)
    shown = set(range(1, 71)) - holes
    asker = Asker(Rest(shown), held)
    asker.work()
    now_held = {i for each in asker.held.runs for i in range(each.first_id, each.last_id + 1)}
    assert now_held == held | shown
    suspected = {i for each in asker.absences for i in range(each.first_id, each.last_id + 1)}
    put_off = {i for each in asker.put_off.runs for i in range(each.first_id, each.last_id + 1)}
    missing = set(range(1, 71)) - now_held
    assert missing <= suspected | put_off
    assert suspected <= missing
    for each in asker.absences:
        assert each.below.id in shown
        assert each.above.id in shown
        assert not shown & set(range(each.below.id + 1, each.above.id))


@given(st.integers(2, 60), spans)
def test_below_the_floor_and_above_the_head_nothing_counts_as_lacking(
    floor: int, held_parts: list[tuple[int, int]]
) -> None:
    held = {1, 70} | ids_in(held_parts)
    shown = set(range(floor, 66))
    asker = Asker(Rest(shown), held)
    asker.work()
    assert list(asker.absences) == []
    now_held = {i for each in asker.held.runs for i in range(each.first_id, each.last_id + 1)}
    assert now_held == held | shown


@given(st.integers(1, PAGE_IDS + 1), spans, st.integers(60, 70))
def test_pages_of_any_length_bring_all_and_a_head_that_lags_is_not_asked_again_at_once(
    length: int, held_parts: list[tuple[int, int]], head: int
) -> None:
    held = {1, 70} | ids_in(held_parts)
    shown = set(range(1, head + 1))
    asker = Asker(Rest(shown, length), held)
    asker.work()
    now_held = {i for each in asker.held.runs for i in range(each.first_id, each.last_id + 1)}
    assert now_held == held | shown
    # One row a page that is new, but for the turn to single rows and what the head does not show yet.
    assert len(asker.asked) <= len(shown - held) + 2 * (len(held_parts) + 4)


def test_pages_overlap_again_once_they_hold_more_than_a_row() -> None:
    asker = Asker(Rest(set(range(1, 71)), rows=1), {1, 70})
    for _ in range(4):
        page = asker.next()
        assert page is not None
        asker.take(page)
    assert [page.overlaps for page in asker.asked] == [True, False, False, False]
    asker.rest.rows = PAGE_IDS + 1
    asker.work()
    assert [page.overlaps for page in asker.asked[4:7]] == [False, True, True]


def test_pages_go_from_the_newest_missing_id_down_and_none_is_asked_for_twice() -> None:
    asker = Asker(Rest(set(range(1, 71))), {1, 30, 31, 70})
    asker.work()
    asked = [(page.first_id, page.last_id) for page in asker.asked]
    newer = [(first, first + 3) for first in range(66, 33, -4)]
    assert asked == [*newer, (32, 33), *((first, first + 3) for first in range(26, 1, -4))]
    assert [page.from_id for page in asker.asked] == [page.first_id - 1 for page in asker.asked]


def test_pages_under_way_are_passed_over_by_the_next_one() -> None:
    gaps = [gap(11, 40)]
    first = newest_page("X", gaps, [], page_ids=PAGE_IDS)
    assert first is not None
    second = newest_page("X", gaps, [first.run], page_ids=PAGE_IDS)
    assert second is not None
    assert (first.first_id, first.last_id, second.first_id, second.last_id) == (37, 40, 33, 36)
    assert first.time_ms > second.time_ms
    assert newest_page("X", gaps, [run(1, 99)], page_ids=PAGE_IDS) is None


def test_of_two_symbols_the_times_of_pages_tell_which_is_newer() -> None:
    busy = Gap(1, 1_000_000, after_ms=0, before_ms=86_400_000)
    quiet = Gap(1, 10_000, after_ms=0, before_ms=86_400_000)
    behind = [Run(900_001, 1_000_000, 0, 0)]
    page, other = (
        newest_page("BUSY", [busy], behind),
        newest_page("QUIET", [quiet], [Run(9_501, 10_000, 0, 0)]),
    )
    assert page is not None
    assert other is not None
    assert abs(page.time_ms - 0.9 * 86_400_000) < 1_000
    assert other.time_ms > page.time_ms


def test_what_retention_would_delete_at_once_is_not_asked_for() -> None:
    whole = gap(11, 40)
    assert newest_page("X", [whole], [], ms_of(42), page_ids=PAGE_IDS) is None
    assert newest_page("X", [whole], [], ms_of(41), page_ids=PAGE_IDS) == newest_page(
        "X", [whole], [], page_ids=PAGE_IDS
    )
    under_way = [run(31, 40)]
    assert newest_page("X", [whole], under_way, ms_of(35), page_ids=PAGE_IDS) is None


def test_certified_gaps_are_not_asked_for_as_missing() -> None:
    assert newest_page("X", [replace(gap(11, 40), state="certified")], []) is None


# What an answer leaves open

PAGE = Page("X", 11, 14, ms_of(14))


def left_open(*ids: int, sound: bool = True) -> list[tuple[int, int]]:
    left = not_answered(PAGE, np.array(ids, np.int64), sound=sound)
    return [(each.first_id, each.last_id) for each in left]


def test_an_answer_that_proves_nothing_of_ids_leaves_them_open() -> None:
    assert left_open() == [(11, 14)]  # REST lags
    assert left_open(10) == [(11, 14)]  # so far
    assert left_open(15, 16) == [(11, 14)]  # it jumps ahead: to where history begins?
    assert left_open(13, 14, 15) == [(11, 12)]
    assert left_open(10, 11) == []  # a short page: asked on at once
    assert left_open(10, 11, 12, 13, 14) == []


def test_an_answer_with_rows_on_both_sides_leaves_nothing_open() -> None:
    assert left_open(10, 15) == []
    assert left_open(10, 12, 14, 15) == []


def test_where_rows_could_not_be_read_their_ids_stay_open() -> None:
    assert left_open(10, 11, 13, 14, sound=False) == [(12, 12)]
    assert left_open(10, 15, sound=False) == [(11, 14)]


def test_pages_asked_for_in_vain_are_left_alone_for_ever_longer_up_to_five_minutes() -> None:
    put_off, now_ms, delays = PutOff(), START_MS, list[int]()
    for _ in range(12):
        delays += put_off.answered(PAGE.run, [PAGE.run], now_ms)
        assert put_off.pages(now_ms + delays[-1] - 1) == [PAGE.run]
        now_ms += delays[-1]
        assert put_off.pages(now_ms) == []
    assert delays[:4] == [1_000, 2_000, 4_000, 8_000]
    assert delays[-1] == LONGEST_DELAY_MS
    put_off.keep([gap(12, 20)])
    assert put_off.runs == [PAGE.run]
    put_off.keep([gap(15, 20)])
    assert put_off.runs == []
    put_off.answered(PAGE.run, [PAGE.run], now_ms)
    put_off.answered(PAGE.run, [], now_ms)
    assert put_off.runs == []


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 12), st.sampled_from([0, 1, 5])), max_size=40))
def test_what_was_asked_for_in_vain_stays_apart_in_order_and_is_what_it_was_last_time(
    asked: list[tuple[int, int, int]],
) -> None:
    put_off, in_vain = PutOff(), set[int]()
    for first_id, size, left in asked:
        page = run(first_id, first_id + size - 1)
        kept = [run(first_id, first_id + min(left, size) - 1)] if left else []
        again = [each for each in put_off.runs if common(each, page)]
        put_off.answered(page, kept, START_MS)
        in_vain -= {i for each in [page, *again] for i in ids_of(each)}
        in_vain |= {i for each in kept for i in ids_of(each)}
        assert sorted(in_vain) == [i for each in put_off.pages(START_MS) for i in ids_of(each)]


def common(one: Run, other: Run) -> bool:
    return one.first_id <= other.last_id and other.first_id <= one.last_id


def test_of_pages_asked_for_in_vain_so_many_are_kept_at_the_most() -> None:
    put_off = PutOff()
    for at in range(MOST_KEPT + 50):
        page = run(at * 10, at * 10 + 5)
        put_off.answered(page, [page], START_MS + at)
    kept = put_off.runs
    assert len(kept) == MOST_KEPT
    assert kept[0].first_id == 500  # the first ones are due soonest


# Where REST shows nothing


def test_nothing_at_or_above_the_end_is_asked_for_until_a_while_later_and_then_one_page() -> None:
    put_off, now_ms, delays = PutOff(), START_MS, list[int]()
    for _ in range(8):
        delays.append(put_off.ends_at(500, now_ms))
        (beyond,) = put_off.beyond_end(now_ms + delays[-1] - 1)
        assert common_ids(gap(1, 2**60), [beyond]) == 2**60 - 499
        now_ms += delays[-1]
        assert put_off.beyond_end(now_ms) == []
        assert put_off.beyond_end(now_ms, [run(10, 20)]) == []
        assert put_off.beyond_end(now_ms, [run(10_000, 10_998)]) == [beyond]
    assert delays[:3] == [FIRST_DELAY_MS, 2 * FIRST_DELAY_MS, 4 * FIRST_DELAY_MS]
    assert delays[-1] == LONGEST_END_MS


def test_what_rest_shows_above_the_end_moves_it_up_and_is_asked_for_at_once() -> None:
    put_off = PutOff()
    put_off.ends_at(500, START_MS)
    put_off.shows(499)
    assert put_off.end_id == 500
    put_off.shows(700)
    assert put_off.end_id == 701
    put_off.keep([gap(600, 800)])
    assert put_off.end_id == 701
    put_off.keep([gap(600, 700)])
    assert put_off.end_id is None


@given(spans, st.integers(60, 70))
def test_a_false_head_far_above_delays_no_true_gap(held_parts: list[tuple[int, int]], head: int) -> None:
    """Whoever holds an id that never was asks for the true ones all the same, in few requests."""
    held = {1, 70, 2**53 + 1} | ids_in(held_parts)
    shown = set(range(1, head + 1))
    asker = Asker(Rest(shown), held)
    asker.work()
    now_held = {i for each in asker.held.runs for i in ids_of(each)}
    assert now_held == held | shown
    assert len(asker.asked) <= len(shown) // PAGE_IDS + 2 * (len(held_parts) + 4)
    for _ in range(20):  # and later one page a delay, and what REST's newest row tells apart
        before = len(asker.asked)
        asker.now_ms += LONGEST_END_MS
        asker.work()
        assert len(asker.asked) - before <= 2
    assert len(asker.put_off.runs) <= 2


def ids_of(each: Run) -> list[int]:
    return list(range(each.first_id, each.last_id + 1))


@given(st.integers(1, 5), st.integers(0, 60))
def test_a_hole_of_the_exchange_as_wide_as_can_be_is_proven_from_below_and_delays_nothing(
    older: int, filled: int
) -> None:
    """The exchange has jumped ahead by itself: pages in there prove nothing, the one below them does."""
    above = 10**12
    shown = set(range(1, 71)) | {above, above + 1}
    asker = Asker(Rest(shown), {older, 70 - filled, above + 1})
    asker.work()
    assert {i for each in asker.held.runs for i in ids_of(each)} == {i for i in shown if i >= older}
    assert [(each.first_id, each.last_id) for each in asker.absences] == [(71, above - 1)]
    assert len(asker.asked) < 40


def test_of_a_gap_with_pages_in_vain_the_lower_end_is_next_and_then_older_gaps() -> None:
    older, giant = gap(1, 100), gap(1_000, 10**12)
    vain: list[Run] = []
    firsts = list[int]()
    while True:
        page = newest_page("X", [giant, older], vain, in_vain=vain, page_ids=PAGE_IDS)
        assert page is not None
        firsts.append(page.first_id)
        if page.last_id <= 100:
            break
        vain = sorted([*vain, page.run], key=lambda each: each.first_id)
    newer = [10**12 - 3 - 4 * n for n in range(FROM_BELOW)]
    lower = [1_000 + 4 * n for n in range(MOST_IN_VAIN - FROM_BELOW)]
    assert firsts == [*newer, *lower, 97]


# Certification


def test_ids_are_certified_after_ten_tries_over_half_an_hour_and_not_before() -> None:
    known, now_ms = list[Absence](), START_MS
    for _ in range(40):
        [found] = lacking(rows(10, 15), now_ms)
        [absence] = after_asking(known, found, RULE)
        if absence.state == "certified":
            break
        assert absence.asked < RULE.tries or now_ms - START_MS < RULE.over_ms
        known, now_ms = [absence], RULE.due_ms(absence)
    assert absence.asked >= RULE.tries
    assert now_ms - START_MS >= RULE.over_ms
    assert now_ms - START_MS < 1.25 * RULE.over_ms
    assert (absence.first_asked_ms, absence.last_asked_ms) == (START_MS, now_ms)
    assert (absence.below, absence.above) == (Seen(10, ms_of(10)), Seen(15, ms_of(15)))
    assert RULE.due_ms(absence) == now_ms + DAY_MS


def test_many_tries_in_a_short_time_certify_nothing() -> None:
    known = list[Absence]()
    for at_ms in range(START_MS, START_MS + RULE.over_ms, 1_000):
        [found] = lacking(rows(10, 15), at_ms)
        known = list(after_asking(known, found, RULE))
    assert [each.state for each in known] == ["open"]


def test_a_wider_hole_counts_for_what_is_known_of_it_and_begins_the_rest_anew() -> None:
    known = [replace(next(lacking(rows(11, 14), START_MS)), asked=7)]
    [found] = lacking(rows(9, 16), START_MS + 5)
    parts = sorted(after_asking(known, found, RULE), key=lambda each: each.first_id)
    assert [(each.first_id, each.last_id, each.asked) for each in parts] == [
        (10, 11, 1),
        (12, 13, 8),
        (14, 15, 1),
    ]


def test_what_was_not_asked_for_as_a_whole_is_not_confirmed() -> None:
    known = [replace(next(lacking(rows(10, 20), START_MS)), asked=7)]
    [found] = lacking(rows(14, 30), START_MS + 5)
    parts = list(after_asking(known, found, RULE))
    assert [(each.first_id, each.last_id, each.asked) for each in parts] == [(20, 29, 1)]
