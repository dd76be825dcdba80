"""VPIN, Kyle's lambda and Amihud, beside a slow count."""

from decimal import Decimal

import numpy as np
import pytest

from analytics.toxicity import (
    HOUR_MS,
    amihud,
    amihuds,
    earlier_windows,
    kyle_lambda,
    kyle_lambdas,
    minute_vpins,
    standing,
    vpin,
)
from storage.candles import MinuteCandles
from storage.trades import TradeColumns
from tests.analytics import flow_oracle as oracle
from tests.analytics.tapes import START_MS, FlowTape, flow_tape

NOTHING = MinuteCandles.of(TradeColumns.empty())


def test_vpin_equals_a_bucket_by_bucket_count(seed: int) -> None:
    tape = flow_tape(seed)
    rows = [row for row in tape.rows if row.quantity]
    expected = oracle.vpin(rows, tape.start_ms, tape.end_ms, tape.lot)

    found = vpin([tape.trades], tape.candles, start_ms=tape.start_ms, end_ms=tape.end_ms)

    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.value == pytest.approx(float(expected[0]))
        assert (found.bucket_volume, found.buckets) == expected[1:]


def test_vpin_does_not_depend_on_how_the_trades_are_cut() -> None:
    tape = next(tape for tape in map(flow_tape, range(100)) if vpin_of(tape, [tape.trades]) is not None)
    trades = tape.trades
    cuts = [slice(i, i + 7) for i in range(0, len(trades), 7)]
    assert vpin_of(tape, [trades.take(cut) for cut in cuts]) == vpin_of(tape, [trades])


def vpin_of(tape: FlowTape, chunks: list[TradeColumns]) -> object:
    return vpin(chunks, tape.candles, start_ms=tape.start_ms, end_ms=tape.end_ms)


def test_kyles_lambda_and_amihud_equal_a_slow_regression(seed: int) -> None:
    tape = flow_tape(seed)
    rows = oracle.valid(tape.rows)
    expected, found = oracle.kyle_lambda(rows), kyle_lambda(tape.candles)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.bps_per_million == pytest.approx(expected[0])
        assert found.t_stat == pytest.approx(expected[1])
        assert found.minutes == expected[2]
    wanted, mean = oracle.amihud(rows), amihud(tape.candles)
    assert mean == (None if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize("seed", range(10))
def test_earlier_windows_are_measured_as_the_present_one_is(seed: int) -> None:
    tape = flow_tape(seed)
    history = tape.candles
    windows = [
        (
            tape.start_ms // HOUR_MS * HOUR_MS + h * HOUR_MS,
            tape.start_ms // HOUR_MS * HOUR_MS + (h + 25) * HOUR_MS,
        )
        for h in range(3)
    ]

    for (begin, stop), slope, illiquidity, vpin_value in zip(
        windows,
        kyle_lambdas(history, windows),
        amihuds(history, windows),
        minute_vpins(history, windows),
        strict=True,
    ):
        inside = history.within(begin, stop)
        alone = kyle_lambda(inside)
        assert slope == (None if alone is None else pytest.approx(alone.bps_per_million))
        assert illiquidity == (None if amihud(inside) is None else pytest.approx(amihud(inside)))
        assert vpin_value == pytest.approx(plain_minute_vpin(inside, stop - begin))


def plain_minute_vpin(candles: MinuteCandles, window_ms: int) -> float | None:
    """Each minute poured into the buckets unit by unit in proportion of its sides."""
    volumes = [(int(b), int(s)) for b, s in zip(candles.buy, candles.sell, strict=True)]
    size = sum(b + s for b, s in volumes) * oracle.DAY_MS // (50 * window_ms)
    if size == 0:
        return None
    buckets, held, buy = [], 0.0, 0.0
    for b, s in volumes:
        left = float(b + s)
        while left > 0:
            part = min(left, size - held)
            left, held, buy = left - part, held + part, buy + part * b / (b + s)
            if held >= size - 1e-9:
                buckets.append(abs(2 * buy - size))
                held = buy = 0.0
    return sum(buckets[-50:]) / (50 * size) if len(buckets) >= 50 else None


def test_a_value_stands_where_its_rank_says() -> None:
    earlier = [float(n) for n in range(20)]
    assert standing(10.0, earlier).percentile == 52.5
    assert standing(-1.0, earlier).percentile == 0
    assert standing(99.0, [*earlier, None]).percentile == 100
    assert standing(10.0, earlier[:19]).percentile is None
    assert standing(None, earlier).percentile is None
    assert standing(10.0, earlier).windows == 20


def test_earlier_windows_are_as_long_and_end_before_the_present_one() -> None:
    history = flow_tape(3).candles
    start_ms = int(history.minute_ms[0]) + 30 * HOUR_MS + 5
    windows = earlier_windows(history, start_ms, start_ms + 4 * HOUR_MS)
    assert all(stop - begin == 4 * HOUR_MS and begin % HOUR_MS == 0 for begin, stop in windows)
    assert windows[0][0] >= history.minute_ms[0]
    assert start_ms - HOUR_MS < windows[-1][1] <= start_ms
    assert earlier_windows(NOTHING, START_MS, START_MS + 1) == []


def test_what_cannot_be_measured_is_none() -> None:
    assert (kyle_lambda(NOTHING), amihud(NOTHING)) == (None, None)
    assert vpin([], NOTHING, start_ms=START_MS, end_ms=START_MS + HOUR_MS) is None
    assert kyle_lambdas(NOTHING, [(START_MS, START_MS + 1)]) == [None]
    assert minute_vpins(NOTHING, [(START_MS, START_MS + 1)]) == [None]


def test_the_slope_of_a_market_that_follows_its_flow_is_found() -> None:
    rng = np.random.default_rng(4)
    minutes = 600
    signed = rng.integers(-50, 51, minutes)
    price = np.round(6_000_000 * np.exp(np.cumsum(signed * 1e-5 + rng.normal(0, 1e-5, minutes)))).astype(int)
    rows = [
        oracle.Row(
            i,
            START_MS + i * 60_000,
            Decimal(int(p)).scaleb(-2),
            Decimal(abs(int(s)) or 1),
            bool(s < 0),
        )
        for i, (p, s) in enumerate(zip(price, signed, strict=True))
    ]
    found = kyle_lambda(FlowTape(rows, START_MS, START_MS + minutes * 60_000).candles)
    assert found is not None
    # 1e-5 for a BTC of 60,000 is 0.1 bps for 0.06 million.
    assert found.bps_per_million == pytest.approx(0.1 / 0.06, rel=0.05)
    assert found.t_stat is not None
    assert found.t_stat > 50
