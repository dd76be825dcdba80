"""Pages of REST that belong to another question or another symbol, when nothing else says so: rows name
neither. What they would change for good is proven by asking again, so that nothing is poisoned.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors.exchange import GeneratedMarket
from collectors.exchange.faults import RestRepeat, RestShort
from collectors.plausibility import MOST_PER_MS, Mark
from collectors.rest import BinanceRest, RestAway, RestContradicts
from collectors.right_pages import check_right, first_id_since
from storage.trades import TradeColumns
from tests.clock import wall_ms

from .test_filling import HOUR_MS, START_MS, World, X, in_a_world, minutes_ago

BOTH = ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize("symbols", [BOTH, ("BTCUSDT",)])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_first_starts_history_begins_where_it_does_whatever_page_comes_first(
    tmp_path: Path, count: int, symbols: tuple[str, ...]
) -> None:
    async def story(world: World) -> None:
        async with world.filling(symbols=symbols, warmup_ms=HOUR_MS) as filling:
            await world.until(lambda: all(world.ledger.warmup_from_ms(each) is not None for each in symbols))
            await world.until(
                lambda: all(world.ledger.runs(each) and not filling.wanted(each) for each in symbols)
            )
        for symbol in symbols:
            assert world.ledger.runs(symbol)[0].first_id == world.began(1, symbol)
            assert world.ledger.history_wanted(symbol) is None
            world.assert_complete(symbol)

    in_a_world(tmp_path, story, faults=[RestRepeat(count=count)], symbols=symbols, speed=30)


@pytest.mark.parametrize("stuck", [False, True])
def test_no_repeated_page_moves_the_place_where_history_begins(tmp_path: Path, stuck: bool) -> None:
    async def story(world: World) -> None:
        async with world.filling(warmup_ms=3 * HOUR_MS):
            await world.until(lambda: world.ledger.history_wanted(X) is not None)
            world.exchange.inject(RestRepeat(stuck=stuck, until_s=15))
            await world.pass_time(15)
            await world.until(lambda: not (world.ledger.gaps(X) or world.ledger.history_wanted(X)))
        assert world.ledger.runs(X)[0].first_id == world.began(3)
        world.assert_complete()

    in_a_world(tmp_path, story, speed=30)


@pytest.mark.parametrize("stuck", [False, True])
def test_after_an_outage_no_page_of_another_symbol_is_taken_for_its_newest_trades(
    tmp_path: Path, stuck: bool
) -> None:
    """So long a one that the other symbol's ids can be."""

    async def story(world: World) -> None:
        below, above = sorted(BOTH, key=lambda symbol: world.id_at(START_MS, symbol))
        apart_ms = (world.id_at(START_MS, above) - world.id_at(START_MS, below)) / MOST_PER_MS
        head = Mark(world.id_at(START_MS, below) - 1, START_MS - round(1.1 * apart_ms))
        world.links_bring(minutes_ago(1), START_MS, below)
        async with world.filling(symbols=()) as filling:
            await filling.newest(above)
            world.exchange.inject(RestRepeat(count=1, stuck=stuck))
            with pytest.raises(RestAway):
                await filling.catch_up(below, head)
            found = await filling.catch_up(below, head)
            assert found is not None
        world.assert_complete(below)

    in_a_world(tmp_path, story, symbols=BOTH, speed=10)


def test_a_symbol_about_which_rest_contradicts_itself_holds_up_no_other_and_is_told_of_once(
    tmp_path: Path,
) -> None:
    """Its pages hold a single row, which proves nothing."""

    async def story(world: World) -> None:
        async with world.filling(symbols=BOTH, warmup_ms=HOUR_MS) as filling:
            await world.until(lambda: bool(world.ledger.runs("BTCUSDT")) and not filling.wanted("BTCUSDT"))
            await world.pass_time(10)
            assert world.ledger.warmup_from_ms("ETHUSDT") is None
            world.exchange.clear()
            await world.until(lambda: world.ledger.warmup_from_ms("ETHUSDT") is not None)
        world.assert_complete("BTCUSDT")

    with capture_logs() as logs:
        faults = [RestShort(symbols=("ETHUSDT",), rows=1)]
        in_a_world(tmp_path, story, faults=faults, symbols=BOTH, speed=20)
    warnings = [(line["event"], line["symbol"]) for line in logs if line["log_level"] == "warning"]
    assert warnings == [("rest contradicts itself", "ETHUSDT")]


class _Told(BinanceRest):
    """Says what it was given; `moved` rows come by id otherwise than by time."""

    def __init__(self, rows: TradeColumns, moved: TradeColumns) -> None:
        super().__init__("http://127.0.0.1:9", wall_ms)
        self._rows = rows
        self._by_id = TradeColumns.concat([moved, rows]).by_id()

    async def trades_from_time(self, symbol: str, start_ms: int) -> TradeColumns:
        return self._rows.take(self._rows.time_ms >= start_ms)

    async def trades_from_id(self, symbol: str, first_id: int, *, hurried: bool = True) -> TradeColumns:
        return self._by_id.take(self._by_id.id >= first_id)


@pytest.mark.parametrize(("moved", "is_right"), [(1, True), (49, True), (50, False), (100, False)])
def test_one_row_told_otherwise_makes_no_other_page_of_it_and_most_of_them_do(
    moved: int, is_right: bool
) -> None:
    """An id that was given twice, on both sides of midnight, comes by id with its first trade, by time with
    the other."""

    async def run() -> None:
        before, since = (
            market.trades(X, START_MS - HOUR_MS, START_MS),
            market.trades(X, START_MS, START_MS + HOUR_MS).take(slice(0, 100)),
        )
        others = replace(since, time_ms=since.time_ms - 1).take(slice(0, moved))
        async with _Told(TradeColumns.concat([before, since]), others) as rest:
            if is_right:
                assert await first_id_since(rest, X, START_MS) == since.id[0]
            else:
                with pytest.raises(RestContradicts):
                    await first_id_since(rest, X, START_MS)

    market = GeneratedMarket(symbols=[X], rate=1)
    asyncio.run(run())


class _TakingTurns(_Told):
    """Servers of which every other one lags by more than a page, `fresh` the first of them to answer."""

    def __init__(self, rows: TradeColumns, *, fresh: int) -> None:
        super().__init__(rows, TradeColumns.empty())
        self._fresh = fresh
        self.asked = 0

    async def trades_from_id(self, symbol: str, first_id: int, *, hurried: bool = True) -> TradeColumns:
        self.asked += 1
        rows = await super().trades_from_id(symbol, first_id, hurried=hurried)
        return rows if self.asked % 2 == self._fresh % 2 else rows.take(slice(0, 0))


@pytest.mark.parametrize("fresh", [1, 2])
def test_of_two_servers_that_take_turns_the_one_that_lags_contradicts_nothing(fresh: int) -> None:
    async def run() -> None:
        newest = GeneratedMarket(symbols=[X], rate=1).trades(X, START_MS - 60_000, START_MS)
        async with _TakingTurns(newest, fresh=fresh) as rest:
            await check_right(rest, X, newest)
            assert rest.asked == fresh

    asyncio.run(run())


def test_newest_rows_beside_which_rest_has_none_twice_are_not_believed() -> None:
    async def run() -> None:
        newest = GeneratedMarket(symbols=[X], rate=1).trades(X, START_MS - 60_000, START_MS)
        async with _Told(TradeColumns.empty(), TradeColumns.empty()) as rest:
            with pytest.raises(RestContradicts):
                await check_right(rest, X, newest)

    asyncio.run(run())


def test_a_page_under_way_beside_it_is_not_taken_for_the_oldest_rows(tmp_path: Path) -> None:
    """It begins where history would; so the oldest are asked for in a way that shows."""

    async def story(world: World) -> None:
        async with BinanceRest(world.exchange.rest_url, world.clock) as rest:
            await rest.trades_from_id(X, world.id_at(minutes_ago(60)))
            world.exchange.inject(RestRepeat(count=1))
            with pytest.raises(RestContradicts):
                await rest.oldest_trades(X)
            assert len(await rest.oldest_trades(X)) == 10

    in_a_world(tmp_path, story)
