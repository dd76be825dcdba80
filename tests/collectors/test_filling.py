"""Filling against the exchange's REST on a real socket, in virtual time: what the links brought is put into
the ledger by the test, the rest has to come by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from collectors.binance import Malformed
from collectors.certification import Rule
from collectors.clock import Clock
from collectors.exchange import Exchange, GeneratedMarket, Limits
from collectors.exchange.clock import VirtualClock
from collectors.exchange.faults import (
    AnyFault,
    Hole,
    RestFloor,
    RestHide,
    RestLag,
    RestLimit,
    RestRepeat,
    RestReply,
    RestReset,
    RestShort,
    RestSlow,
)
from collectors.filling import Filling
from collectors.gap_reports import GapReports
from collectors.missing import Missing
from collectors.plausibility import Mark
from collectors.rest import BinanceRest
from collectors.rest_bodies import AggTradesPage
from collectors.symbol_filling import SymbolFilling
from storage import tapes as tapes_module
from storage.ledger import TradeLedger
from tests.clock import SteppedClock, fast_clock

START_MS = 1_764_070_000_000 // 3_600_000 * 3_600_000 + 1_800_000
HOUR_MS = 3_600_000
X = "BTCUSDT"
# BTCUSDT at 3.6 trades a second: a gap of 20 minutes is some five pages.
RATE = 0.2
# Of virtual time: a request takes milliseconds of the real one, whatever the clock's speed.
LIMITS = Limits(in_flight_s=120)

Symbols = Sequence[str]


class World:
    """An exchange, its clock, and a ledger beside it."""

    def __init__(self, exchange: Exchange, clock: VirtualClock, ledger: TradeLedger) -> None:
        self.exchange, self.clock, self.ledger = exchange, clock, ledger

    def links_bring(self, start_ms: int, end_ms: int, symbol: str = X) -> None:
        """What streams print of that time goes to the ledger."""
        self.ledger.append(symbol, self.exchange.market.streamed(symbol, start_ms, end_ms))

    def id_at(self, time_ms: int, symbol: str = X) -> int:
        return self.exchange.market.first_id_from(symbol, time_ms)

    def began(self, hours: float, symbol: str = X) -> int:
        """The id with which a history of so many hours begins, wanted since a moment after the start."""
        from_ms = self.ledger.warmup_from_ms(symbol)
        assert from_ms is not None
        assert 0 <= from_ms - (START_MS - hours * HOUR_MS) < 600_000
        return self.id_at(from_ms, symbol)

    @asynccontextmanager
    async def filling(
        self,
        *,
        symbols: Symbols = (X,),
        warmup_ms: int = 0,
        retention_ms: int | None = None,
        rule: Rule | None = None,
        clock: Clock | None = None,
    ) -> AsyncIterator[Filling]:
        clock = clock or self.clock
        async with BinanceRest(self.exchange.rest_url, clock) as rest:
            rest.budget.limit = self.exchange.limits.weight_per_minute
            filling = Filling(
                self.ledger,
                rest,
                clock,
                GapReports(self.ledger, clock),
                symbols=lambda: symbols,
                warmup_ms=warmup_ms,
                retention_ms=retention_ms,
                rule=rule,
            )
            task = asyncio.create_task(filling.run())
            try:
                yield filling
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], within_s: float = 90) -> None:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  what is waited for is the ledger's content
                await asyncio.sleep(0.005)

    async def pass_time(self, seconds: float) -> None:
        """Virtual seconds, by which everything that is due has had its turn."""
        until_ms = self.clock() + seconds * 1000
        await self.until(lambda: self.clock() >= until_ms)

    def assert_complete(self, symbol: str = X) -> None:
        rows = self.ledger.trades(symbol, 0, 2 * self.clock())
        found = self.exchange.difference(symbol, rows)
        assert not found, found

    @property
    def asked(self) -> int:
        return self.exchange.report().requests.get("/api/v3/aggTrades", 0)


def in_a_world(
    path: Path,
    work: Callable[[World], Coroutine[Any, Any, None]],
    *,
    faults: Sequence[AnyFault] = (),
    speed: float = 60,
    symbols: Symbols = (X,),
    rate: float = RATE,
    limits: Limits = LIMITS,
) -> None:
    """Run a story; afterwards the exchange has nothing to say against the client."""

    async def run() -> None:
        clock = fast_clock(START_MS, speed=speed)
        market = GeneratedMarket(symbols=list(symbols), rate=rate)
        async with Exchange(market, clock=clock, faults=faults, limits=limits) as exchange:
            with TradeLedger.open(path / "l") as ledger:
                await work(World(exchange, clock, ledger))
            assert exchange.report().self_inflicted == []

    asyncio.run(run())


def minutes_since_start(world: World) -> float:
    return (world.clock() - START_MS) / 60_000


def minutes_ago(minutes: float) -> int:
    return START_MS - round(minutes * 60_000)


# An outage


def test_an_outage_is_filled_by_id_with_a_page_of_overlap_at_most(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(40), minutes_ago(30))
        world.links_bring(minutes_ago(20), START_MS)
        missing = world.ledger.missing(X)
        async with world.filling() as filling:
            await world.until(lambda: filling.state(X).counts.filled == 1)
        assert world.ledger.gaps(X) == ()
        world.assert_complete()
        assert world.asked == -(-missing // 999)

    with capture_logs() as logs:
        in_a_world(tmp_path, story)
    [filled] = [line for line in logs if line["event"] == "gap filled"]
    assert filled["ids"] == filled["last_id"] - filled["first_id"] + 1
    assert filled["open_s"] >= 0
    assert filled["by"] == {"rest": filled["ids"]}


def test_a_gap_is_filled_from_its_newest_ids_on(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(180), minutes_ago(170))
        world.links_bring(minutes_ago(20), START_MS)
        gaps = []
        async with world.filling():
            while world.ledger.gaps(X):
                gaps.append(world.ledger.gaps(X))
                await asyncio.sleep(0)
        assert all(later[-1].last_id <= sooner[-1].last_id for sooner, later in pairwise(gaps))
        # Some pages are under way at once, so that islands come about for a moment; never far below.
        assert all(gap[-1].last_id - gap[0].last_id < 3 * 999 for gap in gaps)
        world.assert_complete()

    in_a_world(tmp_path, story)


def test_what_lies_before_the_retention_is_not_fetched(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(600), minutes_ago(590))
        world.links_bring(minutes_ago(5), START_MS)
        async with world.filling(retention_ms=2 * HOUR_MS) as filling:
            await world.until(lambda: filling.wanted(X) > 0)
            await world.until(lambda: filling.wanted(X) == 0 or not world.ledger.gaps(X))
            await world.pass_time(60)
            [gap] = world.ledger.gaps(X)
        kept_from_ms = START_MS - 2 * HOUR_MS - 1_800_000
        assert gap.first_id == world.id_at(minutes_ago(590))
        assert abs(gap.before_ms - kept_from_ms) < 600_000
        assert world.asked < 3 * 3_600 * 18 * RATE / 999 + 3

    in_a_world(tmp_path, story)


def test_while_rest_lags_and_shows_its_head_early_nothing_is_passed_over(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(40), minutes_ago(1))
        world.links_bring(minutes_ago(0.5), START_MS)
        async with world.filling():
            await world.until(lambda: not world.ledger.gaps(X))
        world.assert_complete()
        assert world.ledger.absences(X) == ()

    in_a_world(tmp_path, story, faults=[RestLag(ms=90_000, head_first=True)], speed=30)


def test_replies_that_are_none_and_short_pages_cost_time_and_no_trade(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(60), minutes_ago(50))
        world.links_bring(minutes_ago(20), START_MS)
        async with world.filling():
            await world.until(lambda: not world.ledger.gaps(X))
        world.assert_complete()

    faults: list[AnyFault] = [
        RestReset(count=2),
        RestReply(status=200, body="truncated_gzip", count=1),
        RestReply(status=200, body="empty_object", count=1),
        RestReply(status=403, body="html", count=1),
        RestReply(status=504, code=-1007, count=1),
        RestRepeat(count=2),
        RestShort(rows=70, count=8),
    ]
    in_a_world(tmp_path, story, faults=faults)


def test_pages_of_a_single_row_are_slow_and_bring_all(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        first_id = world.id_at(minutes_ago(20))
        rows = world.exchange.market.trades(X, minutes_ago(40), START_MS)
        world.ledger.append(X, rows.take((rows.id < first_id) | (rows.id > first_id + 59)))
        async with world.filling():
            await world.until(lambda: not world.ledger.gaps(X))
        world.assert_complete()
        assert world.asked <= 60 + 4

    in_a_world(tmp_path, story, faults=[RestShort(rows=1)], speed=30)


def test_rest_that_is_away_for_long_is_asked_ever_more_rarely_and_told_of_once(tmp_path: Path) -> None:
    minutes = 18

    async def story(world: World) -> None:
        world.links_bring(minutes_ago(60), minutes_ago(50))
        world.links_bring(minutes_ago(20), START_MS)
        async with world.filling():
            await world.pass_time(minutes * 60)
            # A second later, two, four, eight, sixteen, then every half minute; three pages at once.
            assert world.asked <= 3 * (6 + 2 * minutes)
            world.exchange.clear()
            back_ms = world.clock()
            await world.until(lambda: not world.ledger.gaps(X))
            assert world.clock() - back_ms < 5 * 60_000
        world.assert_complete()

    with capture_logs() as logs:
        in_a_world(tmp_path, story, faults=[RestReply(status=503)], speed=400)
    told = [(line["log_level"], line["event"]) for line in logs if line["event"].startswith("rest ")]
    assert told == [("warning", "rest away"), ("info", "rest back")]


def test_a_page_about_which_rest_contradicts_itself_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """It has no row from there on, and newer ones beyond."""

    async def story(world: World) -> None:
        world.links_bring(minutes_ago(60), minutes_ago(50))
        world.links_bring(minutes_ago(45), START_MS)
        missing = Missing(X, world.ledger, world.clock, None, Rule())
        page = missing.page()
        assert page is not None
        missing.answered_empty(page, page.last_id + 500)
        below = missing.page()
        assert below is None or below.last_id < page.first_id

    in_a_world(tmp_path, story, speed=0)


class _Unreadable(BinanceRest):
    """One row of each page cannot be read."""

    async def page_from_id(self, symbol: str, first_id: int, *, hurried: bool = True) -> AggTradesPage:
        page = await super().page_from_id(symbol, first_id, hurried=hurried)
        lost = page.trades.id == first_id + 100
        return AggTradesPage(page.trades.take(~lost), [Malformed("no price", "{}")])


def test_a_row_that_cannot_be_read_is_no_id_that_the_exchange_lacks(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(60), minutes_ago(30))
        world.links_bring(minutes_ago(29), START_MS)
        [gap] = world.ledger.gaps(X)
        async with _Unreadable(world.exchange.rest_url, world.clock) as rest:
            one = SymbolFilling(
                X,
                world.ledger,
                rest,
                world.clock,
                GapReports(world.ledger, world.clock),
                retention_ms=None,
                rule=Rule(),
            )
            page = one.missing.page()
            assert page is not None
            assert page.run.first_id == gap.first_id
            await one.fetch(page)
        [left] = world.ledger.gaps(X)
        assert (left.first_id, left.last_id) == (page.from_id + 100, page.from_id + 100)
        assert world.ledger.absences(X) == ()
        assert one.state.missing == 1

    in_a_world(tmp_path, story)


def test_while_much_awaits_the_disk_nothing_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the room is for what links bring."""

    async def story(world: World) -> None:
        world.links_bring(minutes_ago(20), minutes_ago(15))
        world.links_bring(minutes_ago(10), START_MS)
        monkeypatch.setattr(tapes_module, "MOST_UNWRITTEN", world.ledger.rows(X))
        assert world.ledger.is_behind
        async with world.filling():
            await world.pass_time(20)
            assert world.asked == 0
            await world.until(lambda: world.ledger.flush() >= 0 and not world.ledger.gaps(X))
        world.assert_complete()

    in_a_world(tmp_path, story)


def refusals(world: World) -> int:
    return world.exchange.report().statuses.get("400", 0)


def test_a_symbol_that_rest_refuses_is_told_of_once_and_holds_up_no_other(tmp_path: Path) -> None:
    symbols = ("NOPEUSDT", "BTCUSDT")

    async def story(world: World) -> None:
        world.links_bring(minutes_ago(40), minutes_ago(30))
        world.links_bring(minutes_ago(20), START_MS)
        async with world.filling(symbols=symbols, warmup_ms=HOUR_MS):
            await world.until(lambda: not world.ledger.gaps(X))
            await world.until(lambda: refusals(world) >= 3)
        assert refusals(world) <= 1 + (world.clock() - START_MS) / 30_000

    with capture_logs() as logs:
        in_a_world(tmp_path, story)
    told = [line["log_level"] for line in logs if line["event"] == "rest refused"]
    assert told[0] == "warning"
    assert told.count("warning") == 1


def test_pages_of_another_question_or_symbol_are_not_believed(tmp_path: Path) -> None:
    symbols = ("BTCUSDT", "ETHUSDT")

    async def story(world: World) -> None:
        for symbol in symbols:
            world.links_bring(minutes_ago(90), minutes_ago(80), symbol)
            world.links_bring(minutes_ago(20), START_MS, symbol)
        async with world.filling(symbols=symbols):
            await world.until(lambda: not any(world.ledger.gaps(symbol) for symbol in symbols))
        for symbol in symbols:
            world.assert_complete(symbol)
            assert world.ledger.absences(symbol) == ()

    in_a_world(tmp_path, story, faults=[RestRepeat(share=0.5, count=30)], symbols=symbols, speed=200)


@pytest.mark.parametrize("status", [429, 418])
def test_a_limit_is_obeyed_to_the_second(tmp_path: Path, status: int) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(60), minutes_ago(50))
        world.links_bring(minutes_ago(20), START_MS)
        async with world.filling():
            await world.until(lambda: not world.ledger.gaps(X))
            assert world.clock() >= START_MS + 40_000
        world.assert_complete()
        assert 1 <= world.exchange.report().statuses[str(status)] <= 6

    in_a_world(tmp_path, story, faults=[RestLimit(status=status, seconds=40)], limits=Limits(in_flight_s=39))  # type: ignore[arg-type]


def test_no_minute_costs_more_than_five_sixths_of_the_limit(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with world.filling(warmup_ms=6 * HOUR_MS) as filling:
            await world.until(lambda: bool(world.ledger.runs(X)) and filling.wanted(X) == 0)
        world.assert_complete()
        # Pages that are under way at the minute's turn count in the next one at the exchange.
        assert world.asked * 4 > 2 * 120
        assert world.exchange.report().most_weight_used <= 100 + 4 * 4

    in_a_world(tmp_path, story, limits=Limits(weight_per_minute=120, in_flight_s=120))


# The first start


def test_the_newest_hours_of_all_symbols_come_before_the_older_ones_of_any(tmp_path: Path) -> None:
    symbols = ("BTCUSDT", "ETHUSDT", "SHIBUSDT")

    async def story(world: World) -> None:
        def fetched_from(symbol: str) -> int:
            runs = world.ledger.runs(symbol)
            return runs[-1].first_ms if runs else START_MS

        async with world.filling(symbols=symbols, warmup_ms=12 * HOUR_MS) as filling:
            await world.until(lambda: all(world.ledger.runs(symbol) for symbol in symbols))
            while any(filling.wanted(symbol) for symbol in symbols):
                if all(world.ledger.history_wanted(symbol) for symbol in ("BTCUSDT", "ETHUSDT")):
                    apart_ms = abs(fetched_from("BTCUSDT") - fetched_from("ETHUSDT"))
                    assert apart_ms < HOUR_MS
                await asyncio.sleep(0)
        for symbol in symbols:
            world.assert_complete(symbol)
            assert world.ledger.history_wanted(symbol) is None
            assert world.ledger.runs(symbol)[0].first_id == world.began(12, symbol)

    in_a_world(tmp_path, story, symbols=symbols, speed=1)


def test_the_end_of_a_history_is_told_once_however_soon_it_comes(tmp_path: Path) -> None:
    """Also of one that comes between two looks; and after a restart no more."""

    def told() -> int:
        return [line["event"] for line in logs].count("history complete")

    async def story(world: World) -> None:
        async with world.filling(warmup_ms=HOUR_MS // 4):
            await world.until(lambda: told() > 0)
            await world.pass_time(5)
        assert told() == 1
        async with world.filling():
            await world.pass_time(5)
        assert told() == 1

    with capture_logs() as logs:
        in_a_world(tmp_path, story, speed=2)


def test_a_first_start_answers_at_once_from_its_newest_page_and_calls_the_rest_uncovered(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        async with world.filling(warmup_ms=6 * HOUR_MS) as filling:
            await world.until(lambda: bool(world.ledger.runs(X)))
            window = START_MS - 6 * HOUR_MS, START_MS
            coverage = world.ledger.coverage(X, *window)
            assert coverage.trades > 0
            assert not coverage.complete
            await world.until(lambda: filling.wanted(X) > 0)
            assert world.ledger.missing(X) <= 3 * 999
            await world.until(lambda: filling.wanted(X) == 0)
            [run] = world.ledger.runs(X)
            assert run.first_id == world.began(6)
            assert world.ledger.coverage(X, run.first_ms, run.last_ms).complete

    in_a_world(tmp_path, story, speed=1)


def test_a_first_start_that_is_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    pages = 6 * 3600 * 18 * RATE / 999

    async def first(world: World) -> None:
        async with world.filling(warmup_ms=6 * HOUR_MS):
            await world.until(lambda: world.asked > pages / 2)

    async def second(world: World) -> None:
        history = world.ledger.history_wanted(X)
        assert history is not None
        assert 0 < history.missing < pages * 999
        assert history.first_id == world.began(6)
        async with world.filling(warmup_ms=99 * HOUR_MS):
            await world.until(lambda: world.ledger.history_wanted(X) is None)
        assert world.asked < 0.8 * pages
        assert world.ledger.runs(X)[0].first_id == history.first_id
        world.assert_complete()

    in_a_world(tmp_path, first, speed=1)
    in_a_world(tmp_path, second, speed=1)


def test_a_symbol_that_has_not_traded_has_no_history_to_wait_for(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        async with world.filling(warmup_ms=60_000) as filling:
            await world.until(lambda: world.ledger.warmup_from_ms(X) is not None)
            assert filling.wanted(X) == 0
            assert world.ledger.runs(X) == ()

    in_a_world(tmp_path, story, rate=1e-6, speed=1)


# Where REST's history begins


def test_history_ends_where_the_exchange_begins_and_is_not_asked_for_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        floor = world.id_at(minutes_ago(90))
        async with world.filling(warmup_ms=3 * HOUR_MS) as filling:
            await world.until(lambda: world.ledger.history_wanted(X) is not None)
            world.exchange.inject(RestFloor(symbols=(X,), floor_id=floor))
            await world.until(lambda: filling.wanted(X) == 0 and world.ledger.runs(X)[0].first_id == floor)
            asked, world.clock.speed = world.asked, 400
            await world.pass_time(900)
            assert world.asked - asked <= 2  # the two questions where it begins, perhaps
            assert world.ledger.history_wanted(X) is None
            assert world.ledger.absences(X) == ()
        coverage = world.ledger.coverage(X, minutes_ago(120), START_MS)
        assert (coverage.missing, coverage.complete) == (0, False)
        assert abs(coverage.covered_pct - 75) < 1

    in_a_world(tmp_path, story, faults=[RestSlow(delay_s=1)], speed=30)


def test_a_gap_below_the_floor_stays_open_uncertified_and_nearly_unasked(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.links_bring(minutes_ago(400), minutes_ago(380))
        world.links_bring(minutes_ago(20), START_MS)
        floor = world.id_at(minutes_ago(60))
        world.exchange.inject(RestFloor(symbols=(X,), floor_id=floor))
        async with world.filling(rule=Rule(tries=3, over_ms=60_000)) as filling:
            await world.until(lambda: world.ledger.gaps(X)[0].last_id == floor - 1)
            await world.until(lambda: filling.wanted(X) == 0)
            asked = world.asked
            await world.pass_time(600)
            assert world.asked - asked <= 2
            [gap] = world.ledger.gaps(X)
            assert gap.state == "open"
            assert world.ledger.absences(X) == ()
            assert filling.state(X).out_of_reach == gap.missing
            world.exchange.clear()
            world.clock.advance(25 * HOUR_MS)
            await world.until(lambda: not world.ledger.gaps(X))

    in_a_world(tmp_path, story, speed=200)


# Ids that the exchange lacks


def test_a_hole_that_rest_lacks_too_is_certified_after_ten_tries_over_half_an_hour(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        first_id = world.id_at(minutes_ago(30))
        last_id = first_id + 2_500
        world.exchange.inject(Hole(symbols=(X,), first_id=first_id, last_id=last_id))
        world.links_bring(minutes_ago(60), START_MS)
        async with world.filling() as filling:
            await world.until(lambda: len(world.ledger.absences(X)) > 0)
            assert world.ledger.missing(X) == 2_501
            await world.until(lambda: world.ledger.gaps(X)[0].state == "certified")
            await world.until(lambda: filling.state(X).counts.certified == 1)
            assert (filling.state(X).missing, filling.state(X).certified) == (0, 2_501)
        [absence] = world.ledger.absences(X)
        assert (absence.first_id, absence.last_id) == (first_id, last_id)
        assert (absence.below.id, absence.above.id) == (first_id - 1, last_id + 1)
        assert absence.asked >= 10
        assert 1_800_000 <= absence.last_asked_ms - absence.first_asked_ms < 2_700_000
        coverage = world.ledger.coverage(X, minutes_ago(50), minutes_ago(5))
        assert (coverage.missing, coverage.certified, coverage.complete) == (0, 2_501, True)
        world.assert_complete()
        assert world.asked < 25

    with capture_logs() as logs:
        in_a_world(tmp_path, story, speed=400)
    [line] = [line for line in logs if line["event"] == "gap certified"]
    assert (line["ids"], line["log_level"]) == (2_501, "warning")


def test_tries_count_on_over_a_restart(tmp_path: Path) -> None:
    hole = Hole(symbols=(X,), first_id=0, last_id=0)
    rule = Rule(tries=10, over_ms=600_000)

    def hiding(world: World) -> int:
        first_id = world.id_at(minutes_ago(30))
        world.exchange.inject(type(hole)(symbols=(X,), first_id=first_id, last_id=first_id + 9))
        return first_id

    async def first(world: World) -> None:
        hiding(world)
        world.links_bring(minutes_ago(60), START_MS)
        async with world.filling(rule=rule):
            await world.until(lambda: any(each.asked >= 5 for each in world.ledger.absences(X)))

    async def second(world: World) -> None:
        hiding(world)
        [before] = world.ledger.absences(X)
        assert before.asked >= 5
        async with world.filling(rule=rule):
            await world.until(lambda: world.ledger.absences(X)[0].state == "certified")
        [after] = world.ledger.absences(X)
        assert after.first_asked_ms == before.first_asked_ms
        assert after.asked < before.asked + 10

    in_a_world(tmp_path, first, speed=200)
    in_a_world(tmp_path, second, speed=200)


def test_certified_ids_that_come_late_are_taken_and_what_is_left_stays_certified(tmp_path: Path) -> None:
    rule = Rule(tries=3, over_ms=20_000, again_ms=60_000)

    async def story(world: World) -> None:
        first_id = world.id_at(minutes_ago(30))
        for last_id in (first_id + 9, first_id + 3):
            world.exchange.inject(RestHide(symbols=(X,), first_id=first_id, last_id=last_id))
        rows = world.exchange.market.trades(X, minutes_ago(60), START_MS)
        world.ledger.append(X, rows.take((rows.id < first_id) | (rows.id > first_id + 9)))
        async with world.filling(rule=rule) as filling:
            await world.until(lambda: filling.state(X).counts.certified == 1)
            assert [gap.state for gap in world.ledger.gaps(X)] == ["certified"]
            assert world.exchange.clear(1)
            await world.until(lambda: filling.state(X).counts.recovered_ids == 6)
            [gap] = world.ledger.gaps(X)
            assert (gap.last_id, gap.state) == (first_id + 3, "certified")
            assert world.exchange.clear(2)
            await world.until(lambda: filling.state(X).counts.recovered_ids == 10)
            assert world.ledger.gaps(X) == ()
        assert world.ledger.absences(X) == ()
        world.assert_complete()

    with capture_logs() as logs:
        in_a_world(tmp_path, story)
    assert [line["ids"] for line in logs if line["event"] == "certified ids came"] == [6, 4]


def test_a_certified_hole_is_asked_for_daily_and_comes_late(tmp_path: Path) -> None:
    rule = Rule(tries=3, over_ms=20_000)

    async def story(world: World) -> None:
        first_id = world.id_at(minutes_ago(30))
        world.exchange.inject(Hole(symbols=(X,), first_id=first_id, last_id=first_id + 9, until_s=7_200))
        world.links_bring(minutes_ago(60), START_MS)
        async with world.filling(rule=rule):
            await world.until(lambda: [gap.state for gap in world.ledger.gaps(X)] == ["certified"])
            asked = world.asked
            await world.pass_time(3_600)
            assert world.asked == asked
            world.clock.advance(23 * 3_600_000)
            await world.until(lambda: not world.ledger.gaps(X))
            assert world.asked == asked + 1
        assert world.ledger.absences(X) == ()

    in_a_world(tmp_path, story, speed=2_000, rate=0.02)


def test_a_head_that_stays_below_the_gap_proves_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        first_id = world.id_at(minutes_ago(30))
        world.exchange.inject(RestHide(symbols=(X,), first_id=first_id))
        rows = world.exchange.market.trades(X, minutes_ago(60), START_MS)
        world.ledger.append(X, rows.take((rows.id < first_id) | (rows.id > first_id + 9)))
        async with world.filling(rule=Rule(tries=3, over_ms=60_000)):
            await world.pass_time(2_400)
        assert [gap.state for gap in world.ledger.gaps(X)] == ["open"]
        assert world.ledger.absences(X) == ()
        assert world.asked < 60

    in_a_world(tmp_path, story, speed=1_000)


def test_an_id_far_above_all_that_rest_has_delays_no_gap_and_costs_little(tmp_path: Path) -> None:
    """Of a ledger that took a wrong id in: the gap below that is nobody's to fill, the others are filled."""

    async def story(world: World) -> None:
        world.links_bring(minutes_ago(60), minutes_ago(50))
        world.links_bring(minutes_ago(40), minutes_ago(20))
        world.links_bring(minutes_ago(10), minutes_ago(5))
        newest = world.exchange.market.streamed(X, minutes_ago(6), minutes_ago(5)).take(slice(-1, None))
        world.ledger.append(X, replace(newest, id=np.array([2**53 + 1])))
        async with world.filling() as filling:
            await world.until(lambda: len(world.ledger.gaps(X)) == 1)
            # Nine pages; and once a minute the end, REST's newest row, and the page that was traded since.
            assert world.asked < 15 + 3 * (5 + minutes_since_start(world))
            await world.until(lambda: filling.wanted(X) == 0)
            await world.pass_time(1_800)
            assert world.asked < 15 + 3 * (5 + minutes_since_start(world))
            held = world.ledger.trades(X, 0, world.clock())
            assert int(held.id[-2]) >= world.id_at(START_MS)

    in_a_world(tmp_path, story, speed=400)


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_is_set_stops_no_filling(tmp_path: Path, hours: int) -> None:
    """While gaps are put off because REST lags, while REST is away, and while it refuses the symbol."""

    async def story(world: World) -> None:
        clock = SteppedClock(world.clock)
        world.links_bring(minutes_ago(40), minutes_ago(30))
        world.links_bring(minutes_ago(20), minutes_ago(2))
        newest = world.exchange.market.streamed(X, minutes_ago(1), START_MS)
        world.ledger.append(X, newest)
        world.exchange.inject(RestLag(ms=120_000, until_s=60))
        world.exchange.inject(RestReply(status=503, until_s=20))
        async with world.filling(clock=clock):
            await world.pass_time(10)
            clock.step_ms = hours * HOUR_MS
            await world.pass_time(110)
            await world.until(lambda: not world.ledger.gaps(X))
            assert world.clock() - START_MS < 300_000
        world.assert_complete()

    in_a_world(tmp_path, story)


def test_a_page_that_cannot_follow_the_newest_trade_is_not_taken_in(tmp_path: Path) -> None:
    """It may be another symbol's: rows of REST do not say whose they are."""

    async def story(world: World) -> None:
        async with world.filling() as filling:
            world.links_bring(minutes_ago(2), minutes_ago(1))
            newest = world.ledger.runs(X)[-1]
            before = world.ledger.rows(X)
            foreign = Mark(newest.last_id - 1_000_000, newest.last_ms)
            assert await filling.catch_up(X, foreign) is None
            assert world.ledger.rows(X) == before
            found = await filling.catch_up(X, Mark(newest.last_id, newest.last_ms))
            assert found is not None
            assert found.added.new == len(found.rows) > 0

    in_a_world(tmp_path, story)
