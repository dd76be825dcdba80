"""Whole days out of archive and REST, against the exchange on real sockets: the ledger is the truth."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest

from collectors.archive import Archive, DumpDamaged
from collectors.binance import DAY_MS, start_of
from collectors.exchange import Exchange, Habits, VirtualClock
from collectors.exchange.faults import RestRepeat
from collectors.history import Day, History, OtherTape, days_between
from collectors.rest import BinanceRest
from storage.errors import StoreUnavailable
from storage.intake import OwnIntake, Taken
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.markets import PrintedMarket, printed_market
from tests.tapes import rows_of

SYMBOL = "BTCUSDT"
SLOW = 0.005  # some 7,800 trades a day
TODAY = date(2026, 11, 25)
YESTERDAY, BEFORE = TODAY - timedelta(days=1), TODAY - timedelta(days=2)
NOON = VirtualClock(start_of(TODAY) + DAY_MS // 2)  # no midnight passes


def market(seed: int = 1) -> PrintedMarket:
    """Three days of a market, the last of them today."""
    return printed_market(SYMBOL, seed, SLOW, start_of(BEFORE), start_of(TODAY) + DAY_MS)


def truth(day: date) -> TradeColumns:
    return market().trades(SYMBOL, start_of(day), start_of(day) + DAY_MS)


@dataclass
class Scene:
    """A ledger, the exchange that it comes from, and the gaps seen after each slice of rows."""

    ledger: TradeLedger
    exchange: Exchange
    archive: Archive
    rest: BinanceRest

    def history(self, intake: OwnIntake | None = None) -> History:
        intake = intake or _Watched(self.ledger, NOON())
        runs = self.ledger.runs(SYMBOL)
        return History(self.archive, self.rest, intake, SYMBOL, runs, NOON, venue="simulated")

    async def fill(self, *days: date) -> list[Day]:
        history = self.history()
        return [await history.fill(day) for day in days]

    def held(self) -> TradeColumns:
        return self.ledger.trades(SYMBOL, 0, NOON())


class _Watched(OwnIntake):
    """Fails where a slice leaves more gaps than there were."""

    def put(self, symbol: str, rows: TradeColumns) -> None:
        before = len(self._ledger.gaps(symbol)) if self._ledger.runs(symbol) else 0
        super().put(symbol, rows)
        assert len(self._ledger.gaps(symbol)) <= before


@asynccontextmanager
async def scene(
    path: Path, *, habits: Habits | None = None, history_hours: float = 96, archive_seed: int = 1
) -> AsyncIterator[Scene]:
    async with (
        Exchange(market(), clock=NOON, history_hours=history_hours) as exchange,
        Exchange(market(archive_seed), clock=NOON) as dumps,
        Archive(dumps.rest_url, attempts=1) as archive,
        BinanceRest(exchange.rest_url, NOON) as rest,
    ):
        dumps.archive_habits = habits or Habits()
        with TradeLedger.open(path) as ledger:
            ledger.claim("simulated")
            yield Scene(ledger, exchange, archive, rest)


def test_a_day_comes_out_of_its_dump_and_is_complete(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path / "l") as at:
            [day] = await at.fill(YESTERDAY)
            printed = truth(YESTERDAY)
            assert (day.in_dump, day.over_rest, day.missing) == (len(printed), 0, [])
            assert day.taken == Taken(new=len(printed))
            assert rows_of(at.held()) == rows_of(printed)
            [again] = await at.fill(YESTERDAY)
            assert again.complete_before

    asyncio.run(run())


@pytest.mark.parametrize(
    ("habits", "from_dump"),
    [(Habits(kept=0.4), 0.4), (Habits(published_after_ms=9 * DAY_MS), None), (Habits(kept=0), 0)],
)
def test_rest_brings_what_the_dump_lacks(tmp_path: Path, habits: Habits, from_dump: float | None) -> None:
    async def run() -> None:
        async with scene(tmp_path / "l", habits=habits) as at:
            [day] = await at.fill(YESTERDAY)
            printed = truth(YESTERDAY)
            in_dump = None if from_dump is None else round(len(printed) * from_dump)
            assert (day.in_dump, day.over_rest) == (in_dump, len(printed) - (in_dump or 0))
            assert day.missing == []
            assert rows_of(at.held()) == rows_of(printed)
            assert at.exchange.weights.bans == 0

    asyncio.run(run())


def test_days_grow_downwards_without_a_gap_from_what_is_held(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path / "l", habits=Habits(shuffled=True)) as at:
            later = truth(YESTERDAY)
            at.ledger.append(SYMBOL, later.take(slice(len(later) // 3, None)))
            days = await at.fill(*days_between(BEFORE, TODAY))
            assert [day.day for day in days] == [YESTERDAY, BEFORE]
            assert days[0].taken.held == len(later) - len(later) // 3
            assert days[0].taken.conflicts == 0
            assert len(at.ledger.runs(SYMBOL)) == 1
            assert rows_of(at.held()) == rows_of(truth(BEFORE)) + rows_of(later)

    asyncio.run(run())


def test_what_a_run_that_broke_off_left_is_continued(tmp_path: Path) -> None:
    class BreaksOff(_Watched):
        def put(self, symbol: str, rows: TradeColumns) -> None:
            super().put(symbol, rows.take(slice(len(rows) // 2, None)))
            raise StoreUnavailable("the disk is full")

    async def run() -> None:
        async with scene(tmp_path / "l") as at:
            broken = BreaksOff(at.ledger, NOON())
            with pytest.raises(StoreUnavailable):
                await at.history(broken).fill(YESTERDAY)
            assert 0 < len(at.held()) < len(truth(YESTERDAY))
            [continued] = await at.fill(YESTERDAY)
            assert continued.taken.held + continued.taken.new == len(truth(YESTERDAY))
            assert rows_of(at.held()) == rows_of(truth(YESTERDAY))

    asyncio.run(run())


def test_today_is_brought_up_to_what_is_held(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path / "l") as at:
            printed = market().trades(SYMBOL, start_of(TODAY), NOON())
            at.ledger.append(SYMBOL, printed.take(slice(-1, None)))
            [day] = await at.fill(TODAY)
            assert (day.in_dump, day.over_rest, day.missing) == (None, len(printed) - 1, [])
            assert rows_of(at.held()) == rows_of(printed)

    asyncio.run(run())


def test_ids_that_neither_dump_nor_rest_has_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path / "l", habits=Habits(kept=0.5), history_hours=1) as at:
            later = truth(YESTERDAY)
            at.ledger.append(SYMBOL, later.take(slice(-10, None)))
            history = at.history(OwnIntake(at.ledger, NOON()))
            history._first_ids[start_of(YESTERDAY)] = int(later.id[0])  # REST's floor is later than the day
            history._first_ids[start_of(TODAY)] = int(later.id[-1]) + 1
            history._archive_known = True
            day = await history.fill(YESTERDAY)
            assert day.over_rest == 0
            assert day.missing_ids == len(later) - round(len(later) * 0.5) - 10
            assert day.missing[0].first_id == int(later.id[round(len(later) * 0.5)])

    asyncio.run(run())


@pytest.mark.parametrize(("history_hours", "why"), [(96, "say different things"), (1, "has no id near")])
def test_an_archive_of_another_exchange_is_refused_before_a_row_is_taken(
    tmp_path: Path, history_hours: float, why: str
) -> None:
    async def run() -> None:
        async with scene(tmp_path / "l", archive_seed=2, history_hours=history_hours) as at:
            with pytest.raises(OtherTape, match=f"{why}.*nothing was taken"):
                await at.fill(YESTERDAY)
            assert len(at.held()) == 0

    asyncio.run(run())


def test_a_page_of_another_question_makes_no_day_complete(tmp_path: Path) -> None:
    """It is of the same symbol and begins within the day, whose end is held."""

    async def run() -> None:
        async with scene(tmp_path / "l") as at:
            printed = truth(YESTERDAY)
            at.ledger.append(SYMBOL, printed.take(slice(len(printed) // 2, None)))
            await at.rest.trades_from_id(SYMBOL, int(printed.id[len(printed) // 2 + 10]))
            at.exchange.inject(RestRepeat(count=1))
            [day] = await at.fill(YESTERDAY)
            assert not day.complete_before
            assert rows_of(at.held()) == rows_of(printed)

    asyncio.run(run())


def test_a_dump_that_fails_its_checksum_brings_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path / "l", habits=Habits(wrong_checksum=True)) as at:
            with pytest.raises(DumpDamaged):
                await at.fill(YESTERDAY)
            assert len(at.held()) == 0

    asyncio.run(run())


def test_days_go_newest_first_and_end_before_the_last_named() -> None:
    days = list(days_between(date(2026, 2, 27), date(2026, 3, 2)))
    assert days == [date(2026, 3, 1), date(2026, 2, 28), date(2026, 2, 27)]
    assert list(days_between(date(2026, 3, 2), date(2026, 3, 2))) == []
