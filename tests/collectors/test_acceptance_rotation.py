"""Acceptance: connections come to their end, planned or not, and nothing is missed."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.exchange.faults import End, Shutdown
from collectors.timing import REAL

from .acceptance import FAST_LIMITS, at_rates, rig

HOUR_S = 3_600
DAY_SPEED = 2_000
# At that speed a minute and a half is 50 ms of a busy machine's time, and two hours are 4 s:
# nothing is to count as mute because the machine stood still.
UNHURRIED = replace(
    REAL,
    flush_s=100,
    gather_s=10,
    watch_s=20,
    mute_s=10 * HOUR_S,
    behind_s=10 * HOUR_S,
    least_silence_s=10 * HOUR_S,
    most_silence_s=10 * HOUR_S,
    least_life_s=10 * HOUR_S,
    most_life_s=18 * HOUR_S,
)


@pytest.mark.parametrize("hours", [4, pytest.param(24, marks=pytest.mark.long)])
def test_a_day_of_ends_of_every_kind_loses_nothing_and_needs_no_rest(tmp_path: Path, hours: int) -> None:
    """(a) E7 a link ends early, E5 shutdowns are announced to one and to both, E1 nobody lives for 24 h; a
    day may be shorter, and all that is said in hours with it."""

    async def run() -> None:
        market = at_rates(BTCUSDT=0.7, ETHUSDT=0.5, SOLUSDT=0.4)
        hour_s = HOUR_S * hours / 24
        limits = replace(FAST_LIMITS, link_lifetime_s=24 * hour_s)
        timing = replace(UNHURRIED, least_life_s=10 * hour_s, most_life_s=18 * hour_s)
        async with rig(tmp_path, market, speed=100, limits=limits, timing=timing) as run:
            await run.pass_time(60)
            asked = run.pages
            run.inject(End(links=(1,), age_s=hour_s))
            await run.pass_time(2 * hour_s, speed=DAY_SPEED)
            for shutdown in (Shutdown(links=(2,), close_after_s=hour_s), Shutdown(close_after_s=hour_s)):
                run.inject(shutdown)
                await run.pass_time(1.1 * hour_s, speed=300)
                await run.pass_time(hour_s, speed=DAY_SPEED)
            await run.pass_time(20 * hour_s, speed=DAY_SPEED)
            run.clock.speed = 100
            await run.judged()
            assert run.pages == asked
            # A link that is just being replaced has a successor beside it.
            await run.until(lambda: [link.ending for link in run.exchange.report().links].count(None) == 2)
            report = run.exchange.report()
            lived_h = [
                ((link.closed_ms or run.clock()) - link.opened_ms) / 3_600_000 for link in report.links
            ]
            assert max(lived_h) < hours
            # One ended unasked; of the announced ends every link was gone before it came.
            endings = [link.ending for link in report.links]
            assert endings.count("1001 going away") == 1
            assert endings.count(None) == 2
            assert endings.count("by the client") == len(endings) - 3 >= 4
            assert run.metric("tapedeck_link_ends_total", code="1001") == 1
            assert run.metric("tapedeck_link_ends_total", code="replaced") == len(endings) - 3
            await run.told_of_gaps()
            assert run.metric("tapedeck_gap_trades_closed_total") == 0

    asyncio.run(run())


def test_a_link_that_lives_for_24_hours_is_ended_and_what_was_missed_is_fetched(tmp_path: Path) -> None:
    """E1 without a rotation before it: both end at the same moment."""

    async def run() -> None:
        limits = replace(FAST_LIMITS, link_lifetime_s=HOUR_S)
        never = replace(UNHURRIED, least_life_s=1_000 * HOUR_S, most_life_s=2_000 * HOUR_S)
        async with rig(tmp_path, at_rates(BTCUSDT=2), speed=500, limits=limits, timing=never) as run:
            run.clock.speed = DAY_SPEED
            for ends in (2, 4):
                await run.until(lambda n=ends: len(run.exchange.report().links) >= n + 2)  # type: ignore[misc]
            run.clock.speed = 100
            report = await run.judged()
            endings = [link.ending for link in report.links]
            assert endings[:4] == ["1001 going away"] * 4

    asyncio.run(run())


@pytest.mark.parametrize("close_after_s", [0, 5])
@pytest.mark.parametrize("links", [(1,), ()], ids=["one link", "both links"])
def test_a_shutdown_that_comes_soon_loses_nothing(
    tmp_path: Path, links: tuple[int, ...], close_after_s: int
) -> None:
    """E5 Five seconds are enough for a successor on each line; at once, what both links lose REST has."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=5) as run:
            await run.pass_time(5)
            asked = run.pages
            run.inject(Shutdown(links=links, close_after_s=close_after_s))
            await run.pass_time(12)
            report = await run.judged()
            ended = report.links[: len(links) or 2]
            assert [link.ending for link in ended] == ["1001 going away"] * len(ended)
            assert len(report.links) == 2 + len(ended)
            if links or close_after_s:
                assert run.pages == asked

    asyncio.run(run())


def test_every_way_to_end_is_a_disconnect(tmp_path: Path) -> None:
    """(f) 1000 and 1001 end the reading loop without an error: the link comes back all the same."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, SHIBUSDT=1), speed=20) as run:
            # An end that comes before a symbol's first trade leaves it to the next link where it begins.
            await run.until(lambda: all(len(run.held(symbol)) for symbol in run.symbols))
            ends = [End(code=code) for code in (1000, 1001, 1008, 1011, 1012)]
            ends += [End(how="fin"), End(how="reset"), End(how="mid_frame")]
            for number, end in enumerate(ends):
                run.inject(end)
                await run.until(lambda n=number: len(run.exchange.report().links) == 2 * (n + 2))  # type: ignore[misc]
                await run.pass_time(12)
            report = await run.judged()
            assert [link.ending for link in report.links][-2:] == [None, None]
            # 1006: without a close frame.
            for code, times in (("1000", 2), ("1001", 2), ("1008", 2), ("1011", 2), ("1012", 2), ("1006", 6)):
                assert run.metric("tapedeck_link_ends_total", code=code) == times

    asyncio.run(run())
