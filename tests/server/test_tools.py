"""The tools through the official client in memory: shapes, coded errors, plain sums."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp_types import CallToolResult, TextContent

from server.tools.catalogue import add_tools
from server.tools.tape import Tape
from storage.errors import StoreUnavailable
from storage.ledger import TradeLedger
from storage.trades import Instrument, TradeColumns
from tests.tapes import START_MS, columns, rows_of

HOUR_MS = 3_600_000
END_MS = START_MS - START_MS % HOUR_MS + 24 * HOUR_MS
BTCUSDT = Instrument("BTCUSDT", "binance spot", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))


@dataclass
class FakeWarmup:
    missing: int = 500
    per_s: float = 100.0
    held: int = 7


@dataclass
class FakeRecording:
    """A recorder's word: up to date as of END_MS, with or without history on its way."""

    warming: bool = False
    symbols: tuple[str, ...] = ("BTCUSDT",)

    def live_until_ms(self, symbol: str) -> int | None:
        return END_MS

    def warmup(self, symbol: str) -> FakeWarmup | None:
        return FakeWarmup() if self.warming else None


def market(*, trades: int = 3_000, first_id: int = 1) -> TradeColumns:
    """A day around 62,000 with a thin zone, one trade every 24 h / trades."""
    rows = []
    for i in range(trades):
        step = (i * 7919) % 1000 - 500
        step += 800 if step > 0 else -800 if i % 40 else 0
        price = (6_200_000 + step * 10) * 10**6
        quantity = (i % 17 + 1) * 1_234 * 10**3
        time_ms = END_MS - 24 * HOUR_MS + i * 24 * HOUR_MS // trades
        identity = first_id + i
        rows.append((identity, time_ms, price, quantity, identity, identity, i % 3 == 0))
    return columns(rows)


@dataclass
class Desk:
    """A server over a ledger with a day of trades."""

    ledger: TradeLedger
    recording: FakeRecording
    retention_hours: float | None = None

    def call(self, tool: str, **arguments: Any) -> CallToolResult:
        async def run() -> CallToolResult:
            mcp = MCPServer("test")
            tape = Tape(self.ledger, self.recording, lambda: END_MS, self.retention_hours)  # type: ignore[arg-type]
            add_tools(mcp, tape)
            async with Client(mcp) as client:
                return await client.call_tool(tool, arguments)

        return asyncio.run(run())

    def answer(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structure of an answer, which is also in its text."""
        result = self.call(tool, **arguments)
        text = text_of(result)
        assert not result.is_error, text
        summary, _, structure = text.partition("\n")
        assert json.loads(structure) == result.structured_content
        answer: dict[str, Any] | None = result.structured_content
        assert answer is not None
        assert answer["summary"] == summary
        return answer

    def refusal(self, tool: str, **arguments: Any) -> str:
        result = self.call(tool, **arguments)
        assert result.is_error
        return text_of(result)


def text_of(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.claim("binance spot")
        ledger.keep_instrument(BTCUSDT, since_ms=0)
        ledger.append("BTCUSDT", market())
        ledger.flush()
        yield Desk(ledger, FakeRecording())


TOOLS = ["get_volume_profile", "get_liquidity_vacuums"]


def test_the_profile_has_the_fields_of_the_definition(desk: Desk) -> None:
    answer = desk.answer("get_volume_profile", symbol="btc/usdt")
    assert set(answer) >= {
        *("summary", "meta", "total_volume", "buy_volume", "sell_volume", "delta", "levels", "nodes", "rows"),
        *("low_sample", "sample", "caveats", "no_other_levels"),
    }
    assert set(answer["meta"]) == {
        *("symbol", "market", "window", "as_of", "staleness_s", "coverage", "units", "tick", "row_size"),
        "method",
    }
    assert set(answer["meta"]["coverage"]) == {
        *("complete", "trades", "missing", "certified", "gaps", "first", "last", "first_id", "last_id"),
        "covered_pct",
    }
    assert set(answer["levels"]) == {
        *("poc", "vah", "val", "value_area_pct_actual", "vwap", "vwap_sigma", "last", "high", "low"),
    }
    assert set(answer["sample"]) == {"trades", "min_trades", "reliable", "rate_per_s", "ready_at"}
    assert answer["meta"]["market"] == "binance spot"
    assert answer["meta"]["units"] == {"price": "USDT", "volume": "BTC"}
    assert answer["meta"]["tick"] == "0.01"
    assert answer["meta"]["method"] == "two_row/70/v1"
    assert answer["no_other_levels"] is True


def test_the_sums_of_a_profile_are_those_of_the_trades(desk: Desk) -> None:
    answer = desk.answer("get_volume_profile", symbol="BTCUSDT", detail="full")
    rows = [row for row in rows_of(market()) if row[1] >= START_MS or row[1] >= END_MS - 24 * HOUR_MS]
    bought = Decimal(sum(row[3] for row in rows if not row[6])).scaleb(-8)
    sold = Decimal(sum(row[3] for row in rows if row[6])).scaleb(-8)
    assert Decimal(answer["buy_volume"]) == bought
    assert Decimal(answer["sell_volume"]) == sold
    assert Decimal(answer["total_volume"]) == bought + sold
    assert Decimal(answer["delta"]) == bought - sold
    table = [line.split(",") for line in answer["rows"].splitlines()]
    assert table[0] == ["price_low", "volume", "buy", "sell", "trades"]
    assert sum(Decimal(line[1]) for line in table[1:]) == bought + sold
    assert sum(int(line[4]) for line in table[1:]) == len(rows) == answer["meta"]["coverage"]["trades"]
    assert len(table) <= 121
    lows = [Decimal(line[0]) for line in table[1:]]
    assert lows == sorted(lows, reverse=True)


def test_prices_and_volumes_are_strings_at_tick_and_lot(desk: Desk) -> None:
    answer = desk.answer("get_volume_profile", symbol="BTCUSDT", detail="full")
    levels = answer["levels"]
    prices = [levels[name] for name in ("vah", "val", "vwap", "vwap_sigma", "last", "high", "low")]
    prices += [levels["poc"][name] for name in ("low", "high", "tick")]
    assert all(isinstance(price, str) and len(price.partition(".")[2]) == 2 for price in prices)
    volumes = [answer["total_volume"], answer["delta"], levels["poc"]["volume"]]
    assert all(isinstance(volume, str) and len(volume.partition(".")[2]) == 5 for volume in volumes)


def test_a_complete_window_says_so_and_an_incomplete_one_begins_with_partial(desk: Desk) -> None:
    whole = desk.answer("get_volume_profile", symbol="BTCUSDT")
    assert whole["meta"]["coverage"]["complete"] is True
    assert whole["meta"]["coverage"]["covered_pct"] == 100.0
    assert not whole["summary"].startswith("PARTIAL:")
    desk.ledger.append("BTCUSDT", columns([(4_001, END_MS - 10, 62_000 * 10**8, 10**8, 9_000, 9_000, False)]))
    for tool in TOOLS:
        partial = desk.answer(tool, symbol="BTCUSDT")
        coverage = partial["meta"]["coverage"]
        assert partial["summary"].startswith("PARTIAL: BTCUSDT")
        assert (coverage["complete"], coverage["missing"]) == (False, 1_000)
        assert coverage["gaps"][0]["first_id"] == 3_001
        assert coverage["gaps"][0]["state"] == "open"
        assert "1000 trades" in partial["caveats"][0]


def test_the_same_question_gets_the_same_bytes(desk: Desk) -> None:
    for tool in TOOLS:
        texts = {text_of(desk.call(tool, symbol="BTCUSDT", detail="full")) for _ in range(3)}
        assert len(texts) == 1


def test_a_thin_profile_is_answered_with_its_count_and_rate(desk: Desk) -> None:
    answer = desk.answer("get_volume_profile", symbol="BTCUSDT", duration_hours=1)
    sample = answer["sample"]
    assert (sample["trades"], sample["min_trades"], sample["reliable"]) == (125, 1000, False)
    assert sample["ready_at"] is None  # the hour is covered: it will hold no more
    assert "125 trades" in answer["caveats"][0]


def test_a_recording_that_has_just_begun_says_when_its_profile_will_be_reliable(tmp_path: Path) -> None:
    with TradeLedger.open(tmp_path / "young") as ledger:
        ledger.keep_instrument(BTCUSDT, since_ms=0)
        begin_ms = END_MS - 50_000
        rows = [(i, begin_ms + i * 100, (62_000 + i % 9) * 10**8, 10**8, i, i, False) for i in range(500)]
        ledger.append("BTCUSDT", columns(rows))
        answer = Desk(ledger, FakeRecording()).answer(
            "get_volume_profile", symbol="BTCUSDT", duration_hours=1
        )
    assert answer["sample"]["rate_per_s"] == 10.0
    ready_ms = datetime.fromisoformat(answer["sample"]["ready_at"]).timestamp() * 1000
    assert ready_ms == END_MS + 50_000


def test_vacuums_are_ranked_by_distance_and_say_what_is_unknown(desk: Desk) -> None:
    answer = desk.answer("get_liquidity_vacuums", symbol="BTCUSDT", detail="full", stop_hint="both")
    assert answer["rule"] == "thin"
    assert answer["vacuums"]
    distances = [vacuum["distance_pct"] for vacuum in answer["vacuums"]]
    assert distances == sorted(distances)
    vacuum = answer["vacuums"][0]
    assert vacuum["id"] == f"v-BTCUSDT-{vacuum['low']}-{vacuum['high']}"
    for unknown in (
        "visits",
        "through",
        "rejected",
        "median_cross_s",
        "speed_ratio",
        "stability",
        "grid_check",
    ):
        assert vacuum[unknown] is None
    assert answer["stop_hint"] is not None
    brief = desk.answer("get_liquidity_vacuums", symbol="BTCUSDT")
    assert len(brief["vacuums"]) <= 3
    assert brief["truncated"]["total"] == answer["truncated"]["total"]
    assert brief["stop_hint"] is None


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"symbol": "NOPEUSDT"}, "SYMBOL_UNKNOWN"),
        ({"symbol": None}, "SYMBOL_UNKNOWN"),
        ({"symbol": {"a": 1}}, "SYMBOL_UNKNOWN"),
        ({"duration_hours": -4}, "WINDOW_INVALID"),
        ({"duration_hours": "soon"}, "WINDOW_INVALID"),
        ({"duration_hours": 1e300}, "WINDOW_INVALID"),
        ({"start_time": "2023-11-15T10:00:00Z", "end_time": "2023-11-15T10:00:00Z"}, "WINDOW_INVALID"),
        ({"session": "lunch"}, "WINDOW_INVALID"),
        ({"row_size": "0.015"}, "ROW_SIZE_INVALID"),
        ({"row_size": -1}, "ROW_SIZE_INVALID"),
        ({"row_size": "1e999"}, "ROW_SIZE_INVALID"),
        ({"row_size": "1e30"}, "ROW_SIZE_INVALID"),
        ({"row_size": 0.01}, "ROW_TOO_FINE"),
        ({"end_time": "2020-01-01T00:00:00Z"}, "NO_TRADES"),
        ({"detail": "everything"}, "OPTION_INVALID"),
    ],
)
def test_every_wrong_argument_gets_its_coded_error(
    desk: Desk, tool: str, arguments: dict[str, Any], code: str
) -> None:
    said = desk.refusal(tool, **{"symbol": "BTCUSDT"} | arguments)
    assert said.startswith(f"{code}: ")
    assert said.count("; ") >= 2
    assert "Traceback" not in said
    assert len(said) < 500


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_volume_profile", {"value_area_pct": 99}),
        ("get_volume_profile", {"value_area_method": "three_row"}),
        ("get_volume_profile", {"min_trades": "many"}),
        ("get_volume_profile", {"min_trades": 1e30}),
        ("get_liquidity_vacuums", {"rule": "thick"}),
        ("get_liquidity_vacuums", {"threshold_pct": 0}),
        ("get_liquidity_vacuums", {"stop_hint": "up"}),
    ],
)
def test_every_wrong_option_gets_its_coded_error(desk: Desk, tool: str, arguments: dict[str, Any]) -> None:
    assert desk.refusal(tool, symbol="BTCUSDT", **arguments).startswith("OPTION_INVALID: ")


def test_row_size_errors_name_sizes_that_work(desk: Desk) -> None:
    assert "0.01 or 0.02" in desk.refusal("get_volume_profile", symbol="BTCUSDT", row_size="0.015")
    said = desk.refusal("get_volume_profile", symbol="BTCUSDT", row_size="0.01")
    size = said.rpartition("row_size=")[2].rstrip(".")
    assert desk.answer("get_volume_profile", symbol="BTCUSDT", row_size=size)["meta"]["row_size"]


def test_an_empty_window_is_told_apart_by_its_reason(desk: Desk) -> None:
    quiet = {"start_time": "2023-11-15T10:00:10Z", "end_time": "2023-11-15T10:01:10Z"}
    desk.ledger.append("BTCUSDT", columns([]))
    busy = desk.answer("get_volume_profile", symbol="BTCUSDT", **quiet)
    assert busy["meta"]["coverage"]["complete"] is True
    outside = desk.refusal("get_volume_profile", symbol="BTCUSDT", end_time="2023-11-01T00:00:00Z")
    assert outside.startswith("NO_TRADES: nothing is recorded")
    desk.recording.warming = True
    warming = desk.refusal("get_volume_profile", symbol="BTCUSDT", end_time="2023-11-01T00:00:00Z")
    assert warming.startswith("WARMING_UP: ")
    assert "7 trades so far" in warming


def test_a_covered_window_without_a_trade_is_no_trades(tmp_path: Path) -> None:
    with TradeLedger.open(tmp_path / "quiet") as ledger:
        ledger.keep_instrument(BTCUSDT, since_ms=0)
        rows = [(i, END_MS - 3 * HOUR_MS + i * HOUR_MS, 10**10, 10**8, i, i, False) for i in (1, 2)]
        ledger.append("BTCUSDT", columns(rows))
        said = Desk(ledger, FakeRecording()).refusal(
            "get_volume_profile",
            symbol="BTCUSDT",
            duration_hours=0.25,
            end_time="2023-11-15T20:45:00Z",
        )
        assert said.startswith("NO_TRADES: nothing traded")


def test_a_symbol_whose_tick_is_not_known_yet_is_warming_up(desk: Desk) -> None:
    desk.recording.symbols = ("BTCUSDT", "SOLUSDT")
    assert desk.refusal("get_volume_profile", symbol="SOLUSDT").startswith("WARMING_UP: ")


def test_a_store_that_cannot_be_read_is_named_as_such(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("disk gone")

    monkeypatch.setattr(desk.ledger, "view", refuse)
    for tool in [*TOOLS, "get_data_coverage"]:
        assert desk.refusal(tool, symbol="BTCUSDT").startswith("STORE_UNAVAILABLE: disk gone")


def test_the_tools_read_only_and_their_names_are_plain(desk: Desk) -> None:
    async def run() -> None:
        mcp = MCPServer("test")
        add_tools(mcp, Tape(desk.ledger, desk.recording, lambda: END_MS))  # type: ignore[arg-type]
        async with Client(mcp) as client:
            tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == [*TOOLS, "get_data_coverage"]
        for tool in tools:
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint
            assert tool.output_schema is not None
            assert tool.title
            assert ("symbol" in tool.input_schema.get("required", [])) == (tool.name in TOOLS)
            assert all("description" in part for part in tool.input_schema["properties"].values())

    asyncio.run(run())


def test_an_answer_is_short_enough_for_a_model(desk: Desk) -> None:
    for tool in TOOLS:
        assert len(json.dumps(desk.answer(tool, symbol="BTCUSDT"), separators=(",", ":"))) < 4_000
        assert len(json.dumps(desk.answer(tool, symbol="BTCUSDT", detail="full"))) < 14_000
