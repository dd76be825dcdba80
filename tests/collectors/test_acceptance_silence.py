"""Acceptance: a link or a stream that is up and mute is found within its bound, a quiet market is let be."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.exchange.faults import (
    AnyFault,
    Deaf,
    Delay,
    Drop,
    Freeze,
    Hold,
    RestLimit,
    RestReply,
    RestShort,
    Shutdown,
    Trickle,
)
from collectors.exchange.streams import MOST_LATE_MS
from collectors.timing import REAL

from .acceptance import Rig, at_rates, rig

QUIET = 1 / 3_600
# At a thousand times the world's speed 45 s are less than a busy machine's hesitation.
UNHURRIED = replace(REAL, gather_s=2, mute_s=900, behind_s=1_800)
# When a lack is noticed, and the attempt to replace the link.
SOME_S = 30
# Of the clock's time, that a busy machine takes to parse, to ask and to take in.
A_MOMENT_S = 8


def numbers(run: Rig) -> list[int]:
    """Of the links that are open."""
    return [link.number for link in run.exchange.report().links if link.ending is None]


async def replaced(run: Rig, within_s: float) -> None:
    """Until another link has been opened, in so many of the clock's seconds."""
    begun_ms, links = run.clock(), len(run.exchange.report().links)
    await run.until(lambda: len(run.exchange.report().links) > links)
    assert run.clock() - begun_ms < within_s * 1000


@pytest.mark.parametrize("hours", [1, pytest.param(4, marks=pytest.mark.long)])
def test_a_symbol_that_trades_once_an_hour_makes_nobody_nervous(tmp_path: Path, hours: int) -> None:
    """(e) Hours without a link replaced, and REST asked about it a few times at most."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=2, SHIBUSDT=QUIET), speed=200, timing=UNHURRIED) as run:
            await run.pass_time(60)
            asked = run.pages
            await run.pass_time(hours * 3_600, speed=1_000)
            run.clock.speed = 50
            report = await run.judged()
            assert [link.ending for link in report.links] == [None, None]
            assert run.pages - asked < hours * 10

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
    """(e) S2 on both links: no link shows that the other lacks something; REST does, and until it is asked
    the symbol counts as complete, not longer. Later, nothing does that is not, while the links are mute."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=20) as run:
            await run.pass_time(30)
            run.late_ms = None
            run.inject(Drop(links=(1, 2), symbols=("ETHUSDT",)))
            begun_ms, wrong_ms = run.clock(), run.clock()
            run.clock.speed = 5

            def are_replaced() -> bool:
                nonlocal wrong_ms
                if run.lacking("ETHUSDT", MOST_LATE_MS):
                    wrong_ms = run.clock()
                elif run.clock() > begun_ms + 20_000:
                    run.clock.speed = 40
                return not {1, 2} & set(numbers(run)) and len(numbers(run)) == 2

            await run.until(are_replaced)
            assert run.clock() - begun_ms < (REAL.mute_s + SOME_S) * 4 * 1000
            assert wrong_ms - begun_ms < (REAL.least_silence_s + REAL.watch_s + A_MOMENT_S) * 1000
            await run.judged()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("per_s", "found_s", "lasts_s", "short"),
    [
        pytest.param(5, REAL.least_silence_s, 140, [RestShort(rows=3, until_s=140)], id="busy, short pages"),
        pytest.param(0.5, 70, 270, [], id="once in 2 s"),
    ],
)
def test_what_is_mute_on_whatever_replaces_it_too_counts_as_complete_once_at_the_most(
    tmp_path: Path, per_s: float, found_s: float, lasts_s: int, short: Sequence[AnyFault]
) -> None:
    """(e) S2 on all links there will be: once REST has shown it, REST alone says up to when it is known, and
    is asked at its own pace; also when it has nothing newer just then."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=per_s), speed=20) as run:
            await run.pass_time(30)
            run.late_ms = None
            run.inject(Drop(symbols=("ETHUSDT",), until_s=lasts_s), *short)
            begun_ms, wrong_ms, asked = run.clock(), run.clock(), run.pages

            def is_over() -> bool:
                nonlocal wrong_ms
                if run.lacking("ETHUSDT", MOST_LATE_MS):
                    wrong_ms = run.clock()
                elif run.clock() > begun_ms + 20_000:
                    run.clock.speed = 40
                return run.clock() > begun_ms + (lasts_s - 10) * 1000

            await run.until(is_over)
            assert wrong_ms - begun_ms < (found_s + REAL.watch_s + A_MOMENT_S) * 1000
            assert len(run.exchange.report().links) > 2
            assert run.recorder.silent_ms("ETHUSDT") == 0
            # Every 3 s, and about a busy symbol's silence every 5 s.
            assert 20 < run.pages - asked < lasts_s / 3 + lasts_s / 5 + 10
            run.clock.speed = 10
            await run.pass_time(20)
            await run.judged()
            await run.until(lambda: run.recorder.silent_ms("ETHUSDT") > 0)

    asyncio.run(run())


def test_a_shutdown_is_acted_on_while_rest_is_to_be_left_alone(tmp_path: Path) -> None:
    """(e) S2 on both links and a ban: the look at the silence waits for its end, links do not."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=20) as run:
            await run.pass_time(30)
            run.late_ms = None
            run.inject(
                Drop(symbols=("ETHUSDT",), until_s=60), RestLimit(status=418, seconds=240, until_s=240)
            )
            await run.until(lambda: run.exchange.report().statuses.get("418", 0) > 0)
            await run.pass_time(10)
            run.inject(Shutdown(close_after_s=200))
            await replaced(run, SOME_S)
            await run.until(lambda: len(run.exchange.report().links) >= 4)
            assert run.exchange.report().statuses["418"] == 1
            await run.pass_time(240, speed=40)
            run.clock.speed = 20
            await run.judged()

    asyncio.run(run())


def test_of_a_symbol_of_which_nothing_is_held_rest_is_asked_nothing_and_nothing_is_known(
    tmp_path: Path,
) -> None:
    """Without history there is no id to go on from."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, SHIBUSDT=QUIET), speed=20) as run:
            await run.pass_time(5)
            asked = run.pages
            await run.pass_time(85)
            assert not run.held("SHIBUSDT")
            assert run.pages == asked
            assert run.recorder.live_until_ms("SHIBUSDT") is None
            await run.judged()

    asyncio.run(run())


def test_a_silence_that_rest_cannot_be_asked_about_counts_as_known_for_a_bounded_time(
    tmp_path: Path,
) -> None:
    """(e) S2 on both links with REST away: what other symbols' trades vouch for ends."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=20) as run:
            await run.pass_time(30)
            run.late_ms = None
            run.inject(
                Drop(links=(1, 2), symbols=("ETHUSDT",), until_s=60), RestReply(status=503, until_s=60)
            )
            begun_ms = run.clock()
            await run.pass_time(50)
            known_ms, busy_ms = (run.recorder.live_until_ms(s) for s in ("ETHUSDT", "BTCUSDT"))
            assert known_ms is not None
            assert busy_ms is not None
            bound_s = REAL.least_silence_s + REAL.look_within_s
            assert known_ms - begun_ms < (bound_s + A_MOMENT_S) * 1000
            assert busy_ms - begun_ms > (bound_s + A_MOMENT_S) * 1000
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
