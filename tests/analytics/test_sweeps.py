"""Strokes, large ones and sweeps among them, and their sizes, beside a slow count."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from analytics.errors import NoTrades
from analytics.largest import LISTED
from analytics.sweeps import Stroke, StrokePass, Strokes, size_bucket, tape_strokes
from storage.candles import MinuteCandles
from storage.trades import TradeColumns
from tests.analytics import flow_oracle as oracle
from tests.analytics.flow_oracle import Row
from tests.analytics.tapes import START_MS, FlowTape, columns, flow_tape


def assert_equal(found: Strokes, expected: list[oracle.Stroke]) -> None:
    """Counts and sums of each side, and the largest with all they are."""
    assert (found.buys, found.sells) == tuple(
        sum(stroke.sold == side for stroke in expected) for side in (False, True)
    )
    for notional, side in ((found.buy_notional, False), (found.sell_notional, True)):
        assert notional == oracle.total(stroke.notional for stroke in expected if stroke.sold == side)
    assert found.count == len(expected)
    assert found.net_notional == found.buy_notional - found.sell_notional
    largest = oracle.ranked(expected)[:LISTED]
    for one, other in zip(found.largest, largest, strict=True):
        assert_same(one, other)


def assert_same(one: Stroke, other: oracle.Stroke) -> None:
    first, last = other.rows[0], other.rows[-1]
    assert (one.time_ms, one.side) == (first.time_ms, "sell" if other.sold else "buy")
    assert (one.first_id, one.last_id, one.prices) == (first.id, last.id, other.prices)
    assert (one.first_price, one.last_price) == (first.price, last.price)
    assert (one.notional, one.quantity) == (other.notional, oracle.total(row.quantity for row in other.rows))
    slip = (last.price - first.price) / first.price * (-1 if other.sold else 1)
    assert one.slip_bps == pytest.approx(float(10_000 * slip))


def test_strokes_equal_a_slow_count(seed: int) -> None:
    tape = flow_tape(seed)
    strokes = tape.strokes
    threshold = oracle.nearest_rank((stroke.notional for stroke in strokes), Fraction(999, 1000))
    swept = [stroke for stroke in strokes if stroke.prices >= 3]

    found = tape_strokes(tape.chunks, tape.candles)

    assert (found.strokes, found.threshold) == (len(strokes), threshold)
    assert_equal(found.large, [stroke for stroke in strokes if stroke.notional >= threshold])
    assert_equal(found.sweeps, swept)
    share = oracle.total(s.notional for s in swept) / oracle.total(s.notional for s in strokes)
    assert found.sweep_share_pct == pytest.approx(float(100 * share))


def test_sizes_equal_a_slow_count(seed: int) -> None:
    tape = flow_tape(seed)
    expected = oracle.sizes(tape.strokes)

    found = tape_strokes(tape.chunks, tape.candles).sizes

    counted = {
        (bucket.below, sold): (number, notional)
        for bucket in found
        for sold, number, notional in (
            (False, bucket.buys, bucket.buy_notional),
            (True, bucket.sells, bucket.sell_notional),
        )
        if number
    }
    assert counted == expected
    assert all(bucket.below == 2 * bucket.at_least or bucket.at_least == 0 for bucket in found)


@pytest.mark.parametrize("seed", range(10))
def test_a_callers_threshold_decides_what_is_large(seed: int) -> None:
    tape = flow_tape(seed)
    strokes = tape.strokes
    asked = oracle.nearest_rank((stroke.notional for stroke in strokes), Fraction(1, 2)) + Decimal("1e-9")

    found = tape_strokes(tape.chunks, tape.candles, min_notional=asked)

    assert_equal(found.large, [stroke for stroke in strokes if stroke.notional >= asked])


def test_the_thousandth_is_found_however_the_large_ones_lie() -> None:
    """The largest come first, so that later chunks have to reach back to what was given up by then."""
    rng = np.random.default_rng(5)
    sizes = np.concatenate([np.arange(4_000, 3_000, -1), rng.integers(1, 3_500, 11_000)]).tolist()
    rows = [Row(2 * i, START_MS + 400 * i, Decimal(10), Decimal(n), False) for i, n in enumerate(sizes)]
    tape = FlowTape(rows, START_MS, START_MS + 400 * len(rows))

    found = tape_strokes(tape.chunks, tape.candles)

    assert len(tape.chunks) > 1
    assert found.threshold == oracle.nearest_rank((row.notional for row in rows), Fraction(999, 1000))
    assert found.large.count == sum(row.notional >= found.threshold for row in rows)


@pytest.mark.parametrize("odd", [0, 1, 12, 40])
def test_prints_that_are_all_alike_are_counted_and_not_kept(odd: int) -> None:
    """The 99.9th percentile may be what nearly all prints have."""
    sizes = [7] * 12_000 + [9] * odd + [3] * 3_000
    rows = [Row(2 * i, START_MS + 400 * i, Decimal(10), Decimal(n), i % 3 == 0) for i, n in enumerate(sizes)]
    tape = FlowTape(rows, START_MS, START_MS + 400 * len(rows))
    strokes = oracle.strokes(rows)

    passed = StrokePass(tape.candles)
    for chunk in tape.chunks:
        passed.read(chunk)
    found = passed.result()

    threshold = oracle.nearest_rank((stroke.notional for stroke in strokes), Fraction(999, 1000))
    assert found.threshold == threshold
    assert_equal(found.large, [stroke for stroke in strokes if stroke.notional >= threshold])
    assert len(passed._large._notional) <= 2 * 16


def test_equals_of_the_largest_are_listed_wherever_they_come() -> None:
    sizes = [1, 2, 9, 3, 4, 9, 1, 9]
    rows = [Row(2 * i, START_MS + 1_800_000 * i, Decimal(10), Decimal(n), False) for i, n in enumerate(sizes)]
    tape = FlowTape(rows, START_MS, START_MS + 1_800_000 * len(rows))
    found = tape_strokes(tape.chunks, tape.candles)
    assert found.threshold == 90
    assert found.large.count == 3
    assert [stroke.first_id for stroke in found.large.largest] == [4, 10, 14]


def test_a_threshold_that_nearly_all_reach_keeps_but_the_listed() -> None:
    tape = flow_tape(7)
    strokes = tape.strokes
    found = tape_strokes(tape.chunks, tape.candles, min_notional=Decimal("1e-9"))
    assert_equal(found.large, strokes)
    assert tape_strokes(tape.chunks, tape.candles, min_notional=Decimal("1e30")).large.count == 0


def test_prices_met_twice_count_once() -> None:
    prices = ["100.00", "100.01", "100.00", "100.01"]
    rows = [Row(i, START_MS, Decimal(p), Decimal(1), False) for i, p in enumerate(prices)]
    tape = FlowTape(rows, START_MS, START_MS + 1)

    found = tape_strokes(tape.chunks, tape.candles)

    assert (found.sweeps.count, found.large.largest[0].prices) == (0, 2)


def test_sizes_are_exact_at_the_powers_of_two() -> None:
    exact = np.array([2**n * 10**7 + more for n in range(20) for more in (-1, 0)])
    assert size_bucket(exact, 7).tolist() == [n + 4 + more for n in range(20) for more in (0, 1)]
    huge = np.array([2**39 * 10**7 - 1, 2**39 * 10**7])
    assert size_bucket(huge, 7).tolist() == [39 + 4, 39 + 5]


def test_what_does_not_fit_is_refused() -> None:
    nothing = MinuteCandles.of(TradeColumns.empty())
    with pytest.raises(NoTrades):
        tape_strokes([TradeColumns.empty()], nothing)
    trades = columns([Row(1, START_MS, Decimal(9), Decimal(1), False)])
    trades = replace(trades, price_int=np.array([2**40 + 1]), quantity_int=np.array([2**40 + 1]))
    with pytest.raises(ValueError, match="64 bits"):
        tape_strokes([trades], MinuteCandles.of(trades))
