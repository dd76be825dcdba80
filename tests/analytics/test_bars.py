"""Bars: equal to a slow count and to pandas, out of trades and out of candles alike."""

from dataclasses import fields, replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from analytics.bars import (
    DAY_MS,
    Bars,
    bars,
    bars_of_trades,
    default_width_ms,
    whole,
    width_of,
    width_words,
)
from analytics.errors import NoTrades, OptionInvalid
from storage.candles import MinuteCandles
from storage.trades import TradeColumns
from tests.analytics import flow_oracle as oracle
from tests.analytics.tapes import flow_tape

WIDTHS = ["1s", "15s", "1m", "5m", "4h", "1d"]


def plain(found: Bars) -> list[oracle.Bar]:
    """The bars as the oracle writes them."""
    return [
        oracle.Bar(
            int(found.start_ms[i]),
            found.price(int(found.open[i])),
            found.price(int(found.high[i])),
            found.price(int(found.low[i])),
            found.price(int(found.close[i])),
            found.quantity(int(found.buy[i])),
            found.quantity(int(found.sell[i])),
            int(found.trades[i]),
            Decimal(found.notional[i]).scaleb(-found.price_exp - found.quantity_exp),
        )
        for i in range(len(found))
    ]


def test_bars_equal_a_slow_count(seed: int) -> None:
    tape = flow_tape(seed)
    for width in map(width_of, WIDTHS):
        expected = oracle.bars(tape.rows, width)
        assert plain(bars_of_trades(tape.trades, width)) == expected
        if width >= 60_000:
            assert plain(bars(tape.candles, width)) == expected


def test_the_whole_window_is_one_bar_with_its_exact_vwap(seed: int) -> None:
    tape = flow_tape(seed)
    rows = oracle.valid(tape.rows)
    found = whole(tape.candles)

    assert len(found) == 1
    assert found.price(int(found.open[0])) == rows[0].price
    assert found.price(int(found.close[0])) == rows[-1].price
    assert found.vwap(0, 2) == oracle.vwap(rows, 2)
    assert found.quantity(int(found.volume[0])) == oracle.total(row.quantity for row in rows)
    assert found.quantity(int(found.delta[0])) == oracle.total(row.signed for row in rows)


@pytest.mark.parametrize("width", ["15s", "1m", "1h"])
def test_the_frame_is_what_pandas_makes_of_the_trades(width: str) -> None:
    rows = oracle.valid(flow_tape(8).rows)
    times = pd.DatetimeIndex(pd.to_datetime([row.time_ms for row in rows], unit="ms", utc=True))
    trades = pd.DataFrame(
        {
            "price": [float(row.price) for row in rows],
            "quantity": [float(row.quantity) for row in rows],
            "buy": [0.0 if row.sold else float(row.quantity) for row in rows],
            "notional": [float(row.notional) for row in rows],
        },
        index=times,
    )
    grouped = trades.groupby(times.floor(width.replace("m", "min")))
    expected = grouped["price"].ohlc()
    expected["volume"], expected["buy"] = grouped["quantity"].sum(), grouped["buy"].sum()
    expected["trades"] = grouped["price"].count()
    expected["vwap"] = grouped["notional"].sum() / expected["volume"]

    frame = bars_of_trades(flow_tape(8).trades, width_of(width)).frame()

    pd.testing.assert_frame_equal(
        frame[expected.columns],
        expected,
        check_freq=False,
        check_names=False,
        check_index_type=False,
    )


def test_a_volume_beyond_64_bits_is_refused_and_not_wrapped() -> None:
    tape = flow_tape(1)
    huge = replace(tape.candles, buy=np.full(len(tape.candles), 2**62))
    with pytest.raises(ValueError, match="64 bits"):
        bars(huge, DAY_MS)


def test_no_trade_makes_no_bar() -> None:
    nothing = MinuteCandles.of(TradeColumns.empty())
    assert len(bars(nothing, 60_000)) == len(bars_of_trades(TradeColumns.empty(), 1000)) == 0
    with pytest.raises(NoTrades):
        whole(nothing)


@pytest.mark.parametrize("written", ["7m", "0s", "2d", "1.5h", "5", "m", "", "100000s", "٣m", "-5m"])
def test_a_width_off_the_clock_is_refused_with_what_is_valid(written: str) -> None:
    with pytest.raises(OptionInvalid, match="divide the day"):
        width_of(written)


def test_seconds_make_no_bars_out_of_minutes() -> None:
    with pytest.raises(ValueError, match="bars_of_trades"):
        bars(flow_tape(1).candles, 1_000)


@pytest.mark.parametrize(("written", "width_ms"), [("1S", 1_000), (" 90s", 90_000), ("60m", 3_600_000)])
def test_widths_are_read_as_people_write_them(written: str, width_ms: int) -> None:
    assert width_of(written) == width_ms
    assert width_of(width_words(width_ms)) == width_ms


@pytest.mark.parametrize(
    ("hours", "width"), [(1 / 60, "1m"), (1, "2m"), (8, "10m"), (24, "30m"), (24.1, "1h"), (168, "4h")]
)
def test_a_default_bar_is_a_48th_of_the_window_rounded_up_to_the_clock(hours: float, width: str) -> None:
    assert width_words(default_width_ms(int(hours * 3_600_000))) == width


def test_every_column_has_a_row_a_bar() -> None:
    found = bars(flow_tape(3).candles, 60_000)
    columns = [getattr(found, each.name) for each in fields(Bars)]
    assert {len(column) for column in columns if not isinstance(column, int)} == {len(found)}
