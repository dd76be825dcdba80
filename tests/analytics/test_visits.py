"""Visits to a zone: what starts and ends one, where it led, and that cutting the tape changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics import visits
from analytics.impact import speed_ratio
from analytics.thin import ThinZone
from analytics.visits import VisitCounter, ZoneVisits

ROWS = 12


def zone(first: int, last: int) -> ThinZone:
    return ThinZone(first, last, "interior", gap=False, jump=False, volume=0, deficit_pct=95.0)


def seen(zones: list[ThinZone], rows: list[int], cut: int = 100) -> list[ZoneVisits]:
    """A print a second in each of these rows."""
    counter = VisitCounter(zones, ROWS)
    row, time_ms = np.array(rows), 1000 * np.arange(len(rows))
    for i in range(0, len(rows), cut):
        counter.read(row[i : i + cut], time_ms[i : i + cut])
    return counter.results()


def seen_once(*rows: int) -> ZoneVisits:
    """Of a zone of rows 5 and 6."""
    return seen([zone(5, 6)], list(rows))[0]


def test_a_visit_that_leaves_on_the_other_side_went_through() -> None:
    assert seen_once(3, 5, 6, 8) == ZoneVisits(1, 1, 0, 0, 2.0)


def test_a_visit_that_turns_back_was_rejected() -> None:
    assert seen_once(3, 5, 6, 5, 3) == ZoneVisits(1, 0, 1, 0, None)


def test_trading_at_the_edge_is_one_visit() -> None:
    assert seen_once(3, 5, 4, 5, 4, 5, 4, 3) == ZoneVisits(1, 0, 1, 0, None)


def test_a_visit_ends_one_row_away_and_not_beside_the_zone() -> None:
    assert seen_once(3, 5, 7, 7, 7, 8) == ZoneVisits(1, 1, 0, 0, 4.0)


def test_a_visit_that_the_window_cuts_is_neither() -> None:
    assert seen_once(5, 6, 8) == ZoneVisits(1, 0, 0, 0, None)
    assert seen_once(3, 5, 6, 7) == ZoneVisits(1, 0, 0, 0, None)


def test_consecutive_prints_on_opposite_sides_are_a_jump() -> None:
    assert seen_once(3, 8, 4, 7, 9) == ZoneVisits(0, 0, 0, 3, None)


def test_a_jump_during_a_visit_ends_it_where_it_lands() -> None:
    assert seen_once(8, 6, 7, 3) == ZoneVisits(1, 1, 0, 1, 2.0)


def test_the_median_is_over_the_crossings_alone() -> None:
    """Crossings of 1, 3 and 1 seconds, and a rejection of 2."""
    assert seen_once(3, 5, 8, 6, 6, 5, 3, 5, 5, 3, 6, 8).median_cross_s == 1.0


walks = st.lists(st.integers(-3, 3), min_size=1, max_size=80).map(
    lambda steps: np.clip(6 + np.cumsum(steps), 0, ROWS - 1).tolist()
)
some_zones = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=4).map(
    lambda pairs: [zone(first, min(first + more, 10)) for first, more in pairs]
)


@given(walks, some_zones, st.integers(1, 80))
def test_cutting_the_tape_changes_nothing(rows: list[int], zones: list[ThinZone], cut: int) -> None:
    assert seen(zones, rows, cut) == seen(zones, rows)


@given(walks, some_zones)
def test_following_in_small_parts_changes_nothing(rows: list[int], zones: list[ThinZone]) -> None:
    whole = seen(zones, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visits, "MOST_PENDING", 3)
        assert seen(zones, rows, 2) == whole


@given(walks, some_zones)
def test_prices_mirrored_give_the_same_visits(rows: list[int], zones: list[ThinZone]) -> None:
    mirrored = [replace(z, first=ROWS - 1 - z.last, last=ROWS - 1 - z.first) for z in zones]

    assert seen(mirrored, [ROWS - 1 - row for row in rows]) == seen(zones, rows)


def test_without_zones_nothing_is_followed() -> None:
    assert seen([], [1, 2, 3]) == []


def test_a_random_walks_own_speed_is_one() -> None:
    assert speed_ratio(0.278 * 100, width=10, variance_per_s=1.0, prints=10) == pytest.approx(1)
    assert speed_ratio(0.278 * 50, width=10, variance_per_s=1.0, prints=10) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("cross_s", "variance", "prints"), [(None, 1.0, 10), (5.0, None, 10), (5.0, 0.0, 10), (5.0, 1.0, 9)]
)
def test_speed_is_unknown_without_a_crossing_a_variance_or_ten_prints(
    cross_s: float | None, variance: float | None, prints: int
) -> None:
    assert speed_ratio(cross_s, width=10, variance_per_s=variance, prints=prints) is None
