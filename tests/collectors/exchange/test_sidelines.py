"""The streams beside aggTrade: they fit the tape, and a client that keeps a book by the documented steps has
the exchange's.
"""

import asyncio
import json
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from collectors.exchange import Exchange
from collectors.exchange.faults import Drop, RestLag
from collectors.exchange.market import GeneratedMarket
from collectors.exchange.rest import depth_weight
from collectors.exchange.sidelines import Sidelines, book_at
from collectors.stream_frames import parse_messages

from .conftest import OPENED_MS, Clock
from .sockets import DEADLINE_S, asked, client_of, connect, received, until

pytestmark = pytest.mark.anyio
MARKET = GeneratedMarket(1)
SECONDS = 20
# More levels than the price passes in that time.
WHOLE = 20_000
END_MS = OPENED_MS + SECONDS * 1000


def events(
    stream: str, from_ms: int = OPENED_MS, until_ms: int = END_MS, **form: Any
) -> list[dict[str, Any]]:
    found = Sidelines(MARKET, MARKET.trades, from_ms, until_ms).events(stream, **form)
    return [json.loads(event.payload) for event in found]


def applied(book: dict[str, Decimal], changes: Iterable[list[str]]) -> None:
    for price, quantity in changes:
        if Decimal(quantity):
            book[price] = Decimal(quantity)
        else:
            book.pop(price, None)


def best(book: dict[str, Decimal], *, highest: bool, count: int) -> list[tuple[str, Decimal]]:
    return sorted(book.items(), key=lambda level: Decimal(level[0]), reverse=highest)[:count]


def test_single_trades_add_up_to_the_aggregate_trades() -> None:
    tape = MARKET.trades("BTCUSDT", OPENED_MS + 1, END_MS + 1).at_exponents(8, 8)
    trades = events("btcusdt@trade")
    ids = [trade["t"] for trade in trades]
    assert ids == list(range(int(tape.first_id[0]), int(tape.last_id[-1]) + 1))
    assert sum(Decimal(trade["q"]) for trade in trades) == Decimal(int(tape.quantity_int.sum())).scaleb(-8)
    assert all(trade["e"] == "trade" and Decimal(trade["q"]) > 0 for trade in trades)


@pytest.mark.parametrize("stream", ["btcusdt@depth@100ms", "ethusdt@depth", "shibusdt@depth@100ms"])
def test_depth_updates_follow_each_other_and_lead_from_one_book_to_the_next(stream: str) -> None:
    symbol = stream.partition("@")[0]
    updates = events(stream)
    assert len(updates) > 5
    for before, after in pairwise(updates):
        assert after["U"] == before["u"] + 1
    book = book_at(MARKET, symbol.upper(), updates[0]["U"] - 1)
    bids = {price: Decimal(q) for price, q in book.bids(WHOLE)}
    asks = {price: Decimal(q) for price, q in book.asks(WHOLE)}
    tops = {top["lastUpdateId"]: top for top in events(f"{symbol}@depth20@100ms")}
    for update in updates:
        applied(bids, update["b"])
        applied(asks, update["a"])
        top = tops[update["u"]]
        assert best(bids, highest=True, count=20) == [(p, Decimal(q)) for p, q in top["bids"]]
        assert best(asks, highest=False, count=20) == [(p, Decimal(q)) for p, q in top["asks"]]


def test_it_does_not_matter_how_often_one_looks() -> None:
    streams = ("btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@depth5")
    for stream in streams:
        steps = range(OPENED_MS, END_MS, 250)
        looked = [event for at in steps for event in events(stream, at, at + 250)]
        assert [e | {"E": 0} for e in looked] == [e | {"E": 0} for e in events(stream)]


def test_a_book_ticker_is_the_touch_after_the_last_trade() -> None:
    (ticker,) = events("ethusdt@bookTicker")
    assert ticker.keys() == {"u", "s", "b", "B", "a", "A"}
    tape = MARKET.trades("ETHUSDT", OPENED_MS, END_MS + 1).at_exponents(8, 8)
    side = "b" if tape.buyer_is_maker[-1] else "a"
    assert (ticker["u"], Decimal(ticker[side])) == (
        int(tape.id[-1]),
        Decimal(int(tape.price_int[-1])).scaleb(-8),
    )
    assert Decimal(ticker["b"]) < Decimal(ticker["a"])


def test_unknown_symbols_and_other_types_stay_silent() -> None:
    for stream in ("nopeusdt@trade", "BTCUSDT@trade", "btcusdt@kline_1m", "btcusdt@blockTrade"):
        assert events(stream) == []


@pytest.mark.parametrize(
    ("query", "weight"),
    [
        ("", 5),
        ("limit=100", 5),
        ("limit=101", 25),
        ("limit=1000", 50),
        ("limit=5000", 250),
        ("limit=9999", 250),
    ],
)
def test_a_snapshot_weighs_by_its_levels(query: str, weight: int) -> None:
    assert depth_weight(query) == weight


async def buffered(link: ClientConnection) -> list[dict[str, Any]]:
    """What has come by the time that a request is answered."""
    await link.send('{"method":"GET_PROPERTY","params":["combined"],"id":9}')
    found = []
    async with asyncio.timeout(DEADLINE_S):
        while (message := json.loads(await link.recv())).get("id") != 9:
            found.append(message["data"])
    return found


async def test_a_local_book_by_the_documented_steps_is_the_exchanges(
    exchange: Exchange, clock: Clock
) -> None:
    """A snapshot that lags is older than what was buffered, and has to be fetched again."""
    exchange.inject(RestLag(ms=3_000, until_s=6))
    async with (
        connect(exchange, "/stream?streams=btcusdt@depth@100ms") as link,
        client_of(exchange) as client,
    ):
        clock.advance(2_000)
        await exchange.caught_up()
        updates = await buffered(link)
        old = (await client.get("/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5000})).json()
        assert old["lastUpdateId"] < updates[0]["U"] - 1
        clock.advance(6_000)
        await exchange.caught_up()
        snapshot = (await client.get("/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5000})).json()
        clock.advance(6_000)
        await exchange.caught_up()
        updates += await buffered(link)
        bids = {price: Decimal(q) for price, q in snapshot["bids"]}
        asks = {price: Decimal(q) for price, q in snapshot["asks"]}
        later = [update for update in updates if update["u"] > snapshot["lastUpdateId"]]
        assert later[0]["U"] <= snapshot["lastUpdateId"] + 1 <= later[0]["u"]
        for update in later:
            applied(bids, update["b"])
            applied(asks, update["a"])
        assert later[-1]["u"] <= exchange.printed_id("BTCUSDT")
        truth = exchange.ledger("BTCUSDT", later[-1]["u"], later[-1]["u"]).at_exponents(8, 8)
        at = Decimal(int(truth.price_int[0])).scaleb(-8)
        touch = (
            best(bids, highest=True, count=1)
            if truth.buyer_is_maker[0]
            else best(asks, highest=False, count=1)
        )
        assert Decimal(touch[0][0]) == at


async def test_other_streams_are_noise_beside_the_trades(exchange: Exchange, clock: Clock) -> None:
    streams = "btcusdt@aggTrade/btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms/btcusdt@depth5"
    async with connect(exchange, f"/stream?streams={streams}&timeUnit=MICROSECOND") as link:
        clock.advance(2_000)
        await exchange.caught_up()
        count = exchange.report().links[0].events
        parsed = parse_messages(await received(link, count))
        truth = exchange.market.trades("BTCUSDT", OPENED_MS + 1, clock() + 1)
        assert parsed.trades["BTCUSDT"].id.tolist() == truth.id.tolist()
        assert parsed.ignored == count - len(truth) > 40
        assert not parsed.malformed


async def test_a_mute_link_carries_none_of_them(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Drop(links=(1,)))
    async with connect(exchange, "/stream?streams=btcusdt@trade/btcusdt@depth5@100ms") as link:
        clock.advance(2_000)
        await exchange.caught_up()
        assert (await asked(link, "GET_PROPERTY", "combined"))["result"] is True
        await until(lambda: exchange.report().faults_hit["drop"] > 10)
