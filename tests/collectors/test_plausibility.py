"""What cannot be is told from what can, after whatever outage; and nothing true is refused for ever."""

from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.plausibility import (
    ANEW_MS,
    MOST_AT_FIRST,
    MOST_PER_MS,
    SLACK,
    Mark,
    Plausibility,
    Sifted,
    is_near,
)
from storage.trades import TradeColumns
from tests.tapes import START_MS, columns

HOUR_MS = 3_600_000
FAR = 10_000_000
LATEST_MS = START_MS + 1_000 * HOUR_MS


def rows(*trades: tuple[int, int]) -> TradeColumns:
    """An id and a time in ms after the start, for each trade."""
    return columns([(i, START_MS + ms, 10**8, 10**8, 1, 1, False) for i, ms in trades])


def sifted(
    found: TradeColumns,
    head: Mark | None,
    *,
    oldest_id: int | None = None,
    latest_ms: int = LATEST_MS,
    now_ms: int = 0,
    plausibility: Plausibility | None = None,
) -> Sifted:
    judge = plausibility or Plausibility()
    return judge.sift(found, head, oldest_id, latest_ms=latest_ms, now_ms=now_ms)


def kept(found: Sifted) -> list[int]:
    return [int(i) for i in found.rows.id]


@st.composite
def tapes(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Ids one by one over outages of any length, as quick as a market can be, with bursts."""
    identity, ms, made = draw(st.integers(0, 10**9)), 0, []
    for _ in range(draw(st.integers(1, 12))):
        pause_ms = draw(st.sampled_from([0, 1, 50, 1_000, HOUR_MS, 24 * HOUR_MS, 30 * 24 * HOUR_MS]))
        ms += pause_ms
        identity += draw(st.integers(1, pause_ms * MOST_PER_MS + SLACK // 12))
        made.append((identity, ms))
    return made


@given(tapes(), st.data())
def test_no_true_trade_is_refused_after_an_outage_of_any_length(
    tape: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whatever comes first, and in whatever order links bring the rest."""
    order = data.draw(st.permutations(tape))
    head, latest_ms = None, START_MS + tape[-1][1]
    oldest_id = min(identity for identity, _ in tape)
    for identity, ms in order:
        found = sifted(rows((identity, ms)), head, oldest_id=oldest_id, latest_ms=latest_ms)
        assert kept(found) == [identity]
        assert found.left_out is None
        if head is None or identity > head.id:
            head = Mark(identity, START_MS + ms)


@given(tapes(), st.integers(-(2**40), 2**61), st.integers(0, 2**40))
def test_no_id_that_no_market_could_have_counted_to_is_taken(
    tape: list[tuple[int, int]], beyond: int, wrong_ms: int
) -> None:
    """Whatever time it claims: our clock bounds it."""
    identity, ms = tape[-1]
    head, latest_ms = Mark(identity, START_MS + ms), START_MS + ms + 5_000
    room = SLACK + 5_000 * MOST_PER_MS
    wrong = identity + beyond + (room + 1 if beyond >= 0 else -SLACK - 1)
    if wrong < 0:
        return
    claims_ms = ms + wrong_ms if wrong > identity else ms
    true = (identity + 1, ms)
    found = sifted(rows(true, (wrong, claims_ms)), head, oldest_id=0, latest_ms=latest_ms)
    assert kept(found) == [identity + 1]


def test_ids_that_are_near_are_so_whatever_their_times() -> None:
    assert is_near(rows((10**9 - SLACK, 0), (10**9 + SLACK, 0)), 10**9)
    assert not is_near(rows((10**9, 0), (10**9 + SLACK + 1, 0)), 10**9)
    assert not is_near(rows((10**9, 0), (10**9 - SLACK - 1, 0)), 10**9)
    assert not is_near(rows((2**62 - 1, 0)), 0)


def test_an_id_behind_has_to_be_of_a_time_behind() -> None:
    """A server that is stale sends older trades; one that is wrong sends these under older ids."""
    head = Mark(10**9, START_MS + HOUR_MS)
    assert kept(sifted(rows((10**9 - FAR, 0)), head)) == [10**9 - FAR]
    assert kept(sifted(rows((10**9 - FAR, HOUR_MS)), head)) == []
    assert kept(sifted(rows((10**9 - FAR, 5 * HOUR_MS)), head)) == []


def test_what_lies_far_below_all_that_is_held_is_no_news_whatever_its_time() -> None:
    head, oldest_id = Mark(10**9, START_MS + HOUR_MS), 10**9 - 1_000_000
    assert kept(sifted(rows((oldest_id - SLACK, 0)), head, oldest_id=oldest_id)) == [oldest_id - SLACK]
    assert kept(sifted(rows((oldest_id - SLACK - 1, 0)), head, oldest_id=oldest_id)) == []


def test_with_nothing_held_most_of_the_first_rows_say_which_are_wrong() -> None:
    true = [(1_000_000 + i, i) for i in range(5)]
    ids = [identity for identity, _ in true]
    assert kept(sifted(rows((5, 0), *true, (10**12, 4)), None)) == ids
    assert kept(sifted(rows(true[0], (10**9, 1)), None)) == [1_000_000]  # of two the lower one
    assert kept(sifted(rows(*true, (2**53 + 1, 4)), None)) == ids


def test_no_count_begins_further_than_any_exchange_has_counted() -> None:
    assert kept(sifted(rows((2**53 + 1, 0)), None)) == []
    most = MOST_AT_FIRST
    assert kept(sifted(rows((most, 0)), None)) == [most]
    assert kept(sifted(rows((most + 1, 0)), None)) == []


# What is refused, and for how long


def counted(start: tuple[int, int], steps: int, *, step_ms: int = 1_000) -> Iterator[tuple[int, int]]:
    identity, ms = start
    for at in range(steps):
        yield identity + at * 10, ms + at * step_ms


def begins_anew_after(
    batches: Sequence[Sequence[tuple[int, int]]], head: Mark, *, step_ms: int = 1_000
) -> int | None:
    """The batch with which the ids begin anew."""
    plausibility = Plausibility()
    for at, batch in enumerate(batches):
        found = sifted(rows(*batch), head, now_ms=at * step_ms, plausibility=plausibility)
        if found.begins_anew:
            assert kept(found) == [identity for identity, _ in batch]
            assert not plausibility.is_contested
            return at
        assert kept(found) == []
        assert plausibility.is_contested
    return None


def test_a_count_that_goes_on_for_three_quarters_of_a_minute_with_nothing_else_is_believed() -> None:
    head = Mark(2**53 + 1, START_MS)
    for begin in (1_000_000, 2**53 + 1 + FAR):
        batches = [[each] for each in counted((begin, 0), 60)]
        assert begins_anew_after(batches, head) == ANEW_MS // 1_000


def test_links_at_different_places_of_one_count_are_one() -> None:
    head = Mark(2**53 + 1, START_MS)
    ahead, behind = counted((1_000_000, 0), 60), counted((990_000, -20_000), 60)
    batches = [[each] for pair in zip(ahead, behind, strict=True) for each in pair]
    assert begins_anew_after(batches, head, step_ms=500) == ANEW_MS // 500


def test_beside_a_link_that_brings_nonsense_the_count_that_goes_on_is_believed() -> None:
    head, random = Mark(2**53 + 1, START_MS), np.random.default_rng(1)
    batches = []
    for at, each in enumerate(counted((1_000_000, 0), 60)):
        batches += [[each], [(int(random.integers(10**15, 10**16)), at * 1_000)]]
    assert begins_anew_after(batches, head, step_ms=500) == ANEW_MS // 500


def test_one_wrong_id_again_and_again_is_no_count() -> None:
    assert begins_anew_after([[(2**53 + 1, ms)] for ms in range(0, 90_000, 1_000)], Mark(7, START_MS)) is None


def test_as_long_as_anything_goes_on_from_what_is_known_nothing_begins_anew() -> None:
    plausibility, head = Plausibility(), Mark(1_000, START_MS)
    wrong = counted((FAR, 0), 120)
    for at, each in enumerate(wrong):
        found = sifted(rows(each), head, now_ms=at * 1_000, plausibility=plausibility)
        assert kept(found) == []
        if at % 20 == 19:
            true = (head.id + SLACK + 1, at * 1_000)
            assert kept(sifted(rows(true), head, now_ms=at * 1_000, plausibility=plausibility)) == [true[0]]
            assert not plausibility.is_contested
            head = Mark(true[0], START_MS + true[1])
