"""When a connection is replaced, and whether its successor may stand alone."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.links import Delivered
from collectors.rotation import is_proven, planned_end, shards

HOUR = 3_600_000
times = st.integers(0, 100 * HOUR)


@given(times, st.integers(1, 8 * HOUR), st.lists(times, max_size=6))
def test_a_planned_end_is_as_far_from_the_others_as_any_moment(
    earliest: int, length: int, others: list[int]
) -> None:
    latest = earliest + length
    chosen = planned_end(earliest, latest, others)
    assert earliest <= chosen <= latest
    grid = range(earliest, latest + 1, max(length // 200, 1))
    best = max(min((abs(at - end) for end in others), default=0) for at in grid)
    assert min((abs(chosen - end) for end in others), default=0) >= best - 1


def test_two_connections_opened_together_end_hours_apart_and_stay_so() -> None:
    ends: list[int] = []
    for _ in range(2):
        ends.append(planned_end(14 * HOUR, 22 * HOUR, ends))
    assert sorted(ends) == [14 * HOUR, 22 * HOUR]
    for _ in range(50):
        sooner, later = sorted(ends)
        ends = [later, planned_end(sooner + 14 * HOUR, sooner + 22 * HOUR, [later])]
        assert abs(ends[0] - ends[1]) >= 4 * HOUR


def brought(first_id: int, newest_id: int) -> dict[str, Delivered]:
    return {"X": Delivered(first_id, newest_id)}


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_proven_successor_leaves_no_hole_where_the_old_one_ends(
    old_newest: int, first: int, more: int, others_newest: int
) -> None:
    """Ids 0.. are held without a hole up to what the old one and others brought; then the old one goes."""
    held_to = max(old_newest, others_newest)
    held = ["X"] if first - 1 <= held_to else []
    old, successor = brought(0, old_newest), brought(first, first + more)
    if is_proven(old, successor, ["X"], held):
        have = set(range(held_to + 1)) | set(range(first, first + more + 1))
        assert have == set(range(max(have) + 1))


def test_every_active_symbol_has_to_have_come_and_without_any_nothing_is_proven() -> None:
    old = brought(0, 9) | {"Y": Delivered(0, 9)}
    assert not is_proven(old, brought(10, 12), ["X", "Y"], ["X", "Y"])
    assert not is_proven(old, {}, [], [])
    assert is_proven(old, brought(10, 12), ["X"], ["X"])


def test_a_hole_that_exists_everywhere_holds_up_no_successor() -> None:
    """Ids 10 to 14 exist nowhere; the old connection is past them."""
    assert not is_proven(brought(0, 9), brought(15, 16), ["X"], [])
    assert is_proven(brought(0, 15), brought(15, 16), ["X"], [])


names = st.lists(st.text("abcdefgh", min_size=1, max_size=12), max_size=60)


@given(names, st.integers(1, 10), st.integers(14, 60))
def test_shards_hold_every_symbol_once_within_both_bounds(
    symbols: list[str], most: int, most_bytes: int
) -> None:
    groups = shards(symbols, symbols, most, most_bytes)
    assert [symbol for group in groups for symbol in group] == symbols
    for group in groups:
        assert len(group) <= most
        assert sum(len(symbol) + 1 for symbol in group) <= most_bytes
