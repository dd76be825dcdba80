"""The exchange on real sockets: the official websockets client and httpx against one port."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.frames import Frame, Opcode

from collectors.exchange import Exchange, GeneratedMarket, Limits
from collectors.rest_bodies import parse_agg_trades

from .conftest import Clock
from .sockets import DEADLINE_S, asked, assert_same, connect, ended, received, until

pytestmark = pytest.mark.anyio


# -- the tape


async def test_a_link_gets_every_trade_after_it_connected(exchange: Exchange, clock: Clock) -> None:
    since_ms = clock()
    async with connect(exchange, "/stream?streams=btcusdt@aggTrade") as link:
        clock.advance(20_000)
        truth = exchange.market.trades("BTCUSDT", since_ms + 1, clock() + 1)
        assert_same(await received(link, len(truth)), truth)


async def test_all_links_get_the_same_ids(exchange: Exchange, clock: Clock) -> None:
    since_ms = clock()
    async with (
        connect(exchange, "/ws/btcusdt@aggTrade") as one,
        connect(exchange, "/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade") as two,
    ):
        clock.advance(3_000)
        btc, eth = (exchange.market.trades(s, since_ms + 1, clock() + 1) for s in ("BTCUSDT", "ETHUSDT"))
        assert_same(await received(one, len(btc)), btc)
        texts = await received(two, len(btc) + len(eth))
        assert_same(texts, btc)
        assert_same(texts, eth, "ETHUSDT")
        assert exchange.links == 2


async def test_a_bare_link_gets_bare_payloads_and_microseconds_if_asked(
    exchange: Exchange, clock: Clock
) -> None:
    async with connect(exchange, "/ws/btcusdt@aggTrade?timeUnit=MICROSECOND") as link:
        clock.advance(5_000)
        event = json.loads((await received(link, 1))[0])
        assert list(event) == ["e", "E", "s", "a", "p", "q", "f", "l", "T", "m", "M"]
        assert event["T"] > 10**15
        assert event["E"] >= event["T"]


async def test_data_starts_when_subscribed_and_ends_when_unsubscribed(
    exchange: Exchange, clock: Clock
) -> None:
    async with connect(exchange, "/ws") as link:
        clock.advance(5_000)
        since_ms = clock()
        assert await asked(link, "SUBSCRIBE", "btcusdt@aggTrade") == {"result": None, "id": 1}
        clock.advance(2_000)
        truth = exchange.market.trades("BTCUSDT", since_ms + 1, clock() + 1)
        assert_same(await received(link, len(truth)), truth)
        assert await asked(link, "UNSUBSCRIBE", "btcusdt@aggTrade") == {"result": None, "id": 1}
        clock.advance(2_000)
        assert await asked(link, "LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}


async def test_an_unknown_symbol_connects_and_stays_silent(exchange: Exchange, clock: Clock) -> None:
    async with connect(exchange, "/stream?streams=xrpxrp@aggTrade/BTCUSDT@aggTrade") as link:
        clock.advance(5_000)
        assert (await asked(link, "GET_PROPERTY", "combined"))["result"] is True


async def test_a_bad_stream_type_is_an_error(exchange: Exchange) -> None:
    async with connect(exchange, "/ws") as link:
        reply = await asked(link, "SUBSCRIBE", "btcusdt@nonsense")
        assert reply == {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": 1}


async def test_errors_can_be_flat_as_documented(market: GeneratedMarket, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        exchange = await with_limits(stack, market, clock, flat_errors=True)
        link = await stack.enter_async_context(connect(exchange, "/ws"))
        reply = await asked(link, "SUBSCRIBE", "btcusdt@nonsense")
        assert reply == {"code": 2, "msg": "Invalid request: invalid stream", "id": 1}


@pytest.mark.parametrize("path", ["/stream?streams=", "/ws/"])
async def test_an_address_of_more_than_1024_streams_is_too_long_and_refused_alone(
    exchange: Exchange, path: str
) -> None:
    """With the shortest names that there are: websockets reads no more than 8 KiB of an address."""
    async with connect(exchange, path + "/".join(["a@trade"] * 1_000)) as link:
        assert (await asked(link, "LIST_SUBSCRIPTIONS"))["result"] == ["a@trade"]
        with pytest.raises(InvalidStatus) as refused:
            async with connect(exchange, path + "/".join(["a@trade"] * 1_025)):
                pass
        assert refused.value.response.status_code == 414
        assert (await asked(link, "LIST_SUBSCRIPTIONS"))["result"] == ["a@trade"]
        assert exchange.links == 1


async def test_too_many_streams_are_an_error_or_the_end(market: GeneratedMarket, clock: Clock) -> None:
    streams = [f"s{i}@aggTrade" for i in range(1025)]
    for code in (None, 1008):
        async with AsyncExitStack() as stack:
            exchange = await with_limits(stack, market, clock, too_many_streams_code=code)
            link = await stack.enter_async_context(connect(exchange, "/ws"))
            assert "more than 1024" in (await asked(link, "SUBSCRIBE", *streams))["error"]["msg"]
            if code is None:
                assert (await asked(link, "LIST_SUBSCRIPTIONS"))["result"] == []
            else:
                closed = await ended(link)
                assert closed.rcvd is not None
                assert closed.rcvd.code == code
            assert [each.breach for each in exchange.report().self_inflicted] == ["too many streams"]


# -- endings


@pytest.mark.parametrize("code", [1001, 1000, 1008, 1012])
async def test_all_links_can_be_closed(exchange: Exchange, code: int) -> None:
    async with connect(exchange, "/ws") as one, connect(exchange, "/ws") as two:
        await exchange.disconnect_all(code, "going away")
        for link in (one, two):
            closed = await ended(link)
            assert closed.rcvd is not None
            assert closed.rcvd.code == code
        assert exchange.links == 0


async def test_all_links_can_be_reset(exchange: Exchange) -> None:
    async with connect(exchange, "/ws") as link:
        await exchange.disconnect_all(None)
        closed = await ended(link)
        assert isinstance(closed, ConnectionClosedError)
        assert closed.rcvd is None
        assert exchange.links == 0


async def with_limits(
    stack: AsyncExitStack, market: GeneratedMarket, clock: Clock, **limits: Any
) -> Exchange:
    exchange = Exchange(market, clock=clock, poll_s=0.005, limits=Limits(**limits))
    return await stack.enter_async_context(exchange)


class DeafConnection(ClientConnection):
    """Answers no ping."""

    def send_data(self) -> None:
        self.protocol.writes = [data for data in self.protocol.writes if data[:1] != _PONG]
        super().send_data()


_PONG = Frame(Opcode.PONG, b"").serialize(mask=False)[:1]


class PingCounter(ClientConnection):
    """Keeps the payloads of pings in a queue; they are answered as ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pings: asyncio.Queue[bytes] = asyncio.Queue()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings.put_nowait(bytes(event.data))
        super().process_event(event)


async def test_the_exchange_pings_with_its_time_and_a_pong_keeps_the_link(
    exchange: Exchange, clock: Clock
) -> None:
    async with connect(exchange, "/ws", create_connection=PingCounter) as link:
        assert isinstance(link, PingCounter)
        payloads = []
        for _ in range(8):  # well over the time to answer one
            clock.advance(20_000)
            async with asyncio.timeout(DEADLINE_S):
                payloads.append(await link.pings.get())
            assert payloads[-1] == str(clock()).encode()
        assert (await asked(link, "LIST_SUBSCRIPTIONS"))["result"] == []
        assert exchange.report().links[0].pongs == 8
    assert all(len(payload) == 13 and payload.isdigit() for payload in payloads)
    assert exchange.report().punishments == []


async def test_a_link_that_answers_no_ping_for_a_minute_is_closed(exchange: Exchange, clock: Clock) -> None:
    async with connect(exchange, "/ws", create_connection=DeafConnection) as link:
        closed = await starved(exchange, clock, link)
    assert closed.rcvd is not None
    assert (closed.rcvd.code, closed.rcvd.reason) == (1008, "Pong timeout")
    assert [(p.breach, p.provoked) for p in exchange.report().punishments] == [("pong timeout", False)]


async def test_a_pong_with_another_payload_does_not_count(exchange: Exchange, clock: Clock) -> None:
    async with connect(exchange, "/ws", create_connection=DeafConnection) as link:
        link.transport.write(Frame(Opcode.PONG, b"1234567890123").serialize(mask=True))
        closed = await starved(exchange, clock, link)
    assert closed.rcvd is not None
    assert closed.rcvd.reason == "Pong timeout"
    assert exchange.report().links[0].unsolicited_pongs == 1


async def starved(exchange: Exchange, clock: Clock, link: ClientConnection) -> ConnectionClosed:
    """The link's end after its first ping has gone unanswered for a minute."""
    clock.advance(20_000)
    await until(lambda: exchange.report().links[0].pings == 1)
    clock.advance(59_999)
    assert await asked(link, "LIST_SUBSCRIPTIONS")
    clock.advance(1)
    return await ended(link)


@pytest.mark.parametrize("kind", ["text", "ping", "pong"])
async def test_more_than_five_messages_a_second_are_too_many(exchange: Exchange, kind: str) -> None:
    async with connect(exchange, "/ws") as link:
        closed = None
        try:
            for i in range(6):
                if kind == "text":
                    await link.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
                elif kind == "ping":
                    await link.ping(str(i))
                else:
                    await link.pong(str(i))
        except ConnectionClosed as exc:
            closed = exc
        closed = closed or await ended(link)
        assert closed.rcvd is not None
        assert (closed.rcvd.code, closed.rcvd.reason) == (1008, "Too many requests")


async def test_a_link_lives_no_longer_than_its_day(exchange: Exchange, clock: Clock) -> None:
    async with connect(exchange, "/ws") as link:
        clock.advance(86_400_000)
        closed = await ended(link)
        assert closed.rcvd is not None
        assert (closed.rcvd.code, closed.rcvd.reason) == (1001, "going away")


async def test_too_many_connects_are_refused(market: GeneratedMarket, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        exchange = await with_limits(stack, market, clock, connects_per_5_min=2)
        for _ in range(2):
            await stack.enter_async_context(connect(exchange, "/ws"))
        with pytest.raises(InvalidStatus) as refused:
            async with connect(exchange, "/ws"):
                pass
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["Retry-After"] == "300"


async def test_a_bad_address_is_refused(exchange: Exchange) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(exchange, "/ws?timeUnit=HOUR"):
            pass
    assert refused.value.response.status_code == 400


async def test_a_link_that_does_not_read_is_dropped_and_stalls_no_other(clock: Clock) -> None:
    market = GeneratedMarket(1, symbols=["BTCUSDT"], rate=500 / 18)
    async with AsyncExitStack() as stack:
        exchange = await with_limits(stack, market, clock, send_buffer_bytes=100_000)
        slow = await stack.enter_async_context(
            connect(exchange, "/ws/btcusdt@aggTrade", max_queue=1, close_timeout=0.1)
        )
        fast = await stack.enter_async_context(connect(exchange, "/ws/btcusdt@aggTrade"))
        since_ms = clock()
        count = 0
        async with asyncio.timeout(DEADLINE_S * 3):
            while exchange.links == 2:
                clock.advance(100)
                due = len(market.trades("BTCUSDT", since_ms + 1, clock() + 1)) - count
                count += len(await received(fast, due))
        assert exchange.links == 1
        assert fast.close_code is None
        slow.transport.abort()


# -- REST


async def test_rest_and_streams_agree_over_one_port(exchange: Exchange, clock: Clock) -> None:
    async with (
        connect(exchange, "/ws/btcusdt@aggTrade") as link,
        httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False) as client,
    ):
        clock.advance(10_000)
        (text,) = await received(link, 1)
        first_id = json.loads(text)["a"]
        response = await client.get(
            "/api/v3/aggTrades", params={"symbol": "BTCUSDT", "fromId": first_id, "limit": 1}
        )
        assert response.status_code == 200
        assert response.headers["x-mbx-used-weight-1m"] == "4"
        assert_same([text], parse_agg_trades(response.content).trades)


async def test_a_full_page_arrives_whole(exchange: Exchange) -> None:
    async with httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False) as client:
        response = await client.get("/api/v3/aggTrades", params={"symbol": "BTCUSDT", "limit": 1000})
    assert len(parse_agg_trades(response.content).trades) == 1000


async def test_history_reaches_back_from_the_opening(market: GeneratedMarket, clock: Clock) -> None:
    async with (
        Exchange(market, clock=clock, history_hours=0.5) as exchange,
        httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False) as client,
    ):
        floor_ms = clock() - 1_800_000
        clock.advance(60_000)
        response = await client.get("/api/v3/aggTrades", params={"symbol": "BTCUSDT", "fromId": 1})
        assert parse_agg_trades(response.content).trades.id[0] == market.first_id_from("BTCUSDT", floor_ms)


async def test_rest_can_be_down_while_streams_go_on(exchange: Exchange, clock: Clock) -> None:
    async with (
        connect(exchange, "/ws/btcusdt@aggTrade") as link,
        httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False) as client,
    ):
        exchange.rest_down = True
        with pytest.raises(httpx.TransportError):
            await client.get("/api/v3/ping")
        exchange.rest_down = False
        assert (await client.get("/api/v3/ping")).status_code == 200
        clock.advance(5_000)
        assert await received(link, 1)


async def test_over_the_weight_limit_is_429_then_418(market: GeneratedMarket, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        exchange = await with_limits(stack, market, clock, weight_per_minute=20)
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False)
        )
        statuses = []
        for path in ("exchangeInfo", "time", "time", "time"):
            statuses.append((await client.get(f"/api/v3/{path}")).status_code)
            clock.advance(125)
        assert statuses == [200, 429, 429, 418]
        clock.now_ms -= 125
        assert (await client.get("/api/v3/time")).headers["Retry-After"] == "120"
        clock.advance(120_000)
        assert (await client.get("/api/v3/time")).status_code == 200
