"""A clock that runs faster than the world, and an exchange that keeps all its times by it."""

import asyncio
import time

import pytest

from collectors.exchange import Exchange, GeneratedMarket, Limits, VirtualClock
from collectors.exchange.faults import End
from tests.clock import LONGEST_TURN_S, fast_clock

from .conftest import OPENED_MS
from .sockets import DEADLINE_S, connect, ended, ids_of, until

pytestmark = pytest.mark.anyio


class World:
    """Real time, moved by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_time_passes_at_its_speed_and_never_steps_back() -> None:
    world = World()
    clock = VirtualClock(OPENED_MS, speed=288, monotonic=world)
    world.now_s += 1
    assert clock() == OPENED_MS + 288_000
    clock.speed = 0
    world.now_s += 1
    assert clock() == OPENED_MS + 288_000
    clock.advance(5)
    clock.speed = 1
    world.now_s += 0.5
    assert clock() == OPENED_MS + 288_505
    with pytest.raises(ValueError, match="step back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="cannot run"):
        clock.speed = -1


async def test_a_sleeper_wakes_by_the_clock_even_when_it_is_moved() -> None:
    clock = VirtualClock(OPENED_MS, speed=0)
    sleeping = asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0.05)
    assert not sleeping.done()
    clock.advance(3_600_000)
    async with asyncio.timeout(DEADLINE_S):
        await sleeping


async def test_a_machine_that_leaves_the_loop_alone_takes_no_more_than_a_turn_of_a_fast_clock() -> None:
    clock = fast_clock(OPENED_MS, speed=1_000)
    before_ms = clock()
    time.sleep(0.3)  # noqa: ASYNC251  it is the point
    stood_ms = clock()
    assert stood_ms <= before_ms + LONGEST_TURN_S * 1_000_000
    assert clock() == stood_ms
    await until(lambda: clock() > stood_ms)


async def test_hours_pass_in_seconds() -> None:
    """Pings, a link's whole life and its trades; nobody is punished for the haste."""
    clock = fast_clock(OPENED_MS, speed=0)
    slow = GeneratedMarket(1, symbols=["BTCUSDT"], rate=0.05)
    # A busy machine is not the client's fault.
    limits = Limits(link_lifetime_s=7_200, pong_timeout_s=3_600, messages_per_s=1_000)
    async with Exchange(slow, clock=clock, poll_s=0.002, limits=limits) as exchange:
        ids: list[int] = []
        async with connect(exchange, "/stream?streams=btcusdt@aggTrade") as link:
            clock.speed = 2_000
            closed = None
            async with asyncio.timeout(30):
                async for text in link:
                    ids += ids_of([text])
            closed = await ended(link)
        report = exchange.report()
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1001
        assert report.links[0].pings > 20
        assert report.self_inflicted == []
        truth = slow.trades("BTCUSDT", OPENED_MS + 1, OPENED_MS + 7_200_000)
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert len(ids) >= len(truth)


async def test_scripted_times_are_the_clocks() -> None:
    clock = fast_clock(OPENED_MS, speed=10_000)
    market = GeneratedMarket(1, symbols=["BTCUSDT"], rate=0.001)
    limits = Limits(pong_timeout_s=36_000, messages_per_s=10_000)
    async with (
        Exchange(market, clock=clock, limits=limits, faults=[End(from_s=3_600, code=1012)]) as exchange,
        connect(exchange, "/ws") as link,
    ):
        assert (await ended(link)).rcvd is not None
        await until(lambda: exchange.report().links[0].closed_ms is not None)
        assert clock() - OPENED_MS >= 3_600_000
