"""Round times and prices, and labels that keep apart."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.charts.scales import DAY_MS, spread, time_ticks, value_ticks

NOON_MS = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (24, ["16:00", "20:00", "25 Nov", "04:00", "08:00", "12:00"]),
        (168, ["19 Nov", "20 Nov", "21 Nov", "22 Nov", "23 Nov", "24 Nov", "25 Nov"]),
        (1 / 60, ["11:59:00", "11:59:10", "11:59:20", "11:59:30", "11:59:40", "11:59:50", "12:00:00"]),
    ],
)
def test_times_are_round_and_midnight_is_a_date(hours: float, expected: list[str]) -> None:
    start_ms = NOON_MS - int(hours * HOUR_MS)
    ticks = time_ticks(start_ms + 1 if hours == 24 else start_ms, NOON_MS, 7)
    assert [words for _, words in ticks] == expected


@given(st.integers(NOON_MS - 8 * DAY_MS, NOON_MS), st.integers(60_000, 168 * HOUR_MS), st.integers(3, 9))
def test_times_are_within_the_window_and_no_more_than_wanted(
    start_ms: int, length_ms: int, most: int
) -> None:
    ticks = time_ticks(start_ms, start_ms + length_ms, most)
    assert len(ticks) <= most
    assert all(start_ms <= at <= start_ms + length_ms for at, _ in ticks)
    assert len({at for at, _ in ticks}) == len(ticks)


@given(st.integers(1, 10**7), st.integers(2, 10**5), st.integers(0, 8), st.integers(2, 12))
def test_prices_are_written_with_no_more_decimals_than_the_tick(
    low_ticks: int, ticks: int, decimals: int, most: int
) -> None:
    low, high = low_ticks * 10.0**-decimals, (low_ticks + ticks) * 10.0**-decimals
    found = value_ticks(low, high, most, decimals)
    assert len(found) <= most
    assert len({words for _, words in found}) == len(found)
    for at, words in found:
        assert len(words.partition(".")[2]) <= decimals
        assert float(words) == pytest.approx(at, rel=1e-9)


def test_a_scale_through_zero_has_no_negative_zero() -> None:
    assert [words for _, words in value_ticks(-25.0, 12.0, 5)] == ["-20", "-10", "0", "10"]


PLACES = st.lists(st.floats(-50, 650), max_size=40)


@given(PLACES, st.floats(1, 30))
def test_labels_keep_apart_in_order_and_inside(wanted: list[float], apart: float) -> None:
    places = spread(wanted, apart, 0.0, 600.0)
    assert len(places) == len(wanted)
    ranked = sorted(range(len(wanted)), key=lambda i: wanted[i])
    in_order = [places[i] for i in ranked]
    room = min(apart, 600 / max(len(wanted) - 1, 1))
    assert all(after - before >= room - 1e-6 for before, after in itertools.pairwise(in_order))
    assert all(-1e-6 <= place <= 600 + 1e-6 for place in places)


@given(PLACES)
def test_labels_with_room_stay_where_they_belong(wanted: list[float]) -> None:
    inside = sorted(min(max(place, 0.0), 600.0) for place in wanted)
    alone = [place for n, place in enumerate(inside) if n == 0 or place - inside[n - 1] > 25]
    thinned = [place for n, place in enumerate(alone) if n + 1 == len(alone) or alone[n + 1] - place > 25]
    assert spread(thinned, 20, 0.0, 600.0) == pytest.approx(thinned)
