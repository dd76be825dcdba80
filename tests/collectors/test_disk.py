"""What is told of the recorder's writes: how old what they took in was, and how long they were refused."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from collectors.disk import Disk
from collectors.exchange import VirtualClock
from storage import tapes as tapes_module
from storage.database import Database
from storage.errors import StoreUnavailable
from storage.ledger import TradeLedger
from tests.tapes import START_MS, run_of

SYMBOLS = ("BTCUSDT", "ETHUSDT")


def on_a_disk(path: Path, story: Callable[[TradeLedger, VirtualClock, Disk], Awaitable[None]]) -> list[Any]:
    """What is logged of it."""

    async def run() -> None:
        clock = VirtualClock(START_MS, speed=0)
        with TradeLedger.open(path / "l") as ledger:
            disk = Disk(ledger, clock, lambda: SYMBOLS)
            await story(ledger, clock, disk)
            await disk.close()

    with capture_logs() as logs:
        asyncio.run(run())
    return list(logs)


def test_the_lag_is_that_of_the_latest_symbol_of_those_that_something_new_was_written_of(
    tmp_path: Path,
) -> None:
    async def story(ledger: TradeLedger, clock: VirtualClock, disk: Disk) -> None:
        for symbol in SYMBOLS:
            ledger.append(symbol, run_of(1, 1, start_ms=START_MS))
        await disk.flush()
        assert disk.durable_lag_ms is None  # they may be history
        clock.advance(9_000)
        ledger.append("BTCUSDT", run_of(2, 1, start_ms=START_MS + 7_000))
        await disk.flush()
        assert disk.durable_lag_ms == 2_000
        ledger.append("BTCUSDT", run_of(3, 1, start_ms=START_MS + 8_000))
        ledger.append("ETHUSDT", run_of(2, 1, start_ms=START_MS + 5_000))
        await disk.flush()
        assert disk.durable_lag_ms == 4_000
        clock.advance(9_000)
        await disk.flush()
        assert disk.durable_lag_ms == 4_000

    assert on_a_disk(tmp_path, story) == []


def test_failures_in_a_row_are_told_of_once_and_their_end_with_what_was_refused_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tapes_module, "MOST_UNWRITTEN", 10)
    written, refuses = Database.write, False

    def write(database: Database, *records: Any) -> None:
        if refuses:
            raise StoreUnavailable("No space left on device")
        written(database, *records)

    monkeypatch.setattr(Database, "write", write)

    async def story(ledger: TradeLedger, clock: VirtualClock, disk: Disk) -> None:
        nonlocal refuses
        for at, refused in ((100, 3), (200, 5)):
            refuses = True
            await disk.flush()
            ledger.append("BTCUSDT", run_of(at, 10))
            for _ in range(3):
                await disk.flush()
            assert ledger.append("BTCUSDT", run_of(at + 10, refused)).refused == refused
            await disk.flush()
            refuses = False
            await disk.flush()
            assert ledger.condition.unwritten == 0

    lines = on_a_disk(tmp_path, story)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("flush failed", "error"),
        ("disk writes again", "info"),
    ] * 2
    assert [(line["refused"], line["awaited_disk"]) for line in lines[1::2]] == [(3, 10), (5, 10)]
