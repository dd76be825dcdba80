"""The recorder's connections as they are in real time: announcements, full rings, many symbols, conflicts."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection

from collectors import links as links_module
from collectors import looks as looks_module
from collectors import stream as stream_module
from collectors.exchange import Exchange, GeneratedMarket, Limits
from collectors.exchange.faults import Conflict, End, Malformed, Refuse
from collectors.figures import LinkFigures
from collectors.lines import MOST_NAMES
from collectors.links import Ring, stream_path
from collectors.looks import REST_LAG_MS
from collectors.stream_frames import Parsed
from collectors.timing import Timing
from collectors.turn import Turn
from storage.ledger import TradeLedger
from storage.trades import Instrument, TradeColumns
from tests.clock import wall_ms

from .payloads import btcusdt
from .test_recorder import assert_equals_exchange, fast_market, held, recording, talking, until

DOWN = {"e": "serverShutdown", "E": 1_770_123_456_789}


@pytest.mark.parametrize("notice", [DOWN, {"stream": "!serverShutdown", "data": DOWN}])
def test_an_announced_shutdown_is_acted_on_at_once_in_either_form(
    tmp_path: Path, notice: Mapping[str, object]
) -> None:
    """The notice comes with the first trade; a second connection is there before the first one ends."""
    open_now: set[int] = set()
    most_open = opened = 0

    async def talk(socket: ServerConnection) -> None:
        nonlocal most_open, opened
        opened += 1
        number = opened
        open_now.add(number)
        most_open = max(most_open, len(open_now))
        await socket.send(btcusdt(number, wall_ms()))
        if number == 1:
            await socket.send(json.dumps(notice))
        await socket.wait_closed()
        open_now.discard(number)

    async def run() -> None:
        async with (
            Exchange(fast_market(), clock=wall_ms) as exchange,
            talking(talk) as url,
        ):
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, stream_url=url) as recorder:
                    await until(lambda: most_open == 2)
                    await until(lambda: len(recorder.figures().links) == 2)

    asyncio.run(run())


def test_what_does_not_fit_into_a_ring_is_counted_and_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser takes a second at a time, or what a machine makes of it; no look at REST is due."""
    parse, takes_s = stream_module._parse, 0.0

    async def parse_slowly(texts: list[bytes], turn: Turn) -> Parsed:
        await asyncio.sleep(takes_s)
        return await parse(texts, turn)

    rings: list[Ring] = []

    class Held(Ring):
        """It is at hand."""

        def __init__(self, filled: asyncio.Event, most_texts: int, most_bytes: int) -> None:
            super().__init__(filled, most_texts, most_bytes)
            rings.append(self)

    monkeypatch.setattr(links_module, "Ring", Held)
    monkeypatch.setattr(stream_module, "_parse", parse_slowly)
    monkeypatch.setattr(looks_module, "LOOK_MS", REST_LAG_MS)
    timing = Timing(least_silence_s=REST_LAG_MS / 1000)

    async def run() -> int:
        """How many trades were given up."""
        nonlocal takes_s
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, rest_lag_ms=REST_LAG_MS, timing=timing) as recorder:
                    await until(lambda: bool(ledger.runs("BTCUSDT")))
                    # What is given up before the first trade is held leaves no gap.
                    takes_s, (ring,) = 1.0, rings
                    ring._most_texts = 100
                    await until(lambda: recorder.figures().dropped > 300)
                    assert recorder.figures().links[0].waiting <= 100
                    takes_s, ring._most_texts = 0.0, links_module.MOST_TEXTS
                    head = ledger.runs("BTCUSDT")[-1].last_id
                    await until(lambda: ledger.runs("BTCUSDT")[-1].last_id > head + 1_500, within_s=60)
                    await until(lambda: not ledger.gaps("BTCUSDT"), within_s=60)
                assert_equals_exchange(ledger, exchange)
                report = exchange.report()
                assert report.self_inflicted == []
                assert report.requests["/api/v3/aggTrades"] > 0
                return recorder.figures().dropped

    with capture_logs() as logs:
        dropped = asyncio.run(run())
    closed = [line for line in logs if line["event"] == "gap filled"]
    assert closed
    assert all(line["by"] == {"rest": line["ids"]} for line in closed)
    assert sum(line["ids"] for line in closed) == dropped
    assert any(line["event"] == "messages given up" for line in logs)


def test_a_connection_that_ends_while_messages_await_parsing_counts_until_then_alone(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, timing=Timing(gather_s=0.5)) as recorder:
                    await until(lambda: len(held(ledger)) > 100)
                    exchange.inject(End())
                    exchange.inject(Refuse())
                    await until(lambda: not recorder.figures().links)
                    await until(lambda: not recorder.figures().symbols[0].is_synced)
                    assert recorder.silent_ms("BTCUSDT") == 0

    asyncio.run(run())


def test_conflicts_are_counted_and_kept_and_the_first_content_stays(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms, faults=[Conflict(share=0.05)]) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, links=2) as recorder:
                    await until(lambda: recorder.figures().symbols[0].conflicts > 20)
                conflicts = ledger.conflicts("BTCUSDT")
                rows = {int(row): at for at, row in enumerate(held(ledger).id)}
                assert len(conflicts) > 10
                for each in conflicts:
                    here = slice(rows[each.id], rows[each.id] + 1)
                    assert int(held(ledger).take(here).price_int[0]) == int(
                        each.kept.at_exponents(held(ledger).price_exp, each.kept.quantity_exp).price_int[0]
                    )
                assert_equals_exchange(ledger, exchange)

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["oversized", "binary", "invalid_utf8", "non_ascii_symbol"])
def test_frames_of_any_size_and_kind_end_no_link(tmp_path: Path, kind: str) -> None:
    async def run() -> None:
        fault = Malformed(kind=kind, share=0.01)  # type: ignore[arg-type]
        # Ten megabytes a second, which wait where the machine is busy.
        limits = Limits(send_buffer_bytes=2**30)
        async with Exchange(fast_market(), clock=wall_ms, faults=[fault], limits=limits) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange):
                    await until(lambda: exchange.report().faults_hit.get("malformed", 0) > 5)
                    await until(lambda: len(held(ledger)) > 1_000)
                assert len(exchange.report().links) == 1
                assert_equals_exchange(ledger, exchange)

    asyncio.run(run())


class ManySymbols:
    """A market that lists many names; one of them, the last, trades."""

    def __init__(self, count: int) -> None:
        self._inner = GeneratedMarket(symbols=["BTCUSDT"])
        listed = self._inner.instruments["BTCUSDT"]
        self.symbols = tuple(f"COIN{at:04d}USDT" for at in range(count))
        self.instruments: Mapping[str, Instrument] = {
            symbol: replace(listed, symbol=symbol) for symbol in self.symbols
        }

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        if symbol != self.symbols[-1]:
            return TradeColumns.empty()
        return self._inner.trades("BTCUSDT", start_ms, end_ms)

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        if symbol != self.symbols[-1]:
            return TradeColumns.empty()
        return self._inner.from_id("BTCUSDT", first_id, limit)

    def first_id_from(self, symbol: str, time_ms: int) -> int:
        return self._inner.first_id_from("BTCUSDT", time_ms)


def test_more_symbols_than_fit_into_a_connection_are_spread_over_several(tmp_path: Path) -> None:
    market = ManySymbols(1_100)

    async def run() -> tuple[LinkFigures, ...]:
        async with Exchange(market, clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, symbols=list(market.symbols)) as recorder:
                    await until(lambda: bool(ledger.rows(market.symbols[-1])))
                    await until(lambda: len(recorder.figures().links) == recorder.figures().lines)
                    links = recorder.figures().links
                assert len(ledger.instruments) == 1_100
                assert exchange.report().self_inflicted == []
                return links

    links = asyncio.run(run())
    assert sum(link.symbols for link in links) == 1_100
    assert len(links) == 4
    assert max(link.symbols for link in links) <= 1_024
    longest = max(links, key=lambda link: link.symbols)
    assert len(stream_path(market.symbols[: longest.symbols])) <= MOST_NAMES + 20
