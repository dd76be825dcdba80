"""The whole way with real processes: exchange, socket, recorder, ledger, tool, official client.

Every number of an answer is recomputed from the exchange's own trades by the plain oracle.
"""

import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp_types import TextContent

from collectors.exchange import GeneratedMarket, Recording
from server.tools.tape import GRACE_MS
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests import processes
from tests.analytics import oracle
from tests.analytics.oracle import Print
from tests.clock import wall_ms
from tests.levers import Levers, head, metrics, missing, until, until_written
from tests.server.desks import FLOW_TOOLS
from tests.tapes import rows_of

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "binance-spot-2024-08-08"
TICK = Decimal("0.01")
TRANSPORTS = ["sse", "mcp"]


@asynccontextmanager
async def connected(url: str, transport: str) -> AsyncIterator[Client]:
    """The official client, over SSE or Streamable HTTP."""
    target = sse_client(f"{url}/sse", timeout=60) if transport == "sse" else f"{url}/mcp"
    async with Client(target) as client:
        yield client


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    content = result.content[0]
    assert isinstance(content, TextContent)
    assert not result.is_error, content.text
    answer: dict[str, Any] = json.loads(content.text.partition("\n")[2])
    assert answer == result.structured_content
    return answer


async def ask_until_complete(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The first answer that is complete; the warm-up takes its time."""
    async with asyncio.timeout(60):
        while True:
            result = await client.call_tool(tool, arguments)
            answer: dict[str, Any] | None = result.structured_content
            if answer and answer["meta"]["coverage"]["complete"]:
                return answer
            await asyncio.sleep(0.2)


async def coverage_once_warmed_up(client: Client, symbol: str) -> dict[str, Any]:
    """All that is kept of it, once its history is here and a live link vouches for the present."""
    async with asyncio.timeout(60):
        while True:
            answer = await ask(client, "get_data_coverage", symbol=symbol)
            part: dict[str, Any] = answer["symbols"][0]
            if part["warm_up"] is None and part["complete"]:
                return part
            await asyncio.sleep(0.2)


def milliseconds(iso: str) -> int:
    return int(Decimal(str(datetime.fromisoformat(iso).timestamp())) * 1000)


def prints_of(trades: TradeColumns) -> list[Print]:
    return [
        Print(Decimal(price).scaleb(-8), Decimal(quantity).scaleb(-8), time_ms, maker)
        for _, time_ms, price, quantity, _, _, maker in rows_of(trades)
        if quantity
    ]


def bounds(row: int, last_row: int, size: Fraction) -> tuple[str, str]:
    """Lowest tick of `row` and highest tick of `last_row`, as printed."""
    high = (last_row + 1) * size - Fraction(TICK)
    return f"{float(row * size):.2f}", f"{float(high):.2f}"


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def assert_meta_is_of(meta: dict[str, Any], trades: TradeColumns) -> None:
    coverage = meta["coverage"]
    assert (coverage["first_id"], coverage["last_id"]) == (int(trades.id[0]), int(trades.id[-1]))
    assert coverage["trades"] == len(prints_of(trades))
    assert (coverage["missing"], coverage["certified"], coverage["gaps"]) == (0, 0, [])
    assert (coverage["complete"], coverage["covered_pct"]) == (True, 100.0)
    assert milliseconds(coverage["first"]) == int(trades.time_ms[0])
    assert milliseconds(coverage["last"]) == milliseconds(meta["as_of"]) == int(trades.time_ms[-1])
    end_ms = milliseconds(meta["window"]["end"])
    assert meta["staleness_s"] == rounded((end_ms - int(trades.time_ms[-1])) / 1000)
    assert (meta["market"], meta["tick"]) == ("simulated", "0.01")


def assert_profile_is_of(answer: dict[str, Any], trades: TradeColumns) -> None:
    """Every number of a profile, recomputed."""
    prints = prints_of(trades)
    size = Fraction(answer["meta"]["row_size"])
    assert size == oracle.profile_row_ticks(prints, Fraction(TICK)) * Fraction(TICK)
    volume = oracle.row_volumes(prints, size)
    bought = sum((p.quantity for p in prints if not p.buyer_is_maker), Decimal(0))
    total = sum((p.quantity for p in prints), Decimal(0))
    assert Decimal(answer["total_volume"]) == total
    assert Decimal(answer["buy_volume"]) == bought
    assert Decimal(answer["sell_volume"]) == total - bought
    assert Decimal(answer["delta"]) == 2 * bought - total
    levels, poc = answer["levels"], oracle.poc(volume)
    assert (levels["poc"]["low"], levels["poc"]["high"]) == bounds(poc, poc, size)
    assert Decimal(levels["poc"]["volume"]) == volume[poc]
    assert levels["poc"]["share_pct"] == rounded(float(100 * volume[poc] / total))
    rival = oracle.contested(volume, poc)
    assert levels["poc"]["contested"] == (None if rival is None else bounds(rival, rival, size)[0])
    val, vah = oracle.value_area(volume, poc, Decimal(70), 2)
    assert (levels["val"], levels["vah"]) == bounds(val, vah, size)
    inside = sum((quantity for r, quantity in volume.items() if val <= r <= vah), Decimal(0))
    assert levels["value_area_pct_actual"] == rounded(float(100 * inside / total))
    vwap, sigma = oracle.vwap_and_sigma(prints, 2)
    assert (levels["vwap"], levels["vwap_sigma"]) == (str(vwap), str(sigma))
    assert Decimal(levels["last"]) == prints[-1].price
    assert Decimal(levels["high"]) == max(p.price for p in prints)
    assert Decimal(levels["low"]) == min(p.price for p in prints)
    assert answer["sample"]["trades"] == len(prints)
    if answer["rows"]:
        assert_rows_are_of(answer, prints)


def assert_rows_are_of(answer: dict[str, Any], prints: list[Print]) -> None:
    size = Fraction(answer["rows_row_size"])
    volume, bought, trades = dict[str, Decimal](), dict[str, Decimal](), Counter[str]()
    for p in prints:
        low = bounds(oracle.row(p.price, size), 0, size)[0]
        volume[low] = volume.get(low, Decimal(0)) + p.quantity
        bought[low] = bought.get(low, Decimal(0)) + (Decimal(0) if p.buyer_is_maker else p.quantity)
        trades[low] += 1
    table = [line.split(",") for line in answer["rows"].splitlines()[1:]]
    assert {line[0] for line in table} >= set(trades)
    for low, total, buy, sell, count in table:
        assert Decimal(total) == volume.get(low, Decimal(0))
        assert Decimal(buy) == bought.get(low, Decimal(0))
        assert Decimal(sell) == Decimal(total) - Decimal(buy)
        assert int(count) == trades[low]


def assert_vacuums_are_of(answer: dict[str, Any], trades: TradeColumns) -> None:
    """Every number of the vacuums, recomputed."""
    prints = prints_of(trades)
    size = Fraction(answer["meta"]["row_size"])
    row_ticks = oracle.vacuum_row_ticks(prints, Fraction(TICK))
    assert size == row_ticks * Fraction(TICK)
    volume = oracle.row_volumes(prints, size)
    zones = oracle.zones(volume, "thin", Decimal(10), row_ticks)
    assert zones is not None
    interior = {bounds(zone.first, zone.last, size): zone for zone in zones if zone.interior}
    edges = sorted(bounds(zone.first, zone.last, size) for zone in zones if not zone.interior)
    assert sorted((tail["low"], tail["high"]) for tail in answer["edge_tails"]) == edges
    assert answer["truncated"]["total"] == len(interior)
    assert len(answer["vacuums"]) == min(10, len(interior))
    core = oracle.core(volume)
    baseline = oracle.exact_sum(Fraction(volume[r]) for r in core) / len(core)
    told = answer["baseline_row_volume"]
    decimals = len(told.partition(".")[2])  # the lot's
    assert decimals >= 4
    assert abs(float(Fraction(told) - baseline)) < 0.500001 * 10**-decimals
    last = prints[-1].price
    assert Decimal(answer["last"]) == last
    end_ms = milliseconds(answer["meta"]["window"]["end"])
    sigma = oracle.sigma15m(prints, milliseconds(answer["meta"]["window"]["start"]), end_ms)
    for vacuum in answer["vacuums"]:
        low, high = Decimal(vacuum["low"]), Decimal(vacuum["high"])
        zone = interior[vacuum["low"], vacuum["high"]]
        inside = [p for p in prints if low <= p.price <= high]
        assert Decimal(vacuum["volume"]) == sum((p.quantity for p in inside), Decimal(0))
        assert Decimal(vacuum["delta"]) == sum(
            (-p.quantity if p.buyer_is_maker else p.quantity for p in inside), Decimal(0)
        )
        width = (zone.last - zone.first + 1) * size
        assert Fraction(vacuum["width"]) == width
        assert vacuum["width_pct"] == rounded(float(100 * width / Fraction(last)))
        if sigma:
            assert math.isclose(vacuum["width_sigma15m"], float(width) / sigma, rel_tol=1e-3)
        mean = Fraction(Decimal(vacuum["volume"])) / (zone.last - zone.first + 1)
        assert vacuum["volume_deficit_pct"] == rounded(float(100 * (baseline - mean) / baseline))
        beyond = max(low - last, last - high, Decimal(0))
        assert vacuum["distance_pct"] == rounded(float(100 * beyond / last))
        assert vacuum["side"] == ("inside" if not beyond else "above" if low > last else "below")
        newest = max((p.time_ms for p in inside), default=None)
        assert vacuum["last_traded"] == (None if newest is None else vacuum["last_traded"])
        if newest is not None:
            assert milliseconds(vacuum["last_traded"]) == newest
            assert vacuum["age_h"] == rounded((end_ms - newest) / 3_600_000)


def assert_coverage_is_of(part: dict[str, Any], market: GeneratedMarket) -> None:
    """All that is kept is what the exchange has of that time."""
    kept = part["kept"]
    trades = market.trades(part["symbol"], milliseconds(kept["first"]), milliseconds(kept["last"]) + 1)
    inside = (trades.id >= kept["first_id"]) & (trades.id <= kept["last_id"])
    assert part["trades"] == len(prints_of(trades.take(inside)))
    assert part["trades"] == kept["last_id"] - kept["first_id"] + 1
    assert (part["complete"], part["missing"], part["covered_pct"]) == (True, 0, 100.0)
    assert (part["market"], part["recording"], part["warm_up"]) == ("simulated", True, None)
    assert 0 <= part["lag_s"] <= GRACE_MS / 1000  # else it were not complete


def window_of(market: GeneratedMarket | Recording, symbol: str, answer: dict[str, Any]) -> TradeColumns:
    """The exchange's own trades over the window that an answer names, up to the last one it counts."""
    window = answer["meta"]["window"]
    trades = market.trades(symbol, milliseconds(window["start"]), milliseconds(window["end"]))
    return trades.take(trades.id <= answer["meta"]["coverage"]["last_id"])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_number_of_an_answer_is_that_of_the_exchanges_own_trades(
    tmp_path: Path, transport: str
) -> None:
    market = GeneratedMarket(3)

    async def run(url: str) -> None:
        async with connected(url, transport) as client:
            for symbol in ("BTCUSDT", "ETHUSDT"):
                question = {"symbol": symbol, "duration_hours": "0.5", "detail": "full"}
                profile = await ask_until_complete(client, "get_volume_profile", **question)
                trades = window_of(market, symbol, profile)
                assert len(trades) > 1_000
                assert_meta_is_of(profile["meta"], trades)
                assert_profile_is_of(profile, trades)
                end = {"end_time": profile["meta"]["window"]["end"]}
                vacuums = await ask(client, "get_liquidity_vacuums", **question | end)
                assert_vacuums_are_of(vacuums, window_of(market, symbol, vacuums))
                assert_coverage_is_of(await coverage_once_warmed_up(client, symbol), market)

    with (
        processes.exchange("--seed=3") as urls,
        processes.server(urls, tmp_path / "l", SYMBOLS="BTCUSDT,ETHUSDT", WARMUP_HOURS="0.6") as (_, url),
    ):
        asyncio.run(run(url))


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_a_recording_goes_the_whole_way_and_the_answers_equal_the_file(tmp_path: Path, symbol: str) -> None:
    name = symbol.lower()
    files = [RECORDINGS / f"spot_{name}_{day}.gz" for day in ("20240808", "20240809")]
    if not all(file.exists() for file in files):
        pytest.skip("the recordings are not part of the project: their licence is not settled")
    speed = 60
    recording = Recording(files, start_ms=0, speed=speed)
    whole = recording.trades(symbol, 0, 10**9)

    async def run(url: str) -> tuple[dict[str, Any], dict[str, Any]]:
        async with connected(url, "sse") as client, asyncio.timeout(60):
            while True:
                result = await client.call_tool(
                    "get_volume_profile", {"symbol": symbol, "duration_hours": 0.1, "detail": "full"}
                )
                profile = result.structured_content
                if profile and profile["meta"]["coverage"]["trades"] == len(whole):
                    vacuums = await ask(
                        client, "get_liquidity_vacuums", symbol=symbol, duration_hours=0.1, detail="full"
                    )
                    return profile, vacuums
                await asyncio.sleep(0.2)

    options = [f"--recording={file}" for file in files]
    with (
        processes.exchange(*options, f"--speed={speed}") as urls,
        processes.server(urls, tmp_path / "l", SYMBOLS=symbol, WARMUP_HOURS="0.01") as (_, url),
    ):
        profile, vacuums = asyncio.run(run(url))
    coverage = profile["meta"]["coverage"]
    assert (coverage["first_id"], coverage["last_id"], coverage["missing"]) == (1, len(whole), 0)
    assert_profile_is_of(profile, whole)
    held = recorded(tmp_path / "l", symbol)
    assert_vacuums_are_of(vacuums, held)  # the same trades at the times that the replay gave them
    unmoved = [(i, p, q, f, last, m) for i, _, p, q, f, last, m in rows_of(held)]
    assert unmoved == [(i, p, q, f, last, m) for i, _, p, q, f, last, m in rows_of(whole)]


FAST = f"--rate={500 / 18}"


def recorded(data_dir: Path, symbol: str = "BTCUSDT") -> TradeColumns:
    """All that a stopped server's ledger holds, which has no hole."""
    with TradeLedger.open(data_dir) as ledger:
        assert len(ledger.runs(symbol)) == 1
        return ledger.trades(symbol, 0, 2 * wall_ms())


async def wait_for_trades(client: Client, count: int) -> None:
    async with asyncio.timeout(60):
        while True:
            result = await client.call_tool("get_volume_profile", {"symbol": "BTCUSDT", "duration_hours": 1})
            answer = result.structured_content
            if answer and answer["meta"]["coverage"]["trades"] >= count:
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_at_500_trades_a_second_takes_less_than_5_s_and_loses_nothing(
    tmp_path: Path, sent: signal.Signals
) -> None:
    market = GeneratedMarket(1, rate=500 / 18)

    async def run(levers: Levers, process: processes.Process, url: str) -> tuple[int, float, int]:
        async with connected(url, "mcp") as client:
            await wait_for_trades(client, 1_000)
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            streams = [http.stream("GET", f"{url}/sse") for _ in range(3)]
            for stream in streams:
                assert (await stream.__aenter__()).status_code == 200
            printed = levers.printed("BTCUSDT")
            await asyncio.to_thread(until, lambda: head(url, "BTCUSDT") >= printed)
            status, took_s = await asyncio.to_thread(process.stop, sent)
        return printed, took_s, status

    with processes.exchange(FAST, "--control-port=0") as urls, Levers(urls) as levers:
        with processes.server(urls, tmp_path / "l") as (process, url):
            last_id, took_s, status = asyncio.run(run(levers, process, url))
            assert took_s < 5
            assert status == (130 if sent == signal.SIGINT else 0)
            assert not [line for line in process.lines if "Traceback" in line or '"level": "error"' in line]
        held = recorded(tmp_path / "l")
        assert int(held.id[-1]) >= last_id
        printed = market.trades("BTCUSDT", int(held.time_ms[0]), int(held.time_ms[-1]) + 1)
        printed = printed.take((printed.id >= held.id[0]) & (printed.id <= held.id[-1]))
        assert rows_of(held) == rows_of(printed)


def test_a_stop_with_questions_under_way_takes_less_than_5_s_and_crashes_nothing(tmp_path: Path) -> None:
    async def keep_asking(url: str) -> None:
        with contextlib.suppress(Exception):
            async with connected(url, "sse") as client:
                while True:
                    await client.call_tool(
                        "get_liquidity_vacuums", {"symbol": "BTCUSDT", "duration_hours": 6}
                    )

    async def run(process: processes.Process, url: str) -> tuple[int, float]:
        async with connected(url, "sse") as client:
            await wait_for_trades(client, 10_000)
        asking = [asyncio.create_task(keep_asking(url)) for _ in range(6)]
        await asyncio.to_thread(until, lambda: metrics(url)["tapedeck_calls_under_way"] > 0)
        stopped = await asyncio.to_thread(process.stop, signal.SIGTERM)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        return stopped

    with (
        processes.exchange("--weight-limit=60000") as urls,
        processes.server(urls, tmp_path / "l", WARMUP_HOURS=6) as (process, url),
    ):
        status, took_s = asyncio.run(run(process, url))
    assert status == 0
    assert took_s < 5


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.long)])
def test_kill_9_loses_nothing_that_was_flushed_and_doubles_nothing(tmp_path: Path, kills: int) -> None:
    market = GeneratedMarket(1, rate=500 / 18)
    heads = [0]

    async def some_trades(url: str) -> int:
        async with connected(url, "sse") as client:
            answer = await ask_until_complete(
                client, "get_volume_profile", symbol="BTCUSDT", duration_hours="0.0167"
            )
        return int(answer["meta"]["coverage"]["last_id"])

    with processes.exchange(FAST) as urls:
        for round_ in range(kills):
            with processes.server(urls, tmp_path / "l", WARMUP_HOURS="0.05") as (process, url):
                seen = asyncio.run(some_trades(url))
                until_written(url)
                time.sleep(0.37 * (round_ % 5))  # at another moment each time
                process.child.kill()
                process.wait(30)
            with TradeLedger.open(tmp_path / "l") as ledger:
                held = ledger.trades("BTCUSDT", 0, 2 * wall_ms())
                assert int(held.id[-1]) >= max(seen, heads[-1])
                assert len(set(held.id.tolist())) == len(held)
                heads.append(int(held.id[-1]))
                inside = [i for gap in ledger.gaps("BTCUSDT") for i in range(gap.first_id, gap.last_id + 1)]
                assert sorted([*held.id.tolist(), *inside]) == list(range(int(held.id[0]), heads[-1] + 1))
        with processes.server(urls, tmp_path / "l", WARMUP_HOURS="0.05") as (process, url):
            asyncio.run(some_trades(url))
            until(lambda: metrics(url)['tapedeck_history_missing{symbol="BTCUSDT"}'] == 0)
            until(lambda: missing(url, "BTCUSDT") == 0)
            process.child.terminate()
            process.wait(30)
    held = recorded(tmp_path / "l")
    printed = market.trades("BTCUSDT", int(held.time_ms[0]), int(held.time_ms[-1]) + 1)
    printed = printed.take((printed.id >= held.id[0]) & (printed.id <= held.id[-1]))
    assert rows_of(held) == rows_of(printed)


def test_a_second_server_on_the_same_ledger_ends_with_one_line(tmp_path: Path) -> None:
    with processes.exchange() as urls, processes.server(urls, tmp_path / "l"):
        environment = processes.environment_for(urls, tmp_path / "l")
        with processes.start(sys.executable, "-m", "server.cli", "serve", environment=environment) as second:
            assert second.wait(60) == 1
            second.until("open in another process")
            assert len(second.lines) == 1


def test_an_exchange_that_knows_none_of_the_symbols_ends_the_start_with_a_clear_line(tmp_path: Path) -> None:
    with processes.exchange() as urls:
        environment = processes.environment_for(urls, tmp_path / "l", SYMBOLS="NOPEUSDT")
        with processes.start(sys.executable, "-m", "server.cli", "serve", environment=environment) as process:
            assert process.wait(60) == 1
            said = "".join(process.lines)
            assert "unknown symbol" in said
            assert "NOPEUSDT" in said
            assert "Traceback" not in said


def test_uvicorn_serves_the_same_app(tmp_path: Path) -> None:
    with processes.exchange() as urls:
        environment = processes.environment_for(urls, tmp_path / "l")
        command = [sys.executable, "-m", "uvicorn", "--factory", "server.app:from_env", "--port=0"]
        with processes.start(*command, environment=environment) as process:
            url = process.until("Uvicorn running on").split("running on ")[1].split(" ")[0].rstrip('"')
            assert httpx.get(f"{url}/healthz", trust_env=False, timeout=60).json() == {"status": "ok"}

            async def tools() -> list[str]:
                async with connected(url, "sse") as client:
                    return [tool.name for tool in (await client.list_tools()).tools]

            assert asyncio.run(tools()) == [
                "get_volume_profile",
                "get_liquidity_vacuums",
                *FLOW_TOOLS,
                "get_data_coverage",
                "search",
                "fetch",
            ]


def test_a_foreign_host_or_origin_is_refused_without_a_traceback(tmp_path: Path) -> None:
    with processes.exchange() as urls, processes.server(urls, tmp_path / "l") as (process, url):
        with httpx.Client(trust_env=False, timeout=60) as http:
            for path in ("/sse", "/mcp"):
                assert http.get(f"{url}{path}", headers={"Host": "evil.example"}).status_code == 421
                refused = http.get(f"{url}{path}", headers={"Origin": "https://evil.example"})
                assert refused.status_code == 403
        assert "Traceback" not in "".join(process.lines)


def test_the_demo_answers_within_ten_seconds(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    with processes.start(
        sys.executable, "-m", "server.cli", "demo", "--port=0", environment={"TMPDIR": str(tmp_path / "tmp")}
    ) as process:

        async def run(url: str) -> dict[str, Any]:
            async with connected(url, "sse") as client:
                await wait_for_trades(client, 10)
                return await ask(client, "get_volume_profile", symbol="btc")

        with process.own_time() as took:
            url = process.until("MCP over SSE").split()[-1].removesuffix("/sse")
            answer = asyncio.run(run(url))
        assert took.seconds < 10
        assert answer["meta"]["market"] == "simulated"

        async def kinds() -> list[str]:
            async with connected(url, "mcp") as client:
                charted = {"symbol": "btc", "include_chart": True}
                return [part.type for part in (await client.call_tool("get_volume_profile", charted)).content]

        assert asyncio.run(kinds()) == ["text", "image"]
        process.child.terminate()
        process.wait(30)
    assert list((tmp_path / "tmp").iterdir()) == []
