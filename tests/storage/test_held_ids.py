"""Runs of ids against a plain set."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.held_ids import HeldIds, Run, gaps_between, gaps_beyond, runs_of, uncovered, uncovered_ms
from tests.tapes import columns

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=20)


def run(first_id: int, last_id: int) -> Run:
    """A run whose times are ten times its ids."""
    return Run(first_id, last_id, first_id * 10, last_id * 10)


@given(spans)
def test_runs_hold_what_a_set_would_hold(parts: list[tuple[int, int]]) -> None:
    held = HeldIds(run(first, first + more) for first, more in parts)
    expected = {i for first, more in parts for i in range(first, first + more + 1)}
    ids = np.arange(-1, 80)
    assert set(ids[held.contains(ids)].tolist()) == expected
    assert {i for r in held.runs for i in range(r.first_id, r.last_id + 1)} == expected
    assert all(r.first_ms == r.first_id * 10 and r.last_ms == r.last_id * 10 for r in held.runs)


@given(spans, spans)
def test_ids_that_are_removed_are_held_no_more(
    parts: list[tuple[int, int]], gone: list[tuple[int, int]]
) -> None:
    held = HeldIds(run(first, first + more) for first, more in parts)
    expected = {i for first, more in parts for i in range(first, first + more + 1)}
    for first, more in gone:
        held.remove(run(first, first + more))
        expected -= set(range(first, first + more + 1))
    assert {i for r in held.runs for i in range(r.first_id, r.last_id + 1)} == expected
    assert all(before.last_id + 1 < after.first_id for before, after in pairwise(held.runs))


@given(spans)
def test_runs_and_gaps_take_turns(parts: list[tuple[int, int]]) -> None:
    runs = HeldIds(run(first, first + more) for first, more in parts).runs
    gaps = list(gaps_between(runs))
    assert len(gaps) == max(0, len(runs) - 1)
    for before, gap, after in zip(runs, gaps, runs[1:], strict=False):
        assert before.last_id + 1 == gap.first_id <= gap.last_id == after.first_id - 1
        assert (gap.after_ms, gap.before_ms) == (before.last_ms, after.first_ms)
    assert list(gaps_between(runs, newest_first=True)) == gaps[::-1]


@given(spans, st.integers(0, 60), st.integers(0, 20))
def test_gaps_beyond_a_span_are_those_that_lie_outside_it(
    parts: list[tuple[int, int]], first_id: int, more: int
) -> None:
    held = HeldIds(run(first, first + length) for first, length in parts)
    held.add(run(first_id, first_id + more))
    outside = [
        gap for gap in gaps_between(held.runs) if gap.last_id < first_id or gap.first_id > first_id + more
    ]
    assert gaps_beyond(held.runs, first_id, first_id + more) == outside


@given(st.sets(st.integers(0, 100), min_size=1))
def test_rows_fall_into_runs_of_consecutive_ids(ids: set[int]) -> None:
    rows = columns([(i, i * 10, 1, 1, i, i, False) for i in sorted(ids)])
    runs = list(runs_of(rows))
    assert [i for r in runs for i in range(r.first_id, r.last_id + 1)] == sorted(ids)
    assert tuple(runs) == HeldIds(runs).runs


@given(spans, st.integers(0, 300), st.integers(1, 700))
def test_uncovered_time_is_the_milliseconds_outside_the_runs(
    parts: list[tuple[int, int]], start_ms: int, length_ms: int
) -> None:
    runs = HeldIds(run(first, first + more) for first, more in parts).runs
    window = range(start_ms, start_ms + length_ms)
    expected = [ms for ms in window if not any(r.first_ms <= ms <= r.last_ms for r in runs)]
    stretches = uncovered(runs, start_ms, start_ms + length_ms)
    assert [ms for stretch in stretches for ms in range(*stretch)] == expected
    assert uncovered_ms(runs, start_ms, start_ms + length_ms) == len(expected)
