"""One order by id, whatever the links do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sequencer import MOST_CONFLICTS, Sequencer
from storage.trades import TradeColumns
from tests.tapes import START_MS, columns, rows_of, run_of


def ids(trades: TradeColumns) -> list[int]:
    return [int(i) for i in trades.id]


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[int]]:
    """What two links bring of ids 1..n, in batches: each drops, repeats and swaps as it likes."""
    size = draw(st.integers(1, 40))
    links = []
    for _ in range(2):
        order = [i for i in range(1, size + 1) if draw(st.integers(0, 9))]
        for at in draw(st.lists(st.integers(0, max(0, len(order) - 2)), max_size=4)):
            order[at : at + 2] = reversed(order[at : at + 2])
        links.append(order + draw(st.lists(st.sampled_from(order), max_size=3)) if order else [])
    batches: list[list[int]] = []
    while any(links):
        link = draw(st.sampled_from([link for link in links if link]))
        count = draw(st.integers(1, 6))
        batches.append(link[:count])
        del link[:count]
    return batches


@given(deliveries(), st.data())
def test_every_id_is_released_once_and_none_is_lost(batches: list[list[int]], data: st.DataObject) -> None:
    sequencer = Sequencer(head=0)
    tape = run_of(1, 50)
    released: list[int] = []
    for batch in batches:
        released += ids(sequencer.accept(tape.take([i - 1 for i in batch])))  # type: ignore[arg-type]
        if data.draw(st.booleans()):
            released += ids(sequencer.settle())
    released += ids(sequencer.drain())
    brought = [i for batch in batches for i in batch]
    assert sorted(released) == sorted(set(brought))
    assert sequencer.duplicates == len(brought) - len(set(brought))
    assert sequencer.conflicts == 0
    assert sequencer.head == max(released, default=0)
    assert not sequencer.waiting


@given(st.permutations(range(1, 13)))
def test_ids_without_a_hole_come_out_in_order_in_any_case(order: list[int]) -> None:
    sequencer = Sequencer(head=0)
    tape = run_of(1, 12)
    released: list[int] = []
    for i in order:
        released += ids(sequencer.accept(tape.take(slice(i - 1, i))))
    assert released == list(range(1, 13))


def test_rows_behind_a_jump_wait_for_two_settles() -> None:
    sequencer = Sequencer(head=10)
    assert ids(sequencer.accept(run_of(13, 2))) == []
    assert sequencer.waiting
    assert ids(sequencer.settle()) == []
    assert ids(sequencer.settle()) == [13, 14]
    assert sequencer.head == 14


def test_what_arrives_in_time_closes_the_jump() -> None:
    sequencer = Sequencer(head=10)
    sequencer.accept(run_of(13, 2))
    sequencer.settle()
    assert ids(sequencer.accept(run_of(11, 2))) == [11, 12, 13, 14]
    assert ids(sequencer.settle()) == []


def test_a_later_jump_waits_its_own_time() -> None:
    sequencer = Sequencer(head=0)
    sequencer.accept(run_of(3, 1))
    sequencer.settle()
    sequencer.accept(run_of(6, 1))
    assert ids(sequencer.settle()) == [3]
    assert ids(sequencer.settle()) == [6]


def test_a_late_row_goes_on_at_once_and_opens_no_wait() -> None:
    sequencer = Sequencer(head=100)
    assert ids(sequencer.accept(run_of(50, 1))) == [50]
    assert ids(sequencer.accept(TradeColumns.concat([run_of(51, 1), run_of(101, 2)]))) == [51, 101, 102]
    assert sequencer.head == 102


def test_without_a_head_the_first_row_is_the_beginning() -> None:
    sequencer = Sequencer()
    assert ids(sequencer.accept(run_of(7_000, 3))) == [7_000, 7_001, 7_002]


def test_a_repeated_id_that_says_something_else_is_a_conflict_and_the_first_stays() -> None:
    first = (5, START_MS, 100, 10, 1, 1, False)
    other = (5, START_MS, 200, 10, 1, 1, False)
    sequencer = Sequencer(head=4)
    assert rows_of(sequencer.accept(columns([first, other]))) == [first]
    assert rows_of(sequencer.accept(columns([other]))) == []
    assert (sequencer.duplicates, sequencer.conflicts) == (2, 2)


SAID = (5, START_MS, 100, 10, 1, 2, False)


@pytest.mark.parametrize(("part", "value"), [(1, START_MS + 1), (2, 101), (3, 11), (4, 0), (5, 3), (6, True)])
def test_whatever_a_row_says_otherwise_under_its_id_is_a_conflict(part: int, value: int) -> None:
    other = columns([(*SAID[:part], value, *SAID[part + 1 :])])  # type: ignore[list-item]  # a part of a row
    together, at_hand, behind = Sequencer(head=4), Sequencer(head=4), Sequencer(head=3)
    together.accept(TradeColumns.concat([columns([SAID]), other]))
    for sequencer in (at_hand, behind):
        sequencer.accept(columns([SAID]))
        sequencer.accept(other)
    assert [each.conflicts for each in (together, at_hand, behind)] == [1, 1, 1]


def test_the_wait_ends_when_too_much_is_held() -> None:
    sequencer = Sequencer(head=0)
    rows = run_of(2, 50_001)
    assert len(sequencer.accept(rows)) == 50_001
    assert not sequencer.waiting


def test_conflicts_are_handed_out_once_with_both_contents() -> None:
    first, other = (5, START_MS, 100, 10, 1, 1, False), (5, START_MS, 200, 10, 1, 1, False)
    sequencer = Sequencer(head=4)
    sequencer.accept(columns([first]))
    sequencer.accept(columns([other]))
    (conflict,) = sequencer.take_conflicts()
    assert (rows_of(conflict.kept), rows_of(conflict.other)) == ([first], [other])
    assert sequencer.take_conflicts() == []


def test_more_conflicts_than_are_kept_are_counted_all_the_same() -> None:
    sequencer = Sequencer(head=0)
    tape = run_of(1, 3 * MOST_CONFLICTS)
    sequencer.accept(tape)
    sequencer.accept(replace(tape, price_int=tape.price_int + 1))
    assert len(sequencer.take_conflicts()) == MOST_CONFLICTS
    assert sequencer.conflicts == 3 * MOST_CONFLICTS


# What REST brought


@given(deliveries(), st.data())
def test_of_links_and_rest_every_id_goes_on_once(batches: list[list[int]], data: st.DataObject) -> None:
    sequencer, tape = Sequencer(head=0), run_of(1, 50)
    released: list[int] = []
    shown: set[int] = set()
    for batch in batches:
        released += ids(sequencer.accept(tape.take([i - 1 for i in batch])))  # type: ignore[arg-type]
        if data.draw(st.booleans()):
            page = data.draw(st.lists(st.integers(1, 45), min_size=1, unique=True))
            shown |= set(page) - set(released)
            more = ids(sequencer.remember(tape.take([i - 1 for i in page])))  # type: ignore[arg-type]
            released += more
    released += ids(sequencer.drain())
    brought = [i for batch in batches for i in batch]
    assert len(released) == len(set(released))
    assert not set(released) & shown
    assert set(released) | shown >= set(brought)
    assert sequencer.duplicates == len(brought) - len(released)
    assert sequencer.conflicts == 0
    assert sequencer.head == max([0, *released, *shown])


def test_what_links_say_otherwise_than_rest_is_a_conflict_and_rest_stays() -> None:
    first, other = (5, START_MS, 100, 10, 1, 1, False), (5, START_MS, 200, 10, 1, 1, False)
    for links_wait in (False, True):
        sequencer = Sequencer(head=3 if links_wait else 4)
        if links_wait:
            assert ids(sequencer.accept(columns([other]))) == []
        assert ids(sequencer.remember(columns([first]))) == []
        if not links_wait:
            assert ids(sequencer.accept(columns([other]))) == []
        (conflict,) = sequencer.take_conflicts()
        assert (rows_of(conflict.kept), rows_of(conflict.other)) == ([first], [other])
        assert (sequencer.duplicates, sequencer.conflicts, sequencer.head) == (1, 1, 5)


def test_what_rest_shows_is_waited_for_no_more() -> None:
    sequencer = Sequencer(head=10)
    assert ids(sequencer.accept(run_of(13, 2))) == []
    assert ids(sequencer.remember(run_of(11, 2))) == [13, 14]
    assert not sequencer.waiting
    assert ids(sequencer.accept(run_of(11, 5))) == [15]
    assert sequencer.duplicates == 4


def test_after_a_new_beginning_lower_ids_have_an_order_too() -> None:
    sequencer = Sequencer(head=1_000)
    assert ids(sequencer.accept(run_of(1_002, 1))) == []
    assert ids(sequencer.restart()) == [1_002]
    assert ids(sequencer.accept(run_of(10, 2))) == [10, 11]
    assert ids(sequencer.accept(run_of(13, 1))) == []
    assert sequencer.head == 11
