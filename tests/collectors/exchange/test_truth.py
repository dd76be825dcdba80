"""What is declared of the truth: halts, bursts, invalid rows and holes; and the oracle that knows of them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.exchange import Exchange, GeneratedMarket
from collectors.exchange.faults import Burst, Halt, Hole, Invalid, UnknownFault
from collectors.exchange.oracle import difference
from collectors.exchange.pace import Pace
from collectors.exchange.truth import Archived
from collectors.rest_bodies import parse_agg_trades
from storage.trades import TradeColumns

from .conftest import OPENED_MS, Clock
from .sockets import client_of, connect, ids_of, page_of, received

pytestmark = pytest.mark.anyio
STREAM = "/stream?streams=btcusdt@aggTrade"
BTC = ("BTCUSDT",)


def rows(exchange: Exchange, start_ms: int, end_ms: int) -> TradeColumns:
    return exchange.market.trades("BTCUSDT", start_ms, end_ms)


async def test_after_a_halt_ids_go_on_where_they_were(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    exchange.inject(Halt(symbols=BTC, from_s=5, until_s=10_000))
    async with connect(exchange, STREAM) as link:
        before = rows(exchange, start_ms + 1, start_ms + 5_000)
        clock.advance(10_005_000)
        texts = await received(link, len(before) + 10)
    ids = ids_of(texts)
    assert ids == [*range(ids[0], ids[0] + len(ids))]
    times = [json.loads(text)["data"]["T"] for text in texts]
    assert times[len(before) - 1] < start_ms + 5_000
    assert times[len(before)] >= start_ms + 10_000_000


async def test_a_burst_brings_many_trades_in_order_and_time_goes_on(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    exchange.inject(Burst(symbols=BTC, from_s=1, until_s=2, speed=300))
    burst = rows(exchange, start_ms + 1_000, start_ms + 2_000)
    assert 3_000 < len(burst) < 20_000
    around = rows(exchange, start_ms, start_ms + 10_000)
    assert np.diff(around.id).tolist() == [1] * (len(around) - 1)
    assert (np.diff(around.time_ms) >= 0).all()
    assert (np.diff(around.time_ms) == 0).any()
    async with connect(exchange, STREAM) as link:
        clock.advance(10_000)
        expected = rows(exchange, start_ms + 1, start_ms + 10_001).id.tolist()
        assert ids_of(await received(link, len(expected))) == expected


@given(
    changes=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), st.integers(0, 7)), max_size=5),
    shown=st.integers(0, 600),
)
def test_market_time_and_shown_time_are_each_others_inverse(
    changes: list[tuple[int, int, int]], shown: int
) -> None:
    pace, at = Pace(), 0
    for wait, length, speed in changes:
        pace.change(at + wait, at + wait + length, speed)
        at += wait + length
    market = np.arange(pace.market_ms(0), pace.market_ms(600))
    times = pace.shown_ms(market)
    inside = (market >= pace.market_ms(shown)) & (market < pace.market_ms(shown + 1))
    assert ((times == shown) == inside).all()
    assert (np.diff(times) >= 0).all()


async def test_a_halt_cannot_lie_before_one_that_is_in(exchange: Exchange) -> None:
    exchange.inject(Halt(from_s=10, until_s=20))
    with pytest.raises(UnknownFault, match="overlap"):
        exchange.inject(Halt(from_s=5, until_s=15))
    assert len(list(exchange.script)) == 1


async def test_an_invalid_row_is_in_rest_alone(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    ids = rows(exchange, start_ms + 1, start_ms + 5_001).id.tolist()
    exchange.inject(Invalid(symbols=BTC, first_id=ids[3], last_id=ids[4]))
    async with connect(exchange, STREAM) as link, client_of(exchange) as client:
        clock.advance(5_000)
        assert ids_of(await received(link, len(ids) - 2)) == [*ids[:3], *ids[5:]]
        response = await client.get(f"/api/v3/aggTrades?symbol=BTCUSDT&fromId={ids[3]}&limit=2")
        for row, trade_id in zip(response.json(), ids[3:5], strict=True):
            assert row["a"] == trade_id
            assert (row["p"], row["q"], row["f"], row["l"]) == ("0", "0", -1, -1)
        page = parse_agg_trades(response.content).trades
        assert not exchange.difference("BTCUSDT", page)


async def test_a_hole_for_good_is_nowhere_and_the_oracle_knows(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    truth = rows(exchange, start_ms + 1, start_ms + 5_001)
    ids = truth.id.tolist()
    exchange.inject(Hole(symbols=BTC, first_id=ids[2], last_id=ids[5]))
    kept = [*ids[:2], *ids[6:]]
    async with connect(exchange, STREAM) as link, client_of(exchange) as client:
        clock.advance(5_000)
        assert ids_of(await received(link, len(kept))) == kept
        clock.advance(3_600_000)
        assert not exchange.clear()
        assert (await page_of(client, fromId=ids[0], limit=len(kept))) == kept
    await exchange.caught_up()
    assert exchange.ledger("BTCUSDT", ids[0], ids[-1]).id.tolist() == kept
    assert not exchange.difference("BTCUSDT", truth.take(np.isin(truth.id, kept)))
    assert exchange.difference("BTCUSDT", truth).extra.tolist() == ids[2:6]


async def test_a_late_recovery_is_in_rest_after_its_time(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    truth = rows(exchange, start_ms + 1, start_ms + 5_001)
    ids = truth.id.tolist()
    exchange.inject(Hole(symbols=BTC, first_id=ids[2], last_id=ids[5], until_s=600))
    async with client_of(exchange) as client:
        clock.advance(10_000)
        assert (await page_of(client, fromId=ids[2], limit=1)) == [ids[6]]
        clock.advance(590_000)
        assert (await page_of(client, fromId=ids[2], limit=1)) == [ids[2]]
    await exchange.caught_up()
    assert not exchange.difference("BTCUSDT", truth)


@pytest.mark.parametrize("fault", [Hole(first_id=1, last_id=2), Hole(symbols=BTC), Halt(), Invalid()])
async def test_a_truth_without_bounds_is_refused(exchange: Exchange, fault: Hole | Halt | Invalid) -> None:
    with pytest.raises(UnknownFault, match="needs"):
        exchange.inject(fault)


def test_the_oracle_names_what_differs() -> None:
    truth = GeneratedMarket(1).trades("BTCUSDT", OPENED_MS, OPENED_MS + 20_000)
    ids = truth.id.tolist()
    changed = truth.take(np.arange(len(truth)) != 5)
    changed.quantity_int[7] += 1
    found = difference(truth, changed)
    assert (found.missing.tolist(), found.extra.tolist(), found.other.tolist()) == ([ids[5]], [], [ids[8]])
    assert found
    assert not difference(truth, truth)


async def test_a_hole_for_good_is_in_no_dump(market: GeneratedMarket) -> None:
    async with Exchange(market, clock=Clock()) as exchange:
        first = exchange.market.first_id_from("BTCUSDT", OPENED_MS)
        exchange.inject(Hole(symbols=BTC, first_id=first + 1, last_id=first + 2))
        dumped = Archived(exchange.market).trades("BTCUSDT", OPENED_MS, OPENED_MS + 10_000)
        assert dumped.id[:2].tolist() == [first, first + 3]
