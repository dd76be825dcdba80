"""Acceptance: what the exchange asks for is obeyed to the second, and the stream goes on meanwhile."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.exchange import Limits
from collectors.exchange.faults import (
    AnyFault,
    Drop,
    End,
    Refuse,
    RestLimit,
    RestRepeat,
    RestReply,
    RestReset,
    RestSlow,
)
from collectors.rest import REPLY_S

from .acceptance import FAST_LIMITS, Rig, at_rates, rig

SPEED = 5
# How exactly a time is kept.
GRAIN_S = 1


@pytest.mark.parametrize(("status", "seconds"), [(429, 40), (418, 120)])
def test_a_limit_is_obeyed_to_the_second_and_links_stay_up(tmp_path: Path, status: int, seconds: int) -> None:
    """(h)"""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=SPEED, limits=FAST_LIMITS) as run:
            await run.pass_time(5)
            soon = run.exchange.due_id("BTCUSDT") + 20
            limited_from_ms = run.clock()
            run.inject(RestLimit(status=status, seconds=seconds), Drop(first_id=soon, last_id=soon))  # type: ignore[arg-type]
            # Told by the recorder, not by the exchange, whose reply may still be on its way.
            await run.until(lambda: run.recorder.rest_use.barred.get(str(status), 0) > 0)
            told_by_ms = run.clock()
            served = run.exchange.report().statuses.get("200", 0)
            run.clock.speed = 40
            await run.until(lambda: run.clock() >= limited_from_ms + (seconds - 8) * 1000)
            run.clock.speed = SPEED
            head = run.head("BTCUSDT")
            assert head > soon + 100
            assert run.open_gaps("BTCUSDT")
            await run.until(lambda: run.clock() >= limited_from_ms + (seconds - 3) * 1000)
            run.clock.speed = 1
            await run.until(lambda: run.exchange.report().statuses.get("200", 0) > served)
            asked_ms, told_s = run.clock(), run.metric("tapedeck_rest_barred_seconds_total")
            assert limited_from_ms + seconds * 1000 <= asked_ms < told_by_ms + (told_s + GRAIN_S) * 1000
            report = await run.judged()
            assert report.statuses[str(status)] == 1
            assert run.metric("tapedeck_rest_barred_total", status=str(status)) == 1
            assert seconds - (told_by_ms - limited_from_ms) / 1000 <= told_s <= seconds
            assert [link.ending for link in report.links] == [None, None]

    asyncio.run(run())


def test_a_minutes_weight_is_never_overdrawn_while_much_is_missing(tmp_path: Path) -> None:
    """R5: a limit so small that filling takes minutes; not one 429. It is over before clocks are compared
    again, since in fast time a busy machine's round trip is seconds."""

    async def run() -> None:
        limits = replace(FAST_LIMITS, weight_per_minute=60)
        async with rig(tmp_path, at_rates(BTCUSDT=100), speed=20, limits=limits) as run:
            await run.pass_time(5)
            # Until a quarter past a minute: no page is under way when the next one begins.
            run.inject(End(), Refuse(until_s=100))
            await run.pass_time(85, speed=200)
            run.clock.speed = 20
            await run.until(lambda: run.exchange.links > 0)
            report = await run.judged()
            assert report.most_weight_used <= 60 < run.pages * 4
            assert set(report.statuses) == {"200"}

    asyncio.run(run())


def test_refused_handshakes_never_reach_the_limit_of_attempts(tmp_path: Path) -> None:
    """L4: ten minutes of refusals in every way, then links that are ended as soon as they are up."""

    async def run() -> None:
        limits = Limits(pong_timeout_s=7_200, messages_per_s=10_000, in_flight_s=60)
        async with rig(tmp_path, at_rates(BTCUSDT=5), speed=50, limits=limits) as run:
            await run.pass_time(10)
            run.inject(
                End(),
                Refuse(until_s=100, status=503),
                Refuse(from_s=100, until_s=200, how="reset"),
                Refuse(from_s=200, until_s=300, status=429, retry_after_s=30),
                End(from_s=300, until_s=900, age_s=1),
            )
            await run.pass_time(900, speed=200)
            run.clock.speed = 20
            report = await run.judged()
            assert report.most_connects_in_5_min < limits.connects_per_5_min
            refused = run.metric("tapedeck_link_ends_total", code="refused")
            assert refused >= report.faults_hit["refuse"] > 0

    asyncio.run(run())


@pytest.mark.parametrize(
    "away",
    [
        pytest.param(RestReply(status=500), id="5xx"),
        pytest.param(RestReply(status=504, code=-1007), id="-1007"),
        pytest.param(RestReply(status=200, body="empty_object"), id="{}"),
        pytest.param(RestReply(status=200, body="html"), id="html"),
        pytest.param(RestReply(status=403, body="html"), id="403"),
        pytest.param(RestReply(status=200, body="truncated_gzip"), id="truncated gzip"),
        pytest.param(RestReset(mid_body=True), id="reset"),
        pytest.param(RestSlow(delay_s=11), id="slow"),
    ],
)
def test_rest_that_is_away_in_any_way_fills_when_it_is_back(tmp_path: Path, away: AnyFault) -> None:
    """R4; a reply that takes 11 s is none to a client that waits for 6 s."""

    async def run() -> None:
        reply_s = 0.3 if isinstance(away, RestSlow) else REPLY_S
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=20, reply_s=reply_s) as run:
            await without_links_until_all_is_hit(run, away)
            await run.judged()
            unanswered = run.recorder.rest_use.replies.get("none", 0)
            assert (unanswered > 0) is isinstance(away, RestReset | RestSlow)

    asyncio.run(run())


def test_a_page_that_belongs_to_another_question_is_taken_for_no_answer(tmp_path: Path) -> None:
    """R4: the page before comes again, be it another symbol's."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, ETHUSDT=20), speed=20) as run:
            await without_links_until_all_is_hit(run, RestRepeat())
            await run.judged()

    asyncio.run(run())


async def without_links_until_all_is_hit(run: Rig, fault: AnyFault) -> None:
    """The fault lasts from before all links end and are refused for a while until REST has met it, and on."""
    await run.pass_time(5)
    run.inject(fault, End())
    refused = run.exchange.inject(Refuse())
    await run.until(lambda: run.exchange.report().faults_hit["refuse"] > 0)
    await run.pass_time(3)
    run.exchange.clear(refused)
    await run.all_hit()
    await run.pass_time(10)
    run.exchange.clear()
