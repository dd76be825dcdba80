"""Realised volatility and volume against the time of day, beside a slow count."""

from decimal import Decimal

import numpy as np
import pytest

from analytics.bars import DAY_MS
from analytics.volatility import (
    RETURNS_OF,
    busy_window,
    day_before,
    five_minute_closes,
    five_minute_returns,
    realised_volatility,
    relative_volume,
    sigma_pct,
)
from storage.candles import MinuteCandles
from storage.trades import TradeColumns
from tests.analytics import flow_oracle as oracle
from tests.analytics.tapes import START_MS, flow_tape

MINUTE_MS = 60_000
NOTHING = MinuteCandles.of(TradeColumns.empty())


def test_volatility_equals_a_slow_count(seed: int) -> None:
    tape = flow_tape(seed)
    returns = oracle.five_minute_returns(oracle.valid(tape.rows), tape.start_ms, tape.end_ms)

    found = realised_volatility(tape.candles, tape.start_ms, tape.end_ms)

    assert found.returns == len(returns)
    expected = [oracle.sigma_pct(returns, wanted) for wanted in RETURNS_OF.values()]
    assert [found.sigma15m_pct, found.sigma1h_pct, found.sigma24h_pct] == pytest.approx(expected)


def test_the_volatility_of_a_random_walk_is_that_of_its_steps() -> None:
    returns = np.random.default_rng(1).normal(0, 0.001, 288)
    assert sigma_pct(returns, 288) == pytest.approx(100 * 0.001 * 288**0.5, rel=0.1)
    assert sigma_pct(returns[:259], 288) is None
    assert sigma_pct(returns[:260], 288) is not None


def test_an_empty_window_has_no_volatility() -> None:
    found = realised_volatility(NOTHING, START_MS, START_MS + DAY_MS)
    assert (found.returns, found.sigma15m_pct, found.sigma24h_pct) == (0, None, None)
    assert len(five_minute_returns(five_minute_closes(NOTHING, START_MS, START_MS + 1))) == 0


def test_volume_against_other_days_equals_a_slow_median(seed: int) -> None:
    tape = flow_tape(seed)
    window = busy_window(tape.start_ms, tape.end_ms)
    assert window is not None
    present, *earlier = (
        tape.candles.within(*day_before(window, days)) if days else tape.candles.within(*window)
        for days in range(1 + seed % 4)
    )

    found = relative_volume(window, present, earlier)

    def volume(days: int) -> Decimal:
        begin, stop = (at - days * DAY_MS for at in window)
        rows = [row for row in tape.rows if begin <= row.time_ms // MINUTE_MS * MINUTE_MS < stop]
        return oracle.total(row.quantity for row in rows)

    if seed % 4 == 0:
        assert found is None
        return
    assert found is not None
    median = oracle.median(volume(days) for days in range(1, 1 + seed % 4))
    assert (found.volume, found.days) == (volume(0), seed % 4)
    assert found.median == median
    assert found.ratio == (pytest.approx(float(found.volume) / float(median)) if median else None)


def test_the_busy_window_is_the_last_hour_of_whole_minutes() -> None:
    hour = 60 * MINUTE_MS
    assert busy_window(START_MS, START_MS + 3 * hour + 12_345) == (START_MS + 2 * hour, START_MS + 3 * hour)
    assert busy_window(START_MS + 1, START_MS + 2 * MINUTE_MS) == (
        START_MS + MINUTE_MS,
        START_MS + 2 * MINUTE_MS,
    )
    assert busy_window(START_MS + 1, START_MS + MINUTE_MS) is None
