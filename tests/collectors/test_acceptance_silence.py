"""Acceptance: a link or a stream that is up and mute is found within its bound, a quiet market is let be."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors.exchange.faults import (
    AnyFault,
    Deaf,
    Delay,
    Drop,
    Freeze,
    Hold,
    Pings,
    RestLimit,
    RestReply,
    RestShort,
    Shutdown,
    Trickle,
)
from collectors.exchange.market import GeneratedMarket
from collectors.exchange.streams import MOST_LATE_MS
from collectors.timing import REAL

from .acceptance import FAST_LIMITS, START_MS, Rig, at_rates, rig

QUIET = 1 / 3_600
RARE = "SHIBUSDT"
# At a thousand times the world's speed 45 s are less than a busy machine's hesitation.
UNHURRIED = replace(REAL, gather_s=2, mute_s=900, behind_s=1_800)
# When a lack is noticed, and the attempt to replace the link.
SOME_S = 30
# Of the clock's time, that a busy machine takes to parse, to ask and to take in.
A_MOMENT_S = 8
# A silence is long by what has been usual; on a busy machine trades come seldom, and many at once.
ASKED_WITHIN_S = 60


class Doubt:
    """When REST was asked first about a symbol that is mute from now on; and when the symbol counted last as
    complete and was not."""

    def __init__(self, run: Rig, symbol: str) -> None:
        self._run, self._symbol, self._pages = run, symbol, run.pages
        self.begun_ms = self.wrong_ms = run.clock()
        self.asked_ms: int | None = None

    @property
    def asked(self) -> int:
        """How often."""
        return self._run.pages - self._pages

    def look(self) -> None:
        if self.asked and self.asked_ms is None:
            self.asked_ms = self._run.clock()
        if self._run.lacking(self._symbol, MOST_LATE_MS):
            self.wrong_ms = self._run.clock()

    def assert_ended_by_rest(self, within_s: float) -> None:
        """The symbol counted as complete until REST was asked, which was soon enough, and never again."""
        assert self.asked_ms is not None
        assert self.asked_ms - self.begun_ms < within_s * 1000
        assert self.wrong_ms - self.asked_ms < A_MOMENT_S * 1000


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


def before_a_rare_trade(market: GeneratedMarket, seconds: float) -> int:
    """When to begin, so that the symbol that trades once an hour does so after so many seconds."""
    rows = market.trades(RARE, START_MS, START_MS + 12 * 3_600_000)
    return int(rows.time_ms[0] - seconds * 1000)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param([], id="on both links at once"),
        pytest.param([Delay(links=(2,), ms=30_000)], id="half a minute later on one"),
    ],
)
def test_the_one_trade_of_an_hour_makes_nobody_nervous(tmp_path: Path, late: Sequence[AnyFault]) -> None:
    """(e) With the product's own patience: what only one link has brought yet may be on its way."""

    async def run() -> None:
        market = at_rates(BTCUSDT=20, SHIBUSDT=QUIET)
        start_ms = before_a_rare_trade(market, 20)
        async with rig(tmp_path, market, speed=20, start_ms=start_ms, faults=late) as run:
            await run.until(lambda: len(run.held(RARE)) == 1)
            asked = run.pages
            await run.pass_time(REAL.mute_s + SOME_S)
            report = await run.judged()
            assert [link.ending for link in report.links] == [None, None]
            assert run.pages == asked

    asyncio.run(run())


def test_a_link_that_lacks_the_one_trade_of_an_hour_is_replaced_within_its_bound(tmp_path: Path) -> None:
    """(e) S2 of a symbol of which nothing more comes that could show it."""

    async def run() -> None:
        market = at_rates(BTCUSDT=20, SHIBUSDT=QUIET)
        lost = Drop(links=(1,), symbols=(RARE,))
        start_ms = before_a_rare_trade(market, 20)
        async with rig(tmp_path, market, speed=20, start_ms=start_ms, faults=[lost]) as run:
            await run.until(lambda: len(run.held(RARE)) == 1)
            asked = run.pages
            await replaced(run, REAL.mute_s + SOME_S)
            report = await run.judged()
            assert report.faults_hit == {"drop": 1}
            assert [link.ending for link in report.links if link.number == 2] == [None]
            assert run.pages == asked

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
    """(e) And the quiet symbol on the same link, whose one trade comes meanwhile, is no reason."""

    async def run() -> None:
        market = at_rates(BTCUSDT=20, ETHUSDT=5, SHIBUSDT=QUIET)
        start_ms = before_a_rare_trade(market, 25)
        async with rig(tmp_path, market, speed=20, start_ms=start_ms) as run:
            await run.pass_time(10)
            asked = run.pages
            run.late_ms = None
            run.inject(silence)
            await replaced(run, REAL.mute_s + SOME_S)
            await run.pass_time(10)
            report = await run.judged()
            assert len(report.links) == 3
            assert len(run.held(RARE)) == 1
            assert run.pages - asked <= 2  # about the quiet symbol

    asyncio.run(run())


def test_what_is_mute_everywhere_is_found_by_asking_rest(tmp_path: Path) -> None:
    """(e) S2 on both links: no link shows that the other lacks something; REST does, and until it is asked
    the symbol counts as complete, not longer. Later, nothing does that is not, while the links are mute."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=20, limits=FAST_LIMITS) as run:
            await run.pass_time(30)
            run.late_ms = None
            run.inject(Drop(links=(1, 2), symbols=("ETHUSDT",)))
            doubt = Doubt(run, "ETHUSDT")
            run.clock.speed = 5

            def are_replaced() -> bool:
                doubt.look()
                if doubt.asked_ms is not None and run.clock() > doubt.asked_ms + 10_000:
                    run.clock.speed = 40
                return not {1, 2} & set(numbers(run)) and len(numbers(run)) == 2

            await run.until(are_replaced)
            assert run.clock() - doubt.begun_ms < (REAL.mute_s + SOME_S) * 4 * 1000
            doubt.assert_ended_by_rest(ASKED_WITHIN_S)
            await run.judged()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("per_s", "asked_within_s", "lasts_s", "short"),
    [
        pytest.param(5, ASKED_WITHIN_S, 130, [RestShort(rows=3)], id="busy, short pages"),
        pytest.param(0.5, 2 * ASKED_WITHIN_S, 260, [], id="once in 2 s"),
    ],
)
def test_what_is_mute_on_whatever_replaces_it_too_counts_as_complete_once_at_the_most(
    tmp_path: Path, per_s: float, asked_within_s: float, lasts_s: int, short: Sequence[AnyFault]
) -> None:
    """(e) S2 on all links there will be: once REST has shown it, REST alone says up to when it is known, and
    is asked at its own pace; also when it has nothing newer just then."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=per_s), speed=20, limits=FAST_LIMITS) as run:
            await run.pass_time(30)
            run.late_ms = None
            run.inject(Drop(symbols=("ETHUSDT",)), *short)
            doubt = Doubt(run, "ETHUSDT")

            def is_over() -> bool:
                doubt.look()
                is_replaced = len(run.exchange.report().links) > 2
                return run.clock() > doubt.begun_ms + lasts_s * 1000 and doubt.asked > 20 and is_replaced

            await run.until(is_over)
            doubt.assert_ended_by_rest(asked_within_s)
            assert run.recorder.silent_ms("ETHUSDT") == 0
            # Every 3 s, and about a busy symbol's silence every 5 s.
            lasted_s = (run.clock() - doubt.begun_ms) / 1000
            assert doubt.asked < lasted_s / 3 + lasted_s / 5 + 10
            run.exchange.clear()
            run.clock.speed = 10
            await run.pass_time(20)
            await run.judged()
            await run.until(lambda: run.recorder.silent_ms("ETHUSDT") > 0)

    asyncio.run(run())


def test_a_shutdown_is_acted_on_while_rest_is_to_be_left_alone(tmp_path: Path) -> None:
    """(e) S2 on both links and a ban: the look at the silence waits for its end, links do not."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=5), speed=20, limits=FAST_LIMITS) as run:
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
            run.inject(Drop(links=(1, 2), symbols=("ETHUSDT",)), RestReply(status=503))
            begun_ms, asked = run.clock(), run.pages
            await run.until(lambda: run.pages > asked)
            assert run.clock() - begun_ms < ASKED_WITHIN_S * 1000
            bound_ms = run.clock() + REAL.look_within_s * 1000
            await run.until(lambda: (run.recorder.live_until_ms("BTCUSDT") or 0) > bound_ms)
            known_ms = run.recorder.live_until_ms("ETHUSDT")
            assert known_ms is not None
            assert begun_ms < known_ms < bound_ms
            run.exchange.clear()
            await run.judged()

    with capture_logs() as logs:
        asyncio.run(run())
    told = [line["log_level"] for line in logs if line["event"] == "silence not looked into"]
    assert told[0] == "warning"
    assert told.count("warning") == 1


@pytest.mark.parametrize(
    ("fault", "lasts_s", "ending"),
    [
        pytest.param(Deaf(links=(1,)), 75, "1008 Pong timeout", id="S4 its pongs are lost"),
        pytest.param(Deaf(links=(1,), to="all"), 75, "1008 Pong timeout", id="S4 all it says is lost"),
        pytest.param(Delay(links=(1,), ms=30_000), 75, None, id="S6 a lag that does not close"),
        pytest.param(Pings(links=(1,), interval_s=180), 60, None, id="L1 a ping in three minutes"),
        pytest.param(Pings(interval_s=None), 60, None, id="L1 no pings"),
    ],
)
def test_what_says_nothing_of_trades_costs_no_link_and_no_look(
    tmp_path: Path, fault: AnyFault, lasts_s: int, ending: str | None
) -> None:
    """Whoever gets no pongs ends the link, which is as any other end; nobody does for want of pings."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20), speed=20) as run:
            await run.pass_time(10)
            asked = run.pages
            run.inject(fault)
            await run.pass_time(lasts_s)
            await run.until(lambda: run.exchange.report().links[0].ending == ending)
            report = await run.judged()
            assert all(report.faults_hit.values())
            assert run.pages == asked
            assert [link.ending for link in report.links[:2]] == [ending, None]
            if isinstance(fault, Pings):
                assert report.links[0].pings == 0
            else:
                assert report.links[1].pongs >= report.links[1].pings - 1 > 1

    asyncio.run(run())
