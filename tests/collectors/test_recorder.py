"""The recorder against the exchange on real sockets: what was printed is in the ledger."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, serve

from collectors import disk as disk_module
from collectors import recorder as recorder_module
from collectors.certification import Rule
from collectors.clock import Clock
from collectors.exchange import Exchange, GeneratedMarket
from collectors.exchange.faults import Drop, Listing, Refuse, RestReply
from collectors.instruments import NoSymbols
from collectors.oddities import MOST_TOLD
from collectors.recorder import Recorder
from collectors.rest import BinanceRest
from collectors.timing import REAL, Timing
from storage import tapes as tapes_module
from storage.database import Database
from storage.errors import StoreUnavailable, VenueMismatch
from storage.ledger import TradeLedger
from storage.tapes import MOST_UNWRITTEN
from storage.trades import TradeColumns
from tests.clock import wall_ms
from tests.tapes import rows_of, run_of

from .acceptance import running
from .payloads import btcusdt

FAST = 500 / 18  # BTCUSDT at 500 trades a second


@asynccontextmanager
async def recording(
    ledger: TradeLedger,
    exchange: Exchange,
    *,
    symbols: list[str] | None = None,
    warmup_ms: int = 0,
    links: int = 1,
    stream_url: str | None = None,
    rule: Rule | None = None,
    timing: Timing = REAL,
    rest_lag_ms: int = 500,
    clock: Clock = wall_ms,
) -> AsyncIterator[Recorder]:
    async with BinanceRest(exchange.rest_url, clock) as rest:
        recorder = Recorder(
            ledger,
            rest,
            symbols=symbols or ["BTCUSDT"],
            stream_urls=[stream_url or exchange.stream_url] * links,
            warmup_ms=warmup_ms,
            clock=clock,
            rest_lag_ms=rest_lag_ms,
            rule=rule,
            timing=timing,
        )
        async with running(recorder):
            yield recorder


@asynccontextmanager
async def talking(talk: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    """The address of a stream that talks so to each of its links."""
    async with serve(talk, "127.0.0.1", 0, ping_interval=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  what is waited for is the ledger's content
            await asyncio.sleep(0.02)


def events(logs: Sequence[Mapping[str, Any]]) -> set[str]:
    return {line["event"] for line in logs}


def held(ledger: TradeLedger, symbol: str = "BTCUSDT") -> TradeColumns:
    return ledger.trades(symbol, 0, 2 * wall_ms())


def assert_equals_exchange(ledger: TradeLedger, exchange: Exchange, symbol: str = "BTCUSDT") -> None:
    """What is held is, to the last digit, what the exchange printed from the first to the last id held."""
    rows = held(ledger, symbol)
    printed = exchange.market.trades(symbol, int(rows.time_ms[0]), int(rows.time_ms[-1]) + 1)
    first, last = int(rows.id[0]), int(rows.id[-1])
    printed = printed.take((printed.id >= first) & (printed.id <= last))
    assert rows_of(rows) == rows_of(printed)


async def lose_some(exchange: Exchange, code: int | None = 1001) -> None:
    """The links end, and none comes back before a trade has been printed that no link brings."""
    refusal = exchange.inject(Refuse())
    await exchange.disconnect_all(code)
    await exchange.printed("BTCUSDT", exchange.printed_id("BTCUSDT") + 1)
    exchange.clear(refusal)


def fast_market() -> GeneratedMarket:
    return GeneratedMarket(symbols=["BTCUSDT"], rate=FAST)


def test_everything_that_was_printed_is_recorded_and_survives_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, links=2):
                    await until(lambda: len(held(ledger)) > 1000)
                before = len(held(ledger))
            with TradeLedger.open(tmp_path / "l") as ledger:
                assert len(held(ledger)) == before
                assert_equals_exchange(ledger, exchange)
                async with recording(ledger, exchange):
                    await until(lambda: len(held(ledger)) > before + 500 and not ledger.gaps("BTCUSDT"))
                assert_equals_exchange(ledger, exchange)
                assert len(ledger.runs("BTCUSDT")) == 1
            assert exchange.weights.bans == 0

    asyncio.run(run())


def test_the_first_start_fetches_the_wanted_history_once(tmp_path: Path) -> None:
    async def run() -> None:
        market = GeneratedMarket(symbols=["BTCUSDT", "ETHUSDT"])
        async with Exchange(market, clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                before_ms = wall_ms()
                async with recording(
                    ledger, exchange, symbols=["BTCUSDT", "ETHUSDT"], warmup_ms=900_000
                ) as recorder:
                    for symbol in ("BTCUSDT", "ETHUSDT"):
                        await until(lambda s=symbol: recorder.warmup(s) is None)  # type: ignore[misc]
                        await until(lambda s=symbol: recorder.live_until_ms(s) is not None)  # type: ignore[misc]
                        from_ms, known_ms = ledger.warmup_from_ms(symbol), recorder.live_until_ms(symbol)
                        assert from_ms is not None
                        assert known_ms is not None
                        assert before_ms <= from_ms + 900_000 <= wall_ms()
                        first = ledger.runs(symbol)[0]
                        assert first.first_id == market.first_id_from(symbol, from_ms)
                        assert ledger.coverage(symbol, first.first_ms, known_ms, known_ms).complete
                for symbol in ("BTCUSDT", "ETHUSDT"):
                    assert_equals_exchange(ledger, exchange, symbol)

    asyncio.run(run())


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, None])
def test_any_end_of_the_socket_is_a_disconnect_and_what_was_missed_is_fetched(
    tmp_path: Path, code: int | None
) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange):
                    await until(lambda: len(held(ledger)) > 100)
                    await lose_some(exchange, code)
                    await until(lambda: exchange.links == 1)
                    head = exchange.printed_id("BTCUSDT")
                    await until(lambda: ledger.runs("BTCUSDT")[-1].last_id > head + 300)
                    await until(lambda: not ledger.gaps("BTCUSDT"))
                assert_equals_exchange(ledger, exchange)

    asyncio.run(run())


def test_a_gap_is_shown_while_rest_is_away_and_closes_when_it_is_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange) as recorder:
                    await until(lambda: len(held(ledger)) > 100)
                    exchange.rest_down = True
                    await lose_some(exchange)
                    await until(lambda: bool(ledger.gaps("BTCUSDT")))
                    start_ms = int(held(ledger).time_ms[0])
                    coverage = ledger.coverage(
                        "BTCUSDT", start_ms, wall_ms(), recorder.live_until_ms("BTCUSDT")
                    )
                    assert coverage.missing > 0
                    assert not coverage.complete
                    assert coverage.covered_pct < 100
                    exchange.rest_down = False
                    await until(lambda: not ledger.gaps("BTCUSDT"))
                assert_equals_exchange(ledger, exchange)

    asyncio.run(run())


def test_an_unknown_symbol_is_named_and_the_others_are_recorded(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger, capture_logs() as logs:
                async with recording(ledger, exchange, symbols=["NOPEUSDT", "BTCUSDT"]) as recorder:
                    assert recorder.symbols == ["BTCUSDT"]
                    await until(lambda: len(held(ledger)) > 10)
                    assert list(ledger.instruments) == ["BTCUSDT"]
                assert [line["symbol"] for line in logs if line["event"] == "unknown symbol"] == ["NOPEUSDT"]
                with pytest.raises(NoSymbols, match="TAPEDECK_SYMBOLS"):
                    async with recording(ledger, exchange, symbols=["NOPEUSDT"]):
                        pass

    asyncio.run(run())


def test_a_name_that_the_exchange_cannot_read_costs_the_others_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger, capture_logs() as logs:
                names = ["BTCUSDTETHUSDTSOLUSDTX", "BTCUSDT"]
                async with recording(ledger, exchange, symbols=names):
                    await until(lambda: len(held(ledger)) > 10)
                    assert list(ledger.instruments) == ["BTCUSDT"]
                assert {"symbol refused", "unknown symbol"} & events(logs)

    asyncio.run(run())


def test_with_rest_away_it_starts_and_records_by_the_filters_it_kept(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange):
                    await until(lambda: len(held(ledger)) > 10)
                exchange.rest_down = True
                await lose_some(exchange)
                before = len(held(ledger))
                async with recording(ledger, exchange) as recorder:
                    assert recorder.symbols == ["BTCUSDT"]
                    await until(lambda: len(held(ledger)) > before + 100)
                    assert ledger.gaps("BTCUSDT")
                    exchange.rest_down = False
                    await until(lambda: not ledger.gaps("BTCUSDT"))
                assert_equals_exchange(ledger, exchange)

    asyncio.run(run())


def test_at_a_first_start_with_rest_away_the_filters_are_learned_when_it_is_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            exchange.rest_down = True
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange):
                    await until(lambda: len(held(ledger)) > 10)
                    assert ledger.instruments == {}
                    exchange.rest_down = False
                    await until(lambda: "BTCUSDT" in ledger.instruments)
                    assert ledger.venue == "simulated"

    asyncio.run(run())


def test_a_ledger_takes_nothing_from_new_addresses_until_they_have_said_what_they_are(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            exchange.rest_down = True
            with TradeLedger.open(tmp_path / "l") as ledger, capture_logs() as logs:
                ledger.claim("binance spot", ["wss://elsewhere"])
                async with recording(ledger, exchange):
                    await until(lambda: "waiting for the exchange to say what it is" in events(logs))
                    exchange.rest_down = False
                    await until(lambda: "not recording" in events(logs))
                    assert exchange.links == 0
                assert ledger.symbols == []
                assert ledger.venue == "binance spot"

    asyncio.run(run())


def test_what_has_come_when_it_stops_is_held(tmp_path: Path) -> None:
    """Unparsed, and behind an id that is waited for."""

    async def talk(socket: ServerConnection) -> None:
        for identity in (1, 2, 4):
            await socket.send(btcusdt(identity, wall_ms()))
            await is_taken.wait()
        await socket.wait_closed()

    is_taken = asyncio.Event()
    timing = Timing(flush_s=3_600, gather_s=1)

    async def run() -> None:
        async with (
            Exchange(fast_market(), clock=wall_ms) as exchange,
            talking(talk) as url,
        ):
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, stream_url=url, timing=timing) as recorder:
                    await until(lambda: ledger.rows("BTCUSDT") == 1)
                    is_taken.set()
                    await until(lambda: recorder.figures().links[0].received == 3)
                assert held(ledger).id.tolist() == [1, 2, 4]
                assert ledger.condition.unwritten == 0

    asyncio.run(run())


def test_a_symbol_that_is_delisted_meanwhile_is_recorded_no_more_and_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "LISTINGS_S", 0.1)
    symbols = ["BTCUSDT", "ETHUSDT"]

    async def run() -> None:
        async with Exchange(GeneratedMarket(symbols=symbols), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, symbols=symbols) as recorder:
                    await until(lambda: all(ledger.rows(symbol) for symbol in symbols))
                    exchange.inject(Listing(symbols=("ETHUSDT",), delisted=True))
                    await until(lambda: recorder.symbols == ["BTCUSDT"])
                    assert recorder.live_until_ms("ETHUSDT") is None
                    rows = ledger.rows("BTCUSDT")
                    await until(lambda: ledger.rows("BTCUSDT") > rows)
                assert ledger.rows("ETHUSDT") > 0

    asyncio.run(run())


@pytest.mark.parametrize("with_its_trade", [False, True])
def test_an_event_from_the_future_vouches_for_nothing(tmp_path: Path, with_its_trade: bool) -> None:
    now_ms = wall_ms()
    tomorrow_ms = now_ms + 86_400_000

    async def talk(socket: ServerConnection) -> None:
        await socket.send(btcusdt(1, tomorrow_ms if with_its_trade else now_ms, event_ms=tomorrow_ms))
        await socket.wait_closed()

    async def run() -> None:
        async with (
            Exchange(fast_market(), clock=wall_ms) as exchange,
            talking(talk) as url,
        ):
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange, stream_url=url) as recorder:
                    await until(lambda: recorder.live_until_ms("BTCUSDT") is not None)
                    assert (recorder.live_until_ms("BTCUSDT") or 0) <= wall_ms() + 5_000

    asyncio.run(run())


def test_a_ledger_of_the_real_market_refuses_the_simulated_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                ledger.claim("binance spot")
                with pytest.raises(VenueMismatch):
                    async with recording(ledger, exchange):
                        pass

    asyncio.run(run())


def test_malformed_messages_are_logged_and_lose_nothing_else(tmp_path: Path) -> None:
    good = [btcusdt(identity, 1_700_000_000_000) for identity in range(1, 6)]
    not_a_number = good[2].replace("0.001", "NaN")
    bad: list[str | bytes] = ["{", "", b"\x00\xff", "null", "[]", good[2][:60], not_a_number]

    async def talk(socket: ServerConnection) -> None:
        for trade in good:
            await socket.send(trade)
            for text in bad:
                await socket.send(text)
            await socket.send('{"error":{"code":2,"msg":"Invalid request"},"id":1}')
        await socket.wait_closed()

    async def run() -> None:
        async with (
            Exchange(fast_market(), clock=wall_ms) as exchange,
            talking(talk) as url,
        ):
            with TradeLedger.open(tmp_path / "l") as ledger, capture_logs() as logs:
                async with recording(ledger, exchange, stream_url=url) as recorder:
                    await until(lambda: len(ledger.trades("BTCUSDT", 0, 1_700_000_000_001)) == 5)
                    await until(lambda: recorder.figures().errors == len(good))
                    assert recorder.figures().malformed == len(good) * len(bad)
                    assert recorder.figures().attempts >= 1
                assert ledger.trades("BTCUSDT", 0, 1_700_000_000_001).id.tolist() == [1, 2, 3, 4, 5]
            skipped = [line for line in logs if line["event"] == "message skipped"]
            assert len(skipped) == MOST_TOLD
            assert all(len(line["text"]) <= 200 for line in skipped)

    asyncio.run(run())


def test_a_quiet_symbol_counts_as_up_to_date_once_rest_has_said_so(tmp_path: Path) -> None:
    async def run() -> None:
        market = GeneratedMarket(symbols=["BTCUSDT", "SHIBUSDT"], rate=0.02)
        async with Exchange(market, clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                symbols = ["BTCUSDT", "SHIBUSDT"]
                async with recording(ledger, exchange, symbols=symbols, warmup_ms=3_600_000) as recorder:
                    await until(lambda: all(recorder.warmup(symbol) is None for symbol in symbols))
                    assert all(ledger.runs(symbol) for symbol in symbols)

    asyncio.run(run())


def test_trades_beyond_the_bound_are_named_counted_and_fetched_when_the_disk_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses for a while, and what waits for it passes the bound."""
    most = 2_000
    monkeypatch.setattr(tapes_module, "MOST_UNWRITTEN", most)
    monkeypatch.setattr(disk_module, "MOST_UNWRITTEN", most)
    refusing = threading.Event()
    written = Database.write

    def write(database: Database, *records: Any) -> None:
        if refusing.is_set():
            raise StoreUnavailable("No space left on device")
        written(database, *records)

    monkeypatch.setattr(Database, "write", write)

    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange) as recorder:
                    await until(lambda: len(held(ledger)) > 500)
                    refusing.set()
                    await until(lambda: ledger.condition.refused > 300)
                    refused = ledger.condition.refused
                    await until(lambda: ledger.condition.refused > refused)
                    assert ledger.condition.unwritten <= most
                    # A large batch may be refused where a smaller one finds room after it, beyond a gap.
                    known_ms = recorder.live_until_ms("BTCUSDT")
                    assert known_ms is not None
                    assert known_ms <= int(held(ledger).time_ms.max())
                    # What a busy machine brings at once is not refused again.
                    monkeypatch.setattr(tapes_module, "MOST_UNWRITTEN", MOST_UNWRITTEN)
                    refusing.clear()
                    printed = exchange.printed_id("BTCUSDT")
                    await until(lambda: ledger.runs("BTCUSDT")[-1].last_id > printed)
                    await until(lambda: not ledger.gaps("BTCUSDT"))
                    await until(lambda: ledger.condition.unwritten < most)
                    await until(lambda: (recorder.live_until_ms("BTCUSDT") or 0) > known_ms)
                assert_equals_exchange(ledger, exchange)

    with capture_logs() as logs:
        asyncio.run(run())
    told = [line for line in logs if line["event"] in ("flush failed", "trades refused", "disk writes again")]
    assert [line["event"] for line in told] == ["flush failed", "trades refused", "disk writes again"]
    failed, refused, recovered = told
    assert failed["most"] == most
    assert refused["refused"] > 0
    assert recovered["refused"] > 300
    assert recovered["awaited_disk"] > 0


def test_a_disk_that_hangs_neither_hides_a_gap_nor_holds_up_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write does not return; meanwhile the only link loses trades."""
    hangs, is_free = threading.Event(), threading.Event()
    written = Database.write

    def hang(database: Database, *records: Any) -> None:
        hangs.set()
        assert is_free.wait(60)
        written(database, *records)

    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange):
                    await until(lambda: len(held(ledger)) > 100)
                    monkeypatch.setattr(Database, "write", hang)
                    await until(hangs.is_set)
                    exchange.inject(RestReply())
                    exchange.inject(Drop(until_s=0.5))
                    await until(lambda: bool(ledger.gaps("BTCUSDT")))
                    head = ledger.runs("BTCUSDT")[-1].last_id
                    await until(lambda: ledger.runs("BTCUSDT")[-1].last_id > head + 500)
                    assert not is_free.is_set()
                    is_free.set()
                    exchange.clear()
                    await until(lambda: not ledger.gaps("BTCUSDT"), within_s=60)
                assert_equals_exchange(ledger, exchange)

    try:
        asyncio.run(run())
    finally:
        is_free.set()


def test_names_that_are_looked_up_in_vain_hold_up_no_write(tmp_path: Path) -> None:
    """The threads that asyncio shares out for it, and for all else, are busy."""
    is_free = threading.Event()

    async def run() -> None:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                async with recording(ledger, exchange) as recorder:
                    await until(lambda: len(held(ledger)) > 100)
                    await until(lambda: recorder.figures().durable_lag_ms is not None)
                    busy = [asyncio.create_task(asyncio.to_thread(is_free.wait, 60)) for _ in range(64)]
                    wanted = ledger.rows("BTCUSDT") + 1
                    await until(lambda: ledger.rows("BTCUSDT") - ledger.condition.unwritten >= wanted)
                    lag_ms = recorder.figures().durable_lag_ms
                    assert lag_ms is not None
                    assert 0 <= lag_ms <= wall_ms() - int(held(ledger).time_ms[0])
                    is_free.set()
                    await asyncio.gather(*busy)

    try:
        asyncio.run(run())
    finally:
        is_free.set()


def test_a_count_that_begins_anew_under_held_ids_is_not_kept_and_never_called_known(tmp_path: Path) -> None:
    """As on a test network that was emptied: the ledger has other trades under the ids that come now."""
    is_over = asyncio.Event()

    async def talk(socket: ServerConnection) -> None:
        for i in range(1, 40):
            await socket.send(btcusdt(i, wall_ms()))
            await asyncio.sleep(0.05)
        is_over.set()
        await socket.wait_closed()

    async def run() -> None:
        async with (
            Exchange(fast_market(), clock=wall_ms) as exchange,
            talking(talk) as url,
        ):
            exchange.inject(RestReply(path="/api/v3/aggTrades", status=503))
            with TradeLedger.open(tmp_path / "l") as ledger:
                before_ms = wall_ms() - 3_600_000
                ledger.append("BTCUSDT", run_of(1, 1_000, start_ms=before_ms, step_ms=100))
                async with recording(ledger, exchange, stream_url=url) as recorder:
                    await until(is_over.is_set)
                    await until(lambda: recorder.figures().shut_out == 39)
                    assert not recorder.figures().symbols[0].is_synced
                    assert (recorder.live_until_ms("BTCUSDT") or 0) <= before_ms + 100_000
                assert ledger.rows("BTCUSDT") == 1_000

    with capture_logs() as logs:
        asyncio.run(run())
    assert [line["log_level"] for line in logs if line["event"] == "trades not kept"] == ["error"]
