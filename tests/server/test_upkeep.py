"""The server's care for its ledger: what is done when, and what the log says of it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.upkeep import Limits, Upkeep
from storage import keys
from storage.database import Database
from storage.errors import StoreUnavailable
from storage.ledger import TradeLedger
from tests.tapes import START_MS, run_of

HOUR_MS = keys.HOUR_MS
FIRST_HOUR = START_MS - START_MS % HOUR_MS
TICK_S = 0.01


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now_ms = FIRST_HOUR + 4 * HOUR_MS + 120_000

    def __call__(self) -> int:
        return self.now_ms


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  the work is done in threads
            await asyncio.sleep(TICK_S)


def kept_up(
    path: Path, limits: Limits, meanwhile: Callable[[TradeLedger, Clock, list[Any]], Any]
) -> list[Any]:
    """What the log says while a ledger of 4 hours, X's and Y's, is kept up."""
    clock = Clock()

    async def run(ledger: TradeLedger) -> None:
        task = asyncio.create_task(Upkeep(ledger, path, limits, clock, tick_s=TICK_S).run())
        await meanwhile(ledger, clock, logs)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with TradeLedger.open(path) as ledger, capture_logs() as logs:
        for symbol in "XY":
            ledger.append(symbol, run_of(1, 480, start_ms=FIRST_HOUR, step_ms=30_000))
        ledger.flush()
        ledger.compact()
        asyncio.run(run(ledger))
    return logs


def deletions(logs: list[Any]) -> list[Any]:
    return [line for line in logs if line["event"] == "hours deleted"]


def test_old_hours_go_once_a_clock_hour_and_the_log_says_which(tmp_path: Path) -> None:
    async def meanwhile(ledger: TradeLedger, clock: Clock, logs: list[Any]) -> None:
        await until(lambda: len(deletions(logs)) == 2)
        assert ledger.rows("X") == ledger.rows("Y") == 240
        await until((tmp_path / "l" / "RESERVE").exists)
        clock.now_ms += HOUR_MS
        ledger.append("Z", run_of(1, 1, start_ms=clock.now_ms, step_ms=1))
        await until(lambda: len(deletions(logs)) == 4)
        assert ledger.rows("X") == ledger.rows("Y") == 120

    logs = kept_up(tmp_path / "l", Limits(2 * HOUR_MS, None), meanwhile)
    told = deletions(logs)
    assert [(line["symbol"], line["hours"], line["trades"]) for line in told] == [
        ("X", 2, 240),
        ("Y", 2, 240),
        ("X", 1, 120),
        ("Y", 1, 120),
    ]
    assert {line["reason"] for line in told} == {"retention"}
    assert (told[0]["first"], told[0]["end"]) == ("2023-11-14T22:00:00.000Z", "2023-11-15T00:00:00.000Z")


def test_a_clock_that_is_set_ahead_deletes_no_more_than_an_hour_too_soon(tmp_path: Path) -> None:
    """Until trades show that so much time has passed."""

    async def meanwhile(ledger: TradeLedger, clock: Clock, logs: list[Any]) -> None:
        ledger.append("X", run_of(2**53 + 1, 1, start_ms=FIRST_HOUR, step_ms=1))  # a wrong id hides nothing
        clock.now_ms += 1_000 * HOUR_MS
        await until(lambda: len(deletions(logs)) == 2)
        assert ledger.rows("X") == ledger.rows("Y") == 240
        ledger.append("X", run_of(481, 120, start_ms=FIRST_HOUR + 9 * HOUR_MS, step_ms=30_000))
        await until(lambda: len(deletions(logs)) == 4)
        assert (ledger.rows("X"), ledger.rows("Y")) == (120, 0)

    logs = kept_up(tmp_path / "l", Limits(2 * HOUR_MS, None), meanwhile)
    assert {line["reason"] for line in deletions(logs)} == {"retention"}


def test_a_limit_that_cannot_be_met_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.upkeep.LIMIT_TICKS", 2)
    looks = 0
    shrunk = TradeLedger.shrink

    def shrink(*given: Any) -> Any:
        nonlocal looks
        looks += 1
        return shrunk(*given)

    monkeypatch.setattr(TradeLedger, "shrink", shrink)

    async def meanwhile(ledger: TradeLedger, _: Clock, __: list[Any]) -> None:
        await until(lambda: ledger.rows("X") == 120 and looks > 4)

    logs = kept_up(tmp_path / "l", Limits(None, 1), meanwhile)
    assert [line["reason"] for line in deletions(logs)] == ["size limit"] * 2
    assert len([line for line in logs if line["event"] == "ledger above its size limit"]) == 1


def test_upkeep_waits_for_a_disk_that_refuses_midway_and_tells_what_went_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0
    written = Database.write

    def refuse_y(database: Database, records: Any, removed: Any = ()) -> None:
        nonlocal refused
        if keys.block("Y", FIRST_HOUR) in removed:
            refused += 1
            raise StoreUnavailable("no space")
        written(database, records, removed)

    monkeypatch.setattr(Database, "write", refuse_y)

    async def meanwhile(ledger: TradeLedger, _: Clock, logs: list[Any]) -> None:
        await until(lambda: refused > 2)
        assert (ledger.rows("X"), ledger.rows("Y")) == (240, 480)
        assert [line["symbol"] for line in deletions(logs)] == ["X"]
        monkeypatch.setattr(Database, "write", written)
        await until(lambda: len(deletions(logs)) == 2)
        assert (ledger.rows("X"), ledger.rows("Y")) == (240, 240)

    logs = kept_up(tmp_path / "l", Limits(2 * HOUR_MS, None), meanwhile)
    assert [line["symbol"] for line in deletions(logs)] == ["X", "Y"]
    troubles = [line for line in logs if line["log_level"] in ("warning", "error")]
    assert [(line["event"], line["work"]) for line in troubles] == [
        ("upkeep waits for the disk", "retention")
    ]
