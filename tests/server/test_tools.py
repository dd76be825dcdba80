"""The tools through the official client in memory: shapes, coded errors, plain sums."""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytics.developing import DevelopingLevels
from analytics.rows import Rows
from server.tools.answers import tokens_of
from server.tools.profile_tables import telling_changes
from server.tools.tape import Tape
from storage.errors import StoreUnavailable
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.server.desks import BTCUSDT, END_MS, FLOW_TOOLS, HOUR_MS, Desk, FakeRecording, text_of
from tests.tapes import START_MS, columns, rows_of


@cache
def market(*, trades: int = 3_000, first_id: int = 1) -> TradeColumns:
    """A day around 62,000 with a thin zone, five trades in five times 24 h / trades."""
    rows = []
    for i in range(trades):
        step = (i * 7919) % 1000 - 500
        step += 800 if step > 0 else -800 if i % 40 else 0
        price = (6_200_000 + step * 10) * 10**6
        quantity = (i % 17 + 1) * 1_234 * 10**3
        time_ms = END_MS - 24 * HOUR_MS + (i - i % 5) * 24 * HOUR_MS // trades + i % 5
        identity = first_id + i
        rows.append((identity, time_ms, price, quantity, identity, identity, i % 3 == 0))
    return columns(rows)


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


def test_a_full_profile_tells_how_its_levels_came_about(desk: Desk) -> None:
    answer = desk.answer("get_volume_profile", symbol="BTCUSDT", detail="full")
    developing = answer["developing"]
    header, newest, *before = [line.split(",") for line in developing["changes"].splitlines()]
    levels = answer["levels"]

    assert header == ["time", "poc_low", "val", "vah"]
    assert newest[1:] == [levels["poc"]["low"], levels["val"], levels["vah"]]
    assert [line[0] for line in before] == sorted((line[0] for line in before), reverse=True)
    assert developing["truncated"]["shown"] == 1 + len(before) == 12
    assert developing["truncated"]["total"] > 12
    assert "ends earlier" in developing["truncated"]["more"]
    assert desk.answer("get_volume_profile", symbol="BTCUSDT")["developing"] is None


def test_moves_of_the_poc_are_listed_before_other_changes() -> None:
    poc = np.array([1, 1, 2, 2, 1, *[1] * 20])
    rows = Rows(0, 1, Decimal(1), poc, poc, poc, poc, quantity_exp=0)
    levels = DevelopingLevels(rows, np.arange(25), poc, poc, poc)

    assert telling_changes(levels) == [0, 2, 4, *range(16, 25)]


def test_the_nodes_of_a_profile_are_named_with_their_prominence(desk: Desk) -> None:
    brief = desk.answer("get_volume_profile", symbol="BTCUSDT")["nodes"]
    full = desk.answer("get_volume_profile", symbol="BTCUSDT", detail="full")["nodes"]

    assert len(brief["high_volume"]) == 2 < len(full["high_volume"])
    assert brief["high_volume"] == full["high_volume"][:2]
    ratios = [node["prominence_ratio"] for node in full["high_volume"]]
    assert ratios == sorted(ratios, reverse=True)
    assert brief["truncated"]["total"] >= len(full["high_volume"]) + len(full["low_volume"])


@pytest.mark.parametrize("row_size", ["0.05", "0.5", "5"])
def test_a_profile_takes_up_to_2000_rows_and_its_table_stays_short(desk: Desk, row_size: str) -> None:
    said = desk.call("get_volume_profile", symbol="BTCUSDT", row_size=row_size, detail="full")
    if said.is_error:
        assert text_of(said).startswith("ROW_TOO_FINE")
        return
    answer = said.structured_content
    assert answer is not None
    table = answer["rows"].splitlines()[1:]
    assert len(table) <= 120
    assert Decimal(answer["rows_row_size"]) >= Decimal(answer["meta"]["row_size"]) == Decimal(row_size)
    assert sum(Decimal(line.split(",")[1]) for line in table) == Decimal(answer["total_volume"])
    assert tokens_of(text_of(said)) <= 4_000


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


def test_a_questions_trades_are_in_id_order_where_their_times_are_not(tmp_path: Path) -> None:
    edge_ms = END_MS - HOUR_MS
    times = [-3, -2, 1, -1, 2, 3]
    rows = [(i, edge_ms + time, 62_000 * 10**8, 10**8, i, i, False) for i, time in enumerate(times, 1)]
    with TradeLedger.open(tmp_path / "edge") as ledger:
        ledger.keep_instrument(BTCUSDT, since_ms=0)
        ledger.append("BTCUSDT", columns(rows))
        tape = Tape(ledger, FakeRecording(), lambda: END_MS)
        window: dict[str, Any] = dict.fromkeys(("start_time", "end_time", "session"))
        with tape.question(symbol="BTCUSDT", duration_hours=2, **window) as question:
            assert [i for chunk in question.trades() for i in chunk.id.tolist()] == [1, 2, 3, 4, 5, 6]


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


def test_vacuums_are_ranked_by_distance_with_their_evidence(desk: Desk) -> None:
    answer = desk.answer("get_liquidity_vacuums", symbol="BTCUSDT", detail="full", stop_hint="both")
    assert answer["rule"] == "thin"
    assert answer["vacuums"]
    distances = [vacuum["distance_pct"] for vacuum in answer["vacuums"]]
    assert distances == sorted(distances)
    vacuum = answer["vacuums"][0]
    assert vacuum["id"] == f"v-BTCUSDT-{vacuum['low']}-{vacuum['high']}"
    assert vacuum["visits"] >= vacuum["through"] + vacuum["rejected"] > 0
    assert 0 <= vacuum["stability"] <= 1
    assert re.fullmatch(r"[0-4]/[2-4]", vacuum["grid_check"])
    assert f"stability {vacuum['stability']:.2f}" in answer["summary"]
    assert set(answer["stop_hint"]) == {"long", "short"}
    brief = desk.answer("get_liquidity_vacuums", symbol="BTCUSDT")
    assert 1 <= len(brief["vacuums"]) <= 3
    assert brief["vacuums"] == answer["vacuums"][: len(brief["vacuums"])]
    assert brief["truncated"]["total"] == answer["truncated"]["total"]
    assert brief["stop_hint"] is None


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("detail", ["summary", "full"])
def test_the_same_trades_give_the_same_bytes_however_they_came(
    tmp_path: Path, desk: Desk, tool: str, detail: str
) -> None:
    """In one piece and in memory, or piece by piece, out of order and twice, and sealed into blocks."""
    order = np.random.default_rng(1).permutation(30)
    pieces = [market().take(slice(100 * int(at), 100 * int(at) + 150)) for at in order]
    with TradeLedger.open(tmp_path / "pieces") as ledger:
        ledger.claim("binance spot")
        ledger.keep_instrument(BTCUSDT, since_ms=0)
        for piece in pieces:
            ledger.append("BTCUSDT", piece)
            ledger.flush()
        while ledger.seal(END_MS + HOUR_MS):
            pass
        other = Desk(ledger, FakeRecording())
        for window in ({}, {"start_time": "2023-11-15T03:10:11Z", "row_size": "0.5"}):
            asked = {"symbol": "BTCUSDT", "detail": detail, "end_time": "2023-11-15T21:30:00Z"} | window
            first, second = desk.call(tool, **asked), other.call(tool, **asked)
            assert not first.is_error
            assert text_of(first) == text_of(second)


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


@pytest.mark.parametrize("tool", TOOLS)
def test_rows_that_no_bin_fits_are_the_same_once_their_hours_are_sealed(desk: Desk, tool: str) -> None:
    before = desk.answer(tool, symbol="BTCUSDT", row_size="3.37")
    for _ in range(2):
        desk.ledger.seal(END_MS + HOUR_MS)
    with desk.ledger.view("BTCUSDT") as view:
        assert view.histogram(END_MS - 24 * HOUR_MS, END_MS, exact=False).bin_int is not None
    assert desk.answer(tool, symbol="BTCUSDT", row_size="3.37") == before


def test_row_size_errors_name_sizes_that_work(desk: Desk) -> None:
    assert "0.01 or 0.02" in desk.refusal("get_volume_profile", symbol="BTCUSDT", row_size="0.015")
    said = desk.refusal("get_volume_profile", symbol="BTCUSDT", row_size="0.01")
    size = said.rpartition("row_size=")[2].rstrip(".")
    assert desk.answer("get_volume_profile", symbol="BTCUSDT", row_size=size)["meta"]["row_size"]


def test_an_empty_window_is_told_apart_by_its_reason(desk: Desk) -> None:
    quiet = {"start_time": "2023-11-15T10:02:10Z", "end_time": "2023-11-15T10:03:10Z"}
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


@pytest.mark.parametrize("tool", TOOLS)
def test_what_an_answer_is_not_is_said_whatever_else_is_to_be_said(desk: Desk, tool: str) -> None:
    late = columns([(4_001, END_MS - 10, 62_000 * 10**8, 10**8, 9_000, 9_000, False)])
    desk.ledger.append("BTCUSDT", late)
    answer = desk.answer(tool, symbol="BTCUSDT", duration_hours=0.5, include_chart=True)

    assert answer["summary"].startswith("PARTIAL:")
    assert len(answer["caveats"]) == 3
    assert "not a forecast" in answer["caveats"][2]


def test_the_tools_read_only_and_their_names_are_plain(desk: Desk) -> None:
    tools = desk.tools()
    assert list(tools) == [*TOOLS, *FLOW_TOOLS, "get_data_coverage"]
    for name, tool in tools.items():
        assert re.fullmatch("[a-z_]{1,64}", name)
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.output_schema is not None
        assert tool.title
        assert ("symbol" in tool.input_schema.get("required", [])) == (name != "get_data_coverage")
        assert all("description" in part for part in tool.input_schema["properties"].values())


def test_an_answer_is_short_enough_for_a_model(desk: Desk) -> None:
    for tool in TOOLS:
        for detail, most in (("summary", 1_000), ("full", 4_000)):
            assert tokens_of(text_of(desk.call(tool, symbol="BTCUSDT", detail=detail))) <= most
