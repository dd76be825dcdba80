"""The time is set by hours while a recorder runs, as at a boot before NTP: nothing waits longer for that, and
nothing counts as known that is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.exchange import Exchange
from collectors.exchange.faults import Drop, End, Refuse
from collectors.timing import REAL, Timing
from storage.ledger import TradeLedger
from tests.clock import SteppedClock, fast_clock

from .acceptance import FAST_LIMITS, START_MS, Rig, at_rates, recording

SPEED = 20
HOUR_MS = 3_600_000
# A busy machine lets the clock run ahead; what waited for the time that is set would wait for hours.
SOON_MS = HOUR_MS // 2
STEPS = [pytest.param(hours * HOUR_MS, id=f"{hours:+} h") for hours in (-2, 2)]


@asynccontextmanager
async def stepped(
    path: Path, timing: Timing = REAL, *, warmup_ms: int = 0, step_ms: int = 0
) -> AsyncIterator[tuple[Rig, SteppedClock]]:
    """A recorder on two links whose time is to be set, or is off from the start, beside an exchange whose
    time is right."""
    world = fast_clock(START_MS, speed=SPEED)
    clock, market = SteppedClock(world), at_rates(BTCUSDT=20, ETHUSDT=5)
    clock.step_ms = step_ms
    async with Exchange(market, clock=world, limits=FAST_LIMITS, poll_s=0.01) as exchange:
        with TradeLedger.open(path / "ledger") as ledger:
            async with recording(
                ledger, exchange, clock, links=2, warmup_ms=warmup_ms, timing=timing
            ) as recorder:
                rig = Rig(world, exchange, ledger, recorder, market.symbols)
                await rig.until(lambda: exchange.links == 2)
                opened_ms = min(link.opened_ms for link in exchange.report().links)
                rig.since = {s: market.first_id_from(s, opened_ms + 1) for s in market.symbols}
                yield rig, clock


def is_known(rig: Rig, from_ms: int) -> bool:
    """Whether all symbols are known of up to a moment of the exchange's, and none from later than now."""
    known = [rig.recorder.live_until_ms(symbol) for symbol in rig.symbols]
    assert all(until_ms is None or until_ms <= rig.clock() for until_ms in known)
    return all(until_ms is not None and until_ms >= from_ms for until_ms in known)


@pytest.mark.parametrize("step_ms", STEPS)
def test_links_come_back_gaps_are_filled_and_the_figures_go_on(tmp_path: Path, step_ms: int) -> None:
    async def run() -> None:
        async with stepped(tmp_path) as (rig, clock):
            await rig.pass_time(20)
            await rig.until(lambda: is_known(rig, rig.clock() - 5_000))
            clock.step_ms = step_ms
            await rig.until(lambda: is_known(rig, rig.clock() - 4_000))
            rig.inject(End(), Refuse(until_s=5))
            await rig.until(lambda: all(link.closed_ms for link in rig.exchange.report().links[:2]))
            down_ms = rig.clock()
            await rig.until(lambda: rig.exchange.links == 2)
            assert rig.clock() - down_ms < SOON_MS
            await rig.judged()
            assert rig.pages
            await rig.until(lambda: is_known(rig, rig.clock() - 5_000))
            assert rig.clock() - down_ms < SOON_MS
            offset = rig.recorder.clock_offset
            assert offset is not None
            off_s = rig.metric("tapedeck_clock_offset_seconds") + step_ms / 1000
            assert abs(off_s) <= offset.round_trip_ms / 2_000 + 0.01
            assert "clock" in rig.reasons()["all"]

    asyncio.run(run())


@pytest.mark.parametrize("step_ms", STEPS)
def test_a_mute_link_is_found_and_replaced_and_a_sound_one_is_not(tmp_path: Path, step_ms: int) -> None:
    async def run() -> None:
        async with stepped(tmp_path) as (rig, clock):
            await rig.pass_time(20)
            clock.step_ms = step_ms
            await rig.pass_time(10)
            rig.late_ms = None
            rig.inject(Drop(links=(1,), symbols=("ETHUSDT",)))
            mute_ms = rig.clock()
            await rig.until(lambda: rig.exchange.report().links[0].closed_ms is not None)
            least_ms, most_ms = REAL.mute_s * 1000, (REAL.mute_s + REAL.overlap_s + 40) * 1000
            assert least_ms < rig.clock() - mute_ms < most_ms
            report = await rig.judged()
            assert [link.closed_ms is None for link in report.links] == [False, True, True]
            assert not rig.pages

    asyncio.run(run())


@pytest.mark.parametrize("step_ms", STEPS)
def test_a_planned_end_comes_when_it_was_planned(tmp_path: Path, step_ms: int) -> None:
    timing = replace(REAL, least_life_s=60, most_life_s=100, overlap_s=10)

    async def run() -> None:
        async with stepped(tmp_path, timing) as (rig, clock):
            await rig.pass_time(20)
            clock.step_ms = step_ms
            await rig.until(lambda: all(link.closed_ms for link in rig.exchange.report().links[:2]))
            report = await rig.judged()
            lived_s = [((link.closed_ms or 0) - link.opened_ms) / 1000 for link in report.links[:2]]
            assert all(60 < age_s < 150 for age_s in lived_s), lived_s
            assert max(lived_s) - min(lived_s) > 25
            assert len(report.links) <= 5
            assert not rig.pages

    asyncio.run(run())


@pytest.mark.parametrize(
    "step_ms", [pytest.param(days * 24 * HOUR_MS, id=f"{days:+} d") for days in (-10, 10)]
)
def test_a_first_start_on_a_wrong_day_fetches_the_history_before_the_exchanges_day(
    tmp_path: Path, step_ms: int
) -> None:
    async def run() -> None:
        async with stepped(tmp_path, warmup_ms=HOUR_MS, step_ms=step_ms) as (rig, _):
            from_id = rig.exchange.market.first_id_from("BTCUSDT", START_MS - HOUR_MS + 60_000)
            await rig.until(lambda: [run.first_id <= from_id for run in rig.ledger.runs("BTCUSDT")] == [True])
            rig.since["BTCUSDT"] = from_id
            await rig.judged()

    asyncio.run(run())
