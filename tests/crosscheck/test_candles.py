"""Candles and volatility beside those of pandas, which `make crosscheck` brings in an older version as well.

pandas gets the integers of the columns, so that all but VWAP and volatility are compared exactly.
"""

import numpy as np
import pandas as pd
import pytest

from analytics.bars import Bars, bars, bars_of_trades
from analytics.tape import FIVE_MINUTES_MS
from analytics.volatility import five_minute_closes, five_minute_returns, realised_volatility
from storage.candles import MINUTE_MS, MinuteCandles
from storage.trades import TradeColumns
from tests.analytics.tapes import START_MS, columns, flow_tape, market
from tests.recordings import recorded_prints

SYMBOLS = ("BTCUSDT", "ETHUSDT")
WIDTHS_MS = [1_000, 15_000, MINUTE_MS, 15 * MINUTE_MS, 4 * 60 * MINUTE_MS, 24 * 60 * MINUTE_MS]
SEEDS = range(4)
SUMS = ("volume", "buy", "trades", "notional")


def recorded(symbol: str) -> TradeColumns:
    return columns(recorded_prints(symbol)).reduced()


def frame_of(trades: TradeColumns) -> pd.DataFrame:
    """A line a valid trade in id order, by its time; integers at the columns' decimals."""
    rows = trades.of_valid()
    volume = rows.quantity_int
    return pd.DataFrame(
        {
            "price": rows.price_int,
            "volume": volume,
            "buy": np.where(rows.buyer_is_maker, 0, volume),
            "trades": np.ones(len(rows), np.int64),
            "notional": rows.price_int * volume,
        },
        index=pd.to_datetime(rows.time_ms, unit="ms"),
    )


def resampled(frame: pd.DataFrame, width_ms: int) -> pd.DataFrame:
    """Bars on the clock; those without a trade are left out."""
    made = frame.resample(pd.Timedelta(milliseconds=width_ms), origin="epoch")
    together = made["price"].ohlc().join(made[list(SUMS)].sum())
    return together[together["trades"] > 0]


def assert_same(found: Bars, expected: pd.DataFrame) -> None:
    assert pd.to_datetime(found.start_ms, unit="ms").tolist() == expected.index.tolist()
    for name in ("open", "high", "low", "close", "volume", "buy", "trades"):
        assert getattr(found, name).tolist() == expected[name].tolist(), name
    assert list(found.notional) == expected["notional"].tolist()
    decimals = 8
    vwap = expected["notional"] / expected["volume"] / 10**found.price_exp
    ours = [float(found.vwap(i, decimals)) for i in range(len(found))]
    assert ours == pytest.approx(vwap.tolist(), rel=1e-12, abs=10**-decimals)


@pytest.mark.parametrize("width_ms", WIDTHS_MS)
@pytest.mark.parametrize("source", [*SYMBOLS, *SEEDS])
def test_pandas_resamples_to_the_same_bars(source: str | int, width_ms: int) -> None:
    trades = recorded(source) if isinstance(source, str) else market(source).trades.reduced()
    expected = resampled(frame_of(trades), width_ms)

    assert_same(bars_of_trades(trades, width_ms), expected)
    if width_ms % MINUTE_MS == 0:
        assert_same(bars(MinuteCandles.of(trades), width_ms), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_pandas_groups_to_the_same_bars_where_times_step_back(seed: int) -> None:
    trades = flow_tape(seed).trades.reduced()
    frame = frame_of(trades)
    for width_ms in WIDTHS_MS[1:]:
        made = frame.groupby(pd.to_datetime(trades.of_valid().time_ms // width_ms * width_ms, unit="ms"))
        assert_same(bars_of_trades(trades, width_ms), made["price"].ohlc().join(made[list(SUMS)].sum()))


@pytest.mark.parametrize("seed", SEEDS)
def test_pandas_finds_the_same_volatility(seed: int) -> None:
    tape = market(seed, trades=900, hours=30)
    end_ms = START_MS + 30 * 60 * MINUTE_MS
    candles = MinuteCandles.of(tape.trades)
    prices = frame_of(tape.trades.at_exponents(2, 8))["price"] / 100
    closes = prices.resample(pd.Timedelta(milliseconds=FIVE_MINUTES_MS), origin="epoch").last()
    # A bin that ends with the window does not end inside it.
    last_bin = pd.to_datetime(end_ms - 2 * FIVE_MINUTES_MS, unit="ms")
    bins = pd.date_range(closes.index[0], last_bin, freq=pd.Timedelta(milliseconds=FIVE_MINUTES_MS))
    returns = np.log(closes.reindex(bins).ffill()).diff().dropna()

    ours = five_minute_returns(five_minute_closes(candles, START_MS, end_ms))
    found = realised_volatility(candles, START_MS, end_ms)

    assert ours.tolist() == pytest.approx(returns.tolist(), rel=1e-9, abs=1e-15)
    sigmas = [100 * float((returns.iloc[-n:] ** 2).sum()) ** 0.5 for n in (3, 12, 288)]
    assert [found.sigma15m_pct, found.sigma1h_pct, found.sigma24h_pct] == pytest.approx(sigmas, rel=1e-9)
