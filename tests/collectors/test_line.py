"""One line's attempts: how soon after an end the next one comes."""

import asyncio
import random
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection

from collectors.exchange import VirtualClock
from collectors.exchange.faults import End, Shutdown
from collectors.kept_attempts import KeptAttempts
from collectors.kept_bars import KeptBars
from collectors.line import Line
from collectors.tasks import cancelled
from collectors.timing import REAL

from .acceptance import START_MS, at_rates, rig
from .test_recorder import talking, until

# One more than any link of a minute's.
MANY = 200


def test_successors_that_end_at_once_are_opened_more_and_more_slowly(tmp_path: Path) -> None:
    """The link that runs has announced its end, which does not come; what follows it goes away at once."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=5), speed=20, links=1) as run:
            await run.pass_time(20)
            run.inject(Shutdown(close_after_s=None), End(links=tuple(range(2, MANY)), age_s=0))
            await run.pass_time(60)
            report = run.exchange.report()
            assert report.links[0].closed_ms is None
            # Full jitter up to 0.2, 0.4 .. 12.8, 15 s: seven on the average in 13 s, then one in 7.5 s.
            assert len(report.links) < 30
            await run.until(lambda: len(run.exchange.report().links) > 4)
            run.exchange.clear()
            await run.until(lambda: run.exchange.report().links[0].closed_ms is not None)
            report = await run.judged()
            assert report.links[-1].closed_ms is None
            assert not run.pages

    asyncio.run(run())


def test_a_pause_is_short_again_after_a_link_that_brought_something_for_a_while_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest_s: list[float] = []

    def none_of(low: float, high: float) -> float:
        longest_s.append(high)
        return low

    monkeypatch.setattr(random, "uniform", none_of)
    sockets: list[ServerConnection] = []

    async def talk(socket: ServerConnection) -> None:
        sockets.append(socket)
        await socket.wait_closed()

    async def run() -> None:
        clock = VirtualClock(START_MS, speed=0)
        async with talking(talk) as url:
            line = Line(
                url,
                ["BTCUSDT"],
                attempts=KeptAttempts(clock),
                bars=KeptBars(clock),
                clock=clock,
                timing=REAL,
                filled=asyncio.Event(),
                came_up=lambda _: None,
            )
            task = asyncio.create_task(line.run())
            for at, (brings, lasts_s) in enumerate(
                [(True, 1), (False, 20), (True, 9), (True, 10), (True, 1)]
            ):
                await until(lambda n=at: bool(line.connections) and len(sockets) > n)  # type: ignore[misc]
                (connection,) = line.connections
                if brings:
                    await sockets[at].send("{}")
                    await until(lambda link=connection: link.received == 1)  # type: ignore[misc]
                clock.advance(lasts_s * 1000)
                await sockets[at].close()
                await until(lambda n=at: len(longest_s) > n)  # type: ignore[misc]
            await cancelled([task])
            await line.close()
            assert line.ends == {"1000": 5}

    asyncio.run(run())
    assert longest_s == [0.2, 0.4, 0.8, 0.2, 0.4]
