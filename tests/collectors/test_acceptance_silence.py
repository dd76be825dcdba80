"""Acceptance: a link or a stream that is up and mute is found within its bound, a quiet market is let be."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

import collectors.stream as stream_module
from collectors.exchange.faults import AnyFault, Deaf, Delay, Drop, Freeze, Hold, RestReply, Trickle
from collectors.exchange.streams import MOST_LATE_MS
from collectors.timing import REAL

from .acceptance import Rig, at_rates, rig

QUIET = 1 / 3_600
# At a thousand times the world's speed 45 s are less than a busy machine's hesitation.
UNHURRIED = replace(REAL, mute_s=900, behind_s=1_800)
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


@pytest.fixture
def unbatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are gathered by the world's clock: at twenty times its speed, a busy symbol would seem quiet."""
    monkeypatch.setattr(stream_module, "GATHER_S", stream_module.GATHER_S / 20)


@pytest.mark.usefixtures("unbatched")
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


@pytest.mark.usefixtures("unbatched")
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
