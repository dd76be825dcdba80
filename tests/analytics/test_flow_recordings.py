"""Real trades: bars, flow, strokes and footprints of recordings equal a slow count over the same rows."""

from decimal import Decimal
from fractions import Fraction
from functools import cache

import pytest

from analytics.bars import bars_of_trades
from analytics.flow import order_flow
from analytics.footprint import footprint
from analytics.imbalances import absorptions, imbalances, stacks
from analytics.sweeps import tape_strokes
from analytics.toxicity import vpin
from tests.analytics import flow_oracle as oracle
from tests.analytics.flow_oracle import MINUTE_MS, Row
from tests.analytics.tapes import FlowTape
from tests.analytics.test_recordings import SYMBOLS
from tests.recordings import recorded_prints

pytestmark = pytest.mark.parametrize("symbol", SYMBOLS)


@cache
def recorded(symbol: str) -> FlowTape:
    rows = [
        Row(at, print_.time_ms, print_.price, print_.quantity, print_.buyer_is_maker)
        for at, print_ in enumerate(recorded_prints(symbol))
    ]
    return FlowTape(rows, rows[0].time_ms, rows[-1].time_ms + 1, Decimal("0.01"), Decimal("0.00001"))


def test_recorded_bars_equal_a_slow_count(symbol: str) -> None:
    tape = recorded(symbol)
    for width_ms in (1_000, MINUTE_MS):
        found = bars_of_trades(tape.trades, width_ms)
        expected = oracle.bars(tape.rows, width_ms)
        assert [found.price(int(n)) for n in found.close] == [bar.close for bar in expected]
        assert [found.quantity(int(n)) for n in found.buy] == [bar.buy for bar in expected]
        assert found.trades.tolist() == [bar.trades for bar in expected]


def test_a_recorded_flow_equals_a_slow_count(symbol: str) -> None:
    tape = recorded(symbol)
    running = oracle.cvd(tape.rows)
    found = order_flow(tape.candles, start_ms=tape.start_ms, end_ms=tape.end_ms)
    assert found.delta == running[-1][1]
    assert found.cvd_high.value == max(value for _, value in running)
    assert set(found.divergences) == oracle.divergences(tape.rows, tape.start_ms, tape.end_ms)


def test_recorded_strokes_equal_a_slow_count(symbol: str) -> None:
    tape = recorded(symbol)
    strokes = oracle.strokes(tape.rows)
    swept = [stroke for stroke in strokes if stroke.prices >= 3]
    found = tape_strokes(tape.chunks, tape.candles)
    assert found.strokes == len(strokes)
    assert found.threshold == oracle.nearest_rank((s.notional for s in strokes), Fraction(999, 1000))
    assert found.sweeps.count == len(swept) > 0
    assert [s.notional for s in found.sweeps.largest] == [s.notional for s in oracle.ranked(swept)][:20]


def test_a_recorded_footprint_equals_a_slow_search(symbol: str) -> None:
    tape = recorded(symbol)
    found = footprint(
        tape.chunks,
        tape.candles,
        tape.price_rows,
        width_ms=MINUTE_MS,
        start_ms=tape.start_ms,
        end_ms=tape.end_ms,
    )
    size = found.rows.row_size
    marked = oracle.imbalances(oracle.footprint(tape.rows, size, MINUTE_MS), Decimal(3))
    _, heavy, absorbed = oracle.absorptions(tape.rows, size, MINUTE_MS, tape.end_ms)
    here = imbalances(found)
    assert int(here.buy.sum()) == sum(side == "buy" for _, _, side, _ in marked)
    assert int(here.sell.sum()) == sum(side == "sell" for _, _, side, _ in marked)
    assert len(stacks(found, here, tape.candles)) == len(oracle.stacks(marked))
    assert (absorptions(found).heavy, len(absorptions(found).absorbed)) == (heavy, len(absorbed))


def test_a_recorded_vpin_equals_a_bucket_by_bucket_count(symbol: str) -> None:
    """As if the recording were a day, so that it has 50 buckets."""
    tape = recorded(symbol)
    window = {"start_ms": tape.end_ms - oracle.DAY_MS, "end_ms": tape.end_ms}
    unit = Decimal(1).scaleb(-tape.candles.quantity_exp)
    expected = oracle.vpin(tape.rows, window["start_ms"], window["end_ms"], unit)
    found = vpin(tape.chunks, tape.candles, **window)
    assert expected is not None
    assert found is not None
    assert found.value == pytest.approx(float(expected[0]))
