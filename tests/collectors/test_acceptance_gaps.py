"""Acceptance: what one link loses the other brings, and what both lose comes back by id, and at once."""

import asyncio
from pathlib import Path

import pytest

from collectors import links as links_module
from collectors.exchange.faults import (
    AnyFault,
    Delay,
    Drop,
    End,
    EventTime,
    Freeze,
    Hold,
    Hole,
    Refuse,
    RestLag,
    Stale,
)
from collectors.rest import PAGE

from .acceptance import AGG_TRADES, BY_ID, FAST_LIMITS, at_rates, rig

# A stale server's symbols are late by different times: a hundred trades of the quieter one.
STALE_MS = 4_000


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param([Drop(links=(1,), until_s=20)], id="mute"),
        pytest.param([Drop(links=(1,), share=0.3, until_s=20)], id="every third trade"),
        pytest.param([End(links=(1,), how="reset")], id="reset"),
        pytest.param([End(links=(1,), how="fin")], id="fin"),
        pytest.param([End(links=(1,), how="mid_frame")], id="mid frame"),
        pytest.param([End(links=(1,)), Refuse(until_s=20)], id="refused for 20 s"),
        pytest.param([Freeze(links=(1,), until_s=20)], id="frozen"),
        pytest.param([Hold(links=(1,), until_s=20)], id="held, then all at once"),
        pytest.param([Stale(links=(1,), back=100, until_s=20)], id="stale"),
        pytest.param([Delay(links=(1,), ms=2_000, until_s=20), EventTime(links=(2,), ms=-700)], id="skewed"),
    ],
)
def test_what_one_link_loses_the_other_brings_without_rest(tmp_path: Path, lost: list[AnyFault]) -> None:
    """(b)"""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=100, ETHUSDT=50), speed=20) as run:
            await run.pass_time(5)
            asked = run.pages
            if isinstance(lost[0], Stale):
                run.late_ms = STALE_MS
            run.inject(*lost)
            await run.pass_time(25)
            report = await run.judged()
            assert all(report.faults_hit.values())
            assert run.pages == asked
            await run.told_of_gaps()
            assert run.metric("tapedeck_gap_trades_closed_total", by="rest") == 0
            assert run.metric("tapedeck_trades_duplicate_total") > 0

    asyncio.run(run())


@pytest.mark.parametrize("first", [1, 2])
def test_links_lost_one_after_the_other_cost_nothing(tmp_path: Path, first: int) -> None:
    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=100), speed=20) as run:
            await run.pass_time(5)
            asked = run.pages
            run.inject(End(links=(first,), how="reset"), End(links=(3 - first,), from_s=20, how="reset"))
            await run.pass_time(40)
            await run.judged()
            assert run.pages == asked

    asyncio.run(run())


def test_ten_minutes_without_a_link_are_filled_by_id_within_a_minute(tmp_path: Path) -> None:
    """(c) 50 trades a second: 30,000 of them, at most one page more than they fill."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=10) as run:
            await run.pass_time(5)
            before = run.exchange.report().queries
            lost_from = run.head("BTCUSDT")
            run.inject(End(), Refuse(until_s=600))
            # At that speed a link that has just come up could look mute.
            await run.pass_time(580, speed=200)
            run.clock.speed = 20
            await run.until(lambda: run.exchange.links > 0)
            run.clock.speed = 5
            connected_ms, missing = run.clock(), run.exchange.printed_id("BTCUSDT") - lost_from
            await run.complete()
            taken_ms = run.clock() - connected_ms
            report = await run.judged()
            assert missing > 20_000
            assert taken_ms < 60_000
            asked = {
                query: n - before.get(query, 0) for query, n in report.queries.items() if AGG_TRADES in query
            }
            assert {query for query, n in asked.items() if n} == {BY_ID}
            assert asked[BY_ID] <= -(-missing // PAGE) + 2  # a page of overlap, and one look at the head
            await run.told_of_gaps()
            assert run.metric("tapedeck_gap_trades_closed_total", by="rest") > 20_000
            assert run.metric("tapedeck_gap_trades_closed_total", by="stream") == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("refused", "replaced"),
    [
        pytest.param(Refuse(until_s=20, how="hang"), False, id="no answer"),
        pytest.param(Refuse(count=2, how="silent"), True, id="101, then nothing"),
        pytest.param(Refuse(until_s=20, status=None, delay_s=30), False, id="a slow handshake"),
    ],
)
def test_links_that_end_all_at_once_and_hardly_come_back_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refuse, replaced: bool
) -> None:
    """E6 A link that comes up and says nothing is replaced."""
    monkeypatch.setattr(links_module, "OPEN_S", 2.0)

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, ETHUSDT=20), speed=20) as run:
            await run.pass_time(5)
            fetched = run.metric("tapedeck_rest_trades_total")
            run.inject(End(how="reset"), refused)
            await run.pass_time(20)
            await run.until(lambda: len(run.exchange.report().links) >= (6 if replaced else 4))
            await run.pass_time(5)
            report = await run.judged()
            assert all(report.faults_hit.values())
            assert report.faults_hit["refuse"] >= 2
            # A look at the silence may bring it before a link shows that there is a gap.
            assert run.metric("tapedeck_rest_trades_total") > fetched

    asyncio.run(run())


@pytest.mark.parametrize("lag_s", [2, 20])
def test_a_head_that_rest_shows_before_older_ids_hides_no_hole(tmp_path: Path, lag_s: int) -> None:
    """(d) `Rig.until` looks at what is said to be complete all the way."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=40, ETHUSDT=4), speed=20) as run:
            await run.pass_time(5)
            run.inject(RestLag(ms=lag_s * 1000, head_first=True, until_s=90))
            for _ in range(3):
                run.inject(End(), Refuse(until_s=5))
                await run.pass_time(20)
            report = await run.judged()
            assert report.faults_hit["rest_lag"] > 0  # a head was shown above what was hidden

    asyncio.run(run())


def test_what_the_exchange_lacks_is_certified_and_what_it_finds_later_is_fetched(tmp_path: Path) -> None:
    """R10: ids that exist nowhere are no loss once that is proven; those that come late are asked for."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=10), speed=20, limits=FAST_LIMITS) as run:
            await run.pass_time(5)
            soon = run.exchange.due_id("BTCUSDT") + 40
            run.inject(
                Hole(symbols=("BTCUSDT",), first_id=soon, last_id=soon + 4),
                Hole(symbols=("BTCUSDT",), first_id=soon + 50, last_id=soon + 52, until_s=600),
            )
            await run.pass_time(30)
            assert [(gap.first_id, gap.missing, gap.state) for gap in run.ledger.gaps("BTCUSDT")] == [
                (soon, 5, "open"), (soon + 50, 3, "open")
            ]  # fmt: skip
            run.clock.speed = 600
            await run.until(lambda: len(run.ledger.gaps("BTCUSDT")) == 1)
            await run.until(lambda: run.ledger.gaps("BTCUSDT")[0].state == "certified")
            run.clock.speed = 20
            await run.judged()
            await run.told_of_gaps()
            assert run.metric("tapedeck_gap_trades_closed_total", by="certified") == 5
            # More where six hundred times the world's speed is too fast for a link.
            assert run.metric("tapedeck_gap_trades_closed_total", by="rest") >= 3
            assert run.metric("tapedeck_gaps_certified_total") == 1
            assert run.metric("tapedeck_gaps_filled_total") >= 1

    asyncio.run(run())
