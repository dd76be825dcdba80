"""How faults make links behave: late, held, frozen, trickling, deaf; and what the exchange then does."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode

from collectors.exchange import Exchange, GeneratedMarket, Limits
from collectors.exchange.faults import (
    Acks,
    AnyFault,
    Deaf,
    Delay,
    Drop,
    Fragment,
    Freeze,
    Hold,
    Malformed,
    Pings,
    Trickle,
    UnknownFault,
)

from .conftest import Clock
from .sockets import DEADLINE_S, asked, connect, ended, ids_of, received, until

pytestmark = pytest.mark.anyio
STREAM = "/stream?streams=btcusdt@aggTrade"


def printed(exchange: Exchange, start_ms: int, end_ms: int) -> list[int]:
    ids: list[int] = exchange.market.trades("BTCUSDT", start_ms, end_ms).id.tolist()
    return ids


async def silence(link: ClientConnection) -> None:
    """Whatever comes before the answer to a request has come; nothing may have."""
    reply = await asked(link, "GET_PROPERTY", "combined")
    assert reply["result"] is True


async def rest_of(link: ClientConnection) -> list[bytes]:
    """What still comes until nothing comes any more."""
    frames = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.1):
                frames.append(await link.recv(decode=False))
    return frames


async def test_a_mute_link_answers_and_is_pinged(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Drop(links=(1,)))
    async with connect(exchange, STREAM) as link:
        clock.advance(20_000)
        await until(lambda: exchange.report().links[0].pongs == 1)
        await silence(link)


async def test_a_lagging_link_brings_everything_later_and_in_order(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    exchange.inject(Delay(ms=30_000, links=(1,)))
    async with connect(exchange, STREAM) as late, connect(exchange, STREAM) as prompt:
        ids = printed(exchange, start_ms + 1, start_ms + 2_001)
        clock.advance(2_000)
        assert ids_of(await received(prompt, len(ids))) == ids
        await silence(late)
        clock.advance(30_000)
        assert ids_of(await received(late, len(ids))) == ids
        await until(lambda: exchange.report().links[0].lag_ms >= 29_000)
        assert exchange.report().links[1].lag_ms <= 1_000


async def test_a_held_link_lets_all_go_at_once(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    exchange.inject(Hold(until_s=10))
    async with connect(exchange, STREAM) as link:
        clock.advance(9_999)
        await until(lambda: exchange.report().links[0].bytes_queued > 0)
        await silence(link)
        clock.advance(1)
        ids = printed(exchange, start_ms + 1, start_ms + 10_001)
        assert ids_of(await received(link, len(ids))) == ids


async def test_a_frozen_link_neither_reads_nor_writes_and_loses_nothing(
    exchange: Exchange, clock: Clock
) -> None:
    start_ms = clock()
    async with connect(exchange, STREAM) as link:
        number = exchange.inject(Freeze())
        await until(lambda: exchange.report().faults_hit == {"freeze": 1})
        clock.advance(20_000)
        await until(lambda: exchange.report().links[0].pings == 1)
        await link.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.recv()
        assert exchange.report().links[0].received == 0
        exchange.clear(number)
        ids = printed(exchange, start_ms + 1, clock() + 1)
        texts = await received(link, len(ids) + 1)
        assert ids_of([text for text in texts if "result" not in str(text)]) == ids
        await until(lambda: exchange.report().links[0].pongs == 1)


async def test_a_frozen_link_ends_for_want_of_pongs_and_nobody_is_blamed(
    exchange: Exchange, clock: Clock
) -> None:
    exchange.inject(Freeze())
    async with connect(exchange, STREAM) as link:
        clock.advance(20_000)
        await until(lambda: exchange.report().links[0].pings == 1)
        clock.advance(60_000)
        await until(lambda: exchange.report().links[0].ending == "1008 Pong timeout")
        assert (await ended(link)).rcvd is None
    report = exchange.report()
    assert [p.breach for p in report.punishments] == ["pong timeout"]
    assert report.self_inflicted == []


async def test_pongs_can_be_lost_on_their_way(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Deaf())
    async with connect(exchange, STREAM) as link:
        clock.advance(20_000)
        await until(lambda: exchange.report().links[0].received == 1)
        clock.advance(60_000)
        closed = await ended(link)
        assert closed.rcvd is not None
        assert closed.rcvd.reason == "Pong timeout"
    assert exchange.report().self_inflicted == []


async def test_all_that_a_client_says_can_be_lost(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Deaf(to="all"))
    start_ms = clock()
    async with connect(exchange, STREAM, close_timeout=0.1) as link:
        await link.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        clock.advance(5_000)
        ids = printed(exchange, start_ms + 1, start_ms + 5_001)
        assert ids_of(await received(link, len(ids))) == ids
        assert exchange.report().links[0].received == 0


async def test_a_trickling_link_gets_so_many_bytes_a_second(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Trickle(bytes_per_s=10))
    async with connect(exchange, STREAM, close_timeout=0.1) as link:
        clock.advance(3_000)
        await exchange.caught_up()
        assert 0 < exchange.report().links[0].bytes_sent <= 30
        clock.advance(100_000)
        assert ids_of(await received(link, 1))
        assert exchange.report().links[0].bytes_sent <= 1_030


async def test_what_waits_for_a_trickling_link_is_bounded(market: GeneratedMarket, clock: Clock) -> None:
    limits = Limits(send_buffer_bytes=20_000, slow_reader_code=1008)
    async with (
        Exchange(market, clock=clock, poll_s=0.005, limits=limits, faults=[Trickle()]) as exchange,
        connect(exchange, STREAM, close_timeout=0.1) as link,
    ):
        for _ in range(60):
            clock.advance(1_000)
            await exchange.caught_up()
            if exchange.links == 0:
                break
        await until(lambda: exchange.report().links[0].ending == "1008 Slow reader")
        report = exchange.report()
        assert report.links[0].most_bytes_queued < 40_000
        assert report.self_inflicted == []
        link.transport.abort()


@pytest.mark.parametrize("fault", [Hold(until_s=8), Delay(ms=8_000, until_s=8)])
async def test_no_client_can_take_at_once_what_a_fault_lets_go(clock: Clock, fault: AnyFault) -> None:
    market = GeneratedMarket(1, symbols=["BTCUSDT"], rate=5_000 / 18)
    limits = Limits(send_buffer_bytes=20_000)
    async with (
        Exchange(market, clock=clock, poll_s=0.005, limits=limits, faults=[fault]) as exchange,
        connect(exchange, STREAM, max_queue=1, close_timeout=0.1) as link,
    ):
        for _ in range(7):
            clock.advance(1_000)
            await exchange.caught_up()
        assert exchange.links == 1
        clock.advance(9_500)
        await until(lambda: exchange.links == 0)
        report = exchange.report()
        assert report.links[0].ending == "reset"
        assert report.self_inflicted == []
        link.transport.abort()


async def test_no_client_can_take_at_once_many_oversized_frames(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Malformed(kind="oversized"))
    async with connect(exchange, STREAM, max_queue=1, max_size=None, close_timeout=0.1) as link:
        clock.advance(5_000)
        await until(lambda: exchange.links == 0)
        report = exchange.report()
        assert report.links[0].ending == "reset"
        assert [(each.breach, each.provoked) for each in report.punishments] == [("slow reader", True)]
        link.transport.abort()


async def test_a_trade_can_come_in_fragments(exchange: Exchange, clock: Clock) -> None:
    frames: list[Opcode] = []

    class Watching(ClientConnection):
        def process_event(self, event: Any) -> None:
            if isinstance(event, Frame):
                frames.append(event.opcode)
            super().process_event(event)

    exchange.inject(Fragment(parts=3))
    async with connect(exchange, STREAM, create_connection=Watching) as link:
        start_ms = clock()
        clock.advance(2_000)
        ids = printed(exchange, start_ms + 1, start_ms + 2_001)
        assert ids_of(await received(link, len(ids))) == ids
    assert frames[:6] == [Opcode.TEXT, Opcode.CONT, Opcode.CONT] * 2


async def test_trades_of_a_moment_share_a_segment(exchange: Exchange, clock: Clock) -> None:
    chunks: list[bytes] = []

    class Watching(ClientConnection):
        def data_received(self, data: bytes) -> None:
            chunks.append(data)
            super().data_received(data)

    async with connect(exchange, STREAM, create_connection=Watching) as link:
        start_ms = clock()
        clock.advance(1_000)
        await received(link, len(printed(exchange, start_ms + 1, start_ms + 1_001)))
    assert any(chunk.count(b'"aggTrade"') > 1 for chunk in chunks)


@pytest.mark.parametrize(("fault", "pings"), [(Pings(), 0), (Pings(interval_s=180), 1)])
async def test_pings_can_be_rare_or_none(exchange: Exchange, clock: Clock, fault: Pings, pings: int) -> None:
    exchange.inject(fault)
    async with connect(exchange, STREAM):
        for _ in range(10):
            clock.advance(20_000)
            await exchange.caught_up()
        assert exchange.report().links[0].pings == pings


async def test_replies_can_be_late_or_lost(exchange: Exchange, clock: Clock) -> None:
    number = exchange.inject(Acks(delay_s=3))
    async with connect(exchange, "/ws") as link:
        await link.send('{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":7}')
        await until(lambda: exchange.report().links[0].received == 1)
        start_ms = clock()
        clock.advance(2_000)
        ids = printed(exchange, start_ms + 1, start_ms + 2_001)
        assert ids_of(await received(link, len(ids))) == ids  # data before the ack
        clock.advance(1_000)
        while "result" not in (reply := json.loads((await received(link, 1))[0])):
            pass
        assert reply == {"result": None, "id": 7}
        exchange.clear(number)
        exchange.inject(Acks())
        await until(lambda: "acks" in exchange.report().faults_hit)
        await asyncio.sleep(0.02)
        await link.send('{"method":"UNSUBSCRIBE","params":["btcusdt@aggTrade"],"id":8}')
        await until(lambda: exchange.report().links[0].received == 2)
        clock.advance(60_000)
        assert not any(b"result" in frame for frame in await rest_of(link))


async def test_a_link_fault_takes_no_symbol(exchange: Exchange) -> None:
    with pytest.raises(UnknownFault, match="whole link"):
        exchange.inject(Hold(symbols=("BTCUSDT",)))


async def test_a_paused_client_is_queued_for_and_then_dropped(clock: Clock) -> None:
    market = GeneratedMarket(1, symbols=["BTCUSDT"], rate=5_000 / 18)
    limits = Limits(send_buffer_bytes=2 * 2**20)
    async with Exchange(market, clock=clock, poll_s=0.005, limits=limits) as exchange:
        async with connect(exchange, STREAM, max_queue=1, close_timeout=0.1) as link:
            async with asyncio.timeout(DEADLINE_S * 3):
                while exchange.links:
                    clock.advance(200)
                    await asyncio.sleep(0.01)
            link.transport.abort()
        report = exchange.report()
        assert report.links[0].ending == "reset"
        assert [p.breach for p in report.self_inflicted] == ["slow reader"]
        assert report.links[0].most_bytes_queued > 2**20
