"""Delta, its running sum and the paces, beside a slow count."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from analytics.errors import NoTrades
from analytics.flow import order_flow
from storage.candles import MinuteCandles
from storage.trades import TradeColumns
from tests.analytics import flow_oracle as oracle
from tests.analytics.flow_oracle import MINUTE_MS, Row
from tests.analytics.tapes import START_MS, FlowTape, flow_tape

PRICE, ONE = Decimal("100.00"), Decimal(1)


def test_the_flow_equals_a_slow_count(seed: int) -> None:
    tape = flow_tape(seed)
    rows = oracle.valid(tape.rows)
    running = oracle.cvd(rows)
    buy, sell = oracle.bought(rows), oracle.sold(rows)

    found = order_flow(tape.candles, start_ms=tape.start_ms, end_ms=tape.end_ms)

    assert (found.buy, found.sell, found.delta) == (buy, sell, buy - sell)
    assert found.delta_pct == pytest.approx(float(100 * (buy - sell) / (buy + sell)))
    assert [Decimal(int(n)).scaleb(-found.quantity_exp) for n in found.cvd] == [value for _, value in running]
    highest, lowest = max(value for _, value in running), min(value for _, value in running)
    assert found.cvd_high.value == highest
    assert found.cvd_high.at_ms == next(at for at, value in running if value == highest)
    assert found.cvd_low.value == lowest
    assert found.cvd_low.at_ms == next(at for at, value in running if value == lowest)
    change = rows[-1].price - rows[0].price
    assert found.price_change_pct == pytest.approx(float(100 * change / rows[0].price))
    signs = {"same": change * found.delta > 0, "opposite": change * found.delta < 0}
    assert found.agreement == next((name for name, holds in signs.items() if holds), "flat")
    assert set(found.divergences) == oracle.divergences(rows, tape.start_ms, tape.end_ms)


def test_the_paces_equal_a_slow_count(seed: int) -> None:
    tape = flow_tape(seed)
    rows = oracle.valid(tape.rows)
    covered_ms = (tape.end_ms - tape.start_ms) // 2
    found = order_flow(tape.candles, start_ms=tape.start_ms, end_ms=tape.end_ms, covered_ms=covered_ms)

    from_ms = -(-(tape.end_ms - 15 * MINUTE_MS) // MINUTE_MS) * MINUTE_MS
    recent = [row for row in rows if row.time_ms >= from_ms]
    for pace, inside, seconds in (
        (found.window, rows, covered_ms / 1000),
        (found.recent, recent, (tape.end_ms - from_ms) / 1000),
    ):
        assert pace.seconds == seconds
        assert pace.buy_per_s == pytest.approx(float(oracle.bought(inside)) / seconds)
        assert pace.sell_per_s == pytest.approx(float(oracle.sold(inside)) / seconds)
        assert pace.trades_per_s == pytest.approx(len(inside) / seconds)


def tape_of(*minutes: tuple[str, int]) -> FlowTape:
    """One print a minute at a price, with a signed quantity."""
    rows = [
        Row(i, START_MS + i * MINUTE_MS, Decimal(price), Decimal(abs(signed)), signed < 0)
        for i, (price, signed) in enumerate(minutes)
    ]
    return FlowTape(rows, START_MS, START_MS + len(rows) * MINUTE_MS)


def test_a_higher_high_with_a_lower_sum_is_told_as_such() -> None:
    tape = tape_of(("100", 5), ("101", 5), ("100", -8), ("102", 1))
    found = order_flow(tape.candles, start_ms=tape.start_ms, end_ms=tape.end_ms)
    assert found.divergences == ("higher_high_lower_cvd",)
    assert found.agreement == "same"


def test_a_lower_low_with_a_higher_sum_is_told_as_such() -> None:
    tape = tape_of(("100", -5), ("99", -5), ("100", 8), ("98", 3))
    found = order_flow(tape.candles, start_ms=tape.start_ms, end_ms=tape.end_ms)
    assert found.divergences == ("lower_low_higher_cvd",)
    assert found.agreement == "opposite"


def test_a_window_under_a_minute_has_its_own_pace() -> None:
    tape = tape_of(("100", 5))
    found = order_flow(tape.candles, start_ms=START_MS, end_ms=START_MS + 30_000)
    assert found.recent == found.window
    assert found.window.buy_per_s == 5 / 30


def test_no_trade_is_refused_and_64_bits_are_enough_or_it_is_said() -> None:
    with pytest.raises(NoTrades):
        order_flow(MinuteCandles.of(TradeColumns.empty()), start_ms=0, end_ms=1)
    candles = tape_of(("100", 5), ("100", 5)).candles
    with pytest.raises(ValueError, match="64 bits"):
        order_flow(replace(candles, buy=np.full(2, 2**62)), start_ms=START_MS, end_ms=START_MS + 1)
