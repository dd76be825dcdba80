"""Sessions of the day, naked points of control, and levels by their distance."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from analytics.bars import DAY_MS
from analytics.errors import BinsTooWide
from analytics.levels import Level, levels_of_session, nodes_around, place_in_value, placed, vacuums_around
from analytics.profile import volume_profile
from analytics.rows import on_ticks, rows_of, vacuum_row_ticks
from analytics.sessions import (
    Session,
    SessionLevels,
    day_start_ms,
    session_levels,
    sessions_within,
    traded_within,
    week_start_ms,
)
from analytics.vacuums import liquidity_vacuums
from storage.histograms import PriceHistogram
from storage.trades import TradeColumns
from tests.analytics.tapes import START_MS, TICK, flow_tape, market

HOUR_MS = 3_600_000


def moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def test_sessions_are_the_fixed_hours_of_each_day_newest_first() -> None:
    end_ms = START_MS + 2 * DAY_MS + 14 * HOUR_MS
    found = list(sessions_within(START_MS + 9 * HOUR_MS, end_ms))

    told = [(s.name, moment(s.start_ms).isoformat(), (s.end_ms - s.start_ms) / HOUR_MS) for s in found]
    assert told == [
        ("day", "2024-11-12T00:00:00+00:00", 24),
        ("asia", "2024-11-12T00:00:00+00:00", 8),
        ("london", "2024-11-12T08:00:00+00:00", 8),
        ("new_york", "2024-11-12T13:30:00+00:00", 6.5),
        ("day", "2024-11-11T00:00:00+00:00", 24),
        ("asia", "2024-11-11T00:00:00+00:00", 8),
        ("london", "2024-11-11T08:00:00+00:00", 8),
        ("new_york", "2024-11-11T13:30:00+00:00", 6.5),
        ("new_york", "2024-11-10T13:30:00+00:00", 6.5),
    ]
    assert {session.date for session in found} == {"2024-11-10", "2024-11-11", "2024-11-12"}


@pytest.mark.parametrize("days", range(9))
def test_a_week_begins_on_monday_and_a_day_at_midnight(days: int) -> None:
    at = START_MS + days * DAY_MS + 12_345
    midnight = moment(at).replace(hour=0, minute=0, second=0, microsecond=0)
    assert moment(day_start_ms(at)) == midnight
    assert moment(week_start_ms(at)) == midnight - timedelta(days=midnight.weekday())


def test_whether_a_range_was_traded_is_told_by_prints_alone(seed: int) -> None:
    tape = flow_tape(seed)
    rng = np.random.default_rng(seed)
    histogram = PriceHistogram.of(tape.trades)
    prices = [row.price for row in tape.rows if row.quantity]
    for _ in range(20):
        low = prices[int(rng.integers(len(prices)))] + int(rng.integers(-5, 6)) * TICK
        high = low + int(rng.integers(0, 4)) * TICK
        assert traded_within(histogram, low, high, TICK) == any(low <= price <= high for price in prices)


def test_bins_that_reach_beyond_a_range_do_not_tell() -> None:
    trades = flow_tape(4).trades
    binned = PriceHistogram.of(trades).at_exponents(2, 3).in_bins(10)
    low = Decimal(int(binned.price_int[0])).scaleb(-2)
    assert traded_within(binned, low, low + 9 * TICK, TICK)
    assert not traded_within(binned, low - 10 * TICK, low - TICK, TICK)
    with pytest.raises(BinsTooWide):
        traded_within(binned, low + TICK, low + 10 * TICK, TICK)
    assert not traded_within(PriceHistogram.of(TradeColumns.empty()), low, low, TICK)


def a_session(*, naked: bool | None, end_ms: int = START_MS + DAY_MS) -> SessionLevels:
    tape = market(3)
    profile = volume_profile(tape.histogram, tick=tape.tick)
    return session_levels(Session("day", START_MS, end_ms), profile, naked=naked, partial=False)


def test_a_session_has_its_profiles_levels_and_an_age_once_it_has_ended() -> None:
    levels = a_session(naked=True)
    profile = volume_profile(market(3).histogram, tick=TICK)

    found = {level.name: level for level in levels_of_session(levels, "2024-11-10", START_MS + 36 * HOUR_MS)}

    assert {name: (level.low, level.high) for name, level in found.items()} == {
        "naked POC": (profile.poc.low, profile.poc.high),
        "VAH": (profile.vah, profile.vah),
        "VAL": (profile.val, profile.val),
        "VWAP": (profile.vwap, profile.vwap),
        "high": (profile.high, profile.high),
        "low": (profile.low, profile.low),
    }
    assert {level.age_h for level in found.values()} == {12.0}
    lasting = levels_of_session(a_session(naked=None), "today", START_MS + HOUR_MS)
    assert next((level.name, level.age_h) for level in lasting) == ("POC", None)


def test_levels_are_ranked_by_their_nearer_bound() -> None:
    def level(name: str, low: str, high: str) -> Level:
        return Level(name, "day", Decimal(low), Decimal(high))

    found = placed(
        [
            level("far", "110", "110"),
            level("below", "90", "98"),
            level("here", "99", "101"),
            level("up", "101", "120"),
        ],
        Decimal(100),
    )

    assert [(each.level.name, each.side, each.distance_pct) for each in found] == [
        ("here", "at", 0.0),
        ("up", "above", 1.0),
        ("below", "below", 2.0),
        ("far", "above", 10.0),
    ]


def test_a_price_lies_above_inside_or_below_value() -> None:
    levels = a_session(naked=False)
    assert place_in_value(levels.vah + TICK, levels) == "above"
    assert place_in_value(levels.vah, levels) == place_in_value(levels.val, levels) == "inside"
    assert place_in_value(levels.val - TICK, levels) == "below"


def test_the_vacuums_around_a_price_are_the_nearest_on_either_side() -> None:
    tape = market(2)
    ticks = on_ticks(tape.histogram, tape.tick)
    rows = rows_of(ticks, vacuum_row_ticks(ticks))
    zones = liquidity_vacuums(
        tape.histogram,
        [tape.trades],
        symbol="X",
        tick=tape.tick,
        last=tape.prints[-1].price,
        start_ms=START_MS,
        end_ms=START_MS + 3 * HOUR_MS,
    ).vacuums
    assert zones
    bounds = [(zone.low, zone.high) for zone in zones]
    for last in sorted({edge for pair in bounds for edge in pair} | {rows.low(0), rows.high(len(rows) - 1)}):
        found = [(level.low, level.high) for level in vacuums_around(rows, last, "24 h")]
        below = max((each for each in bounds if each[0] <= last), default=None)
        above = min((each for each in bounds if each[1] >= last), default=None)
        assert set(found) == {each for each in (below, above) if each}


def test_the_nodes_around_a_price_are_named_by_their_kind() -> None:
    profile = volume_profile(market(3).histogram, tick=TICK)
    last = profile.poc.low
    found = list(nodes_around(profile, last, "24 h"))
    high = {(profile.rows.low(n.row), profile.rows.high(n.row)) for n in profile.nodes.high_volume}
    assert {(level.low, level.high) for level in found if level.name == "HVN"} <= high
    assert all(level.low <= last or level.name in ("HVN", "LVN") for level in found)
    assert {level.name for level in found} <= {"HVN", "LVN"}
    assert any(level.name == "HVN" for level in found)
