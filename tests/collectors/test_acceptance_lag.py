"""Acceptance: lag is measured, and told of by metrics and readiness for as long as it lasts."""

import asyncio
from pathlib import Path

from collectors.exchange.faults import Delay, Drop, EventTime, RestReply

from .acceptance import at_rates, rig

LAG_S = 40


def test_a_lag_of_all_links_is_told_by_metrics_and_readiness_until_it_ends(tmp_path: Path) -> None:
    """S6 with REST away: nothing brings the newest trades sooner."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=25) as run:
            await run.pass_time(10)
            assert run.metric("tapedeck_lag_seconds", symbol="BTCUSDT") < LAG_S / 2
            await run.until(lambda: run.reasons() == {"all": set(), "BTCUSDT": set(), "ETHUSDT": set()})
            run.inject(Delay(ms=LAG_S * 1_000, until_s=120), RestReply(status=503, until_s=120))
            await run.pass_time(1.5 * LAG_S)
            for symbol in run.symbols:
                await run.until(
                    lambda s=symbol: LAG_S - 5 < run.metric("tapedeck_lag_seconds", symbol=s) < LAG_S + 20  # type: ignore[misc]
                )
                await run.until(lambda s=symbol: run.reasons()[s] == {"head_age", "lag"})  # type: ignore[misc]
            assert run.metric("tapedeck_link_lag_seconds") > 2 * (LAG_S - 5)
            await run.pass_time(80)
            await run.judged()
            await run.until(lambda: not any(run.reasons().values()))
            assert run.metric("tapedeck_lag_seconds", symbol="BTCUSDT") < LAG_S / 2
            assert run.metric("tapedeck_most_lag_seconds") > LAG_S - 5

    asyncio.run(run())


def test_a_lag_of_one_link_is_told_of_it_alone(tmp_path: Path) -> None:
    """D10 and S6: the other link is the quicker one, so that no symbol is late."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20), speed=25) as run:
            await run.pass_time(10)
            run.inject(Delay(links=(1,), ms=LAG_S * 1_000))
            await run.pass_time(2 * LAG_S)

            def is_told_of_one_alone() -> bool:
                late, quick = sorted(link.lag_ms or 0 for link in run.recorder.figures().links)[::-1]
                return late > (LAG_S - 5) * 1_000 and quick < LAG_S * 500

            await run.until(is_told_of_one_alone)
            await run.until(lambda: run.metric("tapedeck_lag_seconds", symbol="BTCUSDT") < LAG_S / 2)
            await run.until(lambda: run.reasons()["BTCUSDT"] == set())
            await run.judged()

    asyncio.run(run())


def test_a_lag_of_one_symbol_is_told_of_it_alone(tmp_path: Path) -> None:
    """Its events are late on all links, which bring the others in time."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=25) as run:
            await run.pass_time(10)
            run.inject(EventTime(symbols=("ETHUSDT",), ms=-LAG_S * 1_000, until_s=30))
            await run.pass_time(20)
            assert LAG_S - 5 < run.metric("tapedeck_lag_seconds", symbol="ETHUSDT") < LAG_S + 20
            assert run.metric("tapedeck_lag_seconds", symbol="BTCUSDT") < LAG_S / 2
            assert run.reasons()["ETHUSDT"] == {"lag"}
            assert run.reasons()["BTCUSDT"] == set()
            await run.pass_time(30)
            assert run.metric("tapedeck_lag_seconds", symbol="ETHUSDT") < LAG_S / 2
            await run.judged()

    asyncio.run(run())


def test_what_a_silent_symbol_brought_late_is_forgotten_after_a_while(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=25) as run:
            await run.pass_time(10)
            run.late_ms = None  # the stream is mute
            run.inject(EventTime(symbols=("ETHUSDT",), ms=-LAG_S * 1_000, until_s=20))
            run.inject(Drop(symbols=("ETHUSDT",), from_s=20, until_s=140))
            await run.pass_time(30)
            assert run.metric("tapedeck_lag_seconds", symbol="ETHUSDT") > LAG_S - 5
            await run.pass_time(70)
            assert run.metric("tapedeck_lag_seconds", symbol="ETHUSDT") < LAG_S / 2

    asyncio.run(run())
