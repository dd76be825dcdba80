"""Acceptance: whatever the wire brings, nothing ends, and what was lost is counted."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from collectors.exchange.faults import (
    Acks,
    AnyFault,
    Burst,
    ClockSkew,
    Conflict,
    Duplicate,
    EventTime,
    Fragment,
    Halt,
    Malformation,
    Malformed,
    Misroute,
    Pings,
    Stale,
    Swap,
    Unknown,
)

from .acceptance import FAST_LIMITS, at_rates, rig

KINDS = get_args(Malformation)
# A sound trade in a binary frame is one, and so is one with bad UTF-8 in a field that nobody reads.
SOUND = {"binary", "invalid_utf8"}
# It can be read, and cannot be.
IMPLAUSIBLE = {"huge"}


@pytest.mark.parametrize("instead", [False, True])
@pytest.mark.parametrize("kinds", [KINDS[::2], KINDS[1::2]], ids=" ".join)
def test_no_malformed_frame_ends_anything_and_each_is_counted(
    tmp_path: Path, kinds: Sequence[Malformation], instead: bool
) -> None:
    """(i) D6: every kind, on both links, and in place of a trade or beside it."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=10) as run:
            await run.pass_time(5)
            soon = run.exchange.due_id("BTCUSDT") + 50
            run.inject(
                *(
                    Malformed(kind=kind, instead=instead, first_id=soon + 20 * n, last_id=soon + 20 * n)
                    for n, kind in enumerate(kinds)
                )
            )
            await run.until(lambda: run.head("BTCUSDT") > soon + 20 * len(kinds) + 100)
            report = await run.judged()
            unread = 2 * len(set(kinds) - SOUND - IMPLAUSIBLE)
            assert run.metric("tapedeck_messages_malformed_total") == unread
            left_out = 2 * len(set(kinds) & IMPLAUSIBLE)
            assert run.metric("tapedeck_messages_implausible_total") == left_out
            assert report.faults_hit["malformed"] == 2 * len(kinds)
            skipped = [line for line in run.logs if line["event"] == "message skipped"]
            assert len(skipped) == unread

    asyncio.run(run())


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Duplicate(share=0.3, times=2)], id="D3 repeated"),
        pytest.param([Swap(share=0.2)], id="D4 neighbours"),
        pytest.param([Stale(links=(1,), back=60, share=0.2)], id="D7 stale"),
        pytest.param([Misroute(links=(2,), stream_of="ETHUSDT", share=0.2)], id="D8 misrouted"),
        pytest.param([Fragment(parts=3)], id="D9 fragments"),
        pytest.param([Unknown(share=0.3)], id="W5 what nobody knows"),
        pytest.param([Acks(delay_s=None)], id="W2 lost replies"),
        pytest.param([Halt(symbols=("ETHUSDT",), from_s=1, until_s=12)], id="a halt"),
        pytest.param([Burst(symbols=("ETHUSDT",), from_s=1, until_s=3, speed=10)], id="a burst"),
        pytest.param([EventTime(ms=-3_000)], id="D11 events of the past"),
    ],
)
def test_odd_trades_change_nothing(tmp_path: Path, faults: list[AnyFault]) -> None:
    """(i) D3 to D9"""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, ETHUSDT=20), speed=20) as run:
            await run.pass_time(5)
            run.late_ms = 1_000  # one that goes second waits for its successor
            run.inject(*faults)
            await run.pass_time(20)
            report = await run.judged()
            assert all(hits > 0 for hits in report.faults_hit.values())
            unread = run.metric("tapedeck_messages_malformed_total")
            assert (unread > 0) is ("misroute" in report.faults_hit)

    asyncio.run(run())


def test_pings_in_disorder_are_answered_all_of_them(tmp_path: Path) -> None:
    """L1 One a second, now sooner and now later; a busy machine may answer several at once."""

    async def run() -> None:
        limits = replace(FAST_LIMITS, pong_timeout_s=60)
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=20, limits=limits) as run:
            run.inject(Pings(interval_s=1, jitter_s=0.5))
            await run.until(lambda: all(link.pongs > 15 for link in run.exchange.report().links))
            report = await run.judged()
            for link in report.links:
                assert link.pings - 5 <= link.pongs
                assert link.unsolicited_pongs == 0

    asyncio.run(run())


def test_ids_that_fall_back_on_one_link_are_conflicts_and_lose_nothing(tmp_path: Path) -> None:
    """D7 A server that numbers trades anew: the id is that of an older one, the content is not."""
    back, times = 60, 8

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, ETHUSDT=20), speed=20) as run:
            await run.pass_time(5)
            run.late_ms = 1_000  # what link 1 lacks comes with the other's texts
            soon = run.exchange.due_id("BTCUSDT") + 50
            asked = run.pages
            # Apart from each other, so that link 1 has brought each older trade itself.
            run.inject(
                *(
                    Stale(links=(1,), symbols=("BTCUSDT",), back=back, again=False, first_id=at, last_id=at)
                    for at in range(soon, soon + 2 * back * times, 2 * back)
                )
            )
            await run.until(lambda: run.head("BTCUSDT") > soon + 2 * back * times)
            report = await run.judged()
            assert report.faults_hit["stale"] == times
            assert run.metric("tapedeck_trades_conflicting_total", symbol="BTCUSDT") == times
            assert [each.id for each in run.ledger.conflicts("BTCUSDT")] == [
                at - back for at in range(soon, soon + 2 * back * times, 2 * back)
            ]
            assert run.pages == asked

    asyncio.run(run())


@pytest.mark.parametrize("links", [(1, 2), (2,)])
def test_another_content_under_an_id_is_kept_and_counted(tmp_path: Path, links: tuple[int, ...]) -> None:
    """(i) D5: two trades under an id, on both links or on one of them; the other has the first alone."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, ETHUSDT=20), speed=20) as run:
            await run.pass_time(5)
            run.inject(Conflict(share=0.2, links=links, symbols=("BTCUSDT",), until_s=15))
            await run.pass_time(20)
            report = await run.judged()
            assert (
                run.metric("tapedeck_trades_conflicting_total", symbol="BTCUSDT")
                == (report.faults_hit["conflict"])
            )
            assert run.metric("tapedeck_trades_conflicting_total", symbol="ETHUSDT") == 0
            kept = run.ledger.conflicts("BTCUSDT")
            assert len({each.id for each in kept}) == report.faults_hit["conflict"] / len(links) > 50
            held = run.held("BTCUSDT")
            for each in kept:
                (place,) = (held.id == each.id).nonzero()[0]
                assert each.other.first_id[0] == held.first_id[place] + 1_000_000
                other, ours = (
                    columns.take(slice(at, at + 1)).at_exponents(8, 8).price_int[0]
                    for columns, at in ((each.other, 0), (held, int(place)))
                )
                assert other == 2 * ours

    asyncio.run(run())


@pytest.mark.parametrize("off_ms", [5_000, -5_000])
def test_a_clock_that_is_off_loses_nothing(tmp_path: Path, off_ms: int) -> None:
    """D11"""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=20) as run:
            await run.pass_time(5)
            run.inject(ClockSkew(ms=off_ms), EventTime(links=(1,), ms=off_ms))
            await run.pass_time(20)
            await run.judged()

    asyncio.run(run())
