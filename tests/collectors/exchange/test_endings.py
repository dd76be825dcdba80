"""How links end and how new ones are refused, as a script has it."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage, InvalidStatus

from collectors.exchange import Exchange, GeneratedMarket, Limits
from collectors.exchange.faults import ClockSkew, End, Freeze, Refuse, Shutdown

from .conftest import Clock
from .sockets import DEADLINE_S, assert_same, connect, ended, received, until

pytestmark = pytest.mark.anyio
STREAM = "/stream?streams=btcusdt@aggTrade"


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012])
async def test_a_link_can_end_with_any_code(exchange: Exchange, code: int) -> None:
    async with connect(exchange, "/ws") as link:
        exchange.inject(End(code=code, reason="so it is"))
        closed = await ended(link)
        assert closed.rcvd is not None
        assert (closed.rcvd.code, closed.rcvd.reason) == (code, "so it is")
    assert exchange.report().links[0].ending == f"{code} so it is"


@pytest.mark.parametrize("how", ["fin", "reset", "mid_frame"])
async def test_a_link_can_end_without_a_goodbye(exchange: Exchange, clock: Clock, how: str) -> None:
    async with connect(exchange, STREAM) as link:
        exchange.inject(End(how=how))  # type: ignore[arg-type]
        closed = await ended(link)
        assert isinstance(closed, ConnectionClosedError)
        assert closed.rcvd is None
    assert exchange.report().links[0].ending == how


async def test_a_link_ends_at_its_time_and_brings_all_until_then(exchange: Exchange, clock: Clock) -> None:
    start_ms = clock()
    exchange.inject(End(from_s=3))
    async with connect(exchange, STREAM) as link:
        clock.advance(10_000)
        truth = exchange.market.trades("BTCUSDT", start_ms + 1, start_ms + 3_000)
        assert_same(await received(link, len(truth)), truth)
        with pytest.raises(ConnectionClosed):
            await link.recv()
        async with connect(exchange, "/ws"):
            clock.advance(10_000)
            await exchange.caught_up()
            assert exchange.links == 1  # it came for those that were open, once


async def test_a_link_ends_after_an_id(exchange: Exchange, clock: Clock) -> None:
    first_id = exchange.market.first_id_from("BTCUSDT", clock() + 1)
    exchange.inject(End(first_id=first_id + 4, symbols=("BTCUSDT",), how="fin"))
    async with connect(exchange, STREAM) as link:
        clock.advance(10_000)
        texts = await received(link, 5)
        assert json.loads(texts[-1])["data"]["a"] == first_id + 4
        assert (await ended(link)).rcvd is None


async def test_links_end_at_an_age_each_at_its_own(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(End(age_s=3_600))
    async with connect(exchange, "/ws") as one:
        clock.advance(1_800_000)
        await exchange.caught_up()
        async with connect(exchange, "/ws") as two:
            clock.advance(1_800_000)
            assert await ended(one)
            assert exchange.links == 1
            clock.advance(1_800_000)
            assert await ended(two)


@pytest.mark.parametrize("target", ["/ws/btcusdt@aggTrade", STREAM])
@pytest.mark.parametrize("close_after_s", [0, 5, 600, None])
async def test_a_shutdown_is_announced(
    exchange: Exchange, clock: Clock, target: str, close_after_s: float | None
) -> None:
    async with connect(exchange, target) as link:
        exchange.inject(Shutdown(close_after_s=close_after_s))
        event = {"e": "serverShutdown", "E": clock()}
        notice = event if target.startswith("/ws") else {"stream": "!serverShutdown", "data": event}
        assert json.loads((await received(link, 1))[0]) == notice
        if close_after_s:
            clock.advance(round(close_after_s * 1000) - 1)
            await exchange.caught_up()
            assert exchange.links == 1
            clock.advance(1)
        if close_after_s is None:
            clock.advance(3_600_000 // 60)
            await exchange.caught_up()
            assert exchange.links == 1
        else:
            closed = await ended(link)
            assert closed.rcvd is not None
            assert closed.rcvd.code == 1001


async def test_a_shutdown_is_announced_by_the_clock_that_the_exchange_tells(
    exchange: Exchange, clock: Clock
) -> None:
    async with connect(exchange, "/ws/btcusdt@aggTrade") as link:
        exchange.inject(ClockSkew(ms=-5_000))
        exchange.inject(Shutdown(close_after_s=None))
        assert json.loads((await received(link, 1))[0]) == {"e": "serverShutdown", "E": clock() - 5_000}


# -- the door


@pytest.mark.parametrize("status", [403, 418, 429, 500, 502, 503, 504])
async def test_new_links_can_be_refused_while_it_lasts(exchange: Exchange, clock: Clock, status: int) -> None:
    exchange.inject(Refuse(status=status, retry_after_s=7, until_s=10))
    with pytest.raises(InvalidStatus) as refused:
        async with connect(exchange, "/ws"):
            pass
    assert refused.value.response.status_code == status
    assert refused.value.response.headers["Retry-After"] == "7"
    clock.advance(10_000)
    async with connect(exchange, "/ws"):
        assert exchange.links == 1
    assert exchange.report().self_inflicted == []


async def test_all_links_can_end_and_the_next_ones_be_refused(exchange: Exchange) -> None:
    async with connect(exchange, "/ws") as one, connect(exchange, "/ws") as two:
        exchange.inject(Refuse())
        exchange.inject(End(code=1012))
        assert await ended(one)
        assert await ended(two)
        with pytest.raises(InvalidStatus):
            async with connect(exchange, "/ws"):
                pass
    assert exchange.report().faults_hit == {"refuse": 1, "end": 2}


async def test_a_handshake_can_be_reset(exchange: Exchange) -> None:
    exchange.inject(Refuse(how="reset"))
    with pytest.raises((InvalidMessage, OSError)):
        async with connect(exchange, "/ws"):
            pass


async def test_a_handshake_can_hang(exchange: Exchange) -> None:
    exchange.inject(Refuse(how="hang"))
    with pytest.raises(TimeoutError):
        async with connect(exchange, "/ws", open_timeout=0.1):
            pass


async def test_a_handshake_can_be_slow(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Refuse(status=None, delay_s=5))
    connecting = asyncio.create_task(connect(exchange, "/ws").__aenter__())
    await until(lambda: exchange.report().connects_in_5_min == 1)
    await asyncio.sleep(0.02)
    assert exchange.links == 0
    clock.advance(5_000)
    async with asyncio.timeout(DEADLINE_S):
        link = await connecting
    await until(lambda: exchange.links == 1)
    await link.close()


async def test_an_upgraded_link_can_say_nothing_ever(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Refuse(how="silent", count=1))
    async with connect(exchange, STREAM, close_timeout=0.1) as link, connect(exchange, STREAM) as other:
        clock.advance(20_000)
        await received(other, 1)
        await until(lambda: exchange.report().links[0].pings == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.recv()


async def test_too_many_connects_can_be_reset(market: GeneratedMarket, clock: Clock) -> None:
    limits = Limits(connects_per_5_min=1, refused_connect_status=None)
    async with Exchange(market, clock=clock, limits=limits) as exchange, connect(exchange, "/ws"):
        with pytest.raises((InvalidMessage, OSError)):
            async with connect(exchange, "/ws"):
                pass
        assert [p.breach for p in exchange.report().self_inflicted] == ["too many connects"]


async def test_flooding_twice_bans_the_address(exchange: Exchange, clock: Clock) -> None:
    for _ in range(2):
        async with connect(exchange, "/ws") as link:
            for i in range(6):
                await link.pong(str(i))
            assert (await ended(link)).rcvd is not None
    with pytest.raises(InvalidStatus) as refused:
        async with connect(exchange, "/ws"):
            pass
    assert refused.value.response.status_code == 418
    assert [p.breach for p in exchange.report().bans] == ["connect ban"]
    clock.advance(1000 * int(refused.value.response.headers["Retry-After"]))
    async with connect(exchange, "/ws"):
        pass


async def test_an_exchange_closes_at_once_whatever_hangs_or_is_frozen(
    market: GeneratedMarket, clock: Clock
) -> None:
    """It would wait for an hour for the peers' goodbyes."""
    limits = Limits(close_timeout_s=3_600)
    async with AsyncExitStack() as stack:
        frozen = Exchange(market, clock=clock, poll_s=0.005, faults=[Freeze()], limits=limits)
        exchange = await stack.enter_async_context(frozen)
        link = await connect(exchange, "/ws")
        await until(lambda: exchange.report().faults_hit == {"freeze": 1})
        exchange.inject(Refuse(how="hang"))
        hanging = asyncio.create_task(connect(exchange, "/ws").__aenter__())
        await until(lambda: exchange.report().faults_hit.get("refuse") == 1)
        async with asyncio.timeout(DEADLINE_S):
            await stack.aclose()
    with pytest.raises((InvalidMessage, OSError)):
        await hanging
    link.transport.abort()
