"""Acceptance: links whose first data is late, replies to requests that are, and REST's silence before it has
told the time."""

import asyncio
from pathlib import Path

import pytest

from collectors.exchange.faults import Acks, Drop, End, Hold, RestReply
from collectors.looks import REST_LAG_MS

from .acceptance import BY_ID, START_MS, at_rates, rig

HOUR_MS = 3_600_000


@pytest.mark.parametrize("links", [(3,), (3, 4)])
def test_a_link_whose_first_data_is_late_is_waited_for_and_loses_nothing(
    tmp_path: Path, links: tuple[int, ...]
) -> None:
    """It is up, answers pings, and brings nothing for half a minute; then all since it came up. Where one is,
    the other brings all; where both are, REST says what was missed."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, ETHUSDT=5), speed=20) as run:
            await run.pass_time(5)
            run.inject(Hold(links=links, until_s=30), *(End(links=(link - 2,)) for link in links))
            await run.until(lambda: len(run.exchange.report().links) == 2 + len(links))
            up_ms = run.clock()
            await run.until(lambda: run.clock() > up_ms + 45_000)
            await run.until(lambda: (run.recorder.live_until_ms("BTCUSDT") or 0) > run.clock() - 5_000)
            report = await run.judged()
            assert [link.ending for link in report.links[2:]] == [None] * len(links)
            assert (run.pages == 0) is (len(links) == 1)

    asyncio.run(run())


@pytest.mark.parametrize("delay_s", [20.0, None])
def test_late_or_lost_replies_to_requests_end_no_link_and_ask_nothing_of_rest(
    tmp_path: Path, delay_s: float | None
) -> None:
    """Streams are named in the address, so that no reply is waited for."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=20, faults=[Acks(delay_s=delay_s)]) as run:
            await run.pass_time(5)
            run.inject(End(links=(1,)))
            await run.pass_time(25)
            report = await run.judged()
            assert len(report.links) == 3
            assert not run.pages

    asyncio.run(run())


def test_before_the_exchange_has_told_its_time_nothing_is_concluded_from_rests_silence(
    tmp_path: Path,
) -> None:
    """A symbol that trades some eight times an hour, on links that have brought none of it."""

    async def run() -> None:
        market, untold = at_rates(SHIBUSDT=0.001), RestReply(path="/time", status=503)
        assert not len(market.trades("SHIBUSDT", START_MS, START_MS + 120_000))
        async with rig(tmp_path, market, speed=20, warmup_ms=HOUR_MS, faults=[untold]) as run:
            await run.until(lambda: run.head("SHIBUSDT") > 0)
            while run.clock() < START_MS + 50_000 or run.exchange.report().queries[BY_ID] <= 4:
                await run.pass_time(1)
                assert run.recorder.live_until_ms("SHIBUSDT") is None
                assert "link" in run.reasons()["SHIBUSDT"]
            run.exchange.clear()
            await run.until(lambda: (run.recorder.live_until_ms("SHIBUSDT") or 0) > START_MS + 30_000)

    asyncio.run(run())


def test_rests_silence_is_believed_up_to_half_a_minute_ago_alone(tmp_path: Path) -> None:
    """So late it may show what streams lost; nothing else could say up to when the symbol is known."""

    async def run() -> None:
        market = at_rates(SHIBUSDT=0.001)
        assert not len(market.trades("SHIBUSDT", START_MS - 60_000, START_MS + 120_000))
        async with rig(tmp_path, market, speed=20, warmup_ms=HOUR_MS) as run:
            while (known_ms := run.recorder.live_until_ms("SHIBUSDT") or 0) < START_MS:
                assert known_ms <= run.clock() - REST_LAG_MS
                await run.pass_time(1)
            assert known_ms <= run.clock() - REST_LAG_MS

    asyncio.run(run())


def test_a_symbol_whose_first_trade_is_dropped_by_a_link_that_is_late_is_whole(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(
            tmp_path, at_rates(BTCUSDT=20), speed=20, faults=[Hold(links=(1,), until_s=20)]
        ) as run:
            await run.until(lambda: run.head("BTCUSDT") > 0)
            soon = run.exchange.due_id("BTCUSDT") + 20
            run.inject(Drop(links=(2,), first_id=soon, last_id=soon + 9))
            await run.pass_time(30)
            await run.judged()

    asyncio.run(run())
