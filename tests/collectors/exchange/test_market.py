"""The generated market: a pure function of seed and time, on its grid, with ids that never skip."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.exchange.day import plan_day
from collectors.exchange.listings import LISTINGS
from collectors.exchange.market import DAY_MS, GENESIS_DAY, GeneratedMarket
from collectors.exchange.minute import MINUTE_MS
from storage.trades import TradeColumns

DAY = 20_660  # 2026-07-26
START_MS = DAY * DAY_MS
HOUR_MS = 3_600_000
COLUMNS = ("id", "time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker")

seeds = st.integers(0, 2**31)
symbols = st.sampled_from(list(LISTINGS))
times = st.integers(START_MS, START_MS + 2 * DAY_MS)


@cache
def a_day(symbol: str) -> TradeColumns:
    return GeneratedMarket(1).trades(symbol, START_MS, START_MS + DAY_MS)


def assert_same(left: TradeColumns, right: TradeColumns) -> None:
    assert len(left) == len(right)
    for name in COLUMNS if len(left) else ():
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


@pytest.mark.parametrize("symbol", LISTINGS)
def test_ids_are_consecutive_and_times_never_step_back(symbol: str) -> None:
    trades = a_day(symbol)
    assert (np.diff(trades.id) == 1).all()
    assert (np.diff(trades.time_ms) >= 0).all()
    assert START_MS <= trades.time_ms[0] <= trades.time_ms[-1] < START_MS + DAY_MS


@pytest.mark.parametrize("symbol", LISTINGS)
def test_raw_trade_ids_run_on_from_row_to_row(symbol: str) -> None:
    trades = a_day(symbol)
    assert (trades.first_id <= trades.last_id).all()
    assert (trades.first_id[1:] == trades.last_id[:-1] + 1).all()


@pytest.mark.parametrize("symbol", LISTINGS)
def test_prices_are_on_the_tick_and_quantities_on_the_lot(symbol: str) -> None:
    trades, instrument = a_day(symbol), LISTINGS[symbol].instrument
    tick = int(instrument.tick.scaleb(trades.price_exp))
    lot = int(instrument.lot.scaleb(trades.quantity_exp))
    assert (trades.price_int % tick == 0).all()
    assert (trades.price_int > 0).all()
    assert (trades.quantity_int % lot == 0).all()
    assert trades.valid.all()


@pytest.mark.parametrize("symbol", LISTINGS)
def test_a_day_has_exactly_the_listed_number_of_trades(symbol: str) -> None:
    assert len(a_day(symbol)) == LISTINGS[symbol].trades_a_day


@pytest.mark.parametrize("symbol", LISTINGS)
def test_a_day_ranges_over_some_percent(symbol: str) -> None:
    price = a_day(symbol).price_int
    assert 1.015 < price.max() / price.min() < 1.12


def test_a_day_has_bursts_of_one_millisecond_and_quiet_hours() -> None:
    trades = a_day("BTCUSDT")
    assert 0.3 < float((np.diff(trades.time_ms) == 0).mean()) < 0.7
    hourly = np.bincount((trades.time_ms - START_MS) // HOUR_MS)
    assert hourly.max() > 2.5 * hourly.min()


def test_a_day_has_thin_zones_between_its_nodes() -> None:
    trades = a_day("BTCUSDT")
    volume, _ = np.histogram(trades.price_int, bins=60, weights=trades.quantity_int)
    inner = volume[3:-3]
    assert inner.min() < 0.15 * inner.max()
    assert np.median(inner) < 0.6 * inner.max()


def test_trades_at_a_round_price_are_more_than_beside_it() -> None:
    trades = a_day("BTCUSDT")
    cents_from_round = (trades.price_int + 5_000) % 10_000 - 5_000
    at_round = trades.quantity_int[np.abs(cents_from_round) <= 100].sum()
    beside = trades.quantity_int[
        (np.abs(cents_from_round) > 1_000) & (np.abs(cents_from_round) <= 1_100)
    ].sum()
    assert at_round > 4 * beside


@given(seeds, symbols, times, st.lists(st.integers(0, 300_000), max_size=4))
def test_slices_in_any_order_are_the_whole(seed: int, symbol: str, start_ms: int, lengths: list[int]) -> None:
    edges = np.concatenate([[start_ms], start_ms + np.cumsum(lengths)]).astype(int).tolist()
    pieces = list(pairwise(edges))
    market = GeneratedMarket(seed)
    backwards = [market.trades(symbol, a, b) for a, b in reversed(pieces)]
    whole = GeneratedMarket(seed).trades(symbol, edges[0], edges[-1])
    assert_same(TradeColumns.concat(backwards[::-1]), whole)


@given(seeds, symbols, times, st.integers(1, 3000))
@settings(max_examples=40)
def test_paging_by_id_gives_the_trades_of_the_time(seed: int, symbol: str, start_ms: int, limit: int) -> None:
    market = GeneratedMarket(seed)
    first_id = market.first_id_from(symbol, start_ms)
    page = market.from_id(symbol, first_id, limit)
    assert page.id.tolist() == list(range(first_id, first_id + limit))
    assert page.time_ms[0] >= start_ms
    until_ms = int(page.time_ms[-1]) + 1
    by_time = market.trades(symbol, start_ms, until_ms)
    assert_same(by_time.take(slice(0, limit)), page)
    assert market.first_id_from(symbol, until_ms) == first_id + len(by_time)


@pytest.mark.parametrize("edge_ms", [START_MS, START_MS + DAY_MS, START_MS + 7 * MINUTE_MS])
def test_ids_run_on_over_the_edges_of_days_and_minutes(edge_ms: int) -> None:
    market = GeneratedMarket(1)
    around = market.trades("BTCUSDT", edge_ms - HOUR_MS, edge_ms + HOUR_MS)
    assert (np.diff(around.id) == 1).all()
    assert (around.first_id[1:] == around.last_id[:-1] + 1).all()
    step = np.abs(np.diff(np.log(around.price_int)))
    assert step.max() < 0.005


def test_the_first_trade_of_all_has_id_1() -> None:
    market = GeneratedMarket(1, symbols=["BTCUSDT"])
    first = market.from_id("BTCUSDT", -5, 3)
    assert first.id.tolist() == [1, 2, 3]
    assert first.first_id[0] == 1
    assert market.first_id_from("BTCUSDT", 0) == 1
    assert len(market.trades("BTCUSDT", 0, GENESIS_DAY * DAY_MS)) == 0


def test_nothing_happens_in_an_empty_interval() -> None:
    assert len(GeneratedMarket(1).trades("BTCUSDT", START_MS, START_MS)) == 0
    assert len(GeneratedMarket(1).trades("BTCUSDT", START_MS + 5, START_MS)) == 0


def test_another_seed_is_another_market() -> None:
    one, two = (GeneratedMarket(seed).trades("BTCUSDT", START_MS, START_MS + MINUTE_MS) for seed in (1, 2))
    assert one.price_int.tolist() != two.price_int.tolist()


def test_a_higher_rate_gives_more_trades_on_the_same_path() -> None:
    usual = GeneratedMarket(1).trades("BTCUSDT", START_MS, START_MS + HOUR_MS)
    busy = GeneratedMarket(1, rate=500 / 18).trades("BTCUSDT", START_MS, START_MS + HOUR_MS)
    assert len(busy) == pytest.approx(len(usual) * 500 / 18, rel=0.01)
    assert np.median(busy.price_int) == pytest.approx(np.median(usual.price_int), rel=0.002)


def test_a_rare_market_has_minutes_without_trades() -> None:
    market = GeneratedMarket(1, symbols=["SHIBUSDT"], rate=0.001)
    trades = market.trades("SHIBUSDT", START_MS, START_MS + DAY_MS)
    assert len(trades) == round(LISTINGS["SHIBUSDT"].trades_a_day * 0.001)
    assert (np.diff(trades.id) == 1).all()
    assert_same(market.from_id("SHIBUSDT", int(trades.id[0]), len(trades)), trades)


@given(seeds, symbols, st.integers(20_000, 21_000))
def test_each_day_begins_where_the_day_before_ended(seed: int, symbol: str, day: int) -> None:
    today, tomorrow = (plan_day(LISTINGS[symbol], seed, d, 1000) for d in (day, day + 1))
    assert today.log_price[-1] == pytest.approx(tomorrow.log_price[0])
    assert (today.trades_before[0], today.trades_before[-1]) == (0, 1000)
    assert (np.diff(today.trades_before) >= 0).all()
