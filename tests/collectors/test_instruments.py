"""What the exchange lists and how that changes: filters with their time, halts, delisting."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from collectors.exchange import Exchange, GeneratedMarket
from collectors.exchange.clock import VirtualClock
from collectors.exchange.faults import Listing
from collectors.instruments import Instruments
from collectors.rest import BinanceRest
from storage.ledger import TradeLedger
from tests.tapes import run_of

START_MS = 1_764_070_200_000
Story = Callable[[Exchange, TradeLedger, Instruments, VirtualClock], Coroutine[Any, Any, None]]


def told(path: Path, story: Story, *symbols: str) -> list[Any]:
    """What was logged while the story ran on a ledger at `path`."""

    async def run() -> None:
        clock = VirtualClock(START_MS, speed=0)
        market = GeneratedMarket(symbols=["BTCUSDT", "ETHUSDT"], rate=0.01)
        async with Exchange(market, clock=clock) as exchange, BinanceRest(exchange.rest_url, clock) as rest:
            with TradeLedger.open(path / "l") as ledger:
                instruments = Instruments(ledger, rest, clock, symbols=symbols, addresses=[exchange.rest_url])
                await instruments.prepare()
                await story(exchange, ledger, instruments, clock)

    with capture_logs() as logs:
        asyncio.run(run())
    return [line for line in logs if line["event"] != "symbols known"]


def test_a_changed_tick_holds_from_when_it_was_seen(tmp_path: Path) -> None:
    async def story(
        exchange: Exchange, ledger: TradeLedger, instruments: Instruments, clock: VirtualClock
    ) -> None:
        await instruments.look_again()
        exchange.inject(Listing(symbols=("BTCUSDT",), tick="0.10"))
        clock.advance(3_600_000)
        await instruments.look_again()
        await instruments.look_again()
        assert ledger.instruments["BTCUSDT"].tick == Decimal("0.1")
        [(_, before), (since_ms, now)] = ledger._notes.versions("BTCUSDT")
        assert (before.tick, now.tick, since_ms) == (Decimal("0.01"), Decimal("0.1"), START_MS + 3_600_000)

    [line] = told(tmp_path, story, "BTCUSDT", "ETHUSDT")
    assert (line["event"], line["symbol"], line["tick_was"]) == ("filters changed", "BTCUSDT", "0.01")


def test_a_halt_is_told_of_once_with_its_beginning_and_its_end(tmp_path: Path) -> None:
    async def story(
        exchange: Exchange, ledger: TradeLedger, instruments: Instruments, clock: VirtualClock
    ) -> None:
        halt = exchange.inject(Listing(symbols=("ETHUSDT",), status="HALT"))
        clock.advance(3_600_000)
        for _ in range(3):
            await instruments.look_again()
        assert ledger.status("ETHUSDT") == ("HALT", START_MS + 3_600_000)
        assert instruments.symbols == ["BTCUSDT", "ETHUSDT"]
        exchange.clear(halt)
        clock.advance(3_600_000)
        await instruments.look_again()
        assert ledger.status("ETHUSDT") == ("TRADING", START_MS + 7_200_000)

    lines = told(tmp_path, story, "BTCUSDT", "ETHUSDT")
    assert [line["event"] for line in lines] == ["symbol does not trade", "symbol trades again"]


def test_a_delisted_symbol_is_dropped_by_name_and_what_is_kept_of_it_stays(tmp_path: Path) -> None:
    async def story(
        exchange: Exchange, ledger: TradeLedger, instruments: Instruments, clock: VirtualClock
    ) -> None:
        ledger.append("ETHUSDT", run_of(1, 10))
        exchange.inject(Listing(symbols=("ETHUSDT",), delisted=True))
        await instruments.look_again()
        assert instruments.symbols == ["BTCUSDT"]
        assert ledger.status("ETHUSDT") == ("DELISTED", START_MS)
        assert ledger.rows("ETHUSDT") == 10

    lines = told(tmp_path, story, "BTCUSDT", "ETHUSDT")
    assert [(line["event"], line["symbol"]) for line in lines] == [("symbol delisted", "ETHUSDT")]

    async def again(
        exchange: Exchange, ledger: TradeLedger, instruments: Instruments, clock: VirtualClock
    ) -> None:
        exchange.inject(Listing(symbols=("ETHUSDT",), delisted=True))
        alone = Instruments(
            ledger, instruments._rest, clock, symbols=["ETHUSDT"], addresses=[exchange.rest_url]
        )
        await alone.prepare()  # and not NoSymbols: what is kept can be asked about
        assert alone.symbols == []

    told(tmp_path, again, "BTCUSDT")


def test_a_name_that_cannot_be_read_is_told_of_and_recorded_all_the_same(tmp_path: Path) -> None:
    """It is no word that the symbol does not exist."""
    name = "BTCUSDTETHUSDTSOLUSDTX"

    async def story(
        exchange: Exchange, ledger: TradeLedger, instruments: Instruments, clock: VirtualClock
    ) -> None:
        await instruments.look_again()
        assert instruments.symbols == [name, "BTCUSDT"]

    lines = told(tmp_path, story, name, "BTCUSDT")
    refused = [line for line in lines if line["event"] == "symbol refused"]
    assert refused
    assert all((line["log_level"], line["symbol"]) == ("warning", name) for line in refused)
    unlisted = [line["symbols"] for line in lines if line["event"] == "symbols not listed"]
    assert unlisted == [[name]]
