"""Acceptance: an id that cannot be opens no gap, asks nothing of REST and vouches for nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from collectors.exchange.faults import AnyFault, Drop, RestReply, Stale
from storage.ledger import TradeLedger

from .acceptance import START_MS, Rig, at_rates, rig

POISON = -(2**53 + 1)  # ids ahead
FAR_AHEAD = -100_000_000
FAR_BEHIND = 10_000_000


async def recorded(run: Rig, seconds: float) -> None:
    """So much time, in which no gap is larger than what was left out."""
    until_ms = run.clock() + seconds * 1000
    while run.clock() < until_ms:
        for symbol in run.symbols:
            assert sum(gap.missing for gap in run.ledger.gaps(symbol)) < 5_000
        await run.pass_time(0.5)


@pytest.mark.parametrize("back", [POISON, FAR_AHEAD, FAR_BEHIND])
@pytest.mark.parametrize("links", [(1,), (1, 2)])
def test_a_wrong_id_is_left_out_and_loses_itself_alone(
    tmp_path: Path, back: int, links: tuple[int, ...]
) -> None:
    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50, ETHUSDT=20), speed=20) as run:
            await run.pass_time(5)
            soon = run.exchange.due_id("BTCUSDT") + 50
            places = {"first_id": soon, "last_id": soon, "symbols": ("BTCUSDT",)}
            run.inject(Stale(back=back, again=False, links=links, **places))  # type: ignore[arg-type]
            await run.until(lambda: run.head("BTCUSDT") > soon + 100)
            await recorded(run, 10)
            report = await run.judged()
            assert report.faults_hit == {"stale": len(links)}
            assert run.metric("tapedeck_messages_implausible_total") == len(links)
            filling = run.recorder.filling("BTCUSDT")
            assert filling.counts.opened <= filling.fetched
            if len(links) == 2:
                assert filling.fetched > 0
            else:  # a look at REST in the moment of doubt may bring what links are about to
                assert filling.counts.opened == 0

    with capture_logs() as logs:
        asyncio.run(run())
    assert {line["event"] for line in logs} >= {"trades left out"}


@pytest.mark.parametrize("back", [FAR_AHEAD, FAR_BEHIND])
def test_a_link_of_another_count_is_left_out_for_as_long_as_it_is_there(tmp_path: Path, back: int) -> None:
    """And it is replaced, as one that brings nothing is."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=50), speed=20) as run:
            await run.pass_time(5)
            run.inject(Stale(back=back, again=False, links=(1,)))
            await recorded(run, 60)
            await run.until(lambda: len(run.exchange.report().links) > 2)
            assert run.metric("tapedeck_messages_implausible_total") > 1_000
            await run.judged()

    asyncio.run(run())


@pytest.mark.parametrize("back", [FAR_AHEAD, FAR_BEHIND])
def test_while_rest_shows_that_the_count_goes_on_links_that_say_otherwise_are_not_believed(
    tmp_path: Path, back: int
) -> None:
    """On every link, for longer than it takes to begin anew: REST brings all of it."""

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20), speed=20) as run:
            await run.pass_time(5)
            run.inject(Stale(back=back, again=False, until_s=90))
            await recorded(run, 120)
            await run.judged()

    with capture_logs() as logs:
        asyncio.run(run())
    assert not [line for line in logs if line["event"] == "ids begin anew"]


Wrong = Callable[[int], int]


@asynccontextmanager
async def after_a_start_with(
    path: Path, wrong: Wrong, *, faults: Sequence[AnyFault] = ()
) -> AsyncIterator[Rig]:
    """A recording of a market whose ledger holds a row of an id that is none."""
    market = at_rates(BTCUSDT=20)
    with TradeLedger.open(path / "ledger") as ledger:
        rows = market.trades("BTCUSDT", START_MS - 20_000, START_MS - 10_000)
        ledger.append("BTCUSDT", rows)
        last = rows.take(slice(-1, None))
        ledger.append("BTCUSDT", replace(last, id=np.array([wrong(int(last.id[0]))])))
    async with rig(path, market, speed=20, faults=faults) as run:
        run.since["BTCUSDT"] = int(rows.id[0])
        yield run


@pytest.mark.parametrize("wrong", [lambda _: 2**53 + 1, lambda head: head + 100_000_000])
def test_a_ledger_whose_newest_id_is_wrong_is_recorded_from_where_rest_is(
    tmp_path: Path, wrong: Wrong
) -> None:
    async def run() -> None:
        async with after_a_start_with(tmp_path, wrong) as run:
            await run.pass_time(60)
            await all_but_the_wrong_is_held(run)

    with capture_logs() as logs:
        asyncio.run(run())
    assert [line["shown_by"] for line in logs if line["event"] == "ids begin anew"] == ["REST"]


def test_without_rest_it_is_recorded_once_the_links_have_gone_on_for_a_while(tmp_path: Path) -> None:
    async def run() -> None:
        away = RestReply(path="/api/v3/aggTrades", status=503, until_s=90)
        async with after_a_start_with(tmp_path, lambda _: 2**53 + 1, faults=[away]) as run:
            await run.until(lambda: len(run.held("BTCUSDT")) > 1_000)
            await run.pass_time(120)
            await all_but_the_wrong_is_held(run)

    with capture_logs() as logs:
        asyncio.run(run())
    (anew,) = [line for line in logs if line["event"] == "ids begin anew"]
    assert anew["shown_by"] != "REST"


async def all_but_the_wrong_is_held(run: Rig) -> None:
    """In one run of ids; between that and the wrong one a gap stays open."""
    head = run.exchange.printed_id("BTCUSDT")
    await run.until(lambda: run.ledger.runs("BTCUSDT")[0].last_id >= head)
    rows = run.held("BTCUSDT")
    rows = rows.take(rows.id <= head)
    assert int(rows.id[0]) <= run.since["BTCUSDT"]
    assert not run.exchange.difference("BTCUSDT", rows)


def test_another_content_under_an_id_that_rest_brought_first_is_a_conflict_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20), speed=20) as run:
            await run.pass_time(5)
            run.late_ms = None  # the streams are mute
            soon = run.exchange.due_id("BTCUSDT") + 20
            run.inject(
                Drop(first_id=soon, last_id=soon + 2_400),
                Stale(back=500, again=False, links=(1,), first_id=soon + 2_401, last_id=soon + 2_410),
            )
            await run.until(lambda: run.head("BTCUSDT") > soon + 2_500)
            report = await run.judged()
            assert report.faults_hit["stale"] == 10
            assert run.metric("tapedeck_trades_conflicting_total") == 10
            kept = run.ledger.conflicts("BTCUSDT")
            assert [each.id - soon for each in kept] == list(range(1_901, 1_911))
            held = run.held("BTCUSDT")
            for each in kept:
                (at,) = (held.id == each.id).nonzero()[0]
                assert int(each.kept.first_id[0]) == int(held.first_id[at]) != int(each.other.first_id[0])

    asyncio.run(run())


def test_ids_of_one_symbol_that_cannot_be_leave_the_others_of_the_link_known(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20, ETHUSDT=20), speed=20) as run:
            await run.pass_time(20)
            run.inject(Stale(back=FAR_AHEAD, again=False, symbols=("ETHUSDT",), until_s=30))
            ends_ms = run.clock() + 30_000
            while run.clock() < ends_ms:
                await run.pass_time(2)
                assert (run.recorder.live_until_ms("BTCUSDT") or 0) > run.clock() - 10_000
            assert run.metric("tapedeck_messages_implausible_total") > 100
            await run.judged()

    asyncio.run(run())
