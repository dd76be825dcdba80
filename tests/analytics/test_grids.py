"""The grid check: which other grids there are, and that they hold the same trades."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.grids import GridCheck, grid_checks, other_grids
from analytics.rows import Rows
from analytics.thin import ThinZone
from storage.trades import IntArray

ticks = st.lists(st.integers(0, 9), min_size=1, max_size=60).filter(any)


def halves_of(volume: list[int], low: int, row_ticks: int) -> tuple[IntArray, int]:
    """The halves of rows of the volume by tick from tick `low` on, and the first row's number."""
    traded = [low + i for i, v in enumerate(volume) if v]
    first, last = traded[0] // row_ticks, traded[-1] // row_ticks
    halves = np.zeros((last - first + 1, 2), np.int64)
    for tick in traded:
        row, rest = divmod(tick, row_ticks)
        halves[row - first, int(rest >= row_ticks // 2)] += volume[tick - low]
    return halves, first


@given(ticks, st.integers(0, 50), st.integers(1, 9))
def test_every_grid_holds_each_tick_in_the_row_that_it_belongs_to(
    volume: list[int], low: int, row_ticks: int
) -> None:
    halves, first = halves_of(volume, low, row_ticks)
    grids = list(other_grids(halves, first, row_ticks))

    shifts = {(grid.row_ticks, grid.low % grid.row_ticks) for grid in grids}
    expected = {(2 * row_ticks, 0), (2 * row_ticks, row_ticks)}
    expected |= {(row_ticks // 2, 0)} if row_ticks % 2 == 0 else set()
    expected |= {(row_ticks, row_ticks // 2)} if row_ticks > 1 else set()
    assert shifts == expected
    assert len(grids) == len(expected)
    for grid in grids:
        plain = dict.fromkeys(range(len(grid.volume)), 0)
        for i, quantity in enumerate(volume):
            if quantity:
                plain[(low + i - grid.low) // grid.row_ticks] += quantity
        assert list(plain.values()) == grid.volume.tolist()
        assert grid.volume[0]
        assert grid.volume[-1]


def checked(by_tick: list[int], first: int, last: int, *, row_ticks: int = 2) -> GridCheck:
    """Of a zone of these rows."""
    halves, first_row = halves_of(by_tick, 0, row_ticks)
    volume = halves.sum(axis=1)
    rows = Rows(first_row, row_ticks, Decimal(1), volume, volume, volume * 0, volume, 0)
    zone = ThinZone(first, last, "interior", gap=True, jump=True, volume=0, deficit_pct=100.0)
    (check,) = grid_checks(halves, rows, [zone], rule="thin", threshold_pct=Decimal(10))
    return check


def test_a_wide_range_is_found_on_every_grid() -> None:
    assert checked([100] * 40 + [0] * 30 + [100] * 40, 20, 34) == GridCheck(4, 4)


def test_a_range_that_only_its_own_grid_shows_is_found_on_none() -> None:
    assert checked([100] * 110, 20, 24) == GridCheck(0, 4)


@pytest.mark.parametrize(("row_ticks", "grids"), [(1, 2), (2, 4), (5, 3), (10, 4)])
def test_a_grid_that_would_split_a_tick_is_left_out(row_ticks: int, grids: int) -> None:
    assert checked([100] * 110, 2, 3, row_ticks=row_ticks).grids == grids


def test_a_check_reads_as_a_count_of_counts() -> None:
    assert str(GridCheck(3, 4)) == "3/4"
