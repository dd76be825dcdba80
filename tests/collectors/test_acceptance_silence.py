"""Acceptance: a link or a stream that is up and mute is found within its bound, a quiet market is let be."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.exchange.faults import AnyFault, Deaf, Delay, Drop, Freeze, Hold, Trickle
from collectors.timing import REAL

from .acceptance import Rig, at_rates, rig

QUIET = 1 / 3_600
# At a thousand times the world's speed 45 s are less than a busy machine's hesitation.
UNHURRIED = replace(REAL, mute_s=900, behind_s=1_800)
# When a lack is noticed, and the attempt to replace the link.
SOME_S = 30


def numbers(run: Rig) -> list[int]:
    """Of the links that are open."""
    return [link.number for link in run.exchange.report().links if link.ending is None]


async def replaced(run: Rig, within_s: float) -> None:
    """Until another link has been opened, in so many of the clock's seconds."""
    begun_ms, links = run.clock(), len(run.exchange.report().links)
    await run.until(lambda: len(run.exchange.report().links) > links)
    assert run.clock() - begun_ms < within_s * 1000


def test_a_symbol_that_trades_once_an_hour_makes_nobody_nervous(tmp_path: Path) -> None:
    """(e) Four hours without a link replaced, and REST asked about it a few times at most."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=2, SHIBUSDT=QUIET), speed=200, timing=UNHURRIED) as run:
            await run.pass_time(60)
            asked = run.pages
            await run.pass_time(4 * 3_600, speed=1_000)
            run.clock.speed = 50
            report = await run.judged()
            assert [link.ending for link in report.links] == [None, None]
            assert run.pages - asked < 4 * 6

    asyncio.run(run())


@pytest.mark.parametrize(
    "silence",
    [
        pytest.param(Drop(links=(1,)), id="S1 the link"),
        pytest.param(Drop(links=(1,), symbols=("BTCUSDT",)), id="S2 one stream of it"),
        pytest.param(Freeze(links=(1,)), id="S3 frozen"),
        pytest.param(Trickle(links=(1,)), id="S5 a byte a second"),
        pytest.param(Hold(links=(1,)), id="S7 stalled"),
    ],
)
def test_what_is_mute_beside_another_link_is_replaced_within_its_bound(
    tmp_path: Path, silence: AnyFault
) -> None:
    """(e) And the quiet symbol on the same link is no reason."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5, SHIBUSDT=QUIET), speed=20) as run:
            await run.pass_time(10)
            asked = run.pages
            run.late_ms = None
            run.inject(silence)
            await replaced(run, REAL.mute_s + SOME_S)
            await run.pass_time(10)
            report = await run.judged()
            assert len(report.links) == 3
            assert run.pages - asked <= 2  # about the quiet symbol

    asyncio.run(run())


def test_what_is_mute_everywhere_is_found_by_asking_rest(tmp_path: Path) -> None:
    """(e) S2 on both links: no link shows that the other lacks something; REST does."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=20) as run:
            await run.pass_time(60)
            run.late_ms = None
            run.inject(Drop(links=(1, 2), symbols=("ETHUSDT",)))
            begun_ms = run.clock()
            await run.until(lambda: not {1, 2} & set(numbers(run)) and len(numbers(run)) == 2)
            assert run.clock() - begun_ms < (REAL.mute_s + SOME_S) * 4 * 1000
            await run.judged()

    asyncio.run(run())


def test_pongs_that_are_lost_and_a_lag_that_does_not_close_cost_nothing(tmp_path: Path) -> None:
    """S4 and S6 on one link each."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20), speed=20) as run:
            await run.pass_time(10)
            asked = run.pages
            run.inject(Deaf(links=(1,)), Delay(links=(2,), ms=30_000))
            await run.pass_time(90)
            report = await run.judged()
            assert run.pages == asked
            assert report.links[1].ending is None

    asyncio.run(run())
